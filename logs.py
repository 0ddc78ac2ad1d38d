"""Log records as JSON lines, with what is known of the request; and an id for every request.

Neither form holds queries, headers or bodies, where tokens and passwords travel, nor the tokens of
links to files, which are in the path.
"""

import json
import logging
import random
import re
import time
from datetime import UTC, datetime
from typing import Any

from flask import Flask, Response, current_app, g, has_request_context, request

from auth import claimed_user_id

log = logging.getLogger("request")

SANE_ID = re.compile(r"[A-Za-z0-9._:/+=-]{1,100}")  # a caller's own id, if it harms no log
# In an address, which other libraries may quote whole.
SECRET = re.compile(r"((?:\w*token|ticket|password)=|(?<!\w)/links/)[^&\s\"'/]+", re.IGNORECASE)


def redact(text: str) -> str:
    """The text without the secrets of addresses in it."""
    return SECRET.sub(r"\1...", text)


class JsonFormatter(logging.Formatter):
    """`{time, level, logger, message, request_id?, user_id?, route?, connection_id?, ...}`."""

    def format(self, record: logging.LogRecord) -> str:
        facts: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": redact(record.getMessage()),
            **request_facts(),
            **getattr(record, "facts", {}),
        }
        if record.exc_info:
            facts["exception"] = redact(self.formatException(record.exc_info))
        return json.dumps(facts, default=str)  # ASCII: no character can break the line


def request_facts() -> dict[str, Any]:
    """What is known of the request that is being answered, if any."""
    if not has_request_context():
        return {}
    facts = {
        "request_id": request.environ.get("wharf.request_id"),
        "user_id": caller_id(),
        "route": request.url_rule and request.url_rule.rule,
        "connection_id": g.get("connection_id"),
    }
    return {name: value for name, value in facts.items() if value}


def caller_id() -> str:
    """The user, once known; asks no database, since it may be what the record is about."""
    if user_id := g.get("user_id"):
        return str(user_id)
    return claimed_user_id() if g.get("session") else ""


def use_json() -> None:
    """Let all that is logged be JSON, what gunicorn's workers say included."""
    for logger in (logging.getLogger(), logging.getLogger("gunicorn.error")):
        for handler in logger.handlers:
            handler.setFormatter(JsonFormatter())


def begin() -> None:
    """Before each request: its id, the caller's own if sane, and its time."""
    given = request.headers.get("X-Request-Id", "")
    sane = SANE_ID.fullmatch(given)
    request.environ["wharf.request_id"] = given if sane else f"{random.getrandbits(64):016x}"
    request.environ["wharf.started"] = time.perf_counter()


def elapsed() -> float:
    """Seconds since the request came."""
    return time.perf_counter() - float(request.environ["wharf.started"])


def status_of(response: Response) -> int:
    """What the caller was told: sockets got their answer when they began."""
    return 101 if "connection_id" in g else response.status_code


def end(response: Response) -> Response:
    """After each request: tell its id, and log it when logs are for machines."""
    response.headers["X-Request-Id"] = request.environ["wharf.request_id"]
    if current_app.config["LOG_FORMAT"] == "json":
        status, milliseconds = status_of(response), round(elapsed() * 1000, 1)
        facts = {"method": request.method, "path": redact(request.path), "status": status}
        message = f"{request.method} {request.path} {status}"
        log.info(message, extra={"facts": {**facts, "ms": milliseconds}})
    return response


def init_app(app: Flask) -> None:
    """Number and time the requests of `app`: before all that may refuse one."""
    app.before_request(begin)
    app.after_request(end)
