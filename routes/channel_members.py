"""With whom a sync channel is shared, and the links that invite to it (docs/sync.md#channels)."""

from datetime import timedelta
from typing import Annotated, Literal

from flask import Blueprint, Response, g
from pydantic import Field
from sqlalchemy import select

import channels
import shapes
from auth import signed_in
from errors import bad_request, not_found
from held import hold
from models import CrdtChannel, CrdtInvite, CrdtMember, User, db, parse_id
from openapi import answers
from routes.channels import hold_owned
from routes.lists import answer_list
from routes.rest import deleted, parse_body, saved
from validation import Input

bp = Blueprint("channel_members", __name__, url_prefix="/api/channels/<name>")
joins = Blueprint("channel_joins", __name__, url_prefix="/api/channel-invites")
HOUR, MONTH = 3600, 30 * 86400


class Seat(Input):
    """`{role}`: a reader only receives, a writer writes too."""

    role: Literal["reader", "writer"]


class NewInvite(Seat):
    """`{role, expiresIn?}`, in seconds; a week when missing."""

    expiresIn: Annotated[int, Field(ge=60, le=MONTH)] = 7 * 86400


class Token(Input):
    """`{token}`."""

    token: str


@bp.get("/members")
@answers(shapes.ChannelMember, 400, 403, lists=CrdtMember)
@signed_in
def list_members(name: str) -> Response:
    """Who is in it beside its owner, who came last first."""
    channel = CrdtChannel.load(name, g.user)
    return answer_list(select(CrdtMember).where(CrdtMember.channel == channel.name), CrdtMember)


@bp.put("/members/<user_id>")
@bp.patch("/members/<user_id>")
@answers(shapes.ChannelMember, 400, 403, 409, body=Seat)
@signed_in
def seat_member(name: str, user_id: str) -> Response:
    """Let somebody in, or say what they may do there; by the owner."""
    channel = hold_shared(name, g.user)
    form, user = parse_body(Seat), User.load(user_id)
    if user.id == channel.owner_id:
        raise bad_request("The owner may do everything already")
    return saved(CrdtMember.seat(channel, user.id, form.role).to_dict())


@bp.delete("/members/<user_id>")
@answers(shapes.Deleted, 200, 204, 400, 403)
@signed_in
def remove_member(name: str, user_id: str) -> Response:
    """Let a member in no longer, by the owner; or leave oneself. Their sockets are closed."""
    channel = CrdtChannel.load(name, g.user)
    member_id = parse_id(user_id)
    if member_id != g.user.id:
        channel.require_owner(g.user)
    member = db.session.get(CrdtMember, (channel.name, member_id or 0))
    if member is None:
        raise not_found("member")
    channels.remove_member(member)
    return deleted(member.user_id)


@bp.get("/invites")
@answers(shapes.Invite, 400, 403, lists=CrdtInvite)
@signed_in
def list_invites(name: str) -> Response:
    """The links that are out, newest first, without their tokens; for the owner."""
    channel = CrdtChannel.load(name, g.user)
    channel.require_owner(g.user)
    return answer_list(select(CrdtInvite).where(CrdtInvite.channel == channel.name), CrdtInvite)


@bp.post("/invites")
@answers(shapes.NewInvite, 201, 400, 403, 409, body=NewInvite)
@signed_in
def create_invite(name: str) -> Response:
    """A token that makes who brings it a member, as often as it is brought; by the owner.

    It is told once.
    """
    channel = hold_shared(name, g.user)
    form = parse_body(NewInvite)
    invite, token = CrdtInvite.issue(channel, form.role, timedelta(seconds=form.expiresIn))
    return saved({**invite.to_dict(), "token": token}, 201)


@bp.delete("/invites/<invite_id>")
@answers(shapes.Deleted, 200, 204, 400, 403)
@signed_in
def revoke_invite(name: str, invite_id: str) -> Response:
    """Let a token work no longer; who came by it stays. By the owner."""
    channel = CrdtChannel.load(name, g.user)
    channel.require_owner(g.user)
    invite = db.session.get(CrdtInvite, parse_id(invite_id) or 0)
    if invite is None or invite.channel != channel.name:
        raise not_found("invite")
    db.session.delete(invite)
    return deleted(invite.id)


@joins.post("")
@answers(shapes.Channel, 404, 409, body=Token)
@signed_in
def join() -> Response:
    """Become a member by a token; whoever is one already keeps what they may do, or gets more."""
    invite = CrdtInvite.find(parse_body(Token).token)
    if invite is None:
        raise not_found("invite")
    channel = db.session.get_one(CrdtChannel, invite.channel)
    hold(channel.name)
    role = channel.role_of(g.user)
    if role is None or (role, invite.role) == ("reader", "writer"):
        role = CrdtMember.seat(channel, g.user.id, invite.role).role
    return saved(channel.to_dict(role))


def hold_shared(name: str, user: User) -> CrdtChannel:
    """A channel of the caller's that others may be let into, held; raises 400, 403 and 404."""
    channel = hold_owned(name, user)
    if channel.name.startswith("user:"):
        raise bad_request("This channel cannot be shared: make one for that", code="private")
    return channel
