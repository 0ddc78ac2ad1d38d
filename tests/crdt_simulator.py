"""Replicas, a bad network and a small server, all played from one seed.

`Replica` does what the sync-lib client does, flaws included, as its source reads; only deletes,
which that source leaves to the application, are applied. `Server` keeps cells in a dict, merges
with crdt.py and sends by the rules of docs/sync.md. `World` lets clients write a few cells
with few values, so that everything collides; it loses what is in flight, repeats, swaps and
shuffles messages, crashes the server, then lets everyone catch up.

`FAULTS` switches single rules off, to show that the simulator would notice.
"""

import random
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import patch

import crdt
from crdt import TOMBSTONE, Cell, Change, Channel, Key, Row, canonical

TABLE = "todos"
COLUMNS = ("title", "done")
VALUES = ("a", "b", 1, True)  # 1 == True in Python, but not for clients
PAGE = 3  # changes per update
SLICE = 3  # changes per transaction

Message = dict[str, Any]
Rows = dict[str, dict[str, str]]  # pk -> column -> value as JSON text


@dataclass(frozen=True)
class Scenario:
    """What may happen in a run; probabilities are per message or per write."""

    deletes: float = 0.0
    acking: float = 0.5  # share of clients that acknowledge what they receive
    steps: int = 160
    rows: int = 2  # few, so that everything collides
    late_pulls: float = 0.0
    readers: bool = False  # clients that never write, and reload their page
    one_author: bool = False  # only one client writes between two moments of quiet


# The client


class Clash(Exception):
    """A plain INSERT met a row with the same primary key."""


class Replica:
    """One sync-lib client: rows, log of changes, and the tracked peer version."""

    def __init__(self, site: str, push_all: bool, acks: bool) -> None:
        self.site = site
        self.push_all = push_all
        self.acks = acks
        self.version = 0
        self.rows: Rows = {}
        self.log: dict[tuple[Any, ...], list[Any]] = {}
        self.best: dict[Key, list[Any]] = {}  # per cell, the change with the highest col_version
        self.sent: dict[str, int] = {}  # per server site
        self.reload()

    def reload(self) -> None:
        """Load the page anew: the database stays, what was in memory goes."""
        self.server_site: str | None = None
        self.has_data: bool | None = None
        self.missed = False

    # Triggers

    def insert(self, pk: str, values: dict[str, str]) -> None:
        """Create a row; the trigger writes col_version 1, also when the row existed before."""
        self.version += 1
        self.rows[pk] = dict(values)
        for cid, val in values.items():
            self._record([TABLE, pk, cid, val, 1, self.version, self.site, 1, 0])

    def update(self, pk: str, values: dict[str, str]) -> dict[str, str]:
        """Change a row; the trigger writes the columns whose value differs: the answer."""
        self.version += 1
        row = self.rows[pk]
        changed = {cid: val for cid, val in values.items() if row.get(cid) != val}
        row.update(changed)
        for cid, val in changed.items():
            col_version = self._col_version((TABLE, pk, cid)) + 1
            self._record([TABLE, pk, cid, val, col_version, self.version, self.site, 1, 0])
        return changed

    def delete(self, pk: str) -> None:
        """Delete a row; the trigger always writes col_version 1."""
        self.version += 1
        del self.rows[pk]
        self._record([TABLE, pk, TOMBSTONE, "null", 1, self.version, self.site, 1, 0])

    # Messages

    def push(self, rng: random.Random) -> list[Message]:
        """Everything above what this server acknowledged: no site filter, no order."""
        sent = self.sent.get(self.server_site or "", 0)
        changes = [
            change
            for change in self.log.values()
            if change[5] > sent and (self.push_all or change[6] == self.site)
        ]
        if rng.random() < 0.3:
            rng.shuffle(changes)
        return [self._message("update", self.version, changes=changes)] if changes else []

    def pull(self) -> Message:
        """Ask for what is missing, by a count that means nothing to the server."""
        return self._message("pull", self.version)

    def receive_update(self, message: Message) -> list[Message]:
        """Merge or bulk-load; a clash loses the rest of the message, silently."""
        changes = message["changes"]
        if not changes:
            return []
        if self.has_data is None:
            self.has_data = self.version > 0
        try:
            if self.has_data:
                self._merge(changes)
            else:
                self._bulk_load(changes)
                self.has_data = True
        except Clash:
            self.missed = True
        if not self.acks or self.missed:  # who missed something must not acknowledge what follows
            return []
        return [self._message("ack", message["version"])]

    def receive_ack(self, message: Message) -> None:
        """Raise the tracked version; it is never lowered."""
        site, version = message["siteId"], message["version"]
        self.sent[site] = max(self.sent.get(site, 0), version)

    def _merge(self, changes: list[list[Any]]) -> None:
        for change in changes:
            if change[4] > self._col_version(tuple(change[:3])):
                self._record(change)
                self._apply(change)

    def _bulk_load(self, changes: list[list[Any]]) -> None:
        identities = [self._identity(change) for change in changes]
        if len({*identities, *self.log}) < len(identities) + len(self.log):
            raise Clash
        for change in changes:
            self._record(change)
        for (table, pk, cid), change in self.best.items():
            if table == TABLE and cid != TOMBSTONE:
                self.rows.setdefault(pk, {})[cid] = change[3]

    def _apply(self, change: list[Any]) -> None:
        table, pk, cid, val = change[:4]
        if cid == TOMBSTONE:
            self.rows.pop(pk, None)
        elif table == TABLE:
            self.rows.setdefault(pk, {})[cid] = val

    def _record(self, change: list[Any]) -> None:
        if self._identity(change) in self.log:
            raise Clash
        self.log[self._identity(change)] = change
        if change[4] > self._col_version(tuple(change[:3])):
            self.best[tuple(change[:3])] = change

    def _identity(self, change: list[Any]) -> tuple[Any, ...]:
        return (*change[:3], *change[5:7])

    def _col_version(self, key: tuple[Any, ...]) -> int:
        return self.best[key][4] if key in self.best else 0

    def _message(self, kind: str, version: int, **more: Any) -> Message:
        return {"type": kind, "siteId": self.site, "version": version, **more}


