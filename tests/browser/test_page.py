"""The page at `/`, as people with a browser meet it: live, offline, on a phone, by keyboard."""

import base64
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, Request, Route, expect

from storage import FolderStorage
from tests.browser.conftest import Person
from tests.conftest import PASSWORD, Server

# The page knows nothing of databases: one is enough.
pytestmark = [
    pytest.mark.browser,
    pytest.mark.parametrize("database_url", ["sqlite"], indirect=True),
]

Invite = Callable[..., Person]

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJg"
    "gg=="
)


# Todos


def add_todo(window: Page, title: str) -> None:
    window.get_by_test_id("todo-input").fill(title)
    window.get_by_test_id("todo-add").click()


def todo(window: Page, title: str) -> Locator:
    return window.get_by_test_id("todo").filter(has_text=title)


def titles(window: Page) -> Locator:
    return window.locator(".todo-title")


def test_todos_are_live_in_the_other_window_of_the_same_person_only(person: Invite) -> None:
    ann, bob = person("Ann"), person("Bob")
    other = ann.open()
    window = ann.enter()
    expect(other.get_by_test_id("user-name")).to_have_text("Ann")  # signed in with the first one
    expect(other.get_by_test_id("connection")).to_have_text("Live")
    bobs = bob.enter()

    add_todo(window, "Mend the net")
    add_todo(window, "Paint the boat")
    expect(titles(other)).to_have_text(["Paint the boat", "Mend the net"])
    todo(other, "Mend the net").get_by_test_id("todo-done").check()
    expect(todo(window, "Mend the net").get_by_test_id("todo-done")).to_be_checked()
    expect(window.get_by_test_id("todo-count")).to_have_text("1 of 2 done")
    todo(window, "Paint the boat").get_by_test_id("todo-edit").click()
    window.get_by_test_id("todo-title").fill("Paint the hull")
    window.get_by_test_id("todo-title").press("Enter")
    expect(titles(other)).to_have_text(["Paint the hull", "Mend the net"])
    todo(window, "Mend the net").get_by_test_id("todo-delete").click()
    expect(titles(other)).to_have_text(["Paint the hull"])

    add_todo(bobs, "Sell the fish")  # told after all of Ann's, if they were told to Bob
    expect(titles(bobs)).to_have_text(["Sell the fish"])
    expect(titles(window)).to_have_text(["Paint the hull"])


def test_next_todo_may_be_typed_before_the_first_is_saved(
    server: Server, person: Invite, monkeypatch: Any
) -> None:
    window = person("Ann").enter()
    field = window.get_by_test_id("todo-input")
    open_door, answer = threading.Event(), server.app.wsgi_app

    def answer_late(environ: Any, start_response: Any) -> Any:
        if environ["REQUEST_METHOD"] == "POST":
            open_door.wait(20)
        return answer(environ, start_response)

    monkeypatch.setattr(server.app, "wsgi_app", answer_late)
    add_todo(window, "First")
    expect(field).to_have_value("")
    field.press("Enter")  # impatient, but there is nothing to add
    field.press_sequentially("Second")
    open_door.set()
    expect(titles(window)).to_have_text(["First"])
    expect(field).to_have_value("Second")
    field.press("Enter")
    expect(titles(window)).to_have_text(["Second", "First"])


def test_todo_that_is_not_saved_is_given_back(person: Invite) -> None:
    ann = person("Ann")
    ann.allow("status of 503")
    window = ann.enter()

    def refuse(route: Route) -> None:
        if route.request.method == "POST":
            route.fulfill(status=503, json={"message": "The harbour is closed"})
        else:
            route.fallback()

    window.route("**/api/todos", refuse)
    add_todo(window, "Try me again")
    expect(window.get_by_test_id("notice")).to_have_text("The harbour is closed")
    expect(window.get_by_test_id("todo-input")).to_have_value("Try me again")
    expect(titles(window)).to_have_count(0)


# Accounts


