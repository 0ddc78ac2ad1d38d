"""Who is in a room: each user once, over tabs and processes, and nobody for ever."""

import random
import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from flask import Flask

from bus import Event
from sockets import presence
from sockets.presence import PRESENCE, Presence
from tests.conftest import Account, Peer, Server
from tests.waiting import wait_until

LOBBY = {"roomId": "lobby"}


def join(peer: Peer, room: str = "lobby") -> list[str]:
    """Join; the names of the members in the answer."""
    frame = peer.ask("join-room", "user-joined", roomId=room)
    while "members" not in frame:
        frame = peer.expect("user-joined")
    return [member["name"] for member in frame["members"]]


def news(peer: Peer) -> list[tuple[str, str]]:
    """Who came and went, as told up to now."""
    return [(frame["type"], frame["user"]["name"]) for frame in peer.until_pong()]


def next_news(peer: Peer) -> tuple[str, str]:
    frame = peer.receive()
    return frame["type"], frame["user"]["name"]


@pytest.fixture(params=["database", "redis"])
def pair(
    request: Any, make_app: Callable[..., Flask], app: Flask, serve: Callable[[Flask], Server]
) -> tuple[Server, Server]:
    """Two processes of one database, joined by it or by Redis."""
    if request.param == "database":
        return serve(app), serve(make_app())
    url = request.getfixturevalue("redis_url")
    return serve(make_app(REDIS_URL=url)), serve(make_app(REDIS_URL=url))


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lists are repeated often, and who is silent is forgotten soon."""
    monkeypatch.setattr(presence, "REPEAT_SECONDS", 0.2)
    monkeypatch.setattr(presence, "SILENCE_SECONDS", 1.5)
    monkeypatch.setattr(presence, "SWEEP_SECONDS", 0.05)


def names(users: dict[int, Any]) -> set[str]:
    return {peer["name"] for peer in list(users.values())}


def vanish(server: Server) -> None:
    """Let a process neither speak nor hear any more, as if it had been killed."""
    server.app.extensions["bus"].close()


# One process


def test_a_second_tab_is_told_to_nobody(server: Server, ann: Account, bob: Account) -> None:
    one, two, three = server.chat(ann), server.chat(bob), server.chat(bob)
    assert join(one) == ["Ann"]
    assert join(two) == ["Ann", "Bob"]
    assert join(three) == ["Ann", "Bob"]
    assert next_news(one) == ("user-joined", "Bob")
    two.send("leave-room", **LOBBY)
    assert news(two) == news(one) == news(three) == []
    three.close()
    assert next_news(one) == ("user-left", "Bob")
    assert news(one) == news(two) == []


def test_joining_twice_on_one_socket_tells_nothing_new(
    server: Server, ann: Account, bob: Account
) -> None:
    one, two = server.chat(ann), server.chat(bob)
    join(one)
    assert join(two) == join(two) == ["Ann", "Bob"]
    assert news(one) == [("user-joined", "Bob")]
    two.send("leave-room", **LOBBY)
    assert next_news(one) == ("user-left", "Bob")


def test_a_user_counts_in_each_room_apart(server: Server, ann: Account, bob: Account) -> None:
    one, two = server.chat(ann), server.chat(bob)
    for room in ("a", "b"):
        join(one, room)
        join(two, room)
    one.until_pong()
    two.send("leave-room", roomId="a")
    left = one.expect("user-left")
    assert left["roomId"] == "a"
    assert join(one, "a") == ["Ann"]
    assert join(one, "b") == ["Ann", "Bob"]


def test_a_socket_that_joins_and_leaves_in_one_breath_is_not_there(
    server: Server, ann: Account, bob: Account
) -> None:
    one, two = server.chat(ann), server.chat(bob)
    join(one)
    for _ in range(20):
        two.send("join-room", **LOBBY)
        two.send("leave-room", **LOBBY)
    two.until_pong()
    told = news(one)
    assert told == [("user-joined", "Bob"), ("user-left", "Bob")] * (len(told) // 2)
    assert join(one) == ["Ann"]


def test_leaving_and_joining_in_one_breath_is_no_news(
    server: Server, ann: Account, bob: Account
) -> None:
    one, two = server.chat(ann), server.chat(bob)
    join(one)
    for _ in range(20):
        two.send("leave-room", **LOBBY)
        two.send("join-room", **LOBBY)
    two.until_pong()
    one.send("typing", **LOBBY)
    assert two.expect("user-typing")["user"]["name"] == "Ann"
    assert news(one)[-1] == ("user-joined", "Bob")
    assert join(one) == ["Ann", "Bob"]
    two.close()
    assert one.expect("user-left")["user"]["name"] == "Bob"


# Several processes


def test_the_joiner_is_told_of_the_users_of_all_processes(
    pair: tuple[Server, Server], ann: Account, bob: Account
) -> None:
    one, two = pair[0].chat(ann), pair[1].chat(bob)
    assert join(one) == ["Ann"]
    two.send("join-room", **LOBBY)
    answer = two.receive()  # the first it hears
    assert {member["name"] for member in answer["members"]} == {"Ann", "Bob"}
    assert next_news(one) == ("user-joined", "Bob")
    assert news(one) == news(two) == []


def test_a_user_on_two_processes_comes_and_goes_once(
    pair: tuple[Server, Server], ann: Account, bob: Account
) -> None:
    home, away = pair
    watchers = [home.chat(ann), away.chat(ann)]
    for watcher in watchers:
        assert join(watcher) == ["Ann"]
    near, far = home.chat(bob), away.chat(bob)
    join(near)
    for watcher in watchers:
        assert next_news(watcher) == ("user-joined", "Bob")
    assert sorted(join(far)) == ["Ann", "Bob"]
    place = home.app.extensions["realtime"].hub.presence.places["room:lobby"]
    wait_until(lambda: any("Bob" in names(report.users) for report in place.away.values()))
    near.close()
    assert sorted(join(watchers[0])) == ["Ann", "Bob"]
    far.close()
    for watcher in watchers:
        assert next_news(watcher) == ("user-left", "Bob")
        assert news(watcher) == []
    assert join(watchers[0]) == ["Ann"]


def test_a_process_that_vanishes_takes_its_users_along(
    pair: tuple[Server, Server], ann: Account, bob: Account, impatient: None
) -> None:
    home, away = pair
    one, two = home.chat(ann), away.chat(bob)
    join(one)
    join(two)
    assert next_news(one) == ("user-joined", "Bob")
    vanish(away)
    assert next_news(one) == ("user-left", "Bob")
    assert join(one) == ["Ann"]


def test_lists_that_are_repeated_are_no_news_and_keep_users_there(
    pair: tuple[Server, Server], ann: Account, bob: Account, impatient: None
) -> None:
    home, away = pair
    one, two = home.chat(ann), away.chat(bob)
    join(one)
    join(two)
    assert next_news(one) == ("user-joined", "Bob")
    place = home.app.extensions["realtime"].hub.presence.places["room:lobby"]
    (report,) = place.away.values()
    # For longer than a silent process would be kept.
    wait_until(lambda: [r.number > report.number + 12 for r in place.away.values()] == [True])
    assert news(one) == news(two) == []
    assert sorted(join(one)) == ["Ann", "Bob"]


def test_a_list_the_bus_lost_is_made_good_by_the_next(
    pair: tuple[Server, Server], ann: Account, bob: Account, impatient: None, monkeypatch: Any
) -> None:
    home, away = pair
    one, two = home.chat(ann), away.chat(bob)
    join(one)
    flusher = home.app.extensions["realtime"].flusher
    lost = threading.Event()
    deliver = flusher.hub.deliver

    def lose(events: list[Event]) -> None:
        kept = [event for event in events if event.type != PRESENCE or not event.data]
        if kept != events:
            lost.set()
        deliver(events if lost.is_set() and kept == events else kept)

    monkeypatch.setattr(flusher.hub, "deliver", lose)
    two.send("join-room", **LOBBY)
    assert lost.wait(5)
    monkeypatch.setattr(flusher.hub, "deliver", deliver)
    assert next_news(one) == ("user-joined", "Bob")


def test_everybody_agrees_after_a_storm_of_reconnections(
    pair: tuple[Server, Server], ann: Account, bob: Account, register: Callable[..., Account]
) -> None:
    accounts = [bob, register("cleo"), register("dan")]
    watchers = [server.chat(ann) for server in pair]
    for watcher in watchers:
        join(watcher)
    dice = random.Random(7)
    peers = [dice.choice(pair).chat(dice.choice(accounts)) for _ in range(12)]
    for _ in range(60):
        peer = dice.choice(peers)
        peer.send(dice.choice(["join-room", "join-room", "leave-room"]), **LOBBY)
        if dice.random() < 0.2:
            peers.remove(peer)
            peer.close()
            peers.append(dice.choice(pair).chat(dice.choice(accounts)))
    last = pair[0].chat(bob)
    for peer in peers:
        peer.close()
    join(last)
    places = [
        server.app.extensions["realtime"].hub.presence.places["room:lobby"] for server in pair
    ]
    wait_until(lambda: all(names(place.known) == {"Ann", "Bob"} for place in places))
    wait_until(lambda: sum(len(ids) for place in places for ids in place.sockets.values()) == 3)
    for watcher in watchers:
        there = {"Ann"}
        for kind, name in news(watcher):
            assert (name in there) == (kind == "user-left"), "told of what they knew"
            there ^= {name}
        assert there == {"Ann", "Bob"}


# What presence keeps


class Stage:
    """A presence with what it tells; nobody hears."""

    def __init__(self) -> None:
        self.told: list[dict[str, Any]] = []
        self.flusher = self
        self.queued: list[Event] = []
        self.presence = Presence(self, lambda _topic, _type, data: self.told.append(data))  # type: ignore[arg-type]

    def queue_events(self, events: list[Event]) -> None:
        self.queued += events

    def members(self, _topic: str) -> list[Any]:
        return []

    def seq_of(self, _topic: str) -> int:
        return 0

    def hear(self, **told: Any) -> None:
        data = {"process": "other", "number": 1, "users": [], "ask": False, **told}
        self.presence.take("room", [Event("room", PRESENCE, data)])


class Tab:
    """A connection of a user."""

    def __init__(self, user_id: int) -> None:
        self.id = f"tab of {user_id}"
        self.topics = {"room"}
        self.user = SimpleNamespace(id=user_id, to_peer=lambda: {"id": user_id, "name": "Ann"})

    def guest(self, _topic: str) -> Any:
        return self.user.to_peer()


@pytest.fixture
def stage() -> Stage:
    return Stage()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The time by which lists are forgotten; nobody waits for an alarm."""

    class Clock:
        now = 1000.0

        def monotonic(self) -> float:
            return self.now

    monkeypatch.setattr(presence, "time", Clock())
    monkeypatch.setattr(Presence, "set_alarm", lambda presence: None)
    return presence.time


