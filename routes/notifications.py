"""Notifications, and the browsers they are pushed to (docs/notifications.md)."""

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Annotated

from flask import Blueprint, Response, g, request
from pydantic import AfterValidator

import push
import shapes
from auth import signed_in
from errors import WharfError, bad_request
from models import Notification, PushSubscription, db
from notifications import tell_ids
from openapi import answers
from routes.filters import NO_VALUE, last, parse_moment
from routes.lists import answer_list
from routes.rest import answer, deleted, parse_body, saved
from validation import Input, RequiredText

bp = Blueprint("notifications", __name__, url_prefix="/api")
FLAGS = {"true": True, "1": True, "false": False, "0": False}


class NotificationChanges(Input):
    """`{read}`."""

    read: bool | None = None


class Keys(Input):
    """`{p256dh, auth}`, both in base64url."""

    p256dh: Annotated[str, AfterValidator(push.check_point)]
    auth: Annotated[str, AfterValidator(push.check_auth)]


class Endpoint(Input):
    """`{endpoint}`."""

    endpoint: RequiredText


class Subscription(Input):
    """A browser's PushSubscription, as `toJSON` gives it."""

    endpoint: Annotated[str, AfterValidator(push.check_endpoint)]
    keys: Keys


# Notifications


@bp.get("/notifications")
@answers(shapes.Notification, lists=Notification, query={"unread": bool, "since": str})
@signed_in
def list_notifications() -> Response:
    """What the caller was told, newest first; `unread=true` and `since=` choose."""
    statement = Notification.owned_by(g.user)
    unread = request.args.get("unread", "").lower()
    if unread not in NO_VALUE:
        if unread not in FLAGS:
            raise bad_request("unread must be true or false", {"unread": ["must be true or false"]})
        untouched = Notification.read_at.is_(None)
        statement = statement.where(untouched if FLAGS[unread] else ~untouched)
    since = request.args.get("since", "")
    if since not in NO_VALUE:
        statement = statement.where(Notification.created_at >= next_moment(since))
    response = answer_list(statement, Notification)
    response.headers["X-Unread-Count"] = str(unread_count())
    return response


@bp.get("/notifications/unread-count")
@answers(shapes.Unread)
@signed_in
def count_unread() -> Response:
    """How many the caller has not read."""
    return answer({"unread": unread_count()})


@bp.get("/notifications/<notification_id>")
@answers(shapes.Notification)
@signed_in
def show_notification(notification_id: str) -> Response:
    """One notification."""
    return answer(Notification.load(notification_id, g.user).to_dict())


@bp.put("/notifications/<notification_id>")
@bp.patch("/notifications/<notification_id>")
@answers(shapes.Notification, body=NotificationChanges)
@signed_in
def update_notification(notification_id: str) -> Response:
    """Mark it as `read` says."""
    return mark(notification_id, parse_body(NotificationChanges).read)


@bp.post("/notifications/<notification_id>/read")
@answers(shapes.Notification)
@signed_in
def mark_read(notification_id: str) -> Response:
    """Mark it as read."""
    return mark(notification_id, True)


@bp.post("/notifications/<notification_id>/unread")
@answers(shapes.Notification)
@signed_in
def mark_unread(notification_id: str) -> Response:
    """Mark it as not read."""
    return mark(notification_id, False)


@bp.post("/notifications/read-all")
@answers(shapes.Touched)
@signed_in
def mark_all_read() -> Response:
    """Mark everything as read."""
    ids = Notification.mark(g.user, True)
    tell_ids(g.user, "notification-read", ids)
    return saved({"ok": True, "ids": ids, "unread": unread_count()})


@bp.delete("/notifications/<notification_id>")
@answers(shapes.Deleted, 200, 204)
@signed_in
def delete_notification(notification_id: str) -> Response:
    """Delete one; 404 when it is not there or not the caller's."""
    notification = Notification.load(notification_id, g.user)
    db.session.delete(notification)
    tell_ids(g.user, "notification-deleted", [notification.id])
    return deleted(notification.id)


@bp.delete("/notifications/read")
@answers(shapes.Touched)
@signed_in
def delete_read() -> Response:
    """Delete all that the caller has read."""
    ids = Notification.delete_read(g.user)
    tell_ids(g.user, "notification-deleted", ids)
    return saved({"ok": True, "ids": ids, "unread": unread_count()})


def mark(notification_id: str, read: bool | None) -> Response:
    """Mark a notification of the caller, tell the other devices, answer it."""
    notification = Notification.load(notification_id, g.user)
    if read is not None:
        ids = Notification.mark(g.user, read, Notification.id == notification.id)
        tell_ids(g.user, "notification-read" if read else "notification-unread", ids)
        db.session.refresh(notification)
    return saved(notification.to_dict())


def unread_count() -> int:
    """How many the caller has not read."""
    return Notification.count_unread([g.user.id])[g.user.id]


def next_moment(text: str) -> datetime:
    """The millisecond after `since`: epoch milliseconds, or ISO-8601 (UTC without a zone).

    Answers show milliseconds: the newest one heard of shall not come again. Raises 400.
    """
    with suppress(ValueError, OverflowError, OSError):
        if text.isascii() and text.isdecimal():
            text = datetime.fromtimestamp(int(text) / 1000, UTC).isoformat()
        if moment := parse_moment(text):
            return last(moment) + timedelta(microseconds=1)
    message = "since must be milliseconds since 1970, or a time in ISO-8601"
    raise bad_request(message, {"since": [message]})


# Push


def require_push() -> None:
    """Raise 503 where the server does not push."""
    if not push.is_set_up():
        raise WharfError(503, "Push is not set up on this server", "push_off")


@bp.get("/push/key")
@answers(shapes.PushKey)
def show_key() -> Response:
    """The public key that a browser subscribes with; 503 when the server does not push."""
    require_push()
    return answer({"publicKey": push.public_key()})


@bp.post("/push/subscriptions")
@answers(shapes.PushSubscription, 201, body=Subscription)
@signed_in
def subscribe() -> Response:
    """Push to this browser from now on: 201; a known one is brought up to date."""
    require_push()
    form = parse_body(Subscription)
    row = PushSubscription.keep(g.user, form.endpoint, form.keys.p256dh, form.keys.auth)
    return saved(row.to_dict(), 201)


@bp.delete("/push/subscriptions")
@answers(shapes.Deleted, 200, 204, body=Endpoint)
@signed_in
def unsubscribe() -> Response:
    """Push to the browser of this `endpoint` no more; one that is not there is gone already."""
    endpoint = parse_body(Endpoint).endpoint
    PushSubscription.forget(g.user, endpoint)
    return deleted(endpoint)
