"""Who hears what in this process: topics, the connections on them, and telling them in order.

The database is the truth, the bus only a hint: the hub knows the last seq it told on each topic,
drops repeats, and reads what is missing. Knows nothing of Flask or of chat. Topics change only on
the flusher's thread.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING, Any

from bus import SESSIONS_ENDED, Event
from sockets.connection import Connection
from sockets.framing import GOING_AWAY, UNAUTHORIZED
from sockets.presence import PRESENCE, Presence

log = logging.getLogger(__name__)

if TYPE_CHECKING:
    from sockets.flusher import Flusher

SWEEP_SECONDS = 2.0  # how long an event may stay unnoticed that the bus lost without a trace
TICK_SECONDS = 0.25
MEMBER_REMOVED = "member-removed"  # `{roomId, userId, reason}`: that user may hear it no longer
CROWDED_BYTES = 1_000_000  # queued for one client: the next page waits until it has read


class Listeners:
    """Who hears one topic here: the connections by dialect, and the last seq told to them.

    Those `behind` still read what they missed, and hear nothing new before they have it all.
    """

    def __init__(self, seq: int) -> None:
        self.seq = seq
        self.members: dict[Any, dict[str, Connection]] = {}
        self.behind: dict[str, Connection] = {}

    def add(self, connection: Connection) -> None:
        """Let `connection` hear this topic."""
        self.behind.pop(connection.id, None)
        self.members.setdefault(connection.dialect, {})[connection.id] = connection

    def hold(self, connection: Connection) -> None:
        """Let `connection` read first what it missed."""
        self.discard(connection)
        self.behind[connection.id] = connection

    def discard(self, connection: Connection) -> None:
        """Let `connection` hear it no longer."""
        self.behind.pop(connection.id, None)
        group = self.members.get(connection.dialect, {})
        group.pop(connection.id, None)
        if not group:
            self.members.pop(connection.dialect, None)

    def tell(self, events: Sequence[Event]) -> None:
        """Let every dialect tell its connections."""
        for dialect, group in list(self.members.items()):
            dialect.deliver(list(group.values()), events)

    def everybody(self) -> list[Connection]:
        """The connections that hear this topic, or will."""
        groups = (*self.members.values(), self.behind)
        return [connection for group in groups for connection in group.values()]


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
        self.presence = Presence(self)
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
            self.presence.tick(now)
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
        """Let `connection` hear a topic; returns the last seq told to it.

        With `since`, the events after that seq are told first, without hole or repeat: the first
        page as a reply, more of them as fast as the client reads.
        """
        topic = self.topics.get(name) or Listeners(self.last_seqs([name])[name])
        page = self.read_told(name, topic, since) if since is not None else []
        if page:
            connection.reply(connection.dialect.missed_frames(connection, page))
        told = page[-1].seq if page else topic.seq
        if since is not None and since > topic.seq:  # the client heard of it before we did
            told = min(since, self.last_seqs([name])[name])
        connection.enter(name)
        connection.due[name] = told
        connection.after_commit(partial(self.attach, connection, name, topic, told))
        return told

    def attach(self, connection: Connection, name: str, topic: Listeners, told: int) -> None:
        """Let `connection`, told of a topic up to `told`, hear it; it may have left since."""
        if name not in connection.topics:
            return
        topic = self.topics.setdefault(name, topic)
        connection.behind.pop(name, None)
        if told == topic.seq:
            topic.add(connection)
        else:
            topic.hold(connection)
            connection.behind[name] = told
            self.flusher.poke(connection)

    def read_told(self, name: str, topic: Listeners, since: int) -> list[Event]:
        """The next page of what was told on a topic after `since`."""
        if since >= topic.seq:
            return []
        return [event for event in self.read(name, since) if event.seq <= topic.seq]

    def replay(self, connection: Connection) -> None:
        """Send the next page of what `connection` missed on each topic, if it has read the last.

        One page, so that others have their turn. Who has it all hears what is told from then on.
        """
        for name, since in list(connection.behind.items()):
            if connection.queued >= CROWDED_BYTES:
                return  # its dialect pokes again when it has read
            topic = self.topics[name]
            if since > topic.seq:
                self.catch_up([name])
            page = self.read_told(name, topic, since)
            connection.send(connection.dialect.missed_frames(connection, page))
            told = page[-1].seq if page else topic.seq
            connection.behind[name] = told
            if told >= topic.seq:
                del connection.behind[name]
                topic.add(connection)
        if connection.behind:
            self.flusher.poke(connection)

    def unsubscribe(self, connection: Connection, name: str) -> None:
        """Let `connection` hear a topic no longer; a topic nobody hears is forgotten."""
        connection.topics.discard(name)
        connection.behind.pop(name, None)
        connection.due.pop(name, None)
        self.presence.leave(name, connection)
        topic = self.topics.get(name)
        if topic:
            topic.discard(connection)
            if not topic.members and not topic.behind:
                del self.topics[name]

    def members(self, name: str) -> list[Connection]:
        """The connections here that hear a topic, or will."""
        topic = self.topics.get(name)
        return topic.everybody() if topic else []

    def seq_of(self, name: str, connection: Connection | None = None) -> int:
        """The last seq of a topic that was told here, or to `connection`."""
        topic = self.topics.get(name)
        told = topic.seq if topic else 0
        return connection.behind.get(name, told) if connection else told

    # Telling

    def deliver(self, events: Sequence[Event]) -> None:
        """Tell events to the connections on their topics: each durable one once, in order."""
        by_topic: dict[str, list[Event]] = {}
        for event in events:
            by_topic.setdefault(event.topic, []).append(event)
        for name, batch in by_topic.items():
            for of_presence, run in groupby(batch, is_of_presence):
                if of_presence:  # concerns us on topics that nobody hears here too
                    self.presence.take(name, list(run))
                elif topic := self.topics.get(name):
                    self.deliver_in_order(name, topic, run)

    def deliver_in_order(self, name: str, topic: Listeners, batch: Iterable[Event]) -> None:
        """Tell what of `batch` is due, with what the bus lost read from the database."""
        due: list[Event] = []
        for event in batch:
            if event.seq == 0:
                due.append(event)
            elif event.seq == topic.seq + 1 and not event.is_reference:
                topic.seq = event.seq
                due.append(event)
            elif event.seq > topic.seq:  # a gap or a reference: the rows hold this event too
                self.tell(name, topic, due)
                due = []
                self.tell_missing(name, topic)
        self.tell(name, topic, due)

    def tell(self, name: str, topic: Listeners, events: list[Event]) -> None:
        """Let the clients hear events; those for the house are acted on in their place."""
        if not any(event.type in HOUSE for event in events):
            if events:
                topic.tell(events)
            return
        for kind, run in groupby(events, lambda event: event.type if event.type in HOUSE else ""):
            if kind:
                HOUSE[kind](self, name, topic, list(run))
            else:
                topic.tell(list(run))

    def end_sessions(self, _name: str, topic: Listeners, events: list[Event]) -> None:
        """Close the sockets of sessions that ended, with 4001; clients are told nothing else."""
        ended = {id for event in events for id in event.data["ids"]}
        for connection in topic.everybody():
            if connection.session_id in ended:
                connection.close(UNAUTHORIZED, "session ended")

    def remove_members(self, name: str, topic: Listeners, events: list[Event]) -> None:
        """Tell the sockets of removed users so, let them hear no more, and tell the others."""
        for event in events:
            data = {key: value for key, value in event.data.items() if key != "userId"}
            left = Event(name, "room-left", data)
            for connection in topic.everybody():
                if connection.user and connection.user.id == event.data["userId"]:
                    connection.send(connection.dialect.join_frames([left]))
                    self.unsubscribe(connection, name)
                    connection.dialect.removed(connection, event.data["roomId"])
            topic.tell([event])

    def tell_missing(self, name: str, topic: Listeners) -> None:
        """Tell the stored events of a topic that were not told here yet, page by page."""
        while page := self.read(name, topic.seq):
            topic.seq = page[-1].seq
            self.tell(name, topic, page)

    def catch_up(self, names: Sequence[str] | None = None) -> None:
        """Compare topics with the database and tell what is missing."""
        for name, seq in self.last_seqs(list(names or self.topics)).items():
            topic = self.topics.get(name)
            if topic and seq > topic.seq:
                self.tell_missing(name, topic)


def is_of_presence(event: Event) -> bool:
    """Whether a signal is between processes, about who is where."""
    return event.type == PRESENCE


# Events that are for the house: what is done about them, on the topics that are heard here.
HOUSE: dict[str, Callable[[Hub, str, Listeners, list[Event]], None]] = {
    SESSIONS_ENDED: Hub.end_sessions,
    MEMBER_REMOVED: Hub.remove_members,
}
