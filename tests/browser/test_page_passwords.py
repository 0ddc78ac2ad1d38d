"""Passwords on the page: changed, or set anew by a link."""

import re
from typing import Any

from playwright.sync_api import Page, expect

from tests.browser.page import (
    EMAIL,
    FIREFOX,
    IPHONE,
    MARKS,
    Invite,
    enter_again,
    expect_signed_out,
    open_account,
    sign_in,
    sign_out,
)
from tests.conftest import PASSWORD, Server

pytestmark = MARKS

NEW = "new battery staple"


def change_password(window: Page, current: str, new: str) -> None:
    window.get_by_test_id("password-currentPassword").fill(current)
    window.get_by_test_id("password-newPassword").fill(new)
    window.get_by_test_id("password-submit").click()


def reset_link(server: Server) -> str:
    """What an administrator is told to hand over, as an address of this server."""
    answer = server.app.test_cli_runner().invoke(args=["user", "reset-password", EMAIL])
    assert answer.exit_code == 0, answer.output
    return f"{server.url}/#{answer.output.strip().partition('#')[2]}"


def test_password_is_changed_by_who_knows_it(person: Invite) -> None:
    ann = person("Ann", user_agent=FIREFOX)
    ann.allow("status of 40[01]")
    window = ann.enter()
    phone = person("Phone", user_agent=IPHONE)
    phone.allow("status of 401")  # a list may still be on its way
    other = enter_again(phone.open())
    open_account(window)
    change_password(window, "wrong horse", NEW)
    wrong = window.locator("#password-currentPassword-error")
    expect(wrong).to_have_text("The current password is wrong")
    expect(window.get_by_test_id("password-currentPassword")).to_be_focused()
    change_password(window, PASSWORD, "password1")
    expect(wrong).to_be_empty()
    expect(window.locator("#password-newPassword-error")).to_contain_text("most common")
    change_password(window, PASSWORD, NEW)
    done = window.get_by_test_id("password-done")
    expect(done).to_have_text("Your password is changed. All other devices are signed out.")
    expect(window.get_by_test_id("password-newPassword")).to_have_value("")
    expect_signed_out(other)
    expect(window.get_by_test_id("connection")).to_have_text("Live")
    expect(window.get_by_test_id("device")).to_have_count(1)
    expect(window.locator(".activity-title")).to_have_text(
        [
            "A device was signed out",
            "Password changed",
            "Password change refused",
            "Signed in",
            "Account made",
        ]
    )
    expect(window.get_by_test_id("activity-entry").first).to_contain_text(
        "the password was changed, Firefox on Windows"
    )
    sign_out(window)
    sign_in(window, EMAIL, PASSWORD)
    expect(window.get_by_test_id("auth-error")).to_have_text("Invalid credentials")
    enter_again(window, NEW)


def test_link_sets_a_new_password_once(server: Server, person: Invite) -> None:
    ann = person("Ann")
    ann.allow("status of 40[01]")  # a list may be on its way when the session ends
    window = ann.enter()
    link = reset_link(server)
    stranger = person("Phone")
    stranger.allow("status of 400")
    other = stranger.context.new_page()
    other.goto(link)
    field = other.get_by_test_id("reset-password")
    expect(field).to_be_focused()
    expect(other).to_have_url(f"{server.url}/")
    field.fill("short")
    other.get_by_test_id("reset-submit").click()
    expect(other.locator("#reset-password-error")).to_contain_text("8 to 72 bytes")
    field.fill(NEW)
    other.get_by_test_id("reset-submit").click()
    expect(other.get_by_role("heading", name="Your password is set")).to_be_focused()
    expect_signed_out(window)
    other.get_by_test_id("reset-next").click()
    expect(other.get_by_test_id("auth-email")).to_be_focused()
    enter_again(other, NEW)

    window.evaluate("(link) => location.assign(link)", link)  # the page stays, its address changes
    expect(window).to_have_url(f"{server.url}/")
    window.get_by_test_id("reset-password").fill("another battery")
    window.get_by_test_id("reset-submit").click()
    said = window.get_by_test_id("reset-text")
    expect(said).to_have_text("This link was used already, or is too old.")
    window.get_by_test_id("reset-next").click()
    expect(window.get_by_role("heading", name="Forgot your password?")).to_be_visible()
    expect(window.get_by_test_id("auth-email")).to_be_focused()
    expect(other.get_by_test_id("connection")).to_have_text("Live")


def test_link_opened_while_signed_in_signs_out(server: Server, person: Invite) -> None:
    ann = person("Ann")
    ann.allow("status of 401")
    window = ann.enter()
    window.evaluate("(link) => location.assign(link)", reset_link(server))
    window.get_by_test_id("reset-password").fill(NEW)
    window.get_by_test_id("reset-submit").click()
    expect(window.get_by_role("heading", name="Your password is set")).to_be_visible()
    expect_signed_out(window)
    window.get_by_test_id("reset-next").click()
    expect(window.locator("password-reset")).to_be_hidden()
    enter_again(window, NEW)


def test_forgotten_password_without_mail_says_whom_to_ask(person: Invite) -> None:
    ann = person("Ann")
    ann.allow("status of 503")
    window = ann.open()
    window.get_by_test_id("auth-email").fill(EMAIL)
    window.get_by_test_id("to-forgot").click()
    expect(window.get_by_test_id("auth-email")).to_have_value(EMAIL)
    window.get_by_test_id("auth-submit").click()
    expect(window.get_by_test_id("auth-error")).to_have_text(
        "This server sends no mail: ask its administrator for a link"
    )
    window.get_by_test_id("to-login").click()
    expect(window.get_by_test_id("auth-email")).to_be_focused()
    expect(window.get_by_test_id("auth-password")).to_be_visible()


def test_forgotten_password_brings_a_mail(server: Server, person: Invite, monkeypatch: Any) -> None:
    sent: list[tuple[str, ...]] = []
    monkeypatch.setattr("mail.send", lambda *mail: sent.append(mail))
    monkeypatch.setitem(server.app.config, "SMTP_URL", "smtp://mail.test")
    monkeypatch.setitem(server.app.config, "PUBLIC_URL", server.url)
    window = person("Ann").enter()
    sign_out(window)
    window.get_by_test_id("to-forgot").click()
    window.get_by_test_id("auth-email").fill(EMAIL)
    window.get_by_test_id("auth-submit").click()
    expect(window.get_by_test_id("auth-done")).to_have_text(
        "If this account exists, a link is on its way by mail."
    )
    ((to, _, text),) = sent
    assert to == EMAIL
    (link,) = re.findall(r"^http.*$", text, re.MULTILINE)
    window.goto(link)
    expect(window.get_by_test_id("reset-password")).to_be_visible()
