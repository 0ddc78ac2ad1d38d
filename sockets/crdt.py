"""The sync dialect on `/sync` and `/?channel=` (docs/sync.md): connected, update, pull, ack.

A client's own changes are merged slice by slice and acknowledged once committed. What it is owed
is pumped from the database by one cursor per socket; an event on the channel is only a poke.
"""

import secrets
import time
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

from flask import current_app, request
from pydantic import Field

import channels
import crdt
import crdt_store
import crdt_wire
from bus import Event
from crdt_store import Peer
from crdt_wire import Cell, Change
from errors import bad_request, known_error
from held import MERGED, HeldChannel, hold
from models import CrdtChannel, User, db
from sockets.connection import Connection
from sockets.dialect import Dialect, Frame, Handler, Handlers, text_frame, to_frame, to_json
from sockets.flusher import Job
from sockets.framing import POLICY, TRY_AGAIN_LATER
from sockets.hub import CROWDED_BYTES
from sockets.replica import Batch, Batched, Pages, Replica

PAGES_PER_TURN = 8  # sent to one replica before others have their turn
REFUSALS = 100  # error frames in answer to one message
CLOSING = {
    channels.CLOSED: (POLICY, "the channel is gone"),
    channels.MEMBER_REMOVED: (POLICY, "not a member any longer"),
    channels.ROLE_CHANGED: (TRY_AGAIN_LATER, "your role changed"),
}


class Message(Frame):
    """`{siteId, version, channel?}`."""

    siteId: channels.SiteId
    version: channels.Count
    channel: str | None = None


class Update(Message):
    """`{siteId, version, channel?, changes}`."""

    changes: list[Any] = Field(max_length=crdt.MAX_CHANGES)


def merge_slice(
    connection: Connection, frame: Update, changes: list[Change], batch: Batch, last: bool
) -> None:
    """Merge a part of an update; after the last part acknowledge what is the sender's own."""
    replica: Replica = connection.state
    if replica.failed:
        return
    held, peer = meet_peer(connection, frame)
    before = batch.version = held.channel.version
    if changes:
        merged, reissued = channels.merge(held, changes, peer, connection.user)
        batch.version = held.channel.version
        batch.acked = max(batch.acked, merged.acked)
        batch.refused.update(merged.refused)
        connection.after_commit(partial(pass_own, replica, before, batch.version, reissued))
    if last:
        held.counts.refused += len(batch.refused)
        for position, reason in sorted(batch.refused.items())[:REFUSALS]:
            connection.reply(to_frame(refusal(position, reason)))
        connection.reply(to_frame(acknowledgement(replica, batch)))


def pass_own(replica: Replica, before: int, version: int, reissued: int) -> None:
    """Go past what a replica wrote itself, if it has all there was before: it is owed nothing."""
    if replica.cursor is not None and replica.pulled_version is None:
        replica.cursor = crdt.held_after(replica.cursor, before, version, reissued)


def refusal(position: int, reason: str) -> dict[str, Any]:
    """Tells a client which change of its message was left out, and why."""
    error = bad_request(reason, code="bad_change")
    return {"type": "error", **error.body(), "position": position}


def acknowledgement(replica: Replica, batch: Batch) -> dict[str, Any]:
    """`version` counts in the sender's own space, `serverVersion` in the channel's."""
    return {
        "type": "ack",
        "siteId": replica.server_site,
        "version": batch.acked,
        "serverVersion": batch.version,
        "channel": replica.wire_name,
    }


def answer_pull(connection: Connection, frame: Message) -> None:
    """Send all that the replica is owed, page by page, and what comes later too."""
    replica: Replica = connection.state
    _, peer = meet_peer(connection, frame)
    if frame.version == 0:
        dummy = crdt_wire.dummy_change(replica.server_site, secrets.token_hex(8))
        connection.reply(to_frame(update_message(replica, 0, [dummy])))
    replica.cursor = peer.sent
    replica.pulled = replica.answer_due = replica.due = True
    replica.pulled_version = frame.version
    connection.hub.flusher.poke(connection)


def note_held(connection: Connection, frame: Message) -> None:
    """The client holds everything of ours up to `version`: its next pull starts there.

    Not believed before a pull, or when something was sent before it: there are holes below.
    """
    replica: Replica = connection.state
    _, peer = meet_peer(connection, frame)
    replica.acked = frame.version
    if replica.pulled and not replica.served_early:
        peer.sent = max(peer.sent, replica.holds(frame.version))


