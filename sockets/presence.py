"""Who is where: the users on a topic, over all sockets of all processes. In memory, never stored.

Each process says on a topic which users its own sockets bring there, as a whole list, and tells its
clients whom its view of all lists gained or lost. So a user with many sockets counts once, each
client hears of each change once, and what the bus lost is made good by the next list. A process
asks the others when its first socket enters; the lists of one that fell silent are forgotten.

Knows nothing of Flask or of chat. Changes on the flusher's thread alone.
"""

import os
import random
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from bus import Event
from events import signal
from sockets.connection import Connection

if TYPE_CHECKING:
    from sockets.hub import Hub

PRESENCE = "presence"  # `{process, number, users, ask}`; None between the threads of a process
SWEEP = ""  # the topic of a look at all topics
REPEAT_SECONDS = 10.0
SILENCE_SECONDS = 30.0
ASK_SECONDS = 0.2  # how long who enters first waits for the lists of other processes
SWEEP_SECONDS = 1.0

Id = int | str  # of a user; where clients are counted, of each
Peer = dict[str, Any]
Answer = Callable[[list[Peer]], None]


class Report(NamedTuple):
    """The last list of another process: its number, when it came, the users by id."""

    number: int
    heard_at: float
    users: dict[Id, Peer]


class Place:
    """The users on one topic, as this process knows them."""

    def __init__(self, awaited: set[str], now: float) -> None:
        self.here: dict[Id, Peer] = {}
        self.sockets: dict[Id, set[str]] = {}  # of each user here
        self.away: dict[str, Report] = {}  # by process
        self.known: dict[Id, Peer] = {}  # whom the clients here were told of
        self.reported: set[Id] | None = None  # whom the other processes were told of
        self.waiting: dict[str, Answer] = {}  # clients that entered and were told of nobody yet
        self.awaited = awaited  # processes that were asked
        self.deadline = now + ASK_SECONDS
        self.repeat_at = now + REPEAT_SECONDS * random.uniform(0.5, 1)  # not all rooms at once
        self.dirty = True

    def is_asking(self, now: float) -> bool:
        """Whether lists of other processes may still be on their way."""
        return bool(self.awaited) and now < self.deadline

    def forget_silent(self, now: float) -> None:
        """Drop the lists that were not repeated in time."""
        for process, report in list(self.away.items()):
            if now - report.heard_at > SILENCE_SECONDS:
                del self.away[process]
                self.dirty = True

    def update(self) -> list[tuple[str, Peer]]:
        """Bring `known` up to date; returns what changed."""
        there = [peer for report in self.away.values() for peer in report.users.items()]
        now = dict(there) | self.here
        left = [("user-left", peer) for id, peer in self.known.items() if id not in now]
        came = [("user-joined", peer) for id, peer in now.items() if id not in self.known]
        stay = {id: now[id] for id in self.known if id in now}  # in the order in which they came
        self.known = stay | now
        return left + came


