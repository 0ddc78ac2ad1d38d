"""Envelopes on `/ws`, where the house speaks too, and visitors on raw sockets."""

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask

from sockets import chat, relay
from tests.conftest import Account, Peer, Server
from tests.raw import envelope, raw, receive_binary, told
from tests.test_docs import FENCED, ROOT

CHAT_PAGES = ("accounts", "rooms", "notifications", "frontends/larc", "frontends/widget")


@pytest.fixture
def others(server: Server, ann: Account, bob: Account) -> dict[str, Peer]:
    """Who may hear what Ann sends at `/ws`."""
    return {"/ws": server.chat(bob), "/ws/<id>": raw(server, "/ws/b", ann)}


@pytest.fixture
def sender(server: Server, ann: Account) -> Peer:
    """Ann at `/ws`, as the samples of the manager connect."""
    return server.chat(ann)


def heard_by(others: dict[str, Peer]) -> list[list[Any]]:
    return [told(peer) for peer in others.values()]


# What is passed on


@pytest.mark.parametrize(
    "frame",
    [
        envelope("board", "document_update", {"a": [1, {"deep": None}]}),
        envelope("board", "channel-message"),
        envelope("broadcast", "broadcast", {"a": 1}),
        envelope("server", "broadcast"),
        envelope("broadcast", "price"),
        envelope("server", "data-stream", {"stream": "s", "data": 1}, source="data-stream"),
    ],
)
@pytest.mark.parametrize("path", ["/ws", "/ws/a"])
def test_an_envelope_reaches_the_others_at_both_addresses_once(
    server: Server, ann: Account, others: dict[str, Peer], path: str, frame: Any
) -> None:
    sender = server.connect(path, ann)
    sender.until_pong()
    sender.socket.send(json.dumps(frame))
    assert told(sender) == []
    assert heard_by(others) == [[frame], [frame]]


def test_a_broadcast_without_envelope_reaches_its_sender_as_before(
    sender: Peer, others: dict[str, Peer]
) -> None:
    frame = {"type": "broadcast", "source": "client", "text": "all"}
    sender.socket.send(json.dumps(frame))
    assert [told(sender), *heard_by(others)] == [[frame]] * 3


def test_an_envelope_for_the_server_is_told_nobody(sender: Peer, others: dict[str, Peer]) -> None:
    sender.socket.send(json.dumps(envelope("server", "hello")))
    assert [told(sender), *heard_by(others)] == [[], [], []]


def test_a_heartbeat_is_answered_with_its_payload_and_none_without_one(sender: Peer) -> None:
    sender.socket.send(json.dumps(envelope("server", "ping", {"timestamp": 17})))
    assert sender.expect("pong")["payload"] == {"timestamp": 17}
    assert "payload" not in sender.ask("ping", "pong", sentAt=1)


def test_a_binary_message_that_was_described_is_passed_on(
    sender: Peer, others: dict[str, Peer]
) -> None:
    described = envelope("server", "binary-metadata", {"name": "a.json"})
    sender.socket.send(json.dumps(described))
    sender.socket.send(b'{"type": "ping"}')
    assert told(sender) == []
    for peer in others.values():
        assert peer.receive() == described
        assert receive_binary(peer) == b'{"type": "ping"}'
    sender.socket.send(b'{"type": "ping", "sentAt": 5}')  # not described: text, as ever
    assert sender.receive()["sentAt"] == 5
    assert heard_by(others) == [[], []]


def test_words_of_the_chat_keep_their_meaning_in_an_envelope(
    sender: Peer, others: dict[str, Peer]
) -> None:
    for kind in sorted({*chat.dialect.handlers} - {"broadcast", "ping", "auth", "echo"}):
        sender.socket.send(json.dumps(envelope("board", kind, {"table": "todos"}, id=kind)))
    answers = told(sender)
    kinds = {frame.get("id") for frame in answers if frame["type"] == "error"}
    assert kinds >= {"chat-message", "join-room", "typing", "direct", "chat"}
    assert heard_by(others) == [[], []]


