"""docs/sync-your-own-table.md to the letter: its steps, and its page in two browsers.

The server is `python app.py` as `make run` starts it, on another port where others may run.
"""

import re
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import Person
from tests.conftest import PASSWORD
from tests.processes import ROOT, Deployment

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(sys.platform == "win32", reason="processes.py needs Unix"),
]

DOC = (ROOT / "docs/sync-your-own-table.md").read_text()
Invite = Callable[[str], Page]


def blocks(language: str) -> list[str]:
    """The fenced code of one language on the page."""
    return re.findall(rf"```{language}\n(.*?)```", DOC, re.DOTALL)


class Silent(SimpleHTTPRequestHandler):
    """`python3 -m http.server`, without a line for each request."""

    def log_message(self, *_words: object) -> None:
        """Say nothing."""


@pytest.fixture
def wharf(tmp_path: Path) -> Iterator[str]:
    """The address of a server without any setting but where its data goes."""
    with ExitStack() as stack:
        url = f"sqlite:///{tmp_path}/wharf.db"
        (process,) = Deployment(tmp_path, stack, DATABASE_URL=url).start("app")
        yield process.url.replace("127.0.0.1", "localhost")


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A folder, and where a web server of its own shows it."""
    pages = tmp_path / "pages"
    pages.mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Silent, directory=pages)) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield pages, f"http://localhost:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture
def enter(browser: Browser, wharf: str, folder: tuple[Path, str]) -> Iterator[Invite]:
    """The documented page in a browser of one's own, registered: `enter("ann")`."""
    [text] = blocks("html")
    (folder[0] / "shopping.html").write_text(text.replace("http://localhost:8000", wharf))
    people: list[Person] = []

    def open_page(name: str) -> Page:
        people.append(Person(name, browser.new_context()))
        people[-1].allow(r"404 \(File not found\)")  # http.server has no icon
        window = people[-1].context.new_page()
        window.goto(f"{folder[1]}/shopping.html")
        sign_in(window, name, "Register")
        return window

    yield open_page
    for one in people:
        one.context.close()
    assert [text for one in people for text in one.unexpected()] == []


def sign_in(window: Page, name: str, button: str) -> None:
    """Fill in the form; until the list is whole."""
    window.get_by_label("Email").fill(f"{name}@example.com")
    window.get_by_label("Password").fill(PASSWORD)
    window.get_by_role("button", name=button).click()
    expect(window.locator("#state")).to_have_text(re.compile("online, 0 pending"))


def come_back(window: Page, name: str) -> None:
    """Open the page anew."""
    window.reload()
    sign_in(window, name, "Sign in")


def add(window: Page, name: str, quantity: int) -> None:
    window.get_by_label("Item").fill(name)
    window.get_by_label("Quantity", exact=True).fill(str(quantity))
    window.get_by_role("button", name="Add").click()


def change(window: Page, name: str, quantity: int) -> None:
    window.get_by_label(f"Quantity of {name}").fill(str(quantity))
    window.get_by_label(f"Quantity of {name}").press("Tab")


def shown(window: Page) -> dict[str, str]:
    """The quantities by name, as the list shows them."""
    items = window.locator("#rows li").evaluate_all(
        "(all) => all.map((one) => [one.firstChild.data.trim(), one.querySelector('input').value])"
    )
    return dict(items)


def expect_the_same(one: Page, two: Page) -> None:
    """Soon both show the same list."""
    deadline = time.monotonic() + 10
    while shown(one) != shown(two) and time.monotonic() < deadline:
        one.wait_for_timeout(50)
    assert shown(one) == shown(two)


def test_two_people_share_the_page_s_list_and_agree_after_both_were_offline(enter: Invite) -> None:
    ann, bob = enter("ann"), enter("bob")
    add(ann, "Milk", 1)
    add(ann, "Bread", 1)
    ann.get_by_role("button", name="Invite").click()
    expect(ann.locator("#token")).not_to_be_empty()
    bob.get_by_label("Token").fill(ann.locator("#token").inner_text())
    bob.get_by_role("button", name="Join").click()
    expect(bob.locator("#rows li")).to_have_count(2)

    for window in (ann, bob):
        window.get_by_label("Online").uncheck()
        expect(window.locator("#state")).to_contain_text("offline")
    change(ann, "Milk", 5)
    change(bob, "Milk", 9)
    ann.get_by_role("button", name="Remove Bread").click()
    change(bob, "Bread", 3)
    add(ann, "Tea", 2)
    add(bob, "Salt", 4)
    expect(ann.locator("#state")).to_contain_text("4 pending")
    assert (len(shown(ann)), len(shown(bob))) == (2, 3)

    for window in (ann, bob):  # what Bob wrote reaches the server last
        window.get_by_label("Online").check()
        expect(window.locator("#state")).to_have_text(re.compile("online, 0 pending"))
    expect(ann.locator("#rows li")).to_have_count(4)
    expect_the_same(ann, bob)
    assert shown(ann) == {"Milk": "9", "Bread": "3", "Tea": "2", "Salt": "4"}
    come_back(bob, "bob")
    expect_the_same(ann, bob)


def test_the_page_opens_again_what_was_written_offline(enter: Invite) -> None:
    window = enter("ann")
    add(window, "Milk", 1)
    expect(window.locator("#state")).to_contain_text("0 pending")
    window.get_by_label("Online").uncheck()
    add(window, "Tea", 2)
    expect(window.locator("#rows li")).to_have_count(2)
    come_back(window, "ann")
    assert shown(window) == {"Milk": "1", "Tea": "2"}


def test_the_steps_work_in_the_console(browser: Browser, wharf: str) -> None:
    with browser.new_context(base_url=wharf) as context:
        window = context.new_page()
        window.goto("/")
        steps = "".join(blocks("js")).replace("http://localhost:8000", wharf)
        more = """
            list.put('shopping', 'k', { name: 'Eggs', quantity: 0 });
            await new Promise((done) => list.on('status', () => list.pending || done()));
            const path = `/api/channels/${channel}/tables/shopping`;
            return [joined.id === channel, await wharf.json('GET', path)];
        """
        told = window.evaluate(f"(async () => {{ {steps} {more} }})()")
        assert told == [True, [{"pk": "k", "name": "Eggs", "quantity": None}]]