# The server


class Crash(Exception):
    """The server process died; what it had committed remains."""


@dataclass
class Peer:
    """What the server remembers of a client."""

    sent: int = 0
    held: int = 0


@dataclass
class Socket:
    """One connection. Until its cursor is set, it is sent nothing but acks."""

    site: str
    told: int  # the channel's version at `connected`
    cursor: int | None = None
    pulled: bool = False
    first: bool = True
    early: bool = False  # served live before it pulled
    answer_to: int = 0  # last channel version of the answer to its pull
    pulled_version: int = 0


class Server:
    """One channel in memory. Subclasses get single rules wrong."""

    site = "server"

    def __init__(self, rng: random.Random, send: Callable[[str, Message], None]) -> None:
        self.rng = rng
        self.send = send
        self.version = 0
        self.cells: dict[Key, Cell] = {}
        self.peers: dict[str, Peer] = {}
        self.sockets: dict[str, Socket] = {}

    def connect(self, site: str) -> None:
        """Accept a socket."""
        self.sockets[site] = Socket(site, self.version)
        self.peers.setdefault(site, Peer())
        self._send(site, "connected", self.version)

    def disconnect(self, site: str) -> None:
        """Forget a socket."""
        self.sockets.pop(site, None)

    def receive(self, message: Message) -> None:
        """Handle a client's message, then send everyone what is owed."""
        socket = self.sockets[message["siteId"]]
        peer = self.peers[socket.site]
        if socket.first and crdt.was_reset(message["version"], peer.sent):
            peer.sent = peer.held = 0
        socket.first = False
        getattr(self, "on_" + message["type"])(socket, peer, message)
        self.poke()

    def on_update(self, socket: Socket, peer: Peer, message: Message) -> None:
        """Merge in slices, each a transaction; then acknowledge."""
        acked = 0
        changes, refused = crdt.parse_changes(to_wire(message["changes"]))
        assert not refused
        for piece in crdt.slices(changes, SLICE):
            merged, channel = self.merge(piece, socket.site, peer.sent)
            assert not merged.refused
            acked = max(acked, merged.acked)
            self.commit(channel)
            peer.sent = max(peer.sent, merged.acked)
            if self.rng.random() < 0.01:
                raise Crash
        self._send(socket.site, "ack", self.ack_version(acked))

    def on_pull(self, socket: Socket, peer: Peer, message: Message) -> None:
        """Start from what the client is known to hold."""
        socket.cursor = self.cursor_of(peer, message["version"])
        socket.pulled = True
        socket.answer_to, socket.pulled_version = self.version, message["version"]
        if message["version"] == 0:
            self.send_primer(socket)
        if socket.cursor >= self.version:
            self._send(socket.site, "update", self.version, changes=[])

    def on_ack(self, socket: Socket, peer: Peer, message: Message) -> None:
        """Believe an ack only where all that went before it was sent as well."""
        if socket.pulled and not socket.early:
            peer.held = max(peer.held, min(message["version"], self.version))

    def serve_early(self) -> None:
        """A second has passed: sockets that have not pulled are served live."""
        for socket in self.sockets.values():
            if socket.cursor is None:
                socket.cursor, socket.early = socket.told, True
        self.poke()

    def poke(self) -> None:
        """Send every socket what is owed above its cursor, in version order."""
        cells = sorted(self.cells.values(), key=lambda cell: cell.version)
        for socket in self.sockets.values():
            if socket.cursor is not None and socket.cursor < self.version:
                self.serve(socket, [cell for cell in cells if cell.version > socket.cursor])

    def serve(self, socket: Socket, cells: list[Cell]) -> None:
        """Send pages of the cells that are visible and owed."""
        owed = [cell for cell in cells if self.is_visible(cell) and self.is_owed(cell, socket)]
        if not socket.pulled:
            owed = [cell for cell in owed if self.may_precede_pull(cell, socket)]
        for start in range(0, len(owed), PAGE):
            page = owed[start : start + PAGE]
            changes = [to_client(crdt.outgoing(cell, self.site)) for cell in page]
            self._send(socket.site, "update", page[-1].version, changes=changes)
        socket.cursor = self.version

    def is_visible(self, cell: Cell) -> bool:
        """Whether the cell is not hidden by its row's tombstone."""
        return crdt.is_visible(cell, self.tombstone_version(cell))

    def tombstone_version(self, cell: Cell) -> int | None:
        """The version at which the cell's row was last deleted."""
        tombstone = self.cells.get((cell.table, cell.pk, TOMBSTONE))
        return tombstone.version if tombstone else None

    def is_owed(self, cell: Cell, socket: Socket) -> bool:
        """Whether the socket's client may lack the cell."""
        answering = cell.version <= socket.answer_to
        return crdt.is_owed(cell, socket.site, socket.pulled_version if answering else None)

    def merge(self, piece: list[Change], sender: str, sent: int) -> tuple[crdt.Merged, Channel]:
        """Load the winners of one slice and merge it."""
        channel = self.load(crdt.keys(piece))
        return crdt.merge(channel, piece, sender=sender, received=sent), channel

    def load(self, keys: set[Key]) -> Channel:
        """The part of the channel around `keys`."""
        winners = {key: self.cells[key] for key in keys if key in self.cells}
        row_top: dict[Row, int] = {}
        for cell in self.cells.values():
            row = cell[:2]
            if cell.cid != TOMBSTONE and (*row, TOMBSTONE) in winners:
                row_top[row] = max(row_top.get(row, 0), cell.version)
        return Channel(self.version, winners, row_top)

    def commit(self, channel: Channel) -> None:
        """Store the outcome of a merge."""
        versions = [cell.version for cell in channel.stored.values()]
        assert [self.version, *versions] == sorted({self.version, *versions})
        self.cells.update(channel.stored)
        self.version = channel.version

    def rows(self) -> Rows:
        """The application's rows as the channel has them."""
        rows: Rows = {}
        for cell in self.cells.values():
            if cell.cid != TOMBSTONE and self.is_visible(cell):
                rows.setdefault(cell.pk, {})[cell.cid] = cell.val
        return rows

    # Rules that FAULTS replaces

    def ack_version(self, acked: int) -> int:
        """The sender's own count, never ours."""
        return acked

    def cursor_of(self, peer: Peer, pull_version: int) -> int:
        """What the client acknowledged, whatever it says in its pull."""
        return peer.held

    def send_primer(self, socket: Socket) -> None:
        """Let the client's flawed first load eat a change that does not matter."""
        dummy = crdt.dummy_change(self.site, f"{self.rng.random()}")
        self._send(socket.site, "update", socket.cursor or 0, changes=[to_client(dummy)])

    def may_precede_pull(self, cell: Cell, socket: Socket) -> bool:
        """Whether a client that has not pulled may see the cell."""
        return crdt.may_precede_pull(self.tombstone_version(cell), socket.told)

    def _send(self, site: str, kind: str, version: int, **more: Any) -> None:
        self.send(site, {"type": kind, "siteId": self.site, "version": version, **more})


