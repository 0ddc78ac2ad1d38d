"""Raw sockets on `/ws/<client_id>`: what one sends, the others hear."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from simple_websocket import Client

from tests.conftest import Account, Peer, Server, assert_error
from tests.raw import envelope, raw, receive_binary, told

DRAWN = {"type": "cursor", "x": 3, "y": [1.5, None, {"deep": "ü"}], "id": 7, "user": "ann"}


@pytest.fixture
def trio(server: Server, ann: Account, bob: Account) -> list[Peer]:
    """Two sockets of one user, with the same id even, and one of another."""
    return [raw(server, "/ws/a", ann), raw(server, "/ws/a", ann), raw(server, "/ws/b", bob)]


@pytest.fixture
def limited(make_app: Callable[..., Flask], serve: Callable[[Flask], Server]) -> Server:
    """Takes small frames only."""
    return serve(make_app(MAX_FRAME_BYTES=1000))


# Opening


@pytest.mark.parametrize("client_id", ["a", "i" * 200, "client_1.x-y:z", "%C3%BC%20%F0%9F%98%80"])
def test_any_printable_id_opens_a_socket_that_says_nothing(
    server: Server, ann: Account, client_id: str
) -> None:
    raw(server, f"/ws/{client_id}", ann)


@pytest.mark.parametrize("client_id", ["i" * 201, "i" * 10_000, "a%00", "a%0Ab", "%E2%80%AE"])
def test_other_ids_are_refused_before_the_upgrade(
    server: Server, ann: Account, client_id: str
) -> None:
    assert_error(server.refusal(f"/ws/{client_id}", ann), 400)


@pytest.mark.parametrize("path", ["/ws/crewai", "/ws/autogen", "/ws/langgraph", "/ws/a/b", "/ws/"])
def test_feeds_of_adapters_and_other_paths_are_404(server: Server, ann: Account, path: str) -> None:
    assert_error(server.refusal(path, ann), 404)


@pytest.mark.parametrize("query", ["", "?token=", "?token=null", "?token=bad", "?access_token=bad"])
def test_without_a_good_token_the_upgrade_is_refused(server: Server, query: str) -> None:
    assert_error(server.refusal(f"/ws/a{query}"), 401, "unauthorized")


def test_a_token_comes_by_any_way(server: Server, ann: Account) -> None:
    assert server.connect(f"/ws/a?access_token={ann.token}").ask("ping", "pong")
    ticket = server.app.test_client().post("/api/auth/ticket", headers=ann.headers).json["ticket"]
    assert server.connect(f"/ws/a?ticket={ticket}").ask("ping", "pong")
    cookie = {"Cookie": f"wharf_session={cookie_of(server, ann)}"}
    assert server.connect("/ws/a", **cookie, Origin=server.url).ask("ping", "pong")
    foreign = server.refusal("/ws/a", **cookie, Origin="https://evil.example")
    assert_error(foreign, 403, "forbidden")


def cookie_of(server: Server, account: Account) -> str:
    """The cookie of a browser where this account signs in."""
    client = server.app.test_client()
    body = {"email": account.email, "password": "correct horse"}
    client.post("/api/auth/login", json=body, headers={"Origin": "http://localhost"})
    cookie = client.get_cookie("wharf_session")
    assert cookie
    return str(cookie.value)


@pytest.mark.parametrize("before", [[], ["bearer"], ["v1.2.3", "access_token"]])
def test_a_token_comes_as_a_subprotocol_and_the_first_offered_is_chosen(
    server: Server, ann: Account, before: list[str]
) -> None:
    offered = [*before, ann.token]
    client = Client(server.url.replace("http", "ws") + "/ws/a", subprotocols=offered)
    assert client.subprotocol == offered[0]
    client.send('{"type": "ping"}')
    assert client.receive(timeout=5)
    client.close()
    header = {"Sec-WebSocket-Protocol": f"bearer, {ann.token[:-3]}xyz"}
    assert_error(server.refusal("/ws/a", **header), 401, "unauthorized")


def test_the_end_of_the_session_closes_with_4001(server: Server, ann: Account) -> None:
    peer = raw(server, "/ws/a", ann)
    server.app.test_client().post("/api/auth/logout", headers=ann.headers)
    assert peer.close_code() == 4001


# Passing on


@pytest.mark.parametrize(
    "frame",
    [
        DRAWN,
        {"no": "type"},
        {"type": 5},
        {"type": "chat-message", "roomId": "lobby", "content": "x"},
        envelope("broadcast", "broadcast", {"a": 1}),
        envelope("board", "document_update", {"a": 1}),
        envelope("server", "data-stream", {"stream": "s", "data": 1}, source="data-stream"),
        envelope("server", "broadcast"),
        {"type": "x", "target": {"a": "list"}},
        {"type": "x", "text": "NUL \0 and \u2028"},
    ],
)
def test_a_frame_is_passed_on_whole_to_the_others_once(trio: list[Peer], frame: Any) -> None:
    sender, *others = trio
    sender.socket.send(json.dumps(frame))
    assert told(sender) == []
    assert [told(other) for other in others] == [[frame], [frame]]


def test_a_bare_broadcast_reaches_the_sender_too(trio: list[Peer]) -> None:
    frame = {"type": "broadcast", "payload": {"text": "all"}, "target": "board"}
    trio[0].ask("subscribe", "subscribed", channel="other")
    trio[0].socket.send(json.dumps(frame))
    assert [told(peer) for peer in trio] == [[frame]] * 3


@pytest.mark.parametrize("type", ["message", "pong", "binary"])
def test_what_is_for_the_server_is_told_nobody(trio: list[Peer], type: str) -> None:
    trio[0].socket.send(json.dumps(envelope("server", type)))
    assert [told(peer) for peer in trio] == [[], [], []]


def test_a_heartbeat_is_answered_with_its_payload(trio: list[Peer]) -> None:
    payload = {"timestamp": 1732111162171}
    trio[0].socket.send(json.dumps(envelope("server", "ping", payload)))
    pong = trio[0].receive()
    assert (pong["type"], pong["payload"]) == ("pong", payload)
    assert [told(peer) for peer in trio] == [[], [], []]


# Channels


def test_who_subscribed_hears_of_its_channels_only(trio: list[Peer]) -> None:
    sender, one, other = trio
    answer = one.ask("subscribe", "subscribed", channel="board")
    assert (answer["channel"], answer["timestamp"][-1]) == ("board", "Z")
    other.send("subscribe", payload={"channels": ["5", 6, "5"]})
    assert [other.receive()["channel"] for _ in range(2)] == ["5", "6"]
    frames = [{"type": "x", "target": target} for target in ("board", 5, "6", "broadcast", None)]
    for frame in frames:
        sender.socket.send(json.dumps(frame))
    assert told(sender) == []
    assert told(one) == [frames[0], *frames[3:]]
    assert told(other) == frames[1:]


def test_who_unsubscribed_from_the_last_hears_of_all_again(trio: list[Peer]) -> None:
    sender, one, _ = trio
    one.ask("subscribe", "subscribed", channel="a", channels=["b"])
    for left, heard in (("a", []), ("b", ["c"])):
        assert one.ask("unsubscribe", "unsubscribed", channel=left)["channel"] == left
        sender.send("x", target="c")
        sender.until_pong()
        assert [frame["target"] for frame in told(one)] == heard


def test_who_asked_for_it_hears_of_channels_in_the_managers_words(
    server: Server, ann: Account
) -> None:
    sender, plain = raw(server, "/ws/a", ann), raw(server, "/ws/b", ann)
    wrapped = raw(server, "/ws/c?wrap=1", ann)
    update = envelope("board", "document_update", {"a": 1})
    own = envelope("board", "channel-message")
    sent = [update, own, envelope("broadcast", "x"), {"type": "cursor", "x": 1}]
    for frame in sent:
        sender.socket.send(json.dumps(frame))
    sender.until_pong()
    assert told(plain) == sent
    outside = {**update, "type": "channel-message", "payload": update}
    assert told(wrapped) == [outside, *sent[1:]]


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({}, "invalid_input"),
        ({"payload": {}}, "invalid_input"),
        ({"channel": ""}, "invalid_input"),
        ({"channel": "c" * 201}, "invalid_input"),
        ({"channel": "a\0"}, "invalid_input"),
        ({"channel": ["a"]}, "invalid_input"),
        ({"channels": "abc"}, "invalid_input"),
        ({"channels": [str(n) for n in range(101)]}, "invalid_input"),
        ({"channel": "x", "channels": [str(n) for n in range(100)]}, "too_many"),
    ],
)
def test_what_is_no_channel_is_400_and_changes_nothing(
    trio: list[Peer], fields: dict[str, Any], code: str
) -> None:
    error = trio[1].ask("subscribe", "error", id="s1", **fields)
    assert (error["status"], error["code"], error["id"]) == (400, code, "s1")
    trio[0].send("x", target="board")
    trio[0].until_pong()
    assert len(told(trio[1])) == 1


# Binary


def test_binary_follows_what_describes_it_and_both_stay_together(trio: list[Peer]) -> None:
    sender, other, hearer = trio
    described = envelope("server", "binary-metadata", {"name": "cat.png"})
    sender.socket.send(json.dumps(described))
    sender.until_pong()  # too late for the binary below: it was not the next message
    assert told(hearer) == []
    sender.socket.send(json.dumps(described))
    sender.socket.send(b"\x89PNG\x00")
    assert hearer.receive() == described
    assert receive_binary(hearer) == b"\x89PNG\x00"
    sender.socket.send(b'{"type": "ping"}')  # without description, and it might be anything
    assert receive_binary(hearer) == b'{"type": "ping"}'
    assert told(sender) == []
    assert other.receive() == described
    assert [receive_binary(other), receive_binary(other)] == [b"\x89PNG\x00", b'{"type": "ping"}']


def test_a_megabyte_of_binary_is_passed_on_whole(trio: list[Peer]) -> None:
    data = bytes(range(256)) * 3906
    trio[0].socket.send(data)
    assert receive_binary(trio[1]) == receive_binary(trio[2]) == data


# The worst


@pytest.mark.parametrize("text", ["nonsense", "[1]", "[" * 100_000, '{"x":1e999}', '{"a":' * 300])
def test_what_is_no_object_is_an_error_and_told_nobody(trio: list[Peer], text: str) -> None:
    trio[0].socket.send(text)
    assert trio[0].expect("error")["code"] == "invalid_json"
    assert [told(peer) for peer in trio] == [[], [], []]


def test_what_can_be_read_can_be_passed_on_however_deep(trio: list[Peer]) -> None:
    deepest = None
    for depth in (50, 150, 190, 199, 200, 250):
        frame = '{"x":' + "[" * depth + "]" * depth + "}"
        trio[0].socket.send(frame)
        if told(trio[0]) == []:
            deepest = frame
            assert told(trio[1]) == told(trio[2]) == [json.loads(frame)]
    assert deepest


def test_what_is_too_large_is_refused_and_told_nobody(limited: Server, register: Any) -> None:
    ann = register("ann")
    sender, other = raw(limited, "/ws/a", ann), raw(limited, "/ws/b", ann)
    sender.socket.send(json.dumps(envelope("server", "binary-metadata")))
    sender.socket.send(b"x" * 1001)
    assert sender.expect("error")["status"] == 413
    sender.socket.send(b"x" * 999)  # not what was described
    assert receive_binary(other) == b"x" * 999
    sender.send("x", text="y" * 1001)
    assert sender.expect("error")["status"] == 413
    assert told(other) == []


def test_bytes_reach_only_those_who_hear_the_channel(server: Server, ann: Account) -> None:
    sales, hr, sender = (server.connect(f"/ws/{name}", ann) for name in ("sales", "hr", "sender"))
    sales.ask("subscribe", "subscribed", channel="sales")
    hr.ask("subscribe", "subscribed", channel="hr")
    sender.ask("ping", "pong")
    sender.send("binary-metadata", target="hr", payload={})
    sender.socket.send(b"\x01\x02")
    sender.send("mark", target="broadcast")
    assert sales.receive()["type"] == "mark"
    assert hr.receive()["type"] == "binary-metadata"
    assert hr.socket.receive(timeout=5) == b"\x01\x02"


def test_chat_pages_hear_no_bytes_that_no_envelope_describes(server: Server, ann: Account) -> None:
    chat, sender = server.chat(ann), server.connect("/ws/sender", ann)
    sender.ask("ping", "pong")
    sender.socket.send(b"\x01\x02")
    sender.ask("ping", "pong")
    assert chat.until_pong() == []