def test_wrong_password_is_explained_and_signing_out_ends_the_session(person: Invite) -> None:
    ann = person("Ann")
    ann.allow("status of 401")
    window = ann.enter()
    add_todo(window, "Mine alone")
    expect(titles(window)).to_have_text(["Mine alone"])
    window.get_by_test_id("sign-out").click()
    expect(window.locator("body")).not_to_have_class(re.compile(r"\bmember\b"))
    expect(titles(window)).to_have_count(0)
    window.reload()
    window.get_by_test_id("auth-email").fill("ann@example.com")
    window.get_by_test_id("auth-password").fill("wrong horse")
    window.get_by_test_id("auth-submit").click()
    expect(window.get_by_test_id("auth-error")).to_have_text(re.compile("."))
    window.get_by_test_id("auth-password").fill(PASSWORD)
    window.get_by_test_id("auth-submit").click()
    expect(titles(window)).to_have_text(["Mine alone"])


# Chat


def say(window: Page, text: str) -> None:
    window.get_by_test_id("chat-input").fill(text)
    window.get_by_test_id("chat-send").click()


def messages(window: Page) -> Locator:
    return window.get_by_test_id("message-content")


def stored(window: Page) -> list[str]:
    """What the server holds of the lobby."""
    answer = window.request.get("/api/rooms/lobby/messages")
    return [message["content"] for message in answer.json()]


def test_two_people_meet_talk_and_part(person: Invite) -> None:
    ann, bob = person("Ann").enter(), person("Bob").enter()
    expect(ann.get_by_test_id("member")).to_have_text(["Ann (you)", "Bob"])
    expect(bob.get_by_test_id("member")).to_have_text(["Ann", "Bob (you)"])
    expect(ann.get_by_test_id("note")).to_have_text(["Bob came in"])

    ann.get_by_test_id("chat-input").press_sequentially("Ahoy")
    expect(bob.get_by_test_id("typing")).to_have_text("Ann is typing")
    expect(ann.get_by_test_id("typing")).to_be_empty()
    ann.get_by_test_id("chat-input").press("Enter")
    expect(messages(bob)).to_have_text(["Ahoy"])
    expect(bob.get_by_test_id("message")).to_contain_text(["Ann"])
    expect(bob.get_by_test_id("typing")).to_be_empty()
    say(bob, "<b>Ahoy</b> & welcome")
    expect(messages(ann)).to_have_text(["Ahoy", "<b>Ahoy</b> & welcome"])

    ann.reload()
    expect(ann.get_by_test_id("user-name")).to_have_text("Ann")
    expect(messages(ann)).to_have_text(["Ahoy", "<b>Ahoy</b> & welcome"])
    expect(ann.get_by_test_id("member")).to_have_count(2)
    bob.close()
    expect(ann.get_by_test_id("member")).to_have_text(["Ann (you)"])
    expect(ann.get_by_test_id("note")).to_have_text(["Bob left"])


def test_rooms_are_apart(person: Invite) -> None:
    ann, bob = person("Ann").enter(), person("Bob").enter()
    ann.get_by_test_id("room-name").fill("harbour & pier")
    ann.get_by_test_id("room-go").click()
    expect(bob.get_by_test_id("note")).to_have_text(["Ann left"])
    say(ann, "Only here")
    expect(messages(ann)).to_have_text(["Only here"])
    say(bob, "Only there")
    expect(messages(bob)).to_have_text(["Only there"])
    bob.get_by_test_id("room-name").fill("harbour & pier")
    bob.get_by_test_id("room-name").press("Enter")
    expect(messages(bob)).to_have_text(["Only here"])
    expect(ann.get_by_test_id("note")).to_have_text(["Bob came in"])


def test_message_written_while_cut_off_arrives_once(server: Server, person: Invite) -> None:
    ann, bob = person("Ann").enter(), person("Bob").enter()
    expect(ann.get_by_test_id("member")).to_have_count(2)
    say(ann, "Before")
    expect(messages(bob)).to_have_text(["Before"])
    realtime = server.app.extensions["realtime"]
    with realtime.lock:  # nobody is let in again before the message is written
        for connection in list(realtime.hub.connections.values()):
            connection.shut_down()
        expect(ann.get_by_test_id("connection")).to_have_text("Reconnecting")
        say(ann, "Meanwhile")
        expect(ann.get_by_test_id("unsent")).to_contain_text("Meanwhile")
        expect(messages(ann)).to_have_text(["Before"])
    for window in (ann, bob):
        expect(window.get_by_test_id("connection")).to_have_text("Live")
        expect(messages(window)).to_have_text(["Before", "Meanwhile"])
        expect(window.get_by_test_id("member")).to_have_count(2)
    say(bob, "Afterwards")  # nothing may come between
    for window in (ann, bob):
        expect(messages(window)).to_have_text(["Before", "Meanwhile", "Afterwards"])
    expect(ann.get_by_test_id("unsent").locator("li")).to_have_count(0)
    assert stored(ann) == ["Before", "Meanwhile", "Afterwards"]


