"""What is done in a sync channel, by socket and by HTTP: enter it, and merge what replicas push."""

from typing import Annotated, Any

from pydantic import Field, StringConstraints

import crdt
import crdt_wire
from crdt_store import Peer
from crdt_wire import MAX_INTEGER, MAX_SITE_LENGTH, TOMBSTONE, Change, Row
from errors import bad_request
from events import record
from held import HeldChannel, hold, let_go, try_hold
from json_data import check_cell
from models import CrdtChannel, CrdtMember, User, db
from synced import adopt
from synced_rows import SyncedRows
from validation import Plain

SiteId = Annotated[str, StringConstraints(min_length=1, max_length=MAX_SITE_LENGTH), Plain]
Count = Annotated[int, Field(ge=0, le=MAX_INTEGER)]
CLOSED, MEMBER_REMOVED = "channel-deleted", "channel-member-removed"
ROLE_CHANGED = "channel-role-changed"


def enter(name: str, user: User | None) -> CrdtChannel:
    """The channel of this name, made by its first visitor; raises 400, 403 and 409."""
    channel = CrdtChannel.enter(name, user)
    if user and channel.name == CrdtChannel.own_name(user.id) and not channel.is_mapped:
        held = hold(channel.name)
        if not held.state.is_mapped:  # or another was quicker
            held.state = held.state._replace(is_mapped=True)
            adopt(held)
            channel.is_mapped = True
    return channel


def meet(
    held: HeldChannel, site_id: str, version: int | None, user: User | None, kind: str
) -> Peer:
    """The tracked peer that speaks; raises 400 for the server's own site id, 403 for another's.

    With `version`, the client's own count in the first message of a connection, it is told whether
    the replica lost its data (docs/sync.md, merge rule 7).
    """
    if site_id == held.state.site_id:
        raise bad_request("This is not the site id of a client", code="wrong_site")
    peer = held.meet(site_id, user, kind)
    if version is not None and crdt.was_reset(version, peer.received):
        peer.received = peer.sent = 0
    return peer


def merge(
    held: HeldChannel, changes: list[Change], peer: Peer, user: User | None
) -> tuple[crdt.Merged, int]:
    """Merge changes of one peer; the outcome is written before the commit.

    Returns what to tell the sender, and how many were re-issued. Raises 403 for who may only read.
    """
    held.require_writer(user)
    channel, synced = held.channel, SyncedRows(held)
    held.load(crdt.keys(changes))
    channel.accept = synced.accept
    before = channel.version
    merged = crdt.merge(
        channel, changes, sender=peer.site_id, received=peer.received, kind=peer.kind
    )
    stored = channel.stored_since(before)
    reissued = sum(cell.reissued for cell in stored)
    held.counts.merged += len(stored)
    held.counts.reissued += reissued
    peer.received = max(peer.received, merged.acked)
    peer.sent = crdt.held_after(peer.sent, before, channel.version, reissued)
    synced.take_rows(stored)
    return merged, reissued


def delete(channel: CrdtChannel) -> None:
    """Take a channel out with all that is in it, if it is still there; its sockets are closed."""
    if try_hold(channel.name) is None:
        return
    let_go(channel.name)
    channel.delete()
    record(channel.topic, CLOSED, None)


def seat(channel: CrdtChannel, user_id: int, role: str) -> CrdtMember:
    """Let somebody in, or change what they may do; raises 409 for too many. The channel is held.

    With another role their sockets connect anew: what was refused before is pushed again.
    """
    before = CrdtMember.role_in(channel.name, user_id)
    if before not in (None, role):
        record(channel.topic, ROLE_CHANGED, {"userId": user_id})
    return CrdtMember.seat(channel, user_id, role)


def remove_member(member: CrdtMember) -> None:
    """Let a member in no longer; their sockets are closed."""
    db.session.delete(member)
    record(CrdtChannel.topic_of(member.channel), MEMBER_REMOVED, {"userId": member.user_id})


def parse_kind(words: Any) -> str:
    """What an address says of the client's kind, if anything; raises 400."""
    kind = words.get("kind", "")
    if kind and kind not in crdt.KINDS:
        raise bad_request("Kind must be log or cl", {"kind": ["must be log or cl"]})
    return kind


def rows_of_changes(raw: list[Any]) -> dict[Row, dict[str, str]]:
    """The rows that a snapshot's changes make, with values as JSON text; raises 400 for bad ones.

    What the server itself had written counts below zero, which replicas may not.
    """
    rows: dict[Row, dict[str, str]] = {}
    for position, one in enumerate(raw):
        whole = [*one[:5], 0, *one[6:]] if isinstance(one, list) and len(one) == 9 else one
        try:
            change = crdt_wire.parse_change(whole, position)
        except crdt_wire.BadChange as error:
            raise bad_request(f"changes.{position}: {error}", code="bad_change") from None
        if change.cid == TOMBSTONE:
            rows.pop(change[:2], None)
        else:
            rows.setdefault(change[:2], {})[change.cid] = change.val
    return rows


def restore(held: HeldChannel, rows: dict[Row, dict[str, str]]) -> int:
    """Make these rows all there is in a channel; returns its version.

    Each difference is a write of the server's own: replicas take it as they take any other. Raises
    400 for what the channel does not take.
    """
    for (table, _), values in rows.items():
        if held.state.tables is not None and table not in held.state.tables:
            raise bad_request(f"This channel has no table {table[:40]}")
        for cid, val in values.items():
            check_cell((held.state.schemas or {}).get(table), cid, crdt_wire.decode(val))
    channel, synced, site_id = held.channel, SyncedRows(held), held.state.site_id
    cells = [cell for cell in held.load_table() if not cell.is_tombstone and synced.visible(cell)]
    now = {cell[:3]: cell.val for cell in cells}
    for row in {key[:2] for key in now} - rows.keys():
        crdt.drop(channel, row, site_id)
    wanted = {(*row, cid): val for row, values in rows.items() for cid, val in values.items()}
    wanted |= {key: "null" for key in now.keys() - wanted.keys() if key[:2] in rows}
    for key, val in wanted.items():
        if now.get(key) != val:
            crdt.put(channel, key, val, site_id)
    synced.take_rows(channel.stored_since(held.state.version))
    return channel.version
