"""Whose pages may call: CORS for pages elsewhere, and the check that no other site's page makes a
browser use its cookie here (OWASP CSRF cheat sheet: verify the origin, or a token bound to the
session).
"""

from urllib.parse import urlsplit

from flask import Flask, Response, current_app, request
from flask_cors import CORS
from itsdangerous import BadData, URLSafeTimedSerializer

from models import Session

LOOPBACK = {"localhost", "127.0.0.1", "::1"}
LOCAL_PAGES = r"https?://(localhost|127\.0\.0\.1|\[::1\])(:\d+)?\Z"
EXPOSED = (
    "ETag, Link, Location, Retry-After, X-Total-Count, X-Unread-Count, X-CSRFToken, "
    "X-Request-Id, X-RateLimit-Limit, X-RateLimit-Remaining, X-RateLimit-Reset, "
    "Accept-Ranges, Content-Disposition, Content-Location, Content-Range, "
    "Upload-Offset, Upload-Length, Upload-Metadata, Upload-Expires, "
    "Tus-Resumable, Tus-Version, Tus-Extension, Tus-Max-Size, Tus-Checksum-Algorithm"
)
PREFLIGHT_SECONDS = 600


def is_trusted_origin() -> bool:
    """Whether no other site's page made the browser send this.

    Requests without Origin and Sec-Fetch-Site do not come from a page.
    """
    origin = request.headers.get("Origin")
    if origin is None:
        return request.headers.get("Sec-Fetch-Site", "none") in {"none", "same-origin"}
    return is_allowed_origin(origin)


def is_allowed_origin(origin: str) -> bool:
    """Our own origin, one in CORS_ORIGINS, or another port of localhost while on localhost."""
    try:
        parts = urlsplit(origin)
    except ValueError:
        return False
    same = parts.netloc == request.host and not (request.is_secure and parts.scheme == "http")
    if same or origin in current_app.config["CORS_ORIGINS"]:
        return True
    return parts.hostname in LOOPBACK and urlsplit(request.host_url).hostname in LOOPBACK


def csrf_signer() -> URLSafeTimedSerializer:
    """Signs CSRF tokens."""
    return URLSafeTimedSerializer(current_app.config["SECRET_KEY"], salt="csrf")


def csrf_token(session: Session | None) -> str:
    """A token that lets a page of any origin use the cookie of this session, and no other."""
    return csrf_signer().dumps(session.id if session else "")


def has_csrf_token(session: Session) -> bool:
    """Whether the request carries a CSRF token of this session, made within a day."""
    header = request.headers.get("X-CSRFToken") or request.headers.get("X-CSRF-Token") or ""
    try:
        return bool(csrf_signer().loads(header, max_age=86_400) == session.id)
    except BadData:
        return False


def allow_credentials(response: Response) -> None:
    """Let pages of allowed origins call with the cookie; all others only without."""
    origin = request.headers["Origin"]
    if is_allowed_origin(origin):
        response.access_control_allow_origin = origin
        response.access_control_allow_credentials = True


def init_app(app: Flask) -> None:
    """Answer pages of CORS_ORIGINS, of all origins when there are none, and of localhost."""
    listed = app.config["CORS_ORIGINS"]
    public = not listed or "*" in listed
    CORS(
        app,
        origins="*" if public else [*listed, LOCAL_PAGES],
        send_wildcard=public,
        always_send=public,
        expose_headers=EXPOSED.split(", "),
        max_age=PREFLIGHT_SECONDS,
    )
    add_headers = app.after_request_funcs[None].pop()  # CORS has put it there

    @app.after_request
    def answer_page(response: Response) -> Response:
        if "Origin" not in request.headers:  # nobody would read them (bench/)
            response.headers.add("Vary", "Origin")
            return response
        add_headers(response)
        allow_credentials(response)
        response.vary.add("Origin")
        return response
