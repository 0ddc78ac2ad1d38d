"""One run of tests/sync_soak.py: replicas of one user and a caller over HTTP, played from a seed.

They write a few todos with few values, so that everything collides; then all become quiet, and all
must have the same.
"""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from random import Random
from threading import Event
from typing import Any

from crdt_wire import canonical
from tests.crdt_client import Replica, Rows
from tests.processes import Process
from tests.sync_peer import Ledger, Peer
from tests.sync_peers import JOURNAL, SocketPeer
from tests.sync_writer import Writer, kept, shown

TITLES = ("a", "b", "a longer title", " spaces ")  # the last is corrected
COMPLETED = (True, False, True, False, 1)  # 1 is true, and stays 1
MOST_PEERS = 20
SETTLE_SECONDS = 60.0  # until all is acknowledged
QUIET_SECONDS = 15.0  # until all have the same
PAUSE = 0.02  # after a step while processes are killed: their starts need the processor
LIVE_AFTER = 1.1  # seconds after which who has not pulled is served live


@dataclass(frozen=True)
class Places:
    """Where a run takes place: processes with sockets, one with HTTP, whose token and channel."""

    sockets: Sequence[Process]
    web: Process
    token: str
    channel: str


class Run:
    """One user's channel, and everybody on it; what is wrong at the end is in `ledger.wrong`."""

    def __init__(self, seed: int, places: Places, chaos: Event | None = None) -> None:
        self.seed, self.places = seed, places
        self.chaos = chaos  # while processes are killed; steps go on meanwhile, more slowly
        self.dice = dice = Random(seed)
        self.ledger = Ledger()
        self.words = f"channel=default&token={places.token}"
        self.writer = Writer(places.web.port, places.token, self.ledger, dice)
        self.deletes, self.by_http = dice.choice((0.0, 0.25)), dice.choice((0.0, 0.15))
        self.counting = dice.choice((0.0, 0.5, 0.5, 1.0))
        self.keys = [f"[{number}]" for number in range(dice.choice((2, 6)))]
        self.late_live = dice.random() < 0.03  # somebody's pull is later than a second
        self.named = self.noted = self.steps = 0
        count = dice.choice((2, 3, 4, 5, 6, 8, MOST_PEERS))
        self.peers = [self.make_peer() for _ in range(count)]

    def make_peer(self) -> Peer:
        """A replica of any kind."""
        counting = self.dice.random() < self.counting
        acks = self.dice.random() < 0.5
        return SocketPeer(self.name(), self.words, self.ledger, self.dice, counting, acks)

    def name(self) -> str:
        """A site id that nobody had."""
        self.named += 1
        return f"site{self.named}"

    def play(self) -> None:
        """Some steps; as many as fit while processes are killed."""
        count = self.dice.randint(60, 100)
        while self.steps < count or (self.chaos and self.chaos.is_set()):
            self.step()
            self.steps += 1
            if self.chaos:
                time.sleep(PAUSE)

    # What happens

    def step(self) -> None:
        """Let one thing happen."""
        chance, peer = self.dice.random(), self.dice.choice(self.peers)
        if chance < 0.35:
            self.write(peer)
        elif chance < 0.6:
            peer.listen(0.01)
        elif chance < 0.75:
            for one in self.peers:
                one.listen()
        elif chance < 0.86:
            self.toggle(peer)
        elif chance < 0.9:
            peer.pull()
        elif chance < 0.91:
            self.reset(peer)
        elif chance < 0.95:
            peer.flush()
        elif self.late_live and chance < 0.97:
            self.late_live = False
            time.sleep(LIVE_AFTER)
        if self.dice.random() < self.by_http:
            self.writer.write(self.values())

    def write(self, peer: Peer) -> None:
        """Let one replica write."""
        if not peer.may_write:
            return
        rows = peer.rows()
        free = [pk for pk, row in rows.items() if not kept(row)]
        pk = self.dice.choice([*free, *self.keys])
        if self.dice.random() < 0.2:
            self.noted += 1
            peer.note(f"{peer.site} {self.noted}")
        elif pk in rows and self.dice.random() < self.deletes:
            peer.delete(pk)
        else:
            values = self.values()
            peer.write(pk, {cid: canonical(value) for cid, value in values.items()})

    def values(self) -> dict[str, Any]:
        """Some columns of a todo."""
        values = {"title": self.dice.choice(TITLES), "completed": self.dice.choice(COMPLETED)}
        for cid in self.dice.choice(((), ("title",), ("completed",))):
            del values[cid]
        return values

    def toggle(self, peer: Peer) -> None:
        """Go offline, or come back."""
        if peer.is_online:
            peer.cut(hard=self.dice.random() < 0.5)
        else:
            self.connect(peer, late=self.dice.random() < 0.3)

    def reset(self, peer: Peer) -> None:
        """A replica loses its data, and its name too unless `may_keep_name`."""
        keeps = peer.may_keep_name() and self.dice.random() < 0.5
        peer.cut()
        peer.reset(peer.site if keeps else self.name())
        self.connect(peer)

    def connect(self, peer: Peer, late: bool = False) -> None:
        """Come back to any process; where none answers, stay away."""
        with suppress(OSError):
            peer.come(self.dice.choice(self.places.sockets).port, late)

    # What must be so in the end

    def settle(self) -> None:
        """Become quiet, then look."""
        for peer in self.peers:
            if isinstance(peer, SocketPeer):
                peer.calm = True
        if self.drain(self.peers):
            self.compare()
        if not self.ledger.wrong and self.dice.random() < 0.3:  # once more, from the database
            for peer in self.peers:
                peer.cut()
            if self.drain(self.peers):
                self.compare()
        for peer in self.peers:
            peer.close()
        self.writer.close()

    def drain(self, peers: Sequence[Peer]) -> bool:
        """Connect everyone until all is acknowledged and every pull answered; whether it was."""
        busy = list(peers)
        if not wait_until(SETTLE_SECONDS, lambda: not self.stir(busy)):
            names = ", ".join(peer.site for peer in busy)
            self.ledger.wrong.append(f"not acknowledged after {SETTLE_SECONDS:.0f} s: {names}")
            return False
        return True

    def stir(self, busy: list[Peer]) -> list[Peer]:
        """Let everyone who is busy do a bit more; who is so still."""
        for peer in busy:
            if not peer.is_online:
                self.connect(peer)
            peer.pull()
            peer.flush()
            peer.listen(0.002)
        busy[:] = [peer for peer in self.peers_and(busy) if not peer.is_idle()]
        return busy

    def peers_and(self, others: Sequence[Peer]) -> list[Peer]:
        """Everybody: one who was idle may have been cut off since."""
        return list({id(peer): peer for peer in (*self.peers, *others)}.values())

    def compare(self) -> None:
        """All must have what a new replica gets, and so must the todos."""
        fresh = self.make_fresh()
        todos = self.read_todos()

        def agree() -> bool:
            for peer in (fresh, *self.peers):
                peer.listen(0.002)
            return all(peer.rows() == fresh.rows() for peer in self.peers)

        agreed = wait_until(QUIET_SECONDS, agree) and agree()
        rows = fresh.rows()
        self.ledger.wrong += [] if agreed else self.differences(rows)
        if shown(rows) != Counter(todos.values()):
            self.ledger.wrong.append(f"by HTTP {todos} but in the channel {rows}")
        self.check_kept(fresh)
        fresh.cut()

    def make_fresh(self) -> SocketPeer:
        """A replica that has just pulled everything."""
        fresh = SocketPeer(self.name(), self.words, self.ledger, self.dice, False, False)
        fresh.calm = True
        self.drain([fresh])
        return fresh

    def check_kept(self, fresh: SocketPeer) -> None:
        """Everything acknowledged that nobody changes must be there."""
        assert isinstance(fresh.replica, Replica)
        entries = {key[1] for key in fresh.replica.best if key[0] == JOURNAL}
        titles = {row.get("title", "").strip('"') for row in fresh.rows().values()}
        lost = (self.ledger.entries - entries) | (self.ledger.titles - titles)
        if lost:
            self.ledger.wrong.append(f"acknowledged and lost: {sorted(lost)}")

    def differences(self, rows: Rows) -> list[str]:
        """Who has other rows, and which."""
        return [
            f"{peer.site} ({getattr(peer, 'replica', peer).__class__.__name__}) {pk}: "
            f"{peer.rows().get(pk)} but a new replica {rows.get(pk)}"
            for peer in self.peers
            for pk in sorted({*rows, *peer.rows()})
            if peer.rows().get(pk) != rows.get(pk)
        ]

    def read_todos(self) -> dict[int, tuple[str, bool]]:
        """What is listed by HTTP: titles and whether they are done, by id."""
        assert wait_until(SETTLE_SECONDS, lambda: self.writer.rows() is not None)
        return {row["id"]: (row["title"], row["completed"]) for row in self.writer.rows() or []}


def wait_until(seconds: float, done: Callable[[], bool]) -> bool:
    """Whether it was so in time."""
    deadline = time.monotonic() + seconds
    while not done():
        if time.monotonic() > deadline:
            return False
    return True
