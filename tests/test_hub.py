"""The hub with a database that is a dict: order, gaps, repeats, resume, whatever the bus does."""

import random
from collections.abc import Sequence
from typing import Any

import pytest

from bus import Event
from sockets.connection import Connection, Limits
from sockets.hub import CROWDED_BYTES, Hub


class Log:
    """Stored events by topic, read in small pages, as the database would."""

    def __init__(self) -> None:
        self.events: dict[str, list[Event]] = {}

    def add(self, topic: str) -> Event:
        stored = self.events.setdefault(topic, [])
        stored.append(Event(topic, "said", {"n": len(stored) + 1}, len(stored) + 1))
        return stored[-1]

    def read(self, topic: str, after: int) -> list[Event]:
        return self.events.get(topic, [])[after : after + 3]

    def last_seqs(self, topics: Sequence[str]) -> dict[str, int]:
        return {topic: len(self.events.get(topic, [])) for topic in topics}


class Words:
    """A dialect that writes down what it would send."""

    def deliver(self, connections: Sequence[Any], events: Sequence[Event]) -> None:
        for connection in connections:
            connection.heard += [e.seq or e.data for e in events if e.skip != connection.id]

    def missed_frames(self, connection: Any, events: Sequence[Event]) -> list[int]:
        return [event.seq for event in events]


class Listener:
    """A connection without a socket."""

    def __init__(self, name: str, dialect: Words) -> None:
        self.id = name
        self.dialect = dialect
        self.topics: set[str] = set()
        self.behind: dict[str, int] = {}
        self.due: dict[str, int] = {}
        self.queued = 0
        self.heard: list[Any] = []
        self.hub: Any = None

    def reply(self, frames: list[int]) -> None:
        self.heard += frames

    def send(self, frames: list[int]) -> None:
        self.heard += frames

    def enter(self, topic: str) -> None:
        self.topics.add(topic)

    def after_commit(self, effect: Any) -> None:
        effect()


class Pokes:
    """A flusher that sends what is missing when the test says so."""

    def __init__(self) -> None:
        self.waiting: list[Any] = []

    def poke(self, connection: Any) -> None:
        self.waiting.append(connection)


@pytest.fixture
def log() -> Log:
    return Log()


@pytest.fixture
def hub(log: Log) -> Hub:
    hub = Hub(log.read, log.last_seqs)
    hub.flusher = Pokes()  # type: ignore[assignment]
    return hub


def run_pokes(hub: Any) -> None:
    while hub.flusher.waiting:
        hub.replay(hub.flusher.waiting.pop())


@pytest.fixture
def ann(hub: Hub) -> Any:
    listener = Listener("ann", Words())
    hub.add(listener)  # type: ignore[arg-type]
    return listener


@pytest.fixture
def bob(hub: Hub) -> Any:
    listener = Listener("bob", Words())
    hub.add(listener)  # type: ignore[arg-type]
    return listener


def reference(event: Event) -> Event:
    return Event(event.topic, "", None, event.seq)


def test_events_told_before_joining_are_not_replayed(hub: Hub, log: Log, ann: Any) -> None:
    log.add("room")
    assert hub.subscribe(ann, "room") == 1
    hub.deliver([log.add("room")])
    assert ann.heard == [2]


def test_a_repeated_event_is_told_once(hub: Hub, log: Log, ann: Any) -> None:
    hub.subscribe(ann, "room")
    event = log.add("room")
    hub.deliver([event, event])
    hub.deliver([event, reference(event)])
    assert ann.heard == [1]


def test_a_gap_is_filled_from_the_database_in_order(hub: Hub, log: Log, ann: Any) -> None:
    hub.subscribe(ann, "room")
    events = [log.add("room") for _ in range(10)]
    hub.deliver([events[0]])
    hub.deliver([events[9]])
    assert ann.heard == list(range(1, 11))


def test_a_reference_is_read_from_the_database(hub: Hub, log: Log, ann: Any) -> None:
    hub.subscribe(ann, "room")
    hub.deliver([reference(log.add("room"))])
    assert ann.heard == [1]


def test_an_event_the_bus_lost_without_a_trace_is_found_by_comparing(
    hub: Hub, log: Log, ann: Any
) -> None:
    hub.subscribe(ann, "room")
    log.add("room")
    hub.catch_up()
    assert ann.heard == [1]


@pytest.mark.parametrize("seed", range(50))
def test_a_bus_that_drops_repeats_reorders_and_pauses_harms_no_order(
    hub: Hub, log: Log, ann: Any, bob: Any, seed: int
) -> None:
    dice = random.Random(seed)
    hub.subscribe(ann, "room")
    hub.subscribe(bob, "other")
    waiting: list[Event] = []
    for _ in range(100):
        event = log.add(dice.choice(["room", "other"]))
        copies = dice.choices([0, 1, 2], weights=[2, 6, 2])[0]
        waiting += [dice.choice([event, reference(event)]) for _ in range(copies)]
        if dice.random() < 0.3:
            dice.shuffle(waiting)
            kept = dice.randrange(len(waiting) + 1)
            hub.deliver(waiting[kept:])
            waiting = waiting[:kept]
    hub.deliver(waiting)
    hub.catch_up()
    assert ann.heard == list(range(1, len(log.events["room"]) + 1))
    assert bob.heard == list(range(1, len(log.events["other"]) + 1))


