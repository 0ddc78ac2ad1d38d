"""Chat on the page: people who meet, and messages that arrive once."""

from typing import Any

from playwright.sync_api import Page, expect

from tests.browser.page import MARKS, Invite, messages, say
from tests.conftest import Server

pytestmark = MARKS


def stored(window: Page) -> list[str]:
    """What the server holds of the lobby."""
    answer = window.request.get("/api/rooms/lobby/messages")
    return [message["content"] for message in answer.json()]


def test_two_people_meet_talk_and_part(person: Invite) -> None:
    ann, bob = person("Ann").enter(), person("Bob").enter()
    expect(ann.get_by_test_id("member")).to_have_text(["Ann (you)", "Bob"])
    expect(bob.get_by_test_id("member")).to_have_text(["Ann", "Bob (you)"])
    expect(ann.get_by_test_id("note")).to_have_text(["Bob came in"])

    ann.get_by_test_id("chat-input").press_sequentially("Ahoy")
    expect(bob.get_by_test_id("typing")).to_have_text("Ann is typing")
    expect(ann.get_by_test_id("typing")).to_be_empty()
    ann.get_by_test_id("chat-input").press("Enter")
    expect(messages(bob)).to_have_text(["Ahoy"])
    expect(bob.get_by_test_id("message")).to_contain_text(["Ann"])
    expect(bob.get_by_test_id("typing")).to_be_empty()
    say(bob, "<b>Ahoy</b> & welcome")
    expect(messages(ann)).to_have_text(["Ahoy", "<b>Ahoy</b> & welcome"])

    ann.reload()
    expect(ann.get_by_test_id("user-name")).to_have_text("Ann")
    expect(messages(ann)).to_have_text(["Ahoy", "<b>Ahoy</b> & welcome"])
    expect(ann.get_by_test_id("member")).to_have_count(2)
    bob.close()
    expect(ann.get_by_test_id("member")).to_have_text(["Ann (you)"])
    expect(ann.get_by_test_id("note")).to_have_text(["Bob left"])


def test_rooms_are_apart(person: Invite) -> None:
    ann, bob = person("Ann").enter(), person("Bob").enter()
    ann.get_by_test_id("room-name").fill("harbour & pier")
    ann.get_by_test_id("room-go").click()
    expect(bob.get_by_test_id("note")).to_have_text(["Ann left"])
    say(ann, "Only here")
    expect(messages(ann)).to_have_text(["Only here"])
    say(bob, "Only there")
    expect(messages(bob)).to_have_text(["Only there"])
    bob.get_by_test_id("room-name").fill("harbour & pier")
    bob.get_by_test_id("room-name").press("Enter")
    expect(messages(bob)).to_have_text(["Only here"])
    expect(ann.get_by_test_id("note")).to_have_text(["Bob came in"])


def test_message_written_while_cut_off_arrives_once(server: Server, person: Invite) -> None:
    ann, bob = person("Ann").enter(), person("Bob").enter()
    expect(ann.get_by_test_id("member")).to_have_count(2)
    say(ann, "Before")
    expect(messages(bob)).to_have_text(["Before"])
    realtime = server.app.extensions["realtime"]
    with realtime.lock:  # nobody is let in again before the message is written
        for connection in list(realtime.hub.connections.values()):
            connection.shut_down()
        expect(ann.get_by_test_id("connection")).to_have_text("Reconnecting")
        say(ann, "Meanwhile")
        expect(ann.get_by_test_id("unsent")).to_contain_text("Meanwhile")
        expect(messages(ann)).to_have_text(["Before"])
    for window in (ann, bob):
        expect(window.get_by_test_id("connection")).to_have_text("Live")
        expect(messages(window)).to_have_text(["Before", "Meanwhile"])
        expect(window.get_by_test_id("member")).to_have_count(2)
    say(bob, "Afterwards")  # nothing may come between
    for window in (ann, bob):
        expect(messages(window)).to_have_text(["Before", "Meanwhile", "Afterwards"])
    expect(ann.get_by_test_id("unsent").locator("li")).to_have_count(0)
    assert stored(ann) == ["Before", "Meanwhile", "Afterwards"]


def test_message_whose_acknowledgement_is_lost_is_stored_once(
    server: Server, person: Invite, monkeypatch: Any
) -> None:
    ann, bob = person("Ann").enter(), person("Bob").enter()
    expect(ann.get_by_test_id("member")).to_have_count(2)
    connections = list(server.app.extensions["realtime"].hub.connections.values())
    anns = [one for one in connections if one.user.name == "Ann"]
    for connection in anns:
        monkeypatch.setattr(connection, "send", lambda data, last=False: None)
    say(ann, "Once")
    expect(messages(bob)).to_have_text(["Once"])
    expect(ann.get_by_test_id("unsent")).to_contain_text("Once")
    for connection in anns:
        connection.shut_down()
    expect(messages(ann)).to_have_text(["Once"])
    expect(ann.get_by_test_id("unsent").locator("li")).to_have_count(0)
    say(ann, "Twice")
    for window in (ann, bob):
        expect(messages(window)).to_have_text(["Once", "Twice"])
    assert stored(bob) == ["Once", "Twice"]
    expect(ann.get_by_test_id("notice")).to_have_count(0)
