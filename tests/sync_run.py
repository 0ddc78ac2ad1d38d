"""One run of tests/sync_soak.py: replicas of one user and a caller over HTTP, played from a seed.

They write a few todos with few values, so that everything collides; then all become quiet, and all
must have the same.
"""

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from random import Random
from threading import Event
from typing import Any

from crdt_wire import canonical
from tests.clients.replica_host import ReplicaHost
from tests.conftest import Account
from tests.processes import Process
from tests.sync_node import NodePeer
from tests.sync_peer import Ledger, Peer
from tests.sync_peers import SocketPeer
from tests.sync_verdict import SETTLE_SECONDS, Verdict, becomes_true
from tests.sync_writer import Writer, kept

TITLES = ("a", "b", "a longer title", " spaces ")  # the last is corrected
COMPLETED = (True, False, True, False, 1)  # 1 is true, and stays 1
MOST_PEERS = 20
PAUSE = 0.02  # after a step while processes are killed: their starts need the processor
LIVE_AFTER = 1.1  # seconds after which who has not pulled is served live


@dataclass(frozen=True)
class Places:
    """Where a run takes place: processes with sockets, one with HTTP, and whose it is."""

    sockets: Sequence[Process]
    web: Process
    account: Account
    host: ReplicaHost | None  # of the browser's replicas, where there is Node

    @property
    def channel(self) -> str:
        """What the user's own is stored as."""
        return f"user:{self.account.user['id']}"


class Run:
    """One user's channel, and everybody on it; what is wrong at the end is in `ledger.wrong`."""

    def __init__(self, seed: int, places: Places, chaos: Event | None = None) -> None:
        self.seed, self.places = seed, places
        self.chaos = chaos  # while processes are killed; steps go on meanwhile, more slowly
        self.dice = dice = Random(seed)
        self.ledger = Ledger()
        self.words = f"channel=default&token={places.account.token}"
        self.writer = Writer(places.web.port, places.account.token, self.ledger, dice)
        self.deletes, self.by_http = dice.choice((0.0, 0.25)), dice.choice((0.0, 0.15))
        self.counting = dice.choice((0.0, 0.5, 0.5, 1.0))
        self.browsers = dice.choice((0.0, 0.25, 0.5))
        self.keys = [f"[{number}]" for number in range(dice.choice((2, 6)))]
        self.late_live = dice.random() < 0.03  # somebody's pull is later than a second
        self.named = self.noted = self.steps = 0
        count = dice.choice((2, 3, 4, 5, 6, 8, MOST_PEERS))
        self.peers = [self.make_peer() for _ in range(count)]

    def make_peer(self) -> Peer:
        """A replica of any kind."""
        places, dice = self.places, self.dice
        if dice.random() < self.browsers and (host := places.host):
            return NodePeer(self.name(), host, places.web.url, places.account, self.ledger, dice)
        counting = dice.random() < self.counting
        acks = dice.random() < 0.5
        return SocketPeer(self.name(), self.words, self.ledger, dice, counting, acks)

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
        """A replica loses its data, and its name with it."""
        peer.cut()
        peer.reset(self.name())
        self.connect(peer)

    def connect(self, peer: Peer, late: bool = False) -> None:
        """Come back to any process; where none answers, stay away."""
        with suppress(OSError):
            peer.come(self.dice.choice(self.places.sockets).port, late)

    # What must be so in the end

    def settle(self) -> None:
        """Become quiet, then look."""
        for peer in self.peers:
            peer.become_calm()
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
        if not becomes_true(SETTLE_SECONDS, lambda: not self.stir(busy)):
            names = ", ".join(peer.site for peer in busy)
            self.ledger.wrong.append(f"not acknowledged after {SETTLE_SECONDS:.0f} s: {names}")
            return False
        return True

    def stir(self, busy: list[Peer]) -> list[Peer]:
        """Let everyone who is busy do a bit more; who is so still."""
        self.stir_all(busy)
        busy[:] = [peer for peer in self.peers_and(busy) if not peer.is_idle()]
        return busy

    def stir_all(self, peers: Sequence[Peer]) -> None:
        """Let them come back, send what waits, and take what has come."""
        for peer in peers:
            if not peer.is_online:
                self.connect(peer)
            peer.pull()
            peer.flush()
            peer.listen(0.002)

    def peers_and(self, others: Sequence[Peer]) -> list[Peer]:
        """Everybody: one who was idle may have been cut off since."""
        return list({id(peer): peer for peer in (*self.peers, *others)}.values())

    def compare(self) -> None:
        """All must have what a new replica gets."""
        fresh = self.make_fresh()
        everybody = (fresh, *self.peers)
        stir = partial(self.stir_all, everybody)
        Verdict(fresh, self.peers, self.writer, self.ledger, stir).give()
        fresh.cut()

    def make_fresh(self) -> SocketPeer:
        """A replica that has just pulled everything."""
        fresh = SocketPeer(self.name(), self.words, self.ledger, self.dice, False, False)
        fresh.become_calm()
        self.drain([fresh])
        return fresh
