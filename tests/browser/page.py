"""The page at `/` as its tests handle it: todos, chat, files and replicas."""

import base64
import io
import re
from collections.abc import Callable
from typing import Any

import pytest
from PIL import Image
from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import Person
from tests.conftest import PASSWORD

# The page knows nothing of databases: one is enough.
MARKS = [
    pytest.mark.browser,
    pytest.mark.parametrize("database_url", ["sqlite"], indirect=True),
]

Invite = Callable[..., Person]

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJg"
    "gg=="
)

EMAIL = "ann@example.com"
FIREFOX = "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:140.0) Gecko/20100101 Firefox/140.0"
IPHONE = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 "
    "(KHTML, like Gecko) Version/18.0 Mobile/15E148 Safari/604.1"
)
LONG = "Unbreakable" * 12
PHONE = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True}


def sign_in(window: Page, email: str, password: str) -> None:
    window.get_by_test_id("auth-email").fill(email)
    window.get_by_test_id("auth-password").fill(password)
    window.get_by_test_id("auth-submit").click()


def sign_out(window: Page) -> None:
    """Sign out once no list is on its way: one that comes later is refused, and consoles tell.

    A socket that has just connected asks for lists a moment later.
    """
    window.wait_for_function("() => !window.underWay && performance.now() - window.lastCall > 500")
    window.get_by_test_id("sign-out").click()


def add_todo(window: Page, title: str) -> None:
    window.get_by_test_id("todo-input").fill(title)
    window.get_by_test_id("todo-add").click()


def todo(window: Page, title: str) -> Locator:
    return window.get_by_test_id("todo").filter(has_text=title)


def titles(window: Page) -> Locator:
    return window.locator(".todo-title")


def say(window: Page, text: str) -> None:
    window.get_by_test_id("chat-input").fill(text)
    window.get_by_test_id("chat-send").click()


def messages(window: Page) -> Locator:
    return window.get_by_test_id("message-content")


def upload(window: Page, name: str, mimetype: str, data: bytes) -> None:
    file = {"name": name, "mimeType": mimetype, "buffer": data}
    window.get_by_test_id("file-input").set_input_files([file])


def picture(color: str = "teal", size: tuple[int, int] = (40, 30)) -> bytes:
    """A whole PNG."""
    file = io.BytesIO()
    Image.new("RGB", size, color).save(file, "PNG")
    return file.getvalue()


def file_item(window: Page, name: str) -> Locator:
    return window.get_by_test_id("file").filter(has_text=name)


def open_file(window: Page, name: str) -> Locator:
    """The dialog with all that is done with a file."""
    file_item(window, name).get_by_test_id("file-more").click()
    dialog = window.get_by_test_id("file-dialog")
    expect(dialog.get_by_role("heading", level=2)).to_have_text(re.compile(re.escape(name)))
    return dialog


def make_folder(window: Page, name: str) -> None:
    window.get_by_test_id("folder-new").click()
    window.get_by_test_id("folder-name").fill(name)
    window.get_by_test_id("folder-save").click()
    expect(window.get_by_test_id("folder").filter(has_text=name)).to_be_visible()


class Panel:
    """One replica of the shopping list."""

    def __init__(self, window: Page, side: str) -> None:
        self.root = window.get_by_test_id(f"replica-{side}")

    def flip(self, state: str) -> None:
        """Go offline or online."""
        self.root.get_by_test_id("replica-switch").click()
        self.expect_state(state)

    def expect_state(self, state: str) -> None:
        expect(self.root).to_have_attribute("data-state", state)

    def add(self, name: str, quantity: int) -> None:
        self.root.get_by_test_id("replica-item").fill(name)
        self.root.get_by_test_id("replica-quantity").fill(str(quantity))
        self.root.get_by_test_id("replica-add").click()

    def cell(self, index: int, name: str) -> Locator:
        """What row `index` holds as `done`, `name` or `quantity`."""
        return self.root.get_by_test_id("replica-row").nth(index).get_by_test_id(f"row-{name}")

    def write(self, index: int, name: str, value: str) -> None:
        self.cell(index, name).fill(value)
        self.cell(index, name).press("Tab")

    def remove(self, index: int) -> None:
        self.root.get_by_test_id("replica-row").nth(index).get_by_test_id("row-delete").click()

    def rows(self) -> list[list[Any]]:
        """Every row as it is shown: key, ticked, name and quantity."""
        return self.root.get_by_test_id("replica-row").evaluate_all(
            """(rows) => rows.map((row) => {
                const [done, name, quantity] = row.querySelectorAll("input");
                return [row.dataset.key, done.checked, name.value, quantity.value];
            })"""
        )

    def expect_settled(self, count: int) -> None:
        """Online, with nothing left to tell, and holding so many rows."""
        self.expect_state("online")
        expect(self.root.get_by_test_id("replica-pending")).to_have_text("0")
        expect(self.root.get_by_test_id("replica-row")).to_have_count(count)


def expect_in_sync(window: Page, count: int) -> list[list[Any]]:
    """Both replicas are settled and show the same rows, which are returned."""
    left, right = Panel(window, "left"), Panel(window, "right")
    left.expect_settled(count)
    right.expect_settled(count)
    expect(window.get_by_test_id("replica-verdict")).to_have_text("In sync")
    assert left.rows() == right.rows()
    return left.rows()


def tab_to(window: Page, testid: str) -> None:
    """Press Tab until the element has the focus, and shows that it has."""
    for _ in range(40):
        window.keyboard.press("Tab")
        if window.evaluate("document.activeElement.dataset.testid") == testid:
            break
    target = window.locator(":focus")
    expect(target).to_have_attribute("data-testid", testid)
    assert target.evaluate("(it) => it.matches(':focus-visible')")
    assert target.evaluate("(it) => getComputedStyle(it).outlineStyle") == "solid"


def assert_fits(window: Page) -> None:
    """The page is no wider than the screen, and no part of it scrolls sideways."""
    widest = window.evaluate(
        "Math.max(document.documentElement.scrollWidth, document.body.scrollWidth, innerWidth)"
    )
    assert widest == 390
    scrolling = window.evaluate(
        """Array.from(document.querySelectorAll("main *"))
            .filter((it) => ["auto", "scroll"].includes(getComputedStyle(it).overflowX))
            .filter((it) => it.scrollWidth > it.clientWidth).map((it) => it.className)"""
    )
    assert scrolling == []


def enter_again(window: Page, password: str = PASSWORD) -> Page:
    """Sign Ann in on this device too."""
    sign_in(window, EMAIL, password)
    expect(window.get_by_test_id("connection")).to_have_text("Live")
    return window


def open_account(window: Page) -> None:
    window.get_by_test_id("account-open").click()
    expect(window.get_by_test_id("device-current")).to_be_visible()


def expect_signed_out(window: Page) -> None:
    """The page is a guest's again, by itself, and says why."""
    notice = window.get_by_test_id("notice")
    expect(notice).to_have_text("Your session has ended. Please sign in again.")
    expect(window.get_by_test_id("auth-submit")).to_be_visible()
    expect(window.get_by_test_id("account-open")).to_have_count(0)
    expect(window.locator("account-panel")).to_be_empty()