class Presence:
    """The places of a process. `enter` and `leave` change memory, so call them after the commit."""

    def __init__(self, hub: "Hub", signal: Callable[..., None] = signal) -> None:
        self.hub = hub
        self.signal = signal
        self.token = secrets.token_hex(8)
        self.places: dict[str, Place] = {}
        self.others: dict[str, float] = {}  # when each process was last heard
        self.number = 0  # counts our lists: a late one shall not undo a newer one
        self.all_known_at: float | None = None  # until then others may be there unheard of
        self.sweep_at = 0.0
        self.alarm: threading.Timer | None = None

    @property
    def process(self) -> str:
        """Our name; a forked child must not pass for its parent."""
        return f"{self.token}-{os.getpid():x}"

    # Coming and going of our own sockets

    def enter(self, topic: str, connection: Connection, answer: Answer) -> None:
        """Count a socket in; `answer` gets all users once the others know of it. Repeats harmless.

        All of them: it waits for the lists of the processes known, ASK_SECONDS at most.
        """
        if topic not in connection.topics:
            return  # it has left in the same turn
        place = self.places.get(topic) or self.open(topic)
        guest = connection.guest(topic)
        place.here[guest["id"]] = guest
        place.sockets.setdefault(guest["id"], set()).add(connection.id)
        place.waiting[connection.id] = answer
        self.look_at(topic, place)

    def open(self, topic: str) -> Place:
        """A new place, whose first list asks for those of others."""
        now = time.monotonic()
        if self.all_known_at is None:
            self.all_known_at = now + ASK_SECONDS
        awaited = set(self.others) | ({"unknown"} if now < self.all_known_at else set())
        place = self.places[topic] = Place(awaited, now)
        if awaited and self.alarm is None:
            self.set_alarm()
        return place

    def leave(self, topic: str, connection: Connection) -> None:
        """Count a socket out, if it is in."""
        place = self.places.get(topic)
        if place is None:
            return
        guest = connection.guest(topic)["id"]
        if connection.id not in place.sockets.get(guest, ()):
            return
        place.waiting.pop(connection.id, None)
        place.sockets[guest].discard(connection.id)
        if not place.sockets[guest]:
            del place.sockets[guest], place.here[guest]
            self.look_at(topic, place)

    def look_at(self, topic: str, place: Place) -> None:
        """Let the next turn tell what changed, inside a transaction as all that is told."""
        place.dirty = True
        self.hub.flusher.queue_events([Event(topic, PRESENCE, None)])

    # Time

    def tick(self, now: float) -> None:
        """Have the places swept now and then; from the hub's thread."""
        if now >= self.sweep_at and self.places:
            self.sweep_at = now + SWEEP_SECONDS
            self.request_sweep()

    def request_sweep(self) -> None:
        """Let the next turn sweep."""
        self.hub.flusher.queue_events([Event(SWEEP, PRESENCE, None)])

    def set_alarm(self) -> None:
        """Sweep when those who wait have waited long enough."""
        self.alarm = threading.Timer(ASK_SECONDS, self.request_sweep)
        self.alarm.daemon = True
        self.alarm.start()

    def sweep(self, now: float) -> None:
        """Forget who fell silent, repeat our lists, answer who has waited, and what was missed."""
        self.others = {id: at for id, at in self.others.items() if now - at <= SILENCE_SECONDS}
        for topic, place in list(self.places.items()):
            place.forget_silent(now)
            if place.dirty or place.waiting:
                self.settle(topic, place, now)
            if now >= place.repeat_at and topic in self.places:
                self.report(topic)
        self.alarm = None
        if any(place.waiting for place in self.places.values()):
            self.set_alarm()

    # Telling; inside a transaction

    def take(self, topic: str, events: Sequence[Event]) -> None:
        """What was told of a topic by other processes, and by ourselves to look at it."""
        now = time.monotonic()
        if topic == SWEEP:
            self.sweep(now)
            return
        place = self.places.get(topic)
        for event in events:
            if event.data and event.data["process"] != self.process:
                self.hear(topic, place, event.data, now)
        if place and place.dirty:
            self.settle(topic, place, now)

    def hear(self, topic: str, place: Place | None, told: dict[str, Any], now: float) -> None:
        """Keep the list of another process; tell it ours if it asks, even when nobody is here."""
        process, number = told["process"], told["number"]
        self.others[process] = now
        if place:
            place.awaited.discard(process)
            last = place.away.get(process)
            if last is None or number > last.number:
                users = {peer["id"]: peer for peer in told["users"]}
                place.away[process] = Report(number, now, users)
            place.dirty = True
        if told["ask"]:
            self.report(topic)

    def report(self, topic: str, ask: bool = False) -> None:
        """Tell the other processes who is here."""
        place = self.places.get(topic)
        users = list(place.here.values()) if place else []
        if place:
            place.reported = set(place.here)
            place.repeat_at = time.monotonic() + REPEAT_SECONDS
        self.number += 1
        told = {"process": self.process, "number": self.number, "users": users, "ask": ask}
        self.signal(topic, PRESENCE, told)

    def settle(self, topic: str, place: Place, now: float) -> None:
        """Tell the other processes and the clients here what changed; answer who has entered."""
        place.dirty = False
        if place.reported is None or place.reported != place.here.keys():
            self.report(topic, ask=place.reported is None)
        changes = place.update()
        if changes:
            self.tell(topic, place, changes)
        if not place.sockets:
            del self.places[topic]
        elif not place.is_asking(now):
            waiting, place.waiting = place.waiting, {}
            for answer in waiting.values():
                answer(list(place.known.values()))

    def tell(self, topic: str, place: Place, changes: Sequence[tuple[str, Peer]]) -> None:
        """Tell the clients here, but not those whose answer will have it all."""
        groups: dict[Any, list[Connection]] = {}
        last = self.hub.seq_of(topic)
        for connection in self.hub.members(topic):
            if connection.id not in place.waiting:
                # Who still reads what it missed must not take that for heard.
                seq = 0 if topic in connection.behind else last
                groups.setdefault((connection.dialect, seq), []).append(connection)
        for (dialect, seq), connections in groups.items():
            heard = [Event(topic, kind, {"user": peer}, seq) for kind, peer in changes]
            dialect.deliver(connections, heard)
