"""A sync channel that the current transaction holds: read once, written once, before its commit.

All messages of a channel that are handled together share its lock and its statements, which is what
makes many small ones cheap (bench/crdt.py).
"""

from collections.abc import Iterable
from typing import Any

from sqlalchemy import event

import crdt_store
from crdt import Channel
from crdt_store import Peer
from crdt_wire import Cell, Key, Row
from errors import forbidden, not_found
from events import record
from models import ChannelState, CrdtChannel, CrdtMember, User, db
from sync_counts import SyncCounts, current_counts

MERGED = "merged"  # the event that tells the sockets of a channel to look
KEY = "held_channels"  # in the `info` of a session


class HeldChannel:
    """What a transaction knows of a channel, and what it has changed there.

    `state` is that of its row; `channel` has the cells that were looked for.
    """

    def __init__(self, name: str, state: ChannelState) -> None:
        self.name, self.state = name, state
        self.channel = Channel(state.version, {}, {}, tables=state.tables)
        self.peers: dict[str, Peer] = {}
        self.known: set[Key] = set()
        self.roles: dict[int | None, str | None] = {}
        self.counts = SyncCounts()

    def require_writer(self, user: User | None) -> None:
        """Raise 403 for who may only read; a channel without owner is open to all."""
        user_id = user.id if user else None
        if self.state.owner_id in (None, user_id):
            return
        if user_id not in self.roles:
            self.roles[user_id] = CrdtMember.role_in(self.name, user_id)
        if self.roles[user_id] != "writer":
            raise forbidden("You may only read this channel")

    def meet(self, site_id: str, user: User | None, kind: str = "") -> Peer:
        """A replica, bound to the user who first used its site id; raises 403.

        `kind`, if given, is kept from now on.
        """
        user_id = user.id if user else None
        if site_id not in self.peers:
            found = crdt_store.find_peer(self.name, site_id)
            self.peers[site_id] = found or Peer(site_id, user_id, kind or "log")
        peer = self.peers[site_id]
        if peer.user_id != user_id:
            raise forbidden("This site id belongs to somebody else")
        peer.kind = kind or peer.kind
        return peer

    def load(self, wanted: Iterable[Key]) -> None:
        """Look for cells that were not looked for before."""
        missing = set(wanted) - self.known
        if missing:
            self.know(*crdt_store.load_cells(self.name, missing))
            self.known |= missing

    def load_table(self, table: str = "") -> list[Cell]:
        """Look for all cells of a table, or of all; returns them in version order."""
        cells = crdt_store.load_table(self.name, table)
        tops = {cell[:2]: cell.version for cell in cells if not cell.is_tombstone}
        self.know(cells, tops)
        return cells

    def know(self, cells: Iterable[Cell], tops: dict[Row, int]) -> None:
        """Take what is stored, where this transaction has nothing newer."""
        for cell in cells:
            self.channel.winners.setdefault(cell[:3], cell)
        for row, top in tops.items():
            self.channel.row_top[row] = max(top, self.channel.row_top.get(row, 0))

    def save(self) -> None:
        """Write what changed, and poke whoever listens."""
        crdt_store.save_peers(self.name, [peer for peer in self.peers.values() if peer.is_changed])
        if self.channel.stored:
            crdt_store.save_cells(self.name, self.channel.stored.values(), self.channel.version)
            record(CrdtChannel.topic_of(self.name), MERGED, {"version": self.channel.version})


def hold(name: str) -> HeldChannel:
    """A channel, locked until the commit; raises 404."""
    held = try_hold(name)
    if held is None:
        raise not_found("channel")
    return held


def try_hold(name: str) -> HeldChannel | None:
    """The same; None when there is none."""
    channels: dict[str, HeldChannel] = db.session().info.setdefault(KEY, {})
    if name not in channels:
        state = CrdtChannel.lock(name)
        if state is None:
            return None
        channels[name] = HeldChannel(name, state)
    return channels[name]


def let_go(name: str) -> None:
    """Write nothing of a channel that is deleted."""
    db.session().info.get(KEY, {}).pop(name, None)


def save_all(session: Any) -> None:
    """Before the commit, and before what is told gets its seq: write what changed."""
    for held in session.info.get(KEY, {}).values():
        held.save()


def count(session: Any) -> None:
    """After the commit: what it holds has happened."""
    for held in session.info.get(KEY, {}).values():
        current_counts().add(held.counts)


def forget(session: Any, _previous: Any = None) -> None:
    """The transaction is over, and so are its locks."""
    session.info.pop(KEY, None)


event.listen(db.session, "before_commit", save_all, insert=True)
event.listen(db.session, "after_commit", count)
event.listen(db.session, "after_commit", forget)
event.listen(db.session, "after_soft_rollback", forget)
