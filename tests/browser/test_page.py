"""The page at `/` as a whole: its accounts, on a phone, by keyboard."""

import re

from playwright.sync_api import Page, Request, expect

from tests.browser.page import (
    MARKS,
    PNG,
    Invite,
    Panel,
    add_todo,
    expect_in_sync,
    messages,
    say,
    titles,
    todo,
    upload,
)
from tests.conftest import PASSWORD, Server

pytestmark = MARKS


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