def meet_peer(connection: Connection, frame: Message) -> tuple[HeldChannel, Peer]:
    """The channel, held, and the peer a message comes from; raises 400, 403 and 404.

    The first update or pull tells whether the replica lost its data (merge rule 7).
    """
    replica: Replica = connection.state
    if frame.channel not in (None, replica.wire_name):
        raise bad_request("This socket belongs to another channel", code="wrong_channel")
    if replica.site_id not in ("", frame.siteId):
        raise bad_request("This is not the site id of this socket", code="wrong_site")
    is_first = frame.type != "ack" and not replica.checked
    if is_first:
        connection.after_commit(partial(setattr, replica, "checked", True))
    count = frame.version if is_first else None
    held = hold(replica.channel)
    peer = channels.meet(held, frame.siteId, count, connection.user, replica.kind)
    replica.site_id = frame.siteId
    return held, peer


def update_message(replica: Replica, version: int, changes: list[Any]) -> dict[str, Any]:
    """An `update` of ours."""
    return {
        "type": "update",
        "siteId": replica.server_site,
        "version": version,
        "changes": changes,
        "channel": replica.wire_name,
    }


HANDLERS: Handlers = {
    "update": (Update, merge_slice),
    "pull": (Message, answer_pull),
    "ack": (Message, note_held),
}


def channel_name() -> str:
    """The channel in the address of the handshake."""
    return request.args.get("channel") or "default"


