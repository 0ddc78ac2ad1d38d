"""Sockets that no cookie reaches: pages elsewhere, and sockets on another host."""

import re
from typing import Any

import pytest
from playwright.sync_api import expect

from tests.browser.page import MARKS, Invite, enter_again, open_account, say
from tests.conftest import Server

pytestmark = MARKS

ELSEWHERE = """async (url) => {
    const { Wharf } = await import("/static/wharf.js");
    const wharf = new Wharf({ url });
    await wharf.register({ email: "ann@example.com", password: "correct horse" });
    window.wharf = wharf;
    const room = wharf.room("lobby");
    await new Promise((done) => room.on("joined", done));
    return (await room.send("Ahoy")).content;
}"""


def credential_of(url: str) -> str:
    """What stands in the address of a socket."""
    return ", ".join(re.findall(r"(\w+)=[\w-]{20,}", url))


def test_page_elsewhere_opens_each_socket_by_a_ticket_of_its_own(
    server: Server, person: Invite
) -> None:
    window = person("Ann", bypass_csp=True).context.new_page()
    urls: list[str] = []
    window.on("websocket", lambda socket: urls.append(socket.url))
    window.goto(server.url.replace("127.0.0.1", "localhost"))
    assert window.evaluate(ELSEWHERE, server.url) == "Ahoy"
    with window.expect_event("websocket"):
        for connection in list(server.app.extensions["realtime"].hub.connections.values()):
            connection.shut_down()
    window.wait_for_function("wharf.socket.state === 'online'")
    assert [credential_of(url) for url in urls] == ["ticket", "ticket"]
    assert len(set(urls)) == 2
    window.evaluate("(window.list = wharf.replica('list')).goOnline()")
    window.wait_for_function("list.state === 'online'")
    assert "/sync" in urls[-1]
    assert credential_of(urls[-1]) == "ticket"


def test_page_elsewhere_learns_that_its_session_was_ended(server: Server, person: Invite) -> None:
    ann = person("Ann", bypass_csp=True)
    ann.allow("status of 401")
    window = ann.context.new_page()
    window.goto(server.url.replace("127.0.0.1", "localhost"))
    window.evaluate(ELSEWHERE, server.url)
    window.evaluate("void wharf.on('expired', () => (wharf.heard = (wharf.heard ?? 0) + 1))")
    phone = enter_again(person("Phone").open())
    open_account(phone)
    phone.get_by_test_id("device-end").click()
    window.wait_for_function("wharf.heard")
    assert window.evaluate("[wharf.user, wharf.heard]") == [None, 1]


@pytest.mark.parametrize(("host", "credential"), [("127.0.0.1", ""), ("localhost", "ticket")])
def test_page_at_home_needs_a_ticket_only_for_sockets_of_another_host(
    server: Server, person: Invite, monkeypatch: Any, host: str, credential: str
) -> None:
    address = server.url.replace("127.0.0.1", host)
    monkeypatch.setitem(server.app.config, "SOCKET_URL", address)
    ann = person("Ann")
    urls: list[str] = []
    ann.context.on("page", lambda page: page.on("websocket", lambda one: urls.append(one.url)))
    window = ann.enter()
    say(window, "Ahoy")
    expect(window.get_by_test_id("message-content")).to_have_text(["Ahoy"])
    assert urls
    assert {credential_of(url) for url in urls} == {credential}
    assert all(f"//{host}:" in url for url in urls)
