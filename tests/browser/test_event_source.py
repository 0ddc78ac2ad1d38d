"""The browser's own EventSource on our stream: named events, and back after a cut."""

from typing import Any

import pytest
from flask.testing import FlaskClient
from playwright.sync_api import Page

from tests.browser.page import MARKS, Invite
from tests.conftest import PASSWORD, Account, Server

pytestmark = MARKS

LISTEN = """() => {
    window.heard = { unnamed: [], named: [] };
    const source = window.source = new EventSource("/api/events?topics=count,todos.*.*");
    source.onmessage = ({ data }) => {
        const message = JSON.parse(data);
        if (message.topic === "count") heard.unnamed.push(message.data);
    };
    source.addEventListener("count", ({ data }) => heard.named.push(JSON.parse(data)));
    source.addEventListener("todos.list.state", ({ data }) => heard.list = JSON.parse(data).items);
    return new Promise((done) => { source.onopen = done; });
}"""


@pytest.fixture
def window(server: Server, ann: Account, person: Invite) -> Page:
    """A page of Ann's that listens; a cut stream is an error to its console."""
    visitor = person("Ann", bypass_csp=True)
    visitor.allow("ERR_INCOMPLETE_CHUNKED_ENCODING")
    page = visitor.context.new_page()
    page.goto(server.url)
    credentials = {"email": ann.email, "password": PASSWORD}
    page.evaluate(
        """(body) => fetch("/api/auth/login", {
            method: "POST", headers: {"Content-Type": "application/json"},
            body: JSON.stringify(body)})""",
        credentials,
    )
    page.evaluate(LISTEN)
    return page


def say(client: FlaskClient, account: Account, data: Any) -> None:
    body = {"topic": "count", "data": data}
    assert client.post("/api/events", json=body, headers=account.headers).status_code == 200


def test_an_event_source_hears_all_once_though_it_is_cut_off(
    server: Server, client: FlaskClient, ann: Account, window: Page
) -> None:
    say(client, ann, 1)
    window.wait_for_function("heard.named.length === 1")
    for connection in list(server.app.extensions["realtime"].hub.connections.values()):
        connection.shut_down()
    for n in (2, 3):
        say(client, ann, n)
    client.post("/api/todos", json={"title": "milk"}, headers=ann.headers)
    window.wait_for_function("heard.named.length === 3 && heard.list?.length === 1")
    say(client, ann, 4)
    window.wait_for_function("heard.named.length === 4")
    assert window.evaluate("heard.unnamed") == [1, 2, 3, 4]
    assert window.evaluate("heard.named") == [1, 2, 3, 4]
    assert window.evaluate("heard.list[0].title") == "milk"
    window.evaluate("source.close()")
