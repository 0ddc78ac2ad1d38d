"""Where an account is signed in, and what happened to it (docs/accounts.md)."""

from datetime import timedelta
from typing import Any

from flask import Blueprint, Response, current_app, g

import shapes
from auth import current_session, end_sessions, signed_in
from errors import not_found
from models import Activity, Session, db, rows_of
from openapi import answers
from routes.lists import answer_list
from routes.rest import answer

bp = Blueprint("sessions", __name__, url_prefix="/api/auth")


@bp.get("/sessions")
@answers(list[shapes.Session])
@signed_in
def list_sessions() -> Response:
    """The caller's live sessions, the one used last first."""
    life: timedelta = current_app.config["JWT_REFRESH_TOKEN_EXPIRES"]
    current = current_id()
    return answer([one.to_dict(current) for one in rows_of(Session.owned_by(g.user, life))])


@bp.delete("/sessions/<session_id>")
@answers(shapes.Ended)
@signed_in
def end_session(session_id: str) -> dict[str, Any]:
    """Sign one device out, perhaps this one; 404 for a session that is not the caller's."""
    this = Session.id == session_id.replace("\0", "/")  # no id of ours, which PostgreSQL can read
    if not end_sessions(g.user, "ended by its user", this):
        raise not_found("session")
    db.session.commit()
    return {"ok": True, "ended": 1}


@bp.delete("/sessions")
@answers(shapes.Ended)
@signed_in
def end_other_sessions() -> dict[str, Any]:
    """Sign all other devices out."""
    ended = end_sessions(g.user, "ended by its user", Session.id != current_id())
    db.session.commit()
    return {"ok": True, "ended": ended}


@bp.get("/activity")
@answers(shapes.Activity, lists=Activity)
@signed_in
def list_activity() -> Response:
    """The audit trail, newest first: the caller's, or everybody's for an admin."""
    return answer_list(Activity.visible_to(g.user), Activity)


def current_id() -> str:
    """The id of the caller's session."""
    session = current_session()
    return session.id if session else ""
