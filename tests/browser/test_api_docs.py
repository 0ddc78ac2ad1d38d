"""The page that shows the API: it works under our policy, and tries calls with the cookie."""

from playwright.sync_api import expect

from tests.browser.page import MARKS, Invite

pytestmark = MARKS


def test_who_is_signed_in_tries_a_call(person: Invite) -> None:
    window = person("Ann").enter()
    window.goto("/api/docs")
    window.locator("#operations-tag-auth").click()
    call = window.locator(".opblock", has_text="/api/auth/me").first
    call.locator(".opblock-summary-control").click()
    call.get_by_role("button", name="Try it out").click()
    call.get_by_role("button", name="Execute").click()
    expect(call.locator(".live-responses-table")).to_contain_text("ann@example.com")
