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
from held import try_hold
from models import CrdtChannel, CrdtInvite, CrdtMember, User, db, now, parse_id
from openapi import answers
from routes.channels import hold_owned
from routes.lists import answer_list
from routes.rest import deleted, parse_body, saved
from validation import Input

bp = Blueprint("channel_members", __name__, url_prefix="/api/channels/<channel_id>")
joins = Blueprint("channel_joins", __name__, url_prefix="/api/channel-invites")
MONTH = 30 * 86400


class SeatForm(Input):
    """`{role}`: a reader only receives, a writer writes too."""

    role: Literal["reader", "writer"]


class InviteForm(SeatForm):
    """`{role, expiresIn?}`, in seconds; a week when missing."""

    expiresIn: Annotated[int, Field(ge=60, le=MONTH)] = 7 * 86400


class InviteToken(Input):
    """`{token}`."""

    token: str


@bp.get("/members")
@answers(shapes.ChannelMember, 400, 403, lists=CrdtMember)
@signed_in
def list_members(channel_id: str) -> Response:
    """Who is in it beside its owner, who came last first."""
    channel = CrdtChannel.load(channel_id, g.user)
    return answer_list(select(CrdtMember).where(CrdtMember.channel == channel.name), CrdtMember)


@bp.put("/members/<user_id>")
@bp.patch("/members/<user_id>")
@answers(shapes.ChannelMember, 400, 403, 409, body=SeatForm)
@signed_in
def seat_member(channel_id: str, user_id: str) -> Response:
    """Let somebody in, or say what they may do there; by the owner."""
    channel = hold_shared(channel_id, g.user)
    form, user = parse_body(SeatForm), User.load(user_id)
    if user.id == channel.owner_id:
        raise bad_request("The owner may do everything already")
    return saved(channels.seat(channel, user.id, form.role).to_dict())


@bp.delete("/members/<user_id>")
@answers(shapes.Deleted, 200, 204, 400, 403)
@signed_in
def remove_member(channel_id: str, user_id: str) -> Response:
    """Let a member in no longer, by the owner; or leave oneself. Their sockets are closed."""
    channel = CrdtChannel.load(channel_id, g.user)
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
def list_invites(channel_id: str) -> Response:
    """The links that are out, newest first, without their tokens; for the owner."""
    channel = CrdtChannel.load(channel_id, g.user)
    channel.require_owner(g.user)
    out = (CrdtInvite.channel == channel.name) & (CrdtInvite.expires_at > now())
    return answer_list(select(CrdtInvite).where(out), CrdtInvite)


@bp.post("/invites")
@answers(shapes.NewInvite, 201, 400, 403, 409, body=InviteForm)
@signed_in
def create_invite(channel_id: str) -> Response:
    """A token that makes who brings it a member, as often as it is brought; by the owner.

    It is told once.
    """
    channel = hold_shared(channel_id, g.user)
    form = parse_body(InviteForm)
    invite, token = CrdtInvite.issue(channel, form.role, timedelta(seconds=form.expiresIn))
    return saved({**invite.to_dict(), "token": token}, 201)


@bp.delete("/invites/<invite_id>")
@answers(shapes.Deleted, 200, 204, 400, 403)
@signed_in
def revoke_invite(channel_id: str, invite_id: str) -> Response:
    """Let a token work no longer; who came by it stays. By the owner."""
    channel = hold_owned(channel_id, g.user)
    invite = db.session.get(CrdtInvite, parse_id(invite_id) or 0)
    if invite is None or invite.channel != channel.name:
        raise not_found("invite")
    db.session.delete(invite)
    return deleted(invite.id)


@joins.post("")
@answers(shapes.Channel, 404, 409, body=InviteToken)
@signed_in
def join() -> Response:
    """Become a member by a token; whoever is one already keeps what they may do, or gets more."""
    token = parse_body(InviteToken).token
    if found := CrdtInvite.find(token):
        try_hold(found.channel)  # as who ends it does; it may have ended meanwhile
    invite = CrdtInvite.find(token)
    if invite is None:
        raise not_found("invite")
    channel = db.session.get_one(CrdtChannel, invite.channel)
    role = channel.role_of(g.user)
    if role is None or (role, invite.role) == ("reader", "writer"):
        role = channels.seat(channel, g.user.id, invite.role).role
    return saved(channel.to_dict(role))


def hold_shared(channel_id: str, user: User) -> CrdtChannel:
    """A channel of the caller's that others may be let into, held; raises 400, 403 and 404."""
    channel = hold_owned(channel_id, user)
    if channel.name.startswith("user:"):
        raise bad_request("This channel cannot be shared: make one for that", code="private")
    return channel
