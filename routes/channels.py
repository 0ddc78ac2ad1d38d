"""Sync channels over HTTP: make, share, look into and delete them (docs/sync.md#channels).

Replicas meet in a channel. `default` is each user's own; others belong to who made them, who says
who reads and writes there.
"""

from typing import Annotated, Any, Literal

from flask import Blueprint, Response, g
from pydantic import Field, StringConstraints
from sqlalchemy import select

import channels
import shapes
from auth import signed_in
from errors import WharfError
from held import hold
from json_data import check_schema
from models import CrdtChannel, CrdtMember, CrdtPeer, DeletedChannel, User, db, rows_of
from openapi import answers
from routes.lists import answer_list
from routes.rest import answer, deleted, idempotent, parse_body, require_match, saved
from validation import Input, Plain

bp = Blueprint("channels", __name__, url_prefix="/api/channels")

Table = Annotated[str, StringConstraints(min_length=1, max_length=1024), Plain]


class ChannelSettings(Input):
    """Any of `{kind, tables, schemas}`; what is missing stays as it is, null asks for nothing."""

    kind: Literal["log", "cl"] = "log"
    tables: Annotated[list[Table], Field(max_length=100)] | None = None
    schemas: Annotated[dict[Table, dict[str, Any]], Field(max_length=100)] | None = None


class NewChannel(ChannelSettings):
    """`{name, kind?, tables?, schemas?}`."""

    name: str


@bp.get("")
@answers(shapes.Channel, lists=CrdtChannel)
@signed_in
def list_channels() -> Response:
    """The caller's own, and those they are a member of, by name."""
    seats = select(CrdtMember).where(CrdtMember.user_id == g.user.id)
    roles = {seat.channel: seat.role for seat in rows_of(seats)}

    def show(channel: CrdtChannel) -> dict[str, Any]:
        return channel.to_dict(roles.get(channel.name, "owner"))

    return answer_list(CrdtChannel.visible_to(g.user), CrdtChannel, show=show)


@bp.post("")
@answers(shapes.Channel, 201, 409, body=NewChannel)
@signed_in
@idempotent
def create_channel() -> Response:
    """Make a channel of the caller's: 201, or 409 for a name that is taken."""
    form = parse_body(NewChannel)
    key = CrdtChannel.key_of(form.name, g.user)
    if db.session.get(CrdtChannel, key):
        raise WharfError(409, "There is a channel of this name")
    DeletedChannel.let_go(key, g.user.id)
    channel = channels.enter(form.name, g.user)
    apply(channel, form)
    return saved(channel.to_dict("owner"), 201)


@bp.get("/<channel_id>")
@answers(shapes.Channel, 400, 403)
@signed_in
def show_channel(channel_id: str) -> Response:
    """One channel that the caller may read."""
    channel = CrdtChannel.load(channel_id, g.user)
    return answer(channel.to_dict(channel.role_of(g.user)))


@bp.put("/<channel_id>")
@bp.patch("/<channel_id>")
@answers(shapes.Channel, 400, 403, 412, body=ChannelSettings)
@signed_in
def change_channel(channel_id: str) -> Response:
    """Say what may be written to it, by its owner; what is there stays as it is."""
    channel = hold_owned(channel_id, g.user)
    require_match(channel.to_dict("owner"))
    apply(channel, parse_body(ChannelSettings))
    return saved(channel.to_dict("owner"))


@bp.delete("/<channel_id>")
@answers(shapes.Deleted, 200, 204, 400, 403, 409, 412)
@signed_in
def delete_channel(channel_id: str) -> Response:
    """Delete it with all that is in it, by its owner; its sockets are closed, and for a month
    nobody else makes a channel of its name.

    Raises 409 for the caller's own: their todos are in it.
    """
    channel = hold_owned(channel_id, g.user)
    require_match(channel.to_dict("owner"))
    if channel.name == CrdtChannel.own_name(g.user.id):
        raise WharfError(409, "Your own channel goes with your account", "own_channel")
    channels.delete(channel)
    return deleted(channel.name)


@bp.get("/<channel_id>/peers")
@answers(shapes.ReplicaPeer, 400, 403, lists=CrdtPeer)
@signed_in
def list_peers(channel_id: str) -> Response:
    """The replicas that were here, who came last first, and how far behind they are known to be.

    One that never acknowledges what it was sent holds 0 as far as anybody knows.
    """
    channel = CrdtChannel.load(channel_id, g.user)
    version = channel.crdt_db_version
    statement = select(CrdtPeer).where(CrdtPeer.channel == channel.name)
    return answer_list(statement, CrdtPeer, show=lambda peer: peer.to_dict(version))


def hold_owned(channel_id: str, user: User) -> CrdtChannel:
    """A channel of the caller's, held until the commit; raises 400, 403 and 404."""
    channel = CrdtChannel.load(channel_id, user)
    hold(channel.name)
    db.session.refresh(channel)
    channel.require_owner(user)
    return channel


def apply(channel: CrdtChannel, form: ChannelSettings) -> None:
    """Take what was given; raises 400 for what is no JSON Schema."""
    given = form.model_dump(include=form.model_fields_set - {"name"})
    for schema in (given.get("schemas") or {}).values():
        check_schema(schema)
    for name, value in given.items():
        setattr(channel, name, value)
    db.session.flush()