def test_message_whose_acknowledgement_is_lost_is_stored_once(
    server: Server, person: Invite, monkeypatch: Any
) -> None:
    ann, bob = person("Ann").enter(), person("Bob").enter()
    expect(ann.get_by_test_id("member")).to_have_count(2)
    connections = list(server.app.extensions["realtime"].hub.connections.values())
    anns = [one for one in connections if one.user.name == "Ann"]
    for connection in anns:
        monkeypatch.setattr(connection, "send", lambda data, last=False: None)
    say(ann, "Once")
    expect(messages(bob)).to_have_text(["Once"])
    expect(ann.get_by_test_id("unsent")).to_contain_text("Once")
    for connection in anns:
        connection.shut_down()
    expect(messages(ann)).to_have_text(["Once"])
    expect(ann.get_by_test_id("unsent").locator("li")).to_have_count(0)
    say(ann, "Twice")
    for window in (ann, bob):
        expect(messages(window)).to_have_text(["Once", "Twice"])
    assert stored(bob) == ["Once", "Twice"]
    expect(ann.get_by_test_id("notice")).to_have_count(0)


# Files


def upload(window: Page, name: str, mimetype: str, data: bytes) -> None:
    file = {"name": name, "mimeType": mimetype, "buffer": data}
    window.get_by_test_id("file-input").set_input_files([file])


def test_picture_is_uploaded_shown_and_downloaded(person: Invite, monkeypatch: Any) -> None:
    ashore = threading.Event()
    save = FolderStorage.save

    def save_slowly(*args: Any) -> tuple[str, int]:
        ashore.wait(20)
        return save(*args)

    monkeypatch.setattr(FolderStorage, "save", save_slowly)
    window = person("Ann").enter()
    upload(window, "dot.png", "image/png", PNG)
    progress = window.get_by_test_id("upload-progress")
    expect(progress).to_be_visible()
    expect(progress).to_have_js_property("value", 1)  # all sent, no answer yet
    expect(window.get_by_test_id("file")).to_have_count(0)
    ashore.set()
    expect(window.get_by_test_id("file")).to_have_count(1)
    expect(progress).to_have_count(0)
    for again in (False, True):
        if again:
            window.reload()
        expect(window.get_by_test_id("file")).to_contain_text(["dot.png"])
        window.get_by_test_id("file").scroll_into_view_if_needed()
        expect(window.get_by_test_id("file-preview")).to_have_js_property("naturalWidth", 1)
    with window.expect_download() as download:
        window.get_by_test_id("file-download").click()
    assert download.value.suggested_filename == "dot.png"
    assert Path(download.value.path()).read_bytes() == PNG


def test_program_is_refused_with_a_notice(person: Invite) -> None:
    ann = person("Ann")
    ann.allow("status of 415")
    window = ann.enter()
    upload(window, "virus.exe", "application/x-msdownload", b"MZ" + bytes(100))
    notice = window.get_by_test_id("notice")
    expect(notice).to_be_visible()
    expect(notice).to_have_text("Only jpeg, png, gif and pdf files are accepted")
    expect(window.get_by_test_id("upload-progress")).to_have_count(0)
    notice.get_by_role("button").click()
    expect(notice).to_have_count(0)
    upload(window, "dot.png", "image/png", b"MZ" + bytes(100))
    expect(notice).to_be_visible()
    expect(window.get_by_test_id("file")).to_have_count(0)


# Replicas


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