class CrdtDialect(Dialect):
    """Sync clients of both kinds that the guide names."""

    handlers = HANDLERS
    frame_limit = "MAX_SYNC_FRAME_BYTES"

    def allows_anonymous(self) -> bool:
        """Only when ANONYMOUS_SYNC says so."""
        return bool(current_app.config["ANONYMOUS_SYNC"])

    def prepare(self, connection: Connection) -> None:
        """The channel is in the address; a missing one is `default`."""
        connection.state = Replica(channel_name(), channels.parse_kind(request.args))

    def admit(self, user: User | None) -> None:
        """Refuse the handshake for a channel this user may not enter; raises 400 and 403."""
        channels.parse_kind(request.args)
        channels.enter(channel_name(), user)
        db.session.commit()

    def open(self, connection: Connection) -> None:
        """Tell the replica whom it reached and how far the channel is."""
        replica: Replica = connection.state
        name = CrdtChannel.key_of(replica.wire_name, connection.user)
        # Before it is asked who may enter: who is removed from here on is told so.
        connection.hub.subscribe(connection, CrdtChannel.topic_of(name))
        channel = channels.enter(replica.wire_name, connection.user)
        replica.channel, replica.server_site = channel.name, channel.crdt_site_id
        if channel.kind == "cl":  # "log" is no more than what peers are without a word
            replica.kind = replica.kind or channel.kind
        replica.told_version = channel.crdt_db_version
        connected = {
            "type": "connected",
            "siteId": channel.crdt_site_id,
            "version": channel.crdt_db_version,
            "channel": replica.wire_name,
        }
        connection.reply(to_frame(connected))

    def lock_order(self, connection: Connection) -> str:
        """By channel: a merge locks that."""
        return f"sync {connection.state.channel}"

    def jobs(self, connection: Connection, handler: Handler, frame: Any) -> Iterator[Job]:
        """A long update is merged slice by slice, so that others have their turn between."""
        if not isinstance(frame, Update):
            yield from super().jobs(connection, handler, frame)
            return
        changes, refused = crdt_wire.parse_changes(frame.changes)
        slices = list(crdt.slices(changes)) or [[]]
        batch = Batch(dict(refused))
        for index, part in enumerate(slices):
            last = index == len(slices) - 1
            yield Job(connection, handler, (frame, part, batch, last), weight=1 + len(part) // 2)

    def report(
        self, connection: Connection, error: Exception, frame: Any = None, *more: Any
    ) -> None:
        """After an update or a pull that was lost the client must reconnect and send all again.

        A later acknowledgement would tell it that this update was merged too; and who takes its
        pull for answered by what comes live never gets what was written before.
        """
        super().report(connection, error, frame, *more)
        known = known_error(error)
        is_lost = known is None or known.status == 409 or known.status >= 500
        if is_lost and isinstance(frame, Message) and frame.type != "ack":
            connection.state.failed = True
            connection.close(TRY_AGAIN_LATER, "send again")

    def deliver(self, connections: Sequence[Connection], events: Sequence[Event]) -> None:
        """Something was merged: send each replica what it is owed; the rest is not for replicas.

        Who may not hear the channel any longer is shown out first.
        """
        for event in events:
            if event.type in CLOSING:
                for connection in list(connections):
                    self.show_out(connection, event)
        merged = [event.data["version"] for event in events if event.type == MERGED]
        version = max(merged, default=0)
        behind = [one for one in connections if version > (one.state.cursor or 0)]
        for connection in behind:  # all, before one may fail: `tick` tries again what is due
            connection.state.due = True
        pages: Pages = {}
        for connection in behind:
            self.pump(connection, pages)

    def missed_frames(self, connection: Connection, events: Sequence[Event]) -> bytes:
        """What a replica missed is in the channel: an event is only a poke."""
        self.deliver([connection], events)
        return b""

    def show_out(self, connection: Connection, event: Event) -> None:
        """Close the socket of who was removed or got another role, or of all when all is gone."""
        user_id = connection.user.id if connection.user else None
        if event.type == channels.CLOSED or event.data["userId"] == user_id:
            connection.hub.unsubscribe(connection, event.topic)
            connection.close(*CLOSING[event.type])

    def drained(self, connection: Connection) -> None:
        """The client has read everything: the next page may go."""
        super().drained(connection)
        if connection.state.due:
            connection.hub.flusher.poke(connection)

    def tick(self, connection: Connection, now: float) -> None:
        """Serve a client live that never pulled, and try again what failed."""
        super().tick(connection, now)
        replica: Replica = connection.state
        waiting = replica.cursor is None and replica.channel and now > replica.live_at
        if waiting or (replica.due and replica.cursor is not None and not connection.queued):
            connection.hub.flusher.poke(connection)

    def pump(self, connection: Connection, pages: Pages | None = None) -> None:
        """Send the pages above the cursor, as many as the client takes and a turn allows.

        `pages` are shared between the replicas of a channel that are equally far.
        """
        replica: Replica = connection.state
        if replica.cursor is None and not self.go_live(replica):
            return
        pages = {} if pages is None else pages
        told = None if replica.pulled else replica.told_version
        for _ in range(PAGES_PER_TURN):
            if connection.queued >= CROWDED_BYTES:
                return  # `drained` goes on
            place = (replica.cursor, told)
            if place not in pages:
                pages[place] = read_texts(replica, told)
            self.send_page(connection, replica, pages[place])
            if pages[place].is_last:
                replica.due, replica.pulled_version = False, None
                return
        connection.hub.flusher.poke(connection)

    def go_live(self, replica: Replica) -> bool:
        """Whether a client that has not pulled has had its time to; then it is served live."""
        if time.monotonic() < replica.live_at:
            return False
        replica.cursor = replica.told_version
        replica.served_early = True
        return True

    def send_page(self, connection: Connection, replica: Replica, page: Batched) -> None:
        """Send what this replica lacks of a page; the cursor moves with each frame."""
        for version, texts in frames_of(replica, page.changes):
            if texts or (replica.answer_due and page.is_last):
                head = to_json(update_message(replica, version, []))
                changes = f'"changes":[{",".join(texts)}]'
                connection.send(text_frame(head.replace('"changes":[]', changes, 1)))
                replica.answer_due, replica.sent_version = False, version
            replica.cursor = version


def read_texts(replica: Replica, told: int | None) -> Batched:
    """The next page of the channel for replicas as far as this one."""
    cells, is_last = crdt_store.read_page(replica.channel, replica.cursor or 0, told)
    texts = (crdt_wire.outgoing_json(cell, replica.server_site) for cell in cells)
    return Batched(list(zip(cells, texts, strict=True)), is_last)


def frames_of(replica: Replica, changes: list[tuple[Cell, str]]) -> Iterator[tuple[int, list[str]]]:
    """The owed changes of a page as JSON texts, cut below 1 MB, each with its last version."""
    texts: list[str] = []
    size, version = 0, replica.cursor or 0
    for cell, text in changes:
        if crdt.is_owed(cell, replica.site_id, replica.pulled_version):
            if texts and size + len(text) > crdt_store.PAGE_BYTES:
                yield version, texts
                texts, size = [], 0
            texts.append(text)
            size += len(text) + 1
        version = cell.version
    yield version, texts


dialect = CrdtDialect()
