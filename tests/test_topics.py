"""Topic messages on sockets: `{topic, data}` frames, and what keeps pages from echoing."""

import json
from typing import Any

import pytest
from flask.testing import FlaskClient

from tests.conftest import Account, Peer, Server


def say(peer: Peer, topic: str, data: Any = None, **more: Any) -> None:
    peer.socket.send(json.dumps({"topic": topic, "data": data, "ts": 1, **more}))


def heard(peer: Peer) -> list[Any]:
    """The data of all topic messages up to now."""
    return [frame["data"] for frame in peer.until_pong() if "topic" in frame]


def test_a_message_reaches_the_others_and_not_its_sender(
    server: Server, ann: Account, bob: Account
) -> None:
    mine, twin, his = server.chat(ann), server.chat(ann), server.chat(bob)
    say(mine, "cart.added", {"n": 1}, id="a", retain=False)
    frame = his.receive()
    assert frame.pop("ts") > 1_600_000_000_000
    assert frame == {"topic": "cart.added", "data": {"n": 1}, "id": "a", "seq": 1}
    assert heard(twin) == [{"n": 1}]
    assert heard(mine) == []


def test_a_page_sends_each_message_four_times_and_it_is_told_once(
    server: Server, ann: Account, bob: Account
) -> None:
    mine, his = server.chat(ann), server.chat(bob)
    for _ in range(4):
        say(mine, "cart.added", 1, id="a")
    mine.until_pong()
    assert heard(his) == [1]


def test_two_sockets_of_a_page_that_send_what_they_hear_start_no_storm(
    server: Server, ann: Account, bob: Account
) -> None:
    mine, twin, his = server.chat(ann), server.chat(ann), server.chat(bob)
    say(mine, "cart.added", {"n": 1}, id="a")
    frame = twin.receive()
    say(mine, frame["topic"], frame["data"], id="b")  # the bus of the page hands it back
    mine.until_pong()
    assert heard(twin) == []
    assert heard(his) == [{"n": 1}]


def test_the_pings_of_pages_are_no_messages(server: Server, ann: Account, bob: Account) -> None:
    mine, his = server.chat(ann), server.chat(bob)
    mine.socket.send(json.dumps({"topic": "sys.ping", "ts": 1}))
    assert mine.until_pong() == []
    assert his.until_pong() == []


@pytest.mark.parametrize("topic", ["", "a b", "a.*", {}, None, "x" * 201])
def test_a_bad_topic_is_an_error_and_the_socket_lives_on(
    server: Server, ann: Account, topic: Any
) -> None:
    mine = server.chat(ann)
    say(mine, topic, id=7)
    error = mine.receive()
    assert (error["type"], error["status"], error["id"]) == ("error", 400, 7)
    assert mine.until_pong() == []


def test_a_topic_of_somebody_else_is_refused(server: Server, ann: Account, bob: Account) -> None:
    mine, his = server.chat(ann), server.chat(bob)
    say(mine, f"user.{bob.user['id']}.note")
    assert mine.receive()["status"] == 403
    assert heard(his) == []


def test_sockets_hear_what_is_sent_over_http(
    server: Server, client: FlaskClient, ann: Account, bob: Account
) -> None:
    mine, his = server.chat(ann), server.chat(bob)
    client.post("/api/events", json={"topic": "a", "data": 1}, headers=ann.headers)
    own = {"topic": f"user.{ann.user['id']}.a", "data": 2}
    client.post("/api/events", json=own, headers=ann.headers)
    assert heard(mine) == [1, 2]
    assert heard(his) == [1]


def test_a_frame_with_a_type_is_no_topic_message(server: Server, ann: Account) -> None:
    mine = server.chat(ann)
    mine.send("broadcast", topic="cart.added", data=1)
    assert mine.receive() == {"type": "broadcast", "topic": "cart.added", "data": 1}
