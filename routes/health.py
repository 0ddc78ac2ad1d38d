"""Whether this process can do its work."""

from flask import Blueprint, Response, jsonify
from sqlalchemy import select

from models import db, iso, now

bp = Blueprint("health", __name__)


@bp.get("/health")
@bp.get("/api/health")
def show_health() -> Response:
    """200 when the database answers; 503, by the error handler, when it does not."""
    db.session.execute(select(1))
    return jsonify(status="ok", timestamp=iso(now()), databaseConnected=True)
