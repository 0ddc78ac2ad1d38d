"""The chat dialect over real sockets: the contract of docs/frontends/larc.md."""

import pytest

from tests.conftest import Account, Server


@pytest.mark.parametrize("path", ["/", "/ws"])
def test_a_socket_is_greeted_with_the_user(server: Server, ann: Account, path: str) -> None:
    greeting = server.connect(path, ann).expect("connected")
    assert greeting["user"]["id"] == ann.user["id"]
    assert greeting["user"]["name"] == "Ann"


@pytest.mark.parametrize("query", ["", "?token=", "?token=nonsense", "?token=null"])
def test_a_bad_token_is_accepted_and_closed_with_4001(server: Server, query: str) -> None:
    assert server.connect("/ws" + query).close_code() == 4001


def test_a_message_reaches_the_room_with_its_sender(
    server: Server, ann: Account, bob: Account
) -> None:
    one, two = server.chat(ann), server.chat(bob)
    assert one.ask("join-room", "user-joined", roomId="lobby")["user"]["name"] == "Ann"
    joined = two.ask("join-room", "user-joined", roomId="lobby")
    assert [member["name"] for member in joined["members"]] == ["Ann", "Bob"]
    assert one.expect("user-joined")["user"]["name"] == "Bob"
    one.send("chat-message", roomId="lobby", content="hello")
    for peer in (one, two):
        message = peer.expect("chat-message")["message"]
        assert message["content"] == "hello"
        assert message["userId"] == ann.user["id"]
        assert message["userName"] == "Ann"
        assert message["createdAt"].endswith("Z")


def test_typing_reaches_the_others_only(server: Server, ann: Account, bob: Account) -> None:
    one, two = server.chat(ann), server.chat(bob)
    for peer in (one, two):
        peer.ask("join-room", "user-joined", roomId="lobby")
    one.until_pong()
    one.send("typing", roomId="lobby")
    assert two.expect("user-typing")["user"] == {"id": ann.user["id"], "name": "Ann"}
    assert one.until_pong() == []


@pytest.mark.parametrize("way", ["leave", "drop"])
def test_leaving_and_dropping_are_told_to_those_who_remain(
    server: Server, ann: Account, bob: Account, way: str
) -> None:
    one, two = server.chat(ann), server.chat(bob)
    for peer in (one, two):
        peer.ask("join-room", "user-joined", roomId="lobby")
    two.send("leave-room", roomId="lobby") if way == "leave" else two.close()
    left = one.expect("user-left")
    assert left["user"] == {"id": bob.user["id"], "name": "Bob"}
    assert (left["roomId"], left["stays"]) == ("lobby", False)


def test_leaving_a_room_one_is_not_in_does_nothing(
    server: Server, ann: Account, bob: Account
) -> None:
    one, two = server.chat(ann), server.chat(bob)
    one.ask("join-room", "user-joined", roomId="lobby")
    two.send("leave-room", roomId="lobby")
    assert two.until_pong() == one.until_pong() == []


def test_typing_in_a_room_one_is_not_in_is_refused(
    server: Server, ann: Account, bob: Account
) -> None:
    one, two = server.chat(ann), server.chat(bob)
    one.ask("join-room", "user-joined", roomId="lobby")
    error = two.ask("typing", "error", roomId="lobby", id=3)
    assert (error["status"], error["id"]) == (403, 3)
    assert one.until_pong() == []


def test_broadcast_reaches_every_socket_whole(server: Server, ann: Account, bob: Account) -> None:
    one, two = server.chat(ann), server.chat(bob)
    one.send("broadcast", news={"deep": [1, None]}, id=7)
    whole = {"type": "broadcast", "news": {"deep": [1, None]}, "id": 7}
    assert one.receive() == whole
    assert two.receive() == whole


def test_direct_reaches_all_sockets_of_one_user(server: Server, ann: Account, bob: Account) -> None:
    one, two, three = server.chat(ann), server.chat(bob), server.chat(bob)
    one.send("direct", targetUserId=bob.user["id"], text="psst")
    for peer in (two, three):
        assert peer.receive()["text"] == "psst"
    assert one.until_pong() == []


def test_a_message_posted_over_http_reaches_the_room(
    server: Server, ann: Account, bob: Account
) -> None:
    peer = server.chat(ann)
    peer.ask("join-room", "user-joined", roomId="lobby")
    http = server.app.test_client()
    body = {"content": "by post"}
    posted = http.post("/api/rooms/lobby/messages", json=body, headers=bob.headers)
    assert peer.expect("chat-message")["message"] == posted.json
    history = http.get("/api/rooms/lobby/messages", headers=ann.headers).json
    assert history == [posted.json]


def test_a_message_with_an_id_is_acknowledged_and_its_retry_stored_once(
    server: Server, ann: Account
) -> None:
    peer = server.chat(ann)
    peer.ask("join-room", "user-joined", roomId="lobby")
    say = {"roomId": "lobby", "content": "once", "id": "m1"}
    first = peer.ask("chat-message", "ack", **say)
    assert first["id"] == "m1"
    assert peer.ask("chat-message", "ack", **say)["message"] == first["message"]
    assert [f["type"] for f in peer.until_pong()].count("chat-message") <= 1
    history = server.app.test_client().get("/api/rooms/lobby/messages", headers=ann.headers).json
    assert [message["content"] for message in history] == ["once"]


