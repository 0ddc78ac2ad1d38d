"""The page at `/` as its tests handle it: todos, chat, files and replicas."""

import base64
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import Person

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
