"""The page at `/` as a whole: its accounts, on a phone, by keyboard."""

import re

from playwright.sync_api import Request, expect

from tests.browser.page import (
    LONG,
    MARKS,
    PHONE,
    PNG,
    Invite,
    Panel,
    add_todo,
    assert_fits,
    expect_in_sync,
    messages,
    say,
    sign_out,
    tab_to,
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
    sign_out(window)
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


def test_phone_has_nothing_to_scroll_sideways(person: Invite) -> None:
    ann = person("Ann", **PHONE)
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