def to_wire(changes: list[list[Any]]) -> list[list[Any]]:
    """Replicas keep values as JSON text; the wire has JSON values."""
    values = {canonical(value): value for value in (*VALUES, None)}
    return [[*change[:3], values[change[3]], *change[4:]] for change in changes]


def to_client(change: list[Any]) -> list[Any]:
    """A change from the wire as a replica keeps it."""
    return [*change[:3], canonical(change[3]), *change[4:]]


# The network and the users


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
        self.replicas = {
            site: Replica(site, push_all, rng.random() < self.scenario.acking) for site in sites
        }
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


def best_cells(replica: Replica) -> dict[Key, tuple[int, str]]:
    """The replica's cells of the application's table: col_version and value."""
    best = replica.best.items()
    return {key: (change[4], change[3]) for key, change in best if key[0] == TABLE}


# Rules switched off


class AcksOurVersion(Server):
    """Acknowledges in the server's count."""

    def ack_version(self, acked: int) -> int:
        return self.version


class BelievesPullVersion(Server):
    """Takes the client's count for its own."""

    def cursor_of(self, peer: Peer, pull_version: int) -> int:
        return pull_version


class SendsNoPrimer(Server):
    """Lets the first load of a client fail."""

    def send_primer(self, socket: Socket) -> None:
        return None


