"""Replicas, a bad network and a small server, all played from one seed.

`World` lets clients (crdt_client.py) write a few cells with few values, so that everything
collides; it loses what is in flight, repeats, swaps and shuffles messages, crashes the server
(crdt_server.py), then lets everyone catch up.
"""

import random
from collections import deque
from dataclasses import dataclass, field

from crdt_wire import Key, canonical
from tests.crdt_client import COLUMNS, TABLE, VALUES, Message, Replica, Rows
from tests.crdt_counting import CountingReplica
from tests.crdt_faults import Fault, rule_off
from tests.crdt_scenario import Scenario
from tests.crdt_server import Crash, Server


@dataclass
class World:
    """Everybody, and the messages between them."""

    seed: int
    scenario: Scenario
    server_class: type[Server] = Server
    rng: random.Random = field(init=False)
    clash: bool = field(default=False, init=False)
    lost_work: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        self.rng = rng = random.Random(self.seed)
        self.server = self.server_class(rng, self.send_down)
        push_all = rng.random() < 0.5
        sites = [f"site{number}" for number in range(rng.randint(2, 5))]
        self.replicas: dict[str, Replica | CountingReplica] = {}
        for site in sites:
            acks = rng.random() < self.scenario.acking
            if rng.random() < self.scenario.counting:
                self.replicas[site] = CountingReplica(site, acks)
                self.server.kinds[site] = "cl"
            else:
                self.replicas[site] = Replica(site, push_all, acks)
        self.writers = sites[: max(1, len(sites) // 2)] if self.scenario.readers else sites
        self.up: dict[str, deque[Message]] = {site: deque() for site in sites}
        self.down: dict[str, deque[Message]] = {site: deque() for site in sites}
        self.waiting: set[str] = set()  # clients whose pull is late
        self.calm = False
        self.author = rng.choice(self.writers)
        self.intended: Rows = {}

    def run(self) -> None:
        """Play the scenario, then let everyone catch up."""
        for step in range(self.scenario.steps):
            if self.scenario.one_author and step % 40 == 0:
                self.change_author()
            self.step()
        self.settle()
        self.lost_work |= self.scenario.one_author and self.server.rows() != self.intended

    def diverged(self) -> bool:
        """Whether any replica's rows, or without deletes its cells, differ from the server's."""
        rows = self.server.rows()
        if any(replica.rows != rows for replica in self.replicas.values()):
            return True
        if self.scenario.deletes:
            return False
        cells = {key: (cell.col_version, cell.val) for key, cell in self.server.cells.items()}
        return any(cells != best_cells(replica) for replica in self.replicas.values())

    def step(self) -> None:
        """Let one thing happen."""
        chance = self.rng.random()
        if chance < 0.3:
            self.write(self.author if self.scenario.one_author else self.rng.choice(self.writers))
        elif chance < 0.55:
            self.deliver_up(self.anyone())
        elif chance < 0.85:
            self.deliver_down(self.anyone())
        elif chance < 0.92:
            self.toggle(self.anyone())
        elif chance < 0.96:
            self.pull_late(self.anyone())
        elif self.scenario.late_pulls:
            self.server.serve_early()

    def anyone(self) -> str:
        """A random client."""
        return self.rng.choice(list(self.replicas))

    def write(self, site: str) -> None:
        """Change one row as its user sees it; push when online."""
        replica, rng = self.replicas[site], self.rng
        pk = f"[{rng.randrange(self.scenario.rows)}]"
        count = rng.randint(1, len(COLUMNS)) if pk in replica.rows else len(COLUMNS)
        values = {cid: canonical(rng.choice(VALUES)) for cid in rng.sample(COLUMNS, count)}
        if pk not in replica.rows:
            replica.insert(pk, values)
            self.intended[pk] = values
        elif rng.random() < self.scenario.deletes:
            replica.delete(pk)
            self.intended.pop(pk, None)
        else:
            if changed := replica.update(pk, values):
                self.intended.setdefault(pk, {}).update(changed)
        if replica.server_site:
            self.send_up(site, replica.push(rng))

    def toggle(self, site: str) -> None:
        """Go offline, or come back."""
        if site in self.server.sockets:
            self.disconnect(site)
        else:
            self.connect(site)

    def connect(self, site: str) -> None:
        """Open a socket; readers come back on a reloaded page."""
        if site not in self.writers:
            self.replicas[site].reload()
        self.replicas[site].missed = False
        self.server.connect(site)

    def disconnect(self, site: str) -> None:
        """Lose the socket and all that is in flight."""
        self.server.disconnect(site)
        self.replicas[site].server_site = None
        self.waiting.discard(site)
        self.up[site].clear()
        self.down[site].clear()

    def deliver_up(self, site: str) -> None:
        """Hand the server one message; it may die of it."""
        if self.up[site]:
            try:
                self.server.receive(self.up[site].popleft())
            except Crash:
                for other in list(self.server.sockets):
                    self.disconnect(other)

    def deliver_down(self, site: str) -> None:
        """Hand a client one message."""
        if not self.down[site]:
            return
        message, replica = self.down[site].popleft(), self.replicas[site]
        if message["type"] == "connected":
            replica.server_site = message["siteId"]
            self.send_up(site, replica.push(self.rng))
            if self.rng.random() < self.scenario.late_pulls:
                self.waiting.add(site)
            else:
                self.send_up(site, [replica.pull()])
        elif message["type"] == "ack":
            replica.receive_ack(message)
        else:
            self.send_up(site, replica.receive_update(message))
            self.clash |= replica.missed

    def pull_late(self, site: str) -> None:
        """Send the pull that a client has held back."""
        if site in self.waiting:
            self.waiting.remove(site)
            self.send_up(site, [self.replicas[site].pull()])

    def send_up(self, site: str, messages: list[Message]) -> None:
        """Queue for the server: some messages twice, some overtaking the one before."""
        queue = self.up[site]
        for message in messages:
            queue.extend([message] * (1 + self.bad_luck()))
            if len(queue) > 1 and self.bad_luck():
                queue[-1], queue[-2] = queue[-2], queue[-1]

    def send_down(self, site: str, message: Message) -> None:
        """Queue for a client: in order, as sockets are, but some messages twice."""
        self.down[site].extend([message] * (1 + self.bad_luck()))

    def bad_luck(self) -> bool:
        """One time in ten, unless everyone is to catch up."""
        return not self.calm and self.rng.random() < 0.1

    def settle(self) -> None:
        """Connect everyone and deliver all messages."""
        self.calm = True
        while self.step_to_quiet():
            pass
        self.calm = False

    def step_to_quiet(self) -> bool:
        """Do whatever is still to be done; False when nothing was."""
        offline = [site for site in self.replicas if site not in self.server.sockets]
        for site in offline:
            self.connect(site)
        for site in list(self.waiting):
            self.pull_late(site)
        busy = [site for site in self.replicas if self.up[site] or self.down[site]]
        for site in busy:
            self.deliver_up(site)
            self.deliver_down(site)
        return bool(offline or busy)

    def change_author(self) -> None:
        """Check that the last author's work stands, then let another one write."""
        self.settle()
        rows = self.server.rows()
        self.lost_work |= rows != self.intended
        self.intended = {pk: dict(row) for pk, row in rows.items()}
        self.author = self.rng.choice(self.writers)


def best_cells(replica: Replica | CountingReplica) -> dict[Key, tuple[int, str]]:
    """The replica's cells of the application's table: col_version and value."""
    best = replica.best.items()
    return {key: (change[4], change[3]) for key, change in best if key[0] == TABLE}


def failing_seeds(seeds: range, scenario: Scenario, fault: Fault | None = None) -> list[int]:
    """The seeds whose run ends with replicas that differ, or with an author's work lost."""
    failed = []
    with rule_off(fault) as server_class:
        for seed in seeds:
            world = World(seed, scenario, server_class)
            world.run()
            if world.diverged() or world.lost_work:
                failed.append(seed)
    return failed
