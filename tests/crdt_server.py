"""The server of the simulator, in memory.

`Server` keeps cells in a dict, merges with crdt.py and sends by the rules of docs/sync.md.
Its rules that crdt_faults.py breaks are methods of their own.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import crdt
import crdt_wire
from crdt import Channel
from crdt_wire import TOMBSTONE, Cell, Change, Key, Row, canonical
from tests.crdt_client import VALUES, Message, Rows

PAGE = 3  # changes per update
SLICE = 3  # changes per transaction


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
    last: int = 0  # version of the last update it was sent
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
        self.kinds: dict[str, str] = {}
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
        changes, refused = crdt_wire.parse_changes(to_wire(message["changes"]))
        assert not refused
        for piece in crdt.slices(changes, SLICE):
            merged, channel = self.merge(piece, socket.site, peer.sent)
            assert not merged.refused
            acked, before = max(acked, merged.acked), self.version
            self.commit(channel)
            reissued = sum(cell.reissued for cell in channel.stored.values())
            peer.held = crdt.held_after(peer.held, before, self.version, reissued)
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
            said, cursor = message["version"], socket.cursor or 0
            peer.held = max(peer.held, cursor if said >= socket.last else min(said, cursor))

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
            changes = [to_client(crdt_wire.outgoing(cell, self.site)) for cell in page]
            self._send(socket.site, "update", page[-1].version, changes=changes)
            socket.last = page[-1].version
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
        kind = self.kinds.get(sender, "log")
        return crdt.merge(channel, piece, sender=sender, received=sent, kind=kind), channel

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
        dummy = crdt_wire.dummy_change(self.site, f"{self.rng.random()}")
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