class SendsAllBeforeThePull(Server):
    """Sends cells before the older tombstone of their row."""

    def may_precede_pull(self, cell: Cell, socket: Socket) -> bool:
        return True


class BelievesEveryAck(Server):
    """Counts acks of what was sent live before a pull."""

    def on_ack(self, socket: Socket, peer: Peer, message: Message) -> None:
        peer.held = max(peer.held, min(message["version"], self.version))


class TakesEverythingForNew(Server):
    """Merges repeats as if they were new."""

    def merge(self, piece: list[Change], sender: str, sent: int) -> tuple[crdt.Merged, Channel]:
        return super().merge(piece, sender, -1)


def keep_ties(change: Change, winner: Cell | None, own: bool, new: bool) -> int:
    """judge_cell without the tie."""
    tie = winner is not None and change.col_version == winner.col_version
    if tie and winner and change.site_id != winner.site_id:
        return 0
    return judge_cell(change, winner, own, new)


def compare_loosely(change: Change, winner: Cell | None, own: bool, new: bool) -> int:
    """judge_cell with Python's idea of equality."""
    if winner and change.val in ("1", "true") and winner.val in ("1", "true"):
        change = change._replace(val=winner.val)
    return judge_cell(change, winner, own, new)


def ignore_later_writes(change: Change, winner: Cell | None, tombstone: Cell, new: bool) -> int:
    """judge_cell_after_delete without 'the same person typed on'."""
    visible = winner is not None and winner.version > tombstone.version
    if visible and winner and change.col_version < winner.col_version:
        return 0
    return judge_cell_after_delete(change, winner, tombstone, new)


