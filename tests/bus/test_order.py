"""A hub behind each carrier, with a line between them that drops, repeats, reorders and pauses.

Two processes tell on the same topics; the clients of a third hear each stored event once and in
order, also those that join late or come back. The rows lie in a dict (tests/test_hub.py).
"""

import random
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from typing import Any

import pytest

import sockets.hub as hub_module
from bus import Bus, Event
from sockets.flusher import Flusher, Job
from sockets.hub import Hub
from tests.bus.conftest import WAIT, Carrier, signal
from tests.test_hub import Listener, Log, Words

TOPICS = ["room:1", "room:2", "room:3"]
ROUNDS = 60  # of one to five events, by each of the two speakers
FAULTS = ["none", "drop", "repeat", "reorder", "pause", "cut", "drop repeat reorder pause cut"]


class BadLine:
    """Stands between a bus and its hub, and does what a bus may do."""

    def __init__(self, faults: str, dice: random.Random, pass_on: Callable[[Any], None]) -> None:
        self.faults = faults.split()
        self.dice = dice
        self.pass_on = pass_on
        self.held: list[Event] = []
        self.waits_for = 0  # events, in a pause
        self.ends: set[str] = set()  # the speakers of whom all has come
        self.lock = threading.Lock()

    def hear(self, events: list[Event]) -> None:
        """What the bus tells; from any thread."""
        with self.lock:
            for event in events:
                if event.type == "end":
                    self.ends.add(event.data)
                else:
                    self.held += [event] * self.copies()
            self.pass_some()

    def copies(self) -> int:
        """How often an event is told: lost and repeated ones are not rare."""
        weights = {0: "drop" in self.faults, 1: 3, 2: "repeat" in self.faults}
        return self.dice.choices(list(weights), list(weights.values()))[0]

    def pass_some(self) -> None:
        """Pass on what is due now."""
        if "pause" in self.faults and self.waits_for == 0 and self.dice.random() < 0.05:
            self.waits_for = self.dice.randrange(20, 80)
        if len(self.held) < self.waits_for:
            return
        self.waits_for, kept = 0, 0
        if "reorder" in self.faults:
            self.dice.shuffle(self.held)
            kept = self.dice.randrange(len(self.held) + 1)
        ready, self.held = self.held[kept:], self.held[:kept]
        self.pass_on(ready)

    def end(self) -> None:
        """Pass on all that was held back."""
        with self.lock:
            ready, self.held = self.held, []
            self.pass_on(ready)


class Client(Listener):
    """A connection that a flusher can serve."""

    dialect: "Voices"
    pending = 0
    suspect = False
    lock_order = ""

    def send(self, frames: list[int]) -> None:
        with self.dialect.news:
            super().send(frames)
            self.dialect.news.notify_all()

    def commit(self) -> None:
        pass

    def roll_back(self) -> None:
        pass

    def tick(self, now: float) -> None:
        pass


class Voices(Words):
    """A dialect whose words can be waited for."""

    def __init__(self) -> None:
        self.news = threading.Condition()

    def deliver(self, connections: Sequence[Any], events: Sequence[Event]) -> None:
        with self.news:
            super().deliver(connections, events)
            self.news.notify_all()

    def wait(self, met: Callable[[], bool]) -> None:
        with self.news:
            assert self.news.wait_for(met, WAIT)

    def tick(self, connection: Any, now: float) -> None:
        pass

    def pump(self, connection: Any) -> None:
        pass


