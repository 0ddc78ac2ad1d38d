"""Todos on the page: live in every window, and typed ahead of the server."""

import threading
from typing import Any

from playwright.sync_api import Route, expect

from tests.browser.page import MARKS, Invite, add_todo, titles, todo
from tests.conftest import Server

pytestmark = MARKS


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
