"""Whether this process can do its work, and numbers of how it does."""

import contextlib
import hmac
import logging
import threading
import time
from collections.abc import Callable
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from flask import Blueprint, Flask, Response, current_app, jsonify, request
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

import metrics
import shapes
from auth import bearer_token
from config import VERSION
from errors import WharfError, error_body, not_found
from events import get_bus
from models import db, iso, now
from openapi import answers
from origins import LOOPBACK, is_trusted_origin
from storage import get_storage

log = logging.getLogger(__name__)
bp = Blueprint("health", __name__)

STARTED = time.monotonic()
DATABASE_SECONDS = 2.0  # how long the database may take to answer
FORWARDED = ("X-Forwarded-For", "X-Forwarded-Host", "X-Real-Ip", "Forwarded", "Via")
probing = threading.Lock()  # one look at a database that hangs is enough


@bp.get("/health")
@bp.get("/api/health")
@answers(shapes.Health, others={503: shapes.Down})
def show_health() -> Response | tuple[Response, int, dict[str, str]]:
    """200, `status` "ok" or "degraded"; 503 and "down" when the database does not answer.

    `{status, timestamp, version, uptime, environment, websocket, databaseConnected, bus, storage}`
    and other names for databaseConnected; with 503 also the keys of an error.
    """
    connected, bus = database_answers(), get_bus().is_connected
    storage = can_store() if "files" in current_app.blueprints else None
    facts: dict[str, Any] = {
        "status": "ok" if bus and storage is not False else "degraded",
        "timestamp": iso(now()),
        "version": VERSION,
        "uptime": round(time.monotonic() - STARTED, 3),
        "environment": "development" if current_app.debug else "production",
        "websocket": "realtime" in current_app.extensions,
        "databaseConnected": connected,
        "supabaseConnected": connected,
        "mysqlConnected": connected,
        "bus": bus,
        "storage": storage,
    }
    if connected:
        return jsonify(facts)
    error = error_body(503, "The database does not answer, try again")
    return jsonify({**error, **facts, "status": "down"}), 503, {"Retry-After": "1"}


@bp.get("/metrics")
@answers(None, 401, 404, media=("text/plain",))
def show_metrics() -> Response:
    """The numbers in Prometheus' form; 401 without METRICS_TOKEN where one is set.

    Where none is set it is 404 for all but callers on this machine.
    """
    token = current_app.config["METRICS_TOKEN"]
    if token and not hmac.compare_digest(bearer_token().encode(), token.encode()):
        raise WharfError(401, "Send METRICS_TOKEN", headers={"WWW-Authenticate": "Bearer"})
    if not token and not is_local():
        raise not_found("page")
    return metrics.answer()


def is_local() -> bool:
    """Whether the caller is on this machine: no proxy stands before it, nor a page of elsewhere."""
    if any(name in request.headers for name in FORWARDED) or not is_trusted_origin():
        return False
    try:
        local = ip_address(request.remote_addr or "").is_loopback
    except ValueError:  # a Unix socket, so a proxy
        return False
    return local and urlsplit(request.host_url).hostname in LOOPBACK


def database_answers() -> bool:
    """Whether the database answers in time: asked by a thread, since drivers may wait for long.

    While an answer is outstanding nobody else asks, so that threads do not pile up.
    """
    deadline = time.monotonic() + DATABASE_SECONDS
    if not probing.acquire(timeout=DATABASE_SECONDS):
        return False
    answered: list[bool] = []
    app: Flask = current_app._get_current_object()  # type: ignore[attr-defined]
    thread = threading.Thread(target=probe, args=(app, answered.append), daemon=True)
    try:
        thread.start()
    except RuntimeError:  # no more threads: says nothing about the database
        probing.release()
        return True
    thread.join(max(0.0, deadline - time.monotonic()))
    return answered == [True]


def probe(app: Flask, tell: Callable[[bool], None]) -> None:
    """Ask the database a question."""
    try:
        with app.app_context():
            db.session.execute(select(1))
        tell(True)
    except SQLAlchemyError as error:
        log.warning("the database does not answer: %s", type(error).__name__)
    finally:
        probing.release()


def can_store() -> bool:
    """Whether the storage of uploads takes something."""
    with contextlib.suppress(OSError, WharfError):
        get_storage().check()
        return True
    return False
