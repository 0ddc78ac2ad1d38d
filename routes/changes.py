"""What is in a sync channel, over HTTP: for clients without sockets, and to take it elsewhere.

Changes are those of the socket, merged by the same rules (docs/sync.md#over-http).
"""

from collections.abc import Iterator
from typing import Annotated, Any

from flask import Blueprint, Response, current_app, g, request, stream_with_context
from pydantic import Field

import channels
import crdt
import crdt_store
import crdt_wire
import shapes
from auth import signed_in
from errors import bad_request
from held import hold
from models import CrdtChannel, db
from openapi import answers
from routes.channels import hold_owned
from routes.lists import answer_list, whole
from routes.rest import answer, parse_body
from validation import Input

bp = Blueprint("changes", __name__, url_prefix="/api/channels/<channel_id>")


class Push(Input):
    """`{siteId, version, changes}`: `version` is the client's own count."""

    siteId: channels.SiteId
    version: channels.Count
    changes: Annotated[list[Any], Field(max_length=crdt.MAX_CHANGES)]


class Snapshot(Input):
    """`{changes}`, as it was downloaded."""

    changes: Annotated[list[Any], Field(max_length=crdt.MAX_CHANGES)]


@bp.get("/changes")
@answers(shapes.Changes, 400, 403, query={"since": int, "siteId": str})
@signed_in
def list_changes(channel_id: str) -> Response:
    """The changes above version `since`, in the channel's order, a page of them.

    Go on from `version` while there is more. Those of the replica `siteId` are left out.
    """
    channel = CrdtChannel.load(channel_id, g.user)
    cells, is_last = crdt_store.read_page(channel.name, whole("since", 0, 0))
    site = request.args.get("siteId", "")
    owed = [cell for cell in cells if crdt.is_owed(cell, site)]
    last = cells[-1].version if cells else channel.crdt_db_version
    facts = {"channel": channel.name, "siteId": channel.crdt_site_id, "version": last}
    changes = [crdt_wire.outgoing(cell, channel.crdt_site_id) for cell in owed]
    return answer({**facts, "changes": changes, "hasMore": not is_last})


@bp.post("/changes")
@answers(shapes.Acknowledged, 400, 403, 409, body=Push, query={"kind": str})
@signed_in
def push_changes(channel_id: str) -> Response:
    """Merge changes, and answer once they are committed; a repeat does no harm, however late.

    So nobody is taken for a replica that lost its data: such a one comes with a new `siteId`.
    `version` is the highest db_version of the replica's own changes among them.
    """
    request.max_content_length = current_app.config["MAX_SYNC_FRAME_BYTES"]
    form, kind = parse_body(Push), channels.parse_kind(request.args)
    channel = channels.enter(channel_id, g.user)
    key, site = channel.name, channel.crdt_site_id
    changes, refused = crdt_wire.parse_changes(form.changes)
    acked = version = 0
    slices = list(crdt.slices(changes)) or [[]]
    for part in slices:
        held = hold(key)
        peer = channels.meet(held, form.siteId, None, g.user, kind)
        merged, _ = channels.merge(held, part, peer, g.user)
        version = held.channel.version
        acked, refused = max(acked, merged.acked), refused + merged.refused
        if part is slices[-1]:
            held.counts.refused += len(refused)
        db.session.commit()
        db.session.expire_all()  # between slices others may write
    told = [one._asdict() for one in sorted(refused)]
    return answer({"siteId": site, "version": acked, "serverVersion": version, "refused": told})


@bp.get("/tables/<table>")
@answers(dict[str, Any], 400, 403, lists=crdt_store.TableRows)
@signed_in
def list_rows(channel_id: str, table: str) -> Response:
    """The rows of a table as objects, each with its key as `pk`; raises 400 for no table."""
    channel = CrdtChannel.load(channel_id, g.user)
    if not crdt_wire.is_key(table):
        raise bad_request("No table can have this name", code="bad_table")
    rows = crdt_store.TableRows(channel.name, table)
    return answer_list(rows.select(), rows, show=rows.show)


@bp.get("/snapshot")
@answers(shapes.Changes, 400, 403)
@signed_in
def download_snapshot(channel_id: str) -> Response:
    """All that is in the channel, as an attachment: what a channel can be restored from."""
    channel = CrdtChannel.load(channel_id, g.user)
    pieces = stream_with_context(read_snapshot(channel.name, channel.crdt_site_id))
    headers = {"Content-Disposition": 'attachment; filename="snapshot.json"'}
    return Response(pieces, mimetype="application/json", headers=headers)


def read_snapshot(name: str, site_id: str) -> Iterator[str]:
    """A snapshot, each page by a transaction of its own: who reads slowly holds no connection."""
    for piece in crdt_store.snapshot(name, site_id):
        db.session.commit()
        yield piece


@bp.put("/snapshot")
@answers(shapes.Restored, 400, 403, body=Snapshot)
@signed_in
def restore_snapshot(channel_id: str) -> Response:
    """Make a snapshot all there is in the channel, by its owner.

    What differs is written as the server's own: replicas take it as anybody's newest writes.
    Raises 400 for a change that is none or that the channel does not take; then nothing happened.
    """
    request.max_content_length = current_app.config["MAX_SYNC_FRAME_BYTES"]
    form = parse_body(Snapshot)
    channel = hold_owned(channel_id, g.user)
    rows = channels.rows_of_changes(form.changes)
    version = channels.restore(hold(channel.name), rows)
    db.session.commit()
    return answer({"channel": channel.name, "version": version})