class Room:
    """The process with the clients: bus, bad line, flusher, hub."""

    def __init__(self, bus: Bus, faults: str) -> None:
        self.log, self.lock = Log(), threading.Lock()  # the lock stands for that of a topic's row
        self.hub = Hub(self.log.read, self.log.last_seqs)
        self.flusher = Flusher(self.hub, nullcontext, lambda job, error: None)
        self.line = BadLine(faults, random.Random(faults), self.flusher.queue_events)
        self.voices = Voices()
        self.flusher.start()
        self.watch = threading.Thread(target=self.hub.watch, daemon=True)  # as Hub.start does
        self.watch.start()
        bus.subscribe(self.line.hear, self.flusher.check)

    def client(self, name: str) -> Any:
        """A client that hears nothing yet."""
        client = Client(name, self.voices)
        self.hub.add(client)  # type: ignore[arg-type]
        return client

    def join(self, client: Any, topic: str, since: int | None = None) -> None:
        """Let a client hear a topic, as its dialect would: inside a turn."""
        self.do(client, self.hub.subscribe, topic, since)

    def do(self, client: Any, handle: Callable[..., Any], *args: Any) -> None:
        """Have a message of a client handled, and wait for that."""
        done = threading.Event()
        self.flusher.submit(Job(client, handle, args))
        self.flusher.submit(Job(client, lambda _client: done.set()))
        assert done.wait(WAIT)

    def last(self, topic: str) -> int:
        """The last seq that was stored."""
        return self.log.last_seqs([topic])[topic]

    def settle(self, *clients: Any) -> None:
        """Wait until all is told, and whatever is still on its way has come too."""
        self.line.end()
        for client in clients:
            self.voices.wait(lambda client=client: self.last(client.topic) in client.heard)
        self.do(client, lambda _client: None)

    def stop(self) -> None:
        """End the threads."""
        self.hub.stop()
        self.flusher.stop()
        self.watch.join(WAIT)
        self.flusher.thread.join(WAIT)


@pytest.fixture
def start(carrier: Carrier, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Room]]:
    """Starts the process with the clients; its hub looks for losses more often than usual."""
    monkeypatch.setattr(hub_module, "SWEEP_SECONDS", 0.2)
    monkeypatch.setattr(hub_module, "TICK_SECONDS", 0.05)
    rooms: list[Room] = []

    def make(faults: str) -> Room:
        rooms.append(Room(carrier.bus(), faults))
        return rooms[-1]

    yield make
    for room in rooms:
        room.stop()


def speak(room: Room, carrier: Carrier, name: str, halfway: Callable[[], None]) -> None:
    """Store and tell events on all topics, as a process does; the last is a signal, until heard."""
    dice, bus = random.Random(name), carrier.bus()
    for number in range(ROUNDS):
        with room.lock:
            events = [room.log.add(dice.choice(TOPICS)) for _ in range(dice.randrange(1, 6))]
        carrier.tell(bus, *events, signal([name, number]))
        if number == ROUNDS // 2:
            halfway()
    end, pause = Event("room:1", "end", name), threading.Event()
    for _ in range(WAIT * 10):
        bus.publish([end])
        if name in room.line.ends:
            return
        pause.wait(0.1)


@pytest.mark.parametrize("faults", FAULTS)
def test_clients_hear_each_stored_event_once_and_in_order(
    carrier: Carrier, start: Callable[[str], Room], faults: str
) -> None:
    room = start(faults)
    ann, bob, late = (room.client(name) for name in ("ann", "bob", "late"))
    for client, client.topic in ((ann, "room:1"), (bob, "room:2"), (late, "room:3")):
        if client is not late:
            room.join(client, client.topic)
    halves: list[int] = []

    def halfway() -> None:
        room.join(late, "room:3", 0)
        halves.append(len(late.heard))
        room.do(bob, room.hub.unsubscribe, "room:2")
        room.join(bob, "room:2", max([0, *seqs(bob)]))
        if "cut" in faults and carrier.name != "memory":
            carrier.cut()()

    speakers = [
        threading.Thread(target=speak, args=(room, carrier, "one", halfway)),
        threading.Thread(target=speak, args=(room, carrier, "two", lambda: None)),
    ]
    for speaker in speakers:
        speaker.start()
    for speaker in speakers:
        speaker.join(2 * WAIT)
    assert room.line.ends == {"one", "two"}
    room.settle(ann, bob, late)
    for client in (ann, bob, late):
        assert seqs(client) == list(range(1, room.last(client.topic) + 1))
    assert 0 < halves[0] < len(seqs(late))


def seqs(client: Any) -> list[int]:
    """The stored events a client was told, by seq; the others are told as a list."""
    return [one for one in client.heard if isinstance(one, int)]
