"""The replicas of the simulator on real sockets, for tests/sync_soak.py."""

import json
from collections import deque
from random import Random
from typing import Any

from crdt_wire import canonical
from tests.crdt_client import Message, Replica, Rows
from tests.crdt_counting import CountingReplica
from tests.sync_peer import JOURNAL, RETRY, Ledger
from tests.sync_socket import SyncSocket

PRIMER = "wharf_primer"


class SocketPeer:
    """A replica of the simulator, with a socket, and with bad luck from `dice` unless `calm`."""

    def __init__(
        self, site: str, words: str, ledger: Ledger, dice: Random, counting: bool, acks: bool
    ) -> None:
        self.words = words + ("&kind=cl" if counting else "")
        self.ledger, self.dice, self.counting, self.acks = ledger, dice, counting, acks
        self.push_all = dice.random() < 0.5
        self.calm = False
        self.socket: SyncSocket | None = None
        self.reset(site)

    def reset(self, site: str) -> None:
        counting = CountingReplica(site, self.acks) if self.counting else None
        self.replica = counting or Replica(site, self.push_all, self.acks)
        self.site = site
        self.entries: dict[str, int] = {}  # those not acknowledged, with their db_version
        self.outbox: deque[Message] = deque()
        self.is_late = self.has_pulled = self.is_answered = False

    def rows(self) -> Rows:
        return self.replica.rows

    def journal(self) -> set[str] | None:
        if isinstance(self.replica, CountingReplica):
            return None
        return {key[1] for key in self.replica.best if key[0] == JOURNAL}

    @property
    def is_online(self) -> bool:
        return self.socket is not None

    def come(self, port: int, late: bool = False) -> None:
        self.floor = self.ledger.version
        self.socket = SyncSocket(port, self.words)
        self.is_late, self.has_pulled, self.is_answered = late, False, False

    def cut(self, hard: bool = False) -> None:
        if self.socket:
            self.socket.cut(hard)
        self.socket = None
        self.replica.server_site = None
        self.replica.missed = False
        self.outbox.clear()

    def close(self) -> None:
        self.cut()

    # Writes

    def write(self, pk: str, values: dict[str, str]) -> None:
        if pk in self.replica.rows:
            self.replica.update(pk, values)
        else:
            self.replica.insert(pk, values)
        self.push()

    def delete(self, pk: str) -> None:
        self.replica.delete(pk)
        self.push()

    def note(self, pk: str) -> None:
        replica = self.replica
        replica.version += 1
        change = [JOURNAL, pk, "entry", "true", 1, replica.version, self.site, 1, 0]
        if isinstance(replica, Replica):
            replica._record(change)
        else:
            replica.log[JOURNAL, pk, "entry"] = change
        self.entries[pk] = replica.version
        self.push()

    # Messages up

    def push(self) -> None:
        if self.replica.server_site:
            self.send(self.replica.push(self.dice))

    def pull(self) -> None:
        if self.replica.server_site and not self.has_pulled:
            self.has_pulled = True
            self.send([self.replica.pull()])

    def send(self, messages: list[Message]) -> None:
        """Queue for the server: some messages twice, some overtaking the one before."""
        for message in messages:
            self.outbox.extend([message] * (1 + self.bad_luck()))
            if len(self.outbox) > 1 and self.bad_luck():
                self.outbox[-1], self.outbox[-2] = self.outbox[-2], self.outbox[-1]
        if not self.bad_luck():
            self.flush()

    def flush(self) -> None:
        try:
            while self.socket and self.outbox:
                self.socket.send(to_wire(self.outbox.popleft()))
        except OSError:
            self.cut()

    def become_calm(self) -> None:
        self.calm = True

    def bad_luck(self) -> bool:
        """One time in ten, unless all is to become quiet."""
        return not self.calm and self.dice.random() < 0.1

    # Messages down

    def listen(self, wait: float = 0.0) -> bool:
        if not self.socket:
            return False
        try:
            messages = self.socket.receive(wait)
        except OSError:
            self.cut(hard=True)
            return False
        for message in messages:
            for _ in range(1 + self.bad_luck()):
                if self.socket:  # it may be lost with an answer: then the rest is lost too,
                    self.take(to_client(message))  # as no ack may wait for another connection
        return bool(messages)

    def take(self, message: Message) -> None:
        """Take one message."""
        if message["type"] == "connected":
            if message["version"] < self.floor:
                self.ledger.wrong.append(f"version {message['version']} after {self.floor}")
            self.replica.server_site = message["siteId"]
            self.push()
            if not self.is_late:
                self.pull()
        elif message["type"] == "ack":
            self.take_ack(message)
        elif message["type"] == "update":
            self.take_update(message)
        elif message["type"] == "error" and message["code"] not in RETRY:
            self.ledger.wrong.append(f"{self.site} was told {message}")

    def take_ack(self, message: Message) -> None:
        """Note what is stored for good."""
        self.replica.receive_ack(message)
        self.ledger.version = max(self.ledger.version, message["serverVersion"])
        acked = {pk for pk, version in self.entries.items() if version <= message["version"]}
        self.ledger.entries |= acked
        for pk in acked:
            del self.entries[pk]

    def take_update(self, message: Message) -> None:
        """Take what others wrote."""
        changes = message["changes"]
        if self.has_pulled and not (changes and changes[0][0] == PRIMER):
            self.is_answered = True
        self.send(self.replica.receive_update(message))

    def is_idle(self) -> bool:
        acked = self.replica.sent.get(self.replica.server_site or "", 0)
        own = [change[5] for change in self.replica.log.values() if change[6] == self.site]
        return self.is_answered and not self.outbox and self.is_online and max([0, *own]) <= acked


def to_wire(message: Message) -> Message:
    """Replicas keep values as JSON text; the wire has JSON values."""
    return read_values(message, json.loads)


def to_client(message: Message) -> Message:
    """A message from the wire as a replica keeps it."""
    return read_values(message, canonical)


def read_values(message: Message, read: Any) -> Message:
    """The message with another spelling of its values."""
    if "changes" not in message:
        return message
    changes = [[*change[:3], read(change[3]), *change[4:]] for change in message["changes"]]
    return {**message, "changes": changes}