def test_an_id_used_again_for_another_text_is_refused(server: Server, ann: Account) -> None:
    peer = server.chat(ann)
    peer.ask("chat-message", "ack", roomId="lobby", content="one", id="m1")
    error = peer.ask("chat-message", "error", roomId="lobby", content="two", id="m1")
    assert (error["status"], error["code"], error["id"]) == (409, "id_reused", "m1")


def test_ids_belong_to_their_user(server: Server, ann: Account, bob: Account) -> None:
    one, two = server.chat(ann), server.chat(bob)
    first = one.ask("chat-message", "ack", roomId="lobby", content="mine", id="1")
    second = two.ask("chat-message", "ack", roomId="lobby", content="mine", id="1")
    assert first["message"]["id"] != second["message"]["id"]


def test_rejoining_with_since_replays_what_was_missed_then_goes_on(
    server: Server, ann: Account, bob: Account
) -> None:
    one = server.chat(ann)
    one.ask("join-room", "user-joined", roomId="lobby")
    for number in range(10):
        one.send("chat-message", roomId="lobby", content=str(number))
    frames = [one.expect("chat-message") for _ in range(10)]
    assert [frame["seq"] for frame in frames] == list(range(1, 11))
    two = server.chat(bob)
    two.send("join-room", roomId="lobby", since=4)
    assert [two.expect("chat-message")["seq"] for _ in range(6)] == [5, 6, 7, 8, 9, 10]
    assert two.expect("user-joined")["seq"] == 10
    one.send("chat-message", roomId="lobby", content="live")
    assert two.expect("chat-message")["seq"] == 11


def test_joining_without_since_replays_nothing(server: Server, ann: Account) -> None:
    peer = server.chat(ann)
    peer.send("chat-message", roomId="lobby", content="before")
    assert peer.ask("join-room", "user-joined", roomId="lobby")["seq"] == 1
    assert peer.until_pong() == []


def test_changes_of_todos_reach_who_may_see_them(
    server: Server, ann: Account, bob: Account
) -> None:
    one, two = server.chat(ann), server.chat(bob)
    for peer in (one, two):
        system = peer.ask("subscribe", "system", payload={"table": "todos"})
        assert system["payload"]["subscribed"] == "todos"
    http = server.app.test_client()
    todo = http.post("/api/todos", json={"title": "milk"}, headers=ann.headers).json
    http.patch(f"/api/todos/{todo['id']}", json={"completed": True}, headers=ann.headers)
    http.delete(f"/api/todos/{todo['id']}", headers=ann.headers)
    changes = [one.expect("database_change") for _ in range(3)]
    assert [change["event"] for change in changes] == ["INSERT", "UPDATE", "DELETE"]
    assert [change["seq"] for change in changes] == [1, 2, 3]
    assert changes[0]["data"] == changes[0]["new"] == todo
    assert changes[1]["old"] == todo
    assert changes[2]["new"] is None
    assert two.until_pong() == []


def test_subscribing_with_since_replays_changes(server: Server, ann: Account) -> None:
    http = server.app.test_client()
    for title in ("a", "b", "c"):
        http.post("/api/todos", json={"title": title}, headers=ann.headers)
    peer = server.chat(ann)
    peer.send("subscribe", payload={"table": "todos"}, since=1)
    assert [peer.expect("database_change")["data"]["title"] for _ in range(2)] == ["b", "c"]


def test_an_unsubscribed_socket_hears_no_changes(server: Server, ann: Account) -> None:
    peer = server.chat(ann)
    peer.ask("subscribe", "system", payload={"table": "todos"})
    peer.ask("unsubscribe", "system", payload={"table": "todos"})
    server.app.test_client().post("/api/todos", json={"title": "milk"}, headers=ann.headers)
    assert peer.until_pong() == []


def test_a_ping_of_the_page_is_answered(server: Server, ann: Account) -> None:
    pong = server.chat(ann).ask("ping", "pong", sentAt=123)
    assert pong["sentAt"] == 123
    assert pong["timestamp"].endswith("Z")


def test_a_room_and_an_id_are_not_mistaken_for_another_pair(server: Server, ann: Account) -> None:
    peer = server.chat(ann)
    one = peer.ask("chat-message", "ack", roomId="a b", content="same", id="c")
    two = peer.ask("chat-message", "ack", roomId="a", content="same", id="b c")
    assert (one["message"]["roomId"], two["message"]["roomId"]) == ("a b", "a")


def test_only_the_joiner_is_told_who_is_there(server: Server, ann: Account, bob: Account) -> None:
    one, two = server.chat(ann), server.chat(bob)
    one.ask("join-room", "user-joined", roomId="lobby")
    two.send("join-room", roomId="lobby")
    assert "members" not in one.expect("user-joined")
    assert len(two.expect("user-joined")["members"]) == 2