def enter(stage: Stage, user_id: int = 1) -> list[list[int]]:
    """Let a user in; the answers so far."""
    answers: list[list[int]] = []
    tab: Any = Tab(user_id)
    stage.presence.enter("room", tab, lambda peers: answers.append([p["id"] for p in peers]))
    stage.presence.take("room", stage.queued)
    return answers


def test_who_enters_first_in_a_new_process_waits_for_the_others(stage: Stage, clock: Any) -> None:
    answers = enter(stage)
    assert stage.told[-1]["ask"]
    stage.hear(users=[{"id": 2, "name": "Bob"}])
    assert answers == []  # there may be a third process
    clock.now += presence.ASK_SECONDS
    stage.presence.sweep(clock.now)
    assert answers == [[1, 2]]


def test_who_enters_later_waits_only_for_processes_that_are_known(stage: Stage, clock: Any) -> None:
    enter(stage)
    clock.now += 1
    stage.hear()
    stage.presence.places.clear()
    answers = enter(stage)
    assert answers == []
    stage.hear(number=2)
    assert answers == [[1]]
    clock.now += presence.SILENCE_SECONDS + 1
    stage.presence.sweep(clock.now)
    stage.presence.places.clear()
    assert enter(stage) == [[1]]  # nobody else is there any more


