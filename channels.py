"""What is done in a sync channel, by socket and by HTTP: enter it, and merge what replicas push."""

from sqlalchemy import select

import crdt
import crdt_store
import synced
from crdt_wire import Change
from errors import bad_request, forbidden, not_found
from events import record
from models import CrdtChannel, CrdtMember, CrdtPeer, User, db

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


def meet(
    channel: CrdtChannel, site_id: str, version: int | None, user: User | None, kind: str
) -> CrdtPeer:
    """The tracked peer that speaks; raises 400 for the server's own site id, 403 for another's.

    With `version`, the client's own count in the first message of a connection, it is told whether
    the replica lost its data (docs/sync.md, merge rule 7).
    """
    if site_id == channel.crdt_site_id:
        raise bad_request("This is not the site id of a client", code="wrong_site")
    peer = crdt_store.load_peer(channel.name, site_id, user, kind)
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
