"""One error shape, and the one place where exceptions meet HTTP and sockets.

Every failure is a `WharfError` with a status and a stable code word; `error_body` is the only
builder of what clients read: `{error, message, detail, code, status, errors?}`. The three texts
say the same, because different frontends read different keys (docs/frontends/).
"""

import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from flask import Flask, Response, jsonify, request
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm.exc import StaleDataError
from werkzeug.exceptions import HTTPException, MethodNotAllowed, NotFound
from werkzeug.routing.exceptions import WebsocketMismatch

log = logging.getLogger(__name__)

Fields = Mapping[str, list[str]]

CODES = {
    400: "bad_request",
    401: "unauthorized",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    409: "conflict",
    410: "gone",
    412: "precondition_failed",
    413: "too_large",
    415: "unsupported_type",
    426: "upgrade_required",
    429: "too_many_requests",
    500: "internal_error",
    503: "unavailable",
    507: "insufficient_storage",
}


class WharfError(Exception):
    """A failure the client may know of: HTTP status, text, stable code, texts by field, headers."""

    def __init__(
        self,
        status: int,
        message: str,
        code: str = "",
        fields: Fields | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code or code_of(status)
        self.fields = fields
        self.headers = headers or {}

    def body(self) -> dict[str, Any]:
        """What the client reads of this failure."""
        return error_body(self.status, self.message, self.code, self.fields)


def code_of(status: int) -> str:
    """The stable code word of a status that has no better one."""
    return CODES.get(status, "bad_request" if status < 500 else "internal_error")


def error_body(
    status: int, message: str, code: str = "", fields: Fields | None = None
) -> dict[str, Any]:
    """Build the one error shape; `fields` (texts by field name) only for failed validation."""
    body: dict[str, Any] = {
        "error": message,
        "message": message,
        "detail": message,
        "code": code or code_of(status),
        "status": status,
    }
    if fields:
        body["errors"] = dict(fields)
    return body


def bad_request(message: str, fields: Fields | None = None, code: str = "") -> WharfError:
    """400: the input is wrong; `fields` says where."""
    return WharfError(400, message, code or ("invalid_input" if fields else ""), fields)


def unauthorized(message: str) -> WharfError:
    """401: nobody is signed in, or the token is no good."""
    return WharfError(401, message)


def forbidden(message: str = "Forbidden") -> WharfError:
    """403: known, but not allowed."""
    return WharfError(403, message)


def not_found(noun: str) -> WharfError:
    """404: there is no such `noun`, or the caller may not see it."""
    return WharfError(404, f"{noun.capitalize()} not found", f"{noun.replace(' ', '_')}_not_found")


def known_error(error: Exception) -> WharfError | None:
    """Translate an exception into our words, or None when it is a bug of ours."""
    if isinstance(error, WharfError):
        return error
    if isinstance(error, HTTPException):
        status = error.code or 500
        return WharfError(status, error.description or HTTPStatus(status).phrase)
    if isinstance(error, IntegrityError | StaleDataError):
        return WharfError(409, "This conflicts with what is already stored")
    if isinstance(error, ConnectionError):
        return WharfError(400, "The client went away")
    if is_unavailable(error):
        return WharfError(503, "The database is not available, try again")
    return None


def is_unavailable(error: Exception | None) -> bool:
    """Whether the database is busy, locked, restarting or away."""
    return isinstance(error, OperationalError | PoolTimeout) or is_cut_off(error)


def is_cut_off(error: Exception | None) -> bool:
    """Whether the connection to the database ended in the middle of something."""
    return isinstance(error, DBAPIError) and error.connection_invalidated


def misdirected(error: Exception) -> WharfError | None:
    """What to tell a socket that knocks where none are served, or a request where only they are."""
    unrouted = isinstance(error, NotFound | MethodNotAllowed | WebsocketMismatch)
    if unrouted and request.headers.get("Upgrade", "").lower() == "websocket":
        return WharfError(404, "No socket is served at this address of this process")
    if isinstance(error, WebsocketMismatch):
        return WharfError(426, "Only sockets are served here: upgrade to websocket")
    return None


def handle_exception(error: Exception) -> Response | tuple[Response, int]:
    """Answer any exception of a route with the one shape; unknown ones are logged, never shown."""
    if isinstance(error, HTTPException) and error.code is not None and error.code < 400:
        return error.get_response()  # type: ignore[return-value]
    known = misdirected(error) or known_error(error)
    if known is None or (
        known.status >= 500 and known is not error
    ):  # not what we raise on purpose
        log.error("request failed", exc_info=error)
    known = known or WharfError(500, "Internal server error")
    response = jsonify(known.body())
    response.headers.update(known.headers)
    if isinstance(error, HTTPException):
        for name, value in error.get_headers():
            if name in ("Allow", "Retry-After", "WWW-Authenticate"):
                response.headers[name] = value
    if known.status == 426:
        response.headers["Upgrade"] = "websocket"
    if known.status == 503 and known is not error:
        response.headers["Retry-After"] = "1"
    return response, known.status


def init_app(app: Flask) -> None:
    """Let every exception of `app` be answered in the one shape."""
    app.register_error_handler(Exception, handle_exception)
