"""The account on the page: its devices, and the panel they are shown in."""

import threading
from typing import Any

from playwright.sync_api import Route, expect

from tests.browser.page import (
    EMAIL,
    FIREFOX,
    IPHONE,
    LONG,
    MARKS,
    PHONE,
    Invite,
    assert_fits,
    enter_again,
    expect_signed_out,
    open_account,
    sign_out,
    tab_to,
)
from tests.conftest import Server

pytestmark = MARKS


# Devices


def test_device_that_is_ended_is_signed_out_live_and_stays_so(person: Invite) -> None:
    window = person("Ann", user_agent=FIREFOX).enter()
    phone = person("Phone", user_agent=IPHONE)
    phone.allow("status of 401")  # a list may still be on its way
    phone.context.clock.install()
    other = phone.open()
    sockets: list[Any] = []
    other.on("websocket", lambda socket: sockets.append(socket))
    enter_again(other)
    open_account(window)
    names = window.get_by_test_id("device-name")
    expect(names).to_have_text(["Safari on iPhone", "Firefox on Windows"])
    current = window.get_by_test_id("device").filter(has_text="This device")
    expect(current.get_by_test_id("device-name")).to_have_text(["Firefox on Windows"])
    expect(current.get_by_test_id("device-end")).to_have_count(0)

    window.get_by_test_id("device-end").click()
    expect_signed_out(other)
    expect(names).to_have_text(["Firefox on Windows"])
    expect(window.get_by_test_id("devices-done")).to_have_text("Safari on iPhone is signed out.")
    expect(window.get_by_test_id("end-others")).to_be_hidden()
    expect(window.locator("#devices-title")).to_be_focused()
    expect(window.get_by_test_id("connection")).to_have_text("Live")

    assert all(socket.is_closed() for socket in sockets)
    opened = len(sockets)
    with other.expect_request("**/api/todos"):  # the guests' list is asked for every 5 seconds
        phone.context.clock.fast_forward(60_000)
    assert len(sockets) == opened


def test_call_under_way_when_the_session_ends_adds_no_second_notice(person: Invite) -> None:
    window = person("Ann").enter()
    phone = person("Phone")
    phone.allow("status of 401")
    other = enter_again(phone.open())
    held: list[Route] = []
    other.route(
        "**/api/todos",
        lambda route: held.append(route) if route.request.method == "POST" else route.fallback(),
    )
    with other.expect_request(lambda request: request.method == "POST"):
        other.get_by_test_id("todo-input").fill("Too late")
        other.get_by_test_id("todo-add").click()
    open_account(window)
    window.get_by_test_id("device-end").click()
    expect_signed_out(other)
    with other.expect_response(lambda response: response.status == 401):
        held[0].fulfill(status=401, json={"message": "Invalid token"})
    other.evaluate("() => new Promise((done) => setTimeout(done))")  # what comes of it is shown
    expect_signed_out(other)


def test_all_other_devices_are_signed_out_at_once(person: Invite) -> None:
    window = person("Ann").enter()
    people = [person(name) for name in ("Phone", "Tablet")]
    for one in people:
        one.allow("status of 401")  # a list may still be on its way
    others = [enter_again(one.open()) for one in people]
    open_account(window)
    expect(window.get_by_test_id("device")).to_have_count(3)
    window.get_by_test_id("end-others").click()
    for other in others:
        expect_signed_out(other)
    expect(window.get_by_test_id("device")).to_have_count(1)
    said = window.get_by_test_id("devices-done")
    expect(said).to_have_text("All other devices are signed out.")
    expect(window.get_by_test_id("connection")).to_have_text("Live")


def test_device_that_is_gone_already_leaves_the_list(person: Invite) -> None:
    ann = person("Ann")
    ann.allow("status of 404")
    window = ann.enter()
    other = enter_again(person("Phone").open())
    open_account(window)
    expect(window.get_by_test_id("device")).to_have_count(2)
    sign_out(other)
    expect(other.get_by_test_id("auth-submit")).to_be_visible()
    window.get_by_test_id("device-end").click()
    expect(window.get_by_test_id("notice")).to_have_text("Session not found")
    expect(window.get_by_test_id("device")).to_have_count(1)
    expect(window.get_by_test_id("devices-done")).to_be_empty()


def test_signing_out_oneself_is_no_news(server: Server, person: Invite, monkeypatch: Any) -> None:
    window = person("Ann").enter()
    open_door, answer = threading.Event(), server.app.wsgi_app

    def answer_late(environ: Any, start_response: Any) -> Any:
        body = answer(environ, start_response)
        if environ["PATH_INFO"] == "/api/auth/logout":
            open_door.wait(20)
        return body

    monkeypatch.setattr(server.app, "wsgi_app", answer_late)
    sign_out(window)
    expect(window.get_by_test_id("auth-submit")).to_be_visible()  # its sockets were closed first
    assert window.get_by_test_id("notice").count() == 0  # now, not when it has faded
    open_door.set()


# The panel


def test_panel_is_opened_and_closed_by_keyboard(person: Invite) -> None:
    window = person("Ann").enter()
    panel, opener = window.locator("account-panel"), window.get_by_test_id("account-open")
    expect(panel).to_be_hidden()
    expect(opener).to_have_accessible_name("Ann (account)")
    tab_to(window, "account-open")
    for close in ("Escape", "account-close", "account-open"):
        expect(opener).to_have_attribute("aria-expanded", "false")
        window.keyboard.press("Enter")
        expect(opener).to_have_attribute("aria-expanded", "true")
        expect(panel.get_by_role("heading", name="Your account")).to_be_focused()
        expect(window.get_by_test_id("device")).to_have_count(1)
        if close == "Escape":
            window.keyboard.press("Escape")
        else:
            tab_to(window, close)
            window.keyboard.press("Enter")
        expect(panel).to_be_hidden()
        expect(opener).to_be_focused()


def test_panel_fits_on_a_phone(person: Invite) -> None:
    window = person("Ann", **PHONE).enter()
    enter_again(person("Robot", user_agent=LONG).open())
    open_account(window)
    expect(window.get_by_test_id("device-name")).to_contain_text([LONG, ""])
    expect(window.get_by_test_id("activity-entry")).to_have_count(2)
    assert_fits(window)


def test_panel_of_an_admin_shows_the_activity_of_no_one_else(
    server: Server, person: Invite
) -> None:
    window = person("Ann").enter()
    person("Bob").enter()
    server.app.test_cli_runner().invoke(args=["user", "promote", EMAIL])
    open_account(window)
    expect(window.locator(".activity-title")).to_have_text(["Role changed", "Account made"])