@pytest.mark.parametrize("number", [3, 5])
def test_a_list_that_comes_late_or_again_undoes_nothing(
    stage: Stage, clock: Any, number: int
) -> None:
    enter(stage)
    stage.hear(number=5)
    stage.hear(number=number, users=[{"id": 2, "name": "Bob"}])
    assert set(stage.presence.places["room"].known) == {1}


def test_who_asks_is_answered_by_a_process_where_nobody_is(stage: Stage) -> None:
    stage.hear(ask=True)
    assert [(told["users"], told["ask"]) for told in stage.told] == [([], False)]


def test_nothing_is_kept_of_a_room_that_everybody_left(stage: Stage) -> None:
    enter(stage)
    tab: Any = Tab(1)
    stage.presence.leave("room", tab)
    stage.presence.take("room", stage.queued)
    assert stage.presence.places == {}
    assert [told["users"] for told in stage.told] == [[{"id": 1, "name": "Ann"}], []]


def test_lists_are_repeated_in_time(stage: Stage, clock: Any) -> None:
    enter(stage)
    for _ in range(4):
        before = len(stage.told)
        clock.now += presence.REPEAT_SECONDS + 1
        stage.presence.sweep(clock.now)
        stage.presence.sweep(clock.now)
        assert len(stage.told) == before + 1
        assert stage.told[-1]["users"] == [{"id": 1, "name": "Ann"}]