# Nobody passes for the house


def feigned() -> list[str]:
    """Every type that a page of the chat may be told, as the docs show them."""
    texts = [(ROOT / "docs" / f"{name}.md").read_text() for name in CHAT_PAGES]
    examples = [example for text in texts for _, example in FENCED.findall(text)]
    kinds = {kind for text in examples for kind in re.findall(r'\{"type": "([^"]+)"', text)}
    assert len(kinds) > 20
    return sorted((kinds | relay.HOUSE_WORDS | {*chat.dialect.handlers}) - {"broadcast"})


@pytest.mark.parametrize("path", ["/ws", "/ws/a"])
def test_no_frame_of_the_house_can_be_feigned_on_chat_sockets(
    server: Server, ann: Account, others: dict[str, Peer], path: str
) -> None:
    sender, kinds = server.connect(path, ann), feigned()
    for kind in kinds:
        if path == "/ws/a" or kind not in chat.dialect.handlers:
            sender.socket.send(json.dumps(envelope("broadcast", kind, {"content": "x"})))
            sender.socket.send(json.dumps({"type": kind, "payload": {"content": "x"}}))
    sender.until_pong()
    assert told(others["/ws"]) == []


def test_nothing_but_the_envelope_reaches_chat_sockets(
    server: Server, ann: Account, others: dict[str, Peer]
) -> None:
    sender = raw(server, "/ws/a", ann)
    frame = envelope("board", "x", 1)
    sender.socket.send(json.dumps({**frame, "topic": "prices", "data": 5, "roomId": "lobby"}))
    for bare in ({"topic": "prices", "data": 5}, {"type": "cursor", "x": 1}):
        sender.socket.send(json.dumps(bare))
    sender.until_pong()
    assert told(others["/ws"]) == [frame]


# Visitors


@pytest.fixture
def opened(make_app: Callable[..., Flask], serve: Callable[[Flask], Server], app: Flask) -> Server:
    """Open to visitors."""
    return serve(make_app(ANONYMOUS_CHAT=True))


def test_visitors_talk_to_users_and_each_other_where_they_are_let_in(
    opened: Server, ann: Account
) -> None:
    user, chatting = raw(opened, "/ws/a", ann), opened.chat(ann)
    visitors = [raw(opened, "/ws/v"), raw(opened, "/ws/v?token=null"), opened.connect("/ws")]
    visitors[2].expect("connected")
    frame = envelope("board", "x")
    for sender in visitors:
        sender.socket.send(json.dumps(frame))
        assert told(sender) == []
        audience = [user, chatting, *(peer for peer in visitors if peer is not sender)]
        assert [told(peer) for peer in audience] == [[frame]] * 4
    assert visitors[0].ask("subscribe", "subscribed", channel="board")["channel"] == "board"


def test_visitors_do_not_hear_what_users_broadcast_in_the_chat(
    opened: Server, ann: Account
) -> None:
    visitor, user = raw(opened, "/ws/v"), opened.chat(ann)
    user.ask("broadcast", "broadcast", text="internal")
    assert told(visitor) == []
    answer = visitor.ask("auth", "auth_response", payload={"token": ann.token})
    assert answer["payload"]["success"] is True
    user.ask("broadcast", "broadcast", text="internal")
    assert [frame["text"] for frame in told(visitor)] == ["internal"]
    opened.app.test_client().post("/api/auth/logout", headers=ann.headers)
    assert visitor.close_code() == 4001


def test_a_bad_token_is_refused_where_visitors_are_let_in_too(opened: Server) -> None:
    assert opened.refusal("/ws/v?token=bad").status_code == 401
    peer = raw(opened, "/ws/v")
    assert (
        peer.ask("auth", "auth_response", payload={"token": "bad"})["payload"]["success"] is False
    )
    assert told(peer) == []
