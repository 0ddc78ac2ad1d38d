"""Who hears what in this process: topics, the connections on them, and telling them in order.

The database is the truth, the bus only a hint: the hub knows the last seq it told on each topic,
drops repeats, and reads what is missing. Knows nothing of Flask or of chat. Topics change only on
the flusher's thread.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from bus import SESSIONS_ENDED, Event
from sockets.connection import Connection
from sockets.framing import GOING_AWAY, UNAUTHORIZED

log = logging.getLogger(__name__)

if TYPE_CHECKING:
    from sockets.flusher import Flusher

SWEEP_SECONDS = 2.0  # how long an event may stay unnoticed that the bus lost without a trace
TICK_SECONDS = 0.25


class Listeners:
    """Who hears one topic here: the connections by dialect, and the last seq told to them."""

    def __init__(self, seq: int) -> None:
        self.seq = seq
        self.members: dict[Any, dict[str, Connection]] = {}

    def add(self, connection: Connection) -> None:
        """Let `connection` hear this topic."""
        self.members.setdefault(connection.dialect, {})[connection.id] = connection

    def discard(self, connection: Connection) -> None:
        """Let `connection` hear it no longer."""
        group = self.members.get(connection.dialect, {})
        group.pop(connection.id, None)
        if not group:
            self.members.pop(connection.dialect, None)

    def tell(self, events: Sequence[Event]) -> None:
        """Let every dialect tell its connections; close those whose session ended."""
        ended = {id for event in events if event.type == SESSIONS_ENDED for id in event.data["ids"]}
        if ended:
            self.close_sessions(ended)
            events = [event for event in events if event.type != SESSIONS_ENDED]
        if not events:
            return
        for dialect, group in list(self.members.items()):
            dialect.deliver(list(group.values()), events)

    def close_sessions(self, ended: set[str]) -> None:
        """Close the connections of these sessions with 4001."""
        for group in self.members.values():
            for connection in list(group.values()):
                if connection.session_id in ended:
                    connection.close(UNAUTHORIZED, "session ended")


class Hub:
    """The registry of this process.

    `read(topic, after)` gives the next stored events of a topic, in pages; `last_seqs(topics)` the
    last stored seq of each. Both run inside the flusher's transaction.
    """

    def __init__(
        self,
        read: Callable[[str, int], list[Event]],
        last_seqs: Callable[[Sequence[str]], dict[str, int]],
    ) -> None:
        self.read = read
        self.last_seqs = last_seqs
        self.connections: dict[str, Connection] = {}
        self.topics: dict[str, Listeners] = {}
        self.flusher: Flusher  # set by the flusher, which knows the hub
        self.stopping = False
        self.stopped = threading.Event()

    def start(self) -> None:
        """Begin to ping silent peers and to look for events the bus lost."""
        threading.Thread(target=self.watch, name="hub", daemon=True).start()

    # Connections

    def add(self, connection: Connection) -> None:
        """Register a connection."""
        connection.hub = self
        self.connections[connection.id] = connection
        if self.stopping:
            connection.close(GOING_AWAY, "server restarts")

    def remove(self, connection: Connection) -> None:
        """Forget a connection and all it listens to."""
        self.connections.pop(connection.id, None)
        for name in list(connection.topics):
            self.unsubscribe(connection, name)

    def close_all(self) -> None:
        """Ask every client to reconnect elsewhere (1001); later ones are asked on arrival."""
        self.stopping = True
        for connection in list(self.connections.values()):
            connection.close(GOING_AWAY, "server restarts")

    def watch(self) -> None:
        """Tick every connection, and have topics compared with the database now and then."""
        next_sweep = time.monotonic() + SWEEP_SECONDS
        while not self.stopped.wait(TICK_SECONDS):
            now = time.monotonic()
            for connection in list(self.connections.values()):
                self.tick(connection, now)
            if now > next_sweep and self.topics:
                next_sweep = now + SWEEP_SECONDS
                self.flusher.check()

    def tick(self, connection: Connection, now: float) -> None:
        """Tick one connection; whatever is wrong with it harms no other."""
        try:
            connection.tick(now)
            connection.dialect.tick(connection, now)
        except Exception:
            log.exception("tick failed, connection %s", connection.id)
            connection.shut_down()

    def stop(self) -> None:
        """Tick no more."""
        self.stopped.set()

    # Topics

    def subscribe(self, connection: Connection, name: str, since: int | None = None) -> int:
        """Let `connection` hear a topic; returns the last seq told on it.

        With `since`, the events after that seq are told first, without hole or repeat.
        """
        topic = self.topics.get(name) or Listeners(self.last_seqs([name])[name])
        if since is not None:
            if since > topic.seq:
                self.catch_up([name])  # the client heard of it before we did
            self.replay(connection, name, since, topic.seq)
        self.topics[name] = topic  # last: what fails above leaves nothing behind
        topic.add(connection)
        connection.topics.add(name)
        return topic.seq

    def replay(self, connection: Connection, name: str, since: int, until: int) -> None:
        """Reply with the stored events of a topic after `since`, up to `until`."""
        while since < until and (events := self.read(name, since)):
            missed = [event for event in events if event.seq <= until]
            connection.reply(connection.dialect.join_frames(missed))
            since = events[-1].seq

    def unsubscribe(self, connection: Connection, name: str) -> None:
        """Let `connection` hear a topic no longer; a topic nobody hears is forgotten."""
        connection.topics.discard(name)
        topic = self.topics.get(name)
        if topic:
            topic.discard(connection)
            if not topic.members:
                del self.topics[name]

    def members(self, name: str) -> list[Connection]:
        """The connections here that hear a topic."""
        topic = self.topics.get(name)
        groups: Iterable[dict[str, Connection]] = topic.members.values() if topic else ()
        return [connection for group in groups for connection in group.values()]

    # Telling

    def deliver(self, events: Sequence[Event]) -> None:
        """Tell events to the connections on their topics: each durable one once, in order."""
        by_topic: dict[str, list[Event]] = {}
        for event in events:
            by_topic.setdefault(event.topic, []).append(event)
        for name, batch in by_topic.items():
            topic = self.topics.get(name)
            if topic:
                self.deliver_in_order(name, topic, batch)

    def deliver_in_order(self, name: str, topic: Listeners, batch: list[Event]) -> None:
        """Tell what of `batch` is due, with what the bus lost read from the database."""
        due: list[Event] = []
        for event in batch:
            if event.seq == 0:
                due.append(event)
            elif event.seq == topic.seq + 1 and not event.is_reference:
                topic.seq = event.seq
                due.append(event)
            elif event.seq > topic.seq:  # a gap or a reference: the rows hold this event too
                topic.tell(due)
                due = []
                self.tell_missing(name, topic)
        topic.tell(due)

    def tell_missing(self, name: str, topic: Listeners) -> None:
        """Tell the stored events of a topic that were not told here yet, page by page."""
        while page := self.read(name, topic.seq):
            topic.seq = page[-1].seq
            topic.tell(page)

    def catch_up(self, names: Sequence[str] | None = None) -> None:
        """Compare topics with the database and tell what is missing."""
        for name, seq in self.last_seqs(list(names or self.topics)).items():
            topic = self.topics.get(name)
            if topic and seq > topic.seq:
                self.tell_missing(name, topic)