@pytest.mark.parametrize("since", range(8))
def test_resume_has_no_hole_and_no_repeat(
    hub: Hub, log: Log, ann: Any, bob: Any, since: int
) -> None:
    for _ in range(5):
        log.add("room")
    hub.subscribe(bob, "room")
    late = [log.add("room") for _ in range(2)]  # committed, not told here yet
    hub.subscribe(ann, "room", since)
    hub.deliver(late)
    run_pokes(hub)
    hub.deliver([log.add("room")])
    run_pokes(hub)
    assert ann.heard == list(range(since + 1, 9))
    assert bob.heard == [6, 7, 8]


def test_a_long_replay_goes_on_as_the_client_reads_while_others_are_told(
    hub: Hub, log: Log, ann: Any, bob: Any
) -> None:
    for _ in range(10):
        log.add("room")
    hub.subscribe(bob, "room")
    assert hub.subscribe(ann, "room", 0) == 3
    ann.queued = CROWDED_BYTES
    hub.deliver([log.add("room")])
    run_pokes(hub)
    assert (ann.heard, bob.heard) == ([1, 2, 3], [11])
    assert set(hub.members("room")) == {ann, bob}
    ann.queued = 0
    hub.replay(ann)
    hub.deliver([log.add("room")])
    run_pokes(hub)
    hub.deliver([log.add("room")])
    assert ann.heard == list(range(1, 14))
    assert bob.heard == [11, 12, 13]


class Texts(Words):
    """A dialect that sends the seqs as text."""

    def deliver(self, connections: Sequence[Any], events: Sequence[Event]) -> None:
        for connection in connections:
            connection.send(self.missed_frames(connection, events))

    def missed_frames(self, _connection: Any, events: Sequence[Event]) -> Any:
        return b"".join(b"%d " % event.seq for event in events)


class Wireless(Connection):
    """A real connection that only writes down what it is sent."""

    heard = b""

    def send(self, data: bytes, last: bool = False) -> None:
        self.heard += data


@pytest.fixture
def eve(hub: Hub) -> Any:
    connection = Wireless(None, Texts(), Limits(1000, 10, 1000, 30.0))  # type: ignore[arg-type]
    hub.add(connection)
    return connection


def test_who_joins_in_a_transaction_that_fails_hears_nothing(hub: Hub, log: Log, eve: Any) -> None:
    log.add("room")
    hub.subscribe(eve, "room", 0)
    eve.roll_back()
    eve.commit()
    hub.deliver([log.add("room")])
    assert (eve.heard, eve.topics, hub.topics) == (b"", set(), {})
    hub.subscribe(eve, "room", 0)
    eve.commit()
    hub.deliver([log.add("room")])
    assert eve.heard == b"1 2 3 "


def test_resumes_of_one_transaction_stay_in_order(hub: Hub, log: Log, bob: Any, eve: Any) -> None:
    for _ in range(7):
        log.add("room")
    hub.subscribe(bob, "room")
    hub.subscribe(eve, "room", 0)
    hub.subscribe(eve, "room", 1)
    hub.deliver([log.add("room")])
    eve.commit()
    run_pokes(hub)
    assert eve.heard == b"1 2 3 2 3 4 5 6 7 8 "


def test_who_leaves_in_the_middle_of_a_replay_is_forgotten(hub: Hub, log: Log, ann: Any) -> None:
    for _ in range(10):
        log.add("room")
    hub.subscribe(ann, "room", 0)
    hub.remove(ann)
    run_pokes(hub)
    assert ann.heard == [1, 2, 3]
    assert not hub.topics


def test_joining_again_with_since_replays_and_goes_on(hub: Hub, log: Log, ann: Any) -> None:
    hub.subscribe(ann, "room")
    hub.deliver([log.add("room")])
    hub.subscribe(ann, "room", 0)
    hub.deliver([log.add("room")])
    assert ann.heard == [1, 1, 2]


def test_a_signal_passes_without_seq_and_skips_its_sender(hub: Hub, ann: Any, bob: Any) -> None:
    hub.subscribe(ann, "room")
    hub.subscribe(bob, "room")
    hub.deliver([Event("room", "typing", "ann types", skip="ann")])
    assert (ann.heard, bob.heard) == ([], ["ann types"])


def test_a_topic_nobody_hears_is_forgotten_and_starts_afresh(hub: Hub, log: Log, ann: Any) -> None:
    hub.subscribe(ann, "room")
    hub.unsubscribe(ann, "room")
    assert not hub.topics
    hub.deliver([log.add("room")])
    assert hub.subscribe(ann, "room") == 1
    hub.deliver([log.add("room")])
    assert ann.heard == [2]


def test_a_removed_connection_leaves_nothing_behind(hub: Hub, ann: Any) -> None:
    for topic in ("a", "b"):
        hub.subscribe(ann, topic)
    hub.remove(ann)
    assert not hub.topics
    assert not hub.connections


def test_a_connection_that_cannot_be_ticked_is_ended(hub: Hub, ann: Any) -> None:
    ended = []
    ann.tick = lambda now: 1 / 0
    ann.shut_down = lambda: ended.append("ann")
    hub.tick(ann, 0)
    assert ended == ["ann"]
