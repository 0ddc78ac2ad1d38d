"""A real browser: people with windows of their own, whose consoles must stay silent."""

import re
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from tests.conftest import PASSWORD, Server, unavailable

NAMES = ("chromium", "chromium-browser", "google-chrome")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
PATIENCE = 10_000  # milliseconds; only a failing test waits this long
COUNT_CALLS = """
    const call = window.fetch;
    window.underWay = window.lastCall = 0;
    window.fetch = (...request) => {
      window.underWay += 1;
      return call(...request).finally(() => {
        window.underWay -= 1;
        window.lastCall = performance.now();
      });
    };
"""

pytest.register_assert_rewrite("tests.browser.page")  # its failures show what differs


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """The Chromium that is installed; Playwright's loop runs no longer than this folder's tests."""
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        unavailable("Chromium is not installed (apt-get install chromium)")
    expect.set_options(timeout=PATIENCE)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield browser
        browser.close()


class Person:
    """Someone at a browser of their own, with one or more windows."""

    def __init__(self, name: str, context: BrowserContext) -> None:
        self.name = name
        self.context = context
        self.allowed: list[str] = []
        self.complaints: list[str] = []
        context.set_default_timeout(PATIENCE)
        context.add_init_script(COUNT_CALLS)
        context.on("console", lambda message: self.note(message.type, message.text))
        context.on("weberror", lambda error: self.note("error", str(error.error)))

    def note(self, kind: str, text: str) -> None:
        """Keep what a console calls an error: exceptions, CSP violations, failed requests."""
        if kind == "error":
            self.complaints.append(text)

    def allow(self, pattern: str) -> None:
        """Expect console errors that match `pattern`."""
        self.allowed.append(pattern)

    def open(self) -> Page:
        """A new window on the page, up and running."""
        window = self.context.new_page()
        window.goto("/")
        expect(window.locator("body")).to_have_class(re.compile(r"\bready\b"))
        return window

    def enter(self) -> Page:
        """A new window, with a new account."""
        window = self.open()
        window.get_by_test_id("mode-register").click()
        window.get_by_test_id("auth-name").fill(self.name)
        window.get_by_test_id("auth-email").fill(f"{self.name.lower()}@example.com")
        window.get_by_test_id("auth-password").fill(PASSWORD)
        window.get_by_test_id("auth-submit").click()
        expect(window.get_by_test_id("user-name")).to_have_text(self.name)
        expect(window.get_by_test_id("connection")).to_have_text("Live")
        return window

    def unexpected(self) -> list[str]:
        """The console errors that no pattern allows."""
        return [
            text
            for text in self.complaints
            if not any(re.search(pattern, text) for pattern in self.allowed)
        ]


@pytest.fixture
def person(browser: Browser, server: Server) -> Iterator[Callable[..., Person]]:
    """Invites people, `person("Ann")`; at the end none of them may have seen a console error."""
    people: list[Person] = []

    def invite(name: str, **options: Any) -> Person:
        still = {"reduced_motion": "reduce"}  # or machines without a GPU are busy with waves
        context = browser.new_context(base_url=server.url, **still, **options)
        people.append(Person(name, context))
        return people[-1]

    yield invite
    for one in people:
        one.context.close()
    assert [text for one in people for text in one.unexpected()] == []