def test_replicas_agree_after_conflicting_edits_apart(person: Invite) -> None:
    window = person("Ann").enter()
    left, right = Panel(window, "left"), Panel(window, "right")
    left.expect_state("online")
    right.expect_state("online")
    left.add("Milk", 1)
    expect(right.cell(0, "name")).to_have_value("Milk")
    right.add("Bread", 2)
    expect(left.cell(1, "name")).to_have_value("Bread")
    left.add("Salt", 3)
    expect_in_sync(window, 3)

    left.flip("offline")
    right.flip("offline")
    left.write(0, "quantity", "5")  # the same cell
    right.write(0, "quantity", "9")
    left.cell(0, "done").check()  # another cell of that row
    left.write(1, "name", "Rye bread")  # an edit against a delete
    right.remove(1)
    left.remove(2)  # a delete against an edit
    right.write(1, "name", "Sea salt")
    right.add("Tea", 4)
    expect(window.get_by_test_id("replica-verdict")).to_have_text("Differs in 4 items")
    expect(left.root.get_by_test_id("replica-pending")).not_to_have_text("0")

    right.flip("online")
    right.expect_settled(3)
    left.flip("online")
    rows = expect_in_sync(window, 3)
    milk, bread, tea = (row[1:] for row in rows)
    assert milk in ([True, "Milk", "5"], [True, "Milk", "9"])
    assert bread == [False, "Rye bread", "2"]  # edited after the delete: the row is back, whole
    assert tea == [False, "Tea", "4"]  # and no salt, deleted after the edit
    window.reload()
    assert expect_in_sync(window, 3) == rows


def test_replica_keeps_what_was_written_offline_over_a_reload(person: Invite) -> None:
    window = person("Ann").enter()
    left, right = Panel(window, "left"), Panel(window, "right")
    left.expect_state("online")
    right.expect_state("online")
    left.add("Milk", 1)
    expect_in_sync(window, 1)
    sites = window.get_by_test_id("replica-site").all_text_contents()
    left.flip("offline")
    left.add("Tea", 7)
    expect(left.root.get_by_test_id("replica-row")).to_have_count(2)
    expect(right.root.get_by_test_id("replica-row")).to_have_count(1)
    window.reload()
    rows = expect_in_sync(window, 2)
    assert [row[1:] for row in rows] == [[False, "Milk", "1"], [False, "Tea", "7"]]
    assert window.get_by_test_id("replica-site").all_text_contents() == sites


# Phones and keyboards

LONG = "Unbreakable" * 12


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


def test_phone_has_nothing_to_scroll_sideways(person: Invite) -> None:
    screen = {"width": 390, "height": 844}
    ann = person("Ann", viewport=screen, is_mobile=True, has_touch=True)
    guest = ann.open()
    assert_fits(guest)
    guest.close()
    window = ann.enter()
    assert_fits(window)
    add_todo(window, LONG)
    expect(titles(window)).to_have_text([LONG])
    todo(window, LONG).get_by_test_id("todo-edit").click()
    say(window, LONG)
    expect(messages(window)).to_have_text([LONG])
    upload(window, f"{LONG}.png", "image/png", PNG)
    expect(window.get_by_test_id("file")).to_have_count(1)
    Panel(window, "left").add(LONG, 999)
    expect_in_sync(window, 1)
    assert_fits(window)
    window.get_by_test_id("room-name").fill(LONG)
    window.get_by_test_id("room-go").click()
    expect(window.get_by_test_id("member")).to_have_count(1)
    assert_fits(window)


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


def test_keyboard_alone_registers_and_adds_a_todo(person: Invite) -> None:
    window = person("Ann").open()
    tab_to(window, "mode-register")
    window.keyboard.press("Enter")
    tab_to(window, "auth-name")
    window.keyboard.type("Ann")
    window.keyboard.press("Tab")
    window.keyboard.type("ann@example.com")
    window.keyboard.press("Tab")
    window.keyboard.type(PASSWORD)
    window.keyboard.press("Enter")
    expect(window.get_by_test_id("user-name")).to_have_text("Ann")
    tab_to(window, "todo-input")
    for title in ("First", "Second"):  # the cursor stays where it was
        window.keyboard.type(title)
        window.keyboard.press("Enter")
        expect(titles(window).first).to_have_text(title)
        expect(window.get_by_test_id("todo-input")).to_have_value("")
    tab_to(window, "todo-done")
    window.keyboard.press("Space")
    expect(window.get_by_test_id("todo-count")).to_have_text("1 of 2 done")


def test_page_asks_no_other_server_for_anything(server: Server, person: Invite) -> None:
    ann = person("Ann")
    asked: list[str] = []
    ann.context.on("request", lambda request: asked.append(address_of(request)))
    window = ann.enter()
    expect(window.get_by_test_id("member")).to_have_count(1)
    assert asked
    assert [url for url in asked if not url.startswith(server.url)] == []


def address_of(request: Request) -> str:
    return request.url
