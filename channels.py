"""What is done in a sync channel, by socket and by HTTP: enter it, and merge what replicas push."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field, StringConstraints
from sqlalchemy import select

import crdt
import crdt_store
import crdt_wire
import synced
from crdt_wire import MAX_INTEGER, MAX_SITE_LENGTH, TOMBSTONE, Change, Row
from errors import bad_request, forbidden, not_found
from events import record
from models import CrdtChannel, CrdtMember, CrdtPeer, User, db
from validation import Plain

SiteId = Annotated[str, StringConstraints(min_length=1, max_length=MAX_SITE_LENGTH), Plain]
Count = Annotated[int, Field(ge=0, le=MAX_INTEGER)]
CLOSED, MEMBER_REMOVED = "channel-deleted", "channel-member-removed"


def enter(name: str, user: User | None) -> CrdtChannel:
    """The channel of this name, made by its first visitor; raises 400, 403 and 409."""
    channel = CrdtChannel.enter(name, user)
    if user and channel.name == CrdtChannel.own_name(user.id) and not channel.is_mapped:
        held = CrdtChannel.lock(channel.name)
        db.session.refresh(channel)
        if held and not channel.is_mapped:
            synced.adopt(channel.name, held._replace(is_mapped=True))
            db.session.refresh(channel)
            channel.is_mapped = True
    return channel


def version_of(name: str) -> int:
    """How far a channel is."""
    version = select(CrdtChannel.crdt_db_version).where(CrdtChannel.name == name)
    return db.session.scalar(version) or 0


def merge(
    name: str, changes: list[Change], peer: CrdtPeer, user: User | None
) -> tuple[crdt.Merged, int]:
    """Merge changes of one peer under the channel's lock, and write the outcome.

    Returns what to tell the sender, and the channel's version. Raises 403 for who may only read,
    and 404 when the channel is gone.
    """
    held = CrdtChannel.lock(name, user)
    if held is None:
        raise not_found("channel")
    if not held.may_write(user):
        raise forbidden("You may only read this channel")
    db.session.refresh(peer)  # another process may have merged for it until we had the lock
    channel = crdt_store.load_channel(name, held.version, crdt.keys(changes))
    channel.tables = held.tables
    mapping = synced.Mapping(name, held, channel)
    channel.accept = mapping.accept
    merged = crdt.merge(
        channel, changes, sender=peer.site_id, received=peer.received, kind=peer.kind
    )
    mapping.take_rows(list(channel.stored.values()))
    crdt_store.save_channel(name, channel)
    peer.received = max(peer.received, merged.acked)
    return merged, channel.version


def meet(name: str, site_id: str, version: int | None, user: User | None, kind: str) -> CrdtPeer:
    """The tracked peer that speaks in a channel; raises 403 for a site id that is another user's.

    With `version`, the client's own count in the first message of a connection, it is told whether
    the replica lost its data (docs/sync.md, merge rule 7).
    """
    peer = crdt_store.load_peer(name, site_id, user, kind)
    if version is not None and crdt.was_reset(version, peer.received):
        peer.received = peer.sent = 0
    return peer


def delete(channel: CrdtChannel) -> None:
    """Take a channel out with all that is in it; its sockets are closed."""
    channel.delete()
    record(channel.topic, CLOSED, None)


def remove_member(member: CrdtMember) -> None:
    """Let a member in no longer; their sockets are closed."""
    db.session.delete(member)
    record(CrdtChannel.topic_of(member.channel), MEMBER_REMOVED, {"userId": member.user_id})


def parse_kind(words: Mapping[str, str]) -> str:
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


def restore(name: str, rows: dict[Row, dict[str, str]]) -> int:
    """Make these rows all there is in a channel, which is held; returns its version.

    Each difference is a write of the server's own: replicas take it as they take any other.
    """
    held = CrdtChannel.lock(name)
    if held is None:
        raise not_found("channel")
    channel, cells = crdt_store.load_table(name, held.version)
    mapping = synced.Mapping(name, held, channel)
    now = {cell[:3]: cell.val for cell in cells if cell.cid != TOMBSTONE and mapping.visible(cell)}
    for row in {key[:2] for key in now} - rows.keys():
        crdt.drop(channel, row, held.site_id)
    wanted = {(*row, cid): val for row, values in rows.items() for cid, val in values.items()}
    wanted |= {key: "null" for key in now.keys() - wanted.keys() if key[:2] in rows}
    for key, val in wanted.items():
        if now.get(key) != val:
            crdt.put(channel, key, val, held.site_id)
    mapping.take_rows(list(channel.stored.values()))
    crdt_store.save_channel(name, channel)
    return channel.version