def relay_tombstone(change: Change, tombstone: Cell | None, row_top: int, new: bool) -> int:
    """judge_tombstone without the re-issue."""
    stored = judge_tombstone(change, tombstone, row_top, new)
    return stored and change.col_version


def treat_as_never_deleted(change: Change, winner: Cell | None, tombstone: Cell, new: bool) -> int:
    """judge_cell_after_delete without the re-issue of visible cells."""
    if winner is None or winner.version < tombstone.version:
        return judge_cell_after_delete(change, winner, tombstone, new)
    return judge_cell(change, winner, True, new)


def ignore_same_value(change: Change, winner: Cell | None, tombstone: Cell, new: bool) -> int:
    """judge_cell_after_delete without the re-issue of an equal value."""
    if winner and winner.version > tombstone.version and winner[3:5] == change[3:5]:
        return 0
    return judge_cell_after_delete(change, winner, tombstone, new)


judge_cell = crdt.judge_cell
judge_tombstone = crdt.judge_tombstone
judge_cell_after_delete = crdt.judge_cell_after_delete

DELETES = Scenario(deletes=0.25)
NO_DELETES = Scenario()
READERS = Scenario(readers=True)
LATE_PULLS = Scenario(deletes=0.25, late_pulls=0.5, rows=6)
EARLY_ACKS = Scenario(late_pulls=0.5, acking=1.0, rows=6)
ONE_AUTHOR = Scenario(one_author=True, deletes=0.25)


@dataclass(frozen=True)
class Fault:
    """A rule switched off: a wrong server or a wrong function in crdt.py, and where it shows."""

    scenario: Scenario
    server: type[Server] = Server
    name: str = ""
    function: Callable[..., Any] | None = None


FAULTS = {
    "acks in the server's count": Fault(NO_DELETES, AcksOurVersion),
    "believes pull.version": Fault(NO_DELETES, BelievesPullVersion),
    "no primer": Fault(READERS, SendsNoPrimer),
    "all cells sent before the pull": Fault(LATE_PULLS, SendsAllBeforeThePull),
    "acks before the pull believed": Fault(EARLY_ACKS, BelievesEveryAck),
    "ties kept": Fault(NO_DELETES, name="judge_cell", function=keep_ties),
    "1 taken for true": Fault(NO_DELETES, name="judge_cell", function=compare_loosely),
    "tombstones relayed": Fault(DELETES, name="judge_tombstone", function=relay_tombstone),
    "visible cells of a deleted row relayed": Fault(
        DELETES, name="judge_cell_after_delete", function=treat_as_never_deleted
    ),
    "equal values of a deleted row ignored": Fault(
        DELETES, name="judge_cell_after_delete", function=ignore_same_value
    ),
    "no sort": Fault(ONE_AUTHOR, name="in_order", function=list),
    "repeats taken for new": Fault(ONE_AUTHOR, TakesEverythingForNew),
    "later writes ignored": Fault(
        ONE_AUTHOR, name="judge_cell_after_delete", function=ignore_later_writes
    ),
}


@contextmanager
def rule_off(fault: Fault | None) -> Iterator[type[Server]]:
    """The server to run, with crdt.py broken as `fault` says."""
    if fault is None or fault.function is None:
        yield fault.server if fault else Server
    else:
        with patch.object(crdt, fault.name, fault.function):
            yield fault.server


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
