"""The app factory, a list of named steps; `python app.py` migrates, then serves everything."""

import contextlib
import logging
import signal
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

from flask import Blueprint, Flask, Request
from flask.sessions import SessionInterface
from flask_migrate import Migrate, upgrade
from sqlalchemy import make_url
from werkzeug.middleware.proxy_fix import ProxyFix
from werkzeug.serving import WSGIRequestHandler, make_server

import auth
import commands
import errors
import events
import file_commands
import logs
import metrics
import origins
import rate_limits
import routes
import sockets
import storage
import sync_commands
import sync_counts
from config import Settings, keep_secret
from models import db, prepare_postgres, prepare_sqlite

log = logging.getLogger(__name__)

# A database that vanished without a word is noticed in seconds, also by the bus (libpq's words;
# tcp_user_timeout is in milliseconds, the others in seconds).
POSTGRES_PATIENCE = {
    "connect_timeout": 5,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 11_000,
}

Serve = Literal["web", "socket", "app"]
CONTENT_POLICY = (
    "default-src 'self'; img-src 'self' data: blob:; connect-src 'self' ws: wss:; "
    "form-action 'self'; object-src 'none'; base-uri 'none'; frame-ancestors 'none'"
)
SECURITY_HEADERS = {
    "Content-Security-Policy": CONTENT_POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",  # for browsers that do not know frame-ancestors
    "Referrer-Policy": "strict-origin-when-cross-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "private, no-cache",  # ask again each time; an ETag makes that cheap
}
HTTPS_HEADERS = {"Strict-Transport-Security": "max-age=31536000"}


class Wharf(Flask):
    """Flask, but all our views and hooks are plain functions."""

    def ensure_sync(self, func: Callable[..., Any]) -> Callable[..., Any]:
        """The function: Flask looks at each, at every request, whether it is a coroutine."""
        return func


class NoSession(SessionInterface):
    """Flask's own session in a cookie: nothing is kept there, so none is read (auth.py)."""

    def open_session(self, app: Flask, request: Request) -> None:
        """None, which Flask takes for an empty one that cannot be written."""


def create_app(overrides: dict[str, Any] | None = None, serve: Serve = "app") -> Flask:
    """Build the app; changes nothing on disk.

    `overrides` win over the environment. `serve` names the process: `web` answers pages and JSON,
    `socket` answers sockets, `app` both.
    """
    app = Wharf("app", root_path=str(Path(__file__).parent))
    app.session_interface = NoSession()
    load_config(app, overrides)
    set_up_logging(app)
    set_up_database(app)
    logs.init_app(app)  # first before a request, last after it
    metrics.init_app(app, serve)
    sync_counts.init_app(app)
    errors.init_app(app)
    auth.init_app(app)
    rate_limits.init_app(app)
    storage.init_app(app)
    events.init_app(app)
    origins.init_app(app)
    set_up_headers(app)
    commands.init_app(app)
    sync_commands.init_app(app)
    file_commands.init_app(app)
    add_routes(app, routes.everywhere)
    if serve != "socket":
        add_routes(app, routes.blueprints)
    if serve != "web":
        sockets.init_app(app)
    trust_proxies(app)
    return app


def load_config(app: Flask, overrides: dict[str, Any] | None) -> None:
    """Settings from the environment, then `overrides`, then what the libraries call them."""
    app.config.from_mapping(Settings(**(overrides or {})).model_dump())
    app.config["MAX_CONTENT_LENGTH"] = app.config["MAX_BODY_BYTES"]
    app.config["SQLALCHEMY_DATABASE_URI"] = app.config["DATABASE_URL"]
    options: dict[str, Any] = {"hide_parameters": True}  # no hashes in logs
    if make_url(app.config["DATABASE_URL"]).database not in (None, "", ":memory:"):
        options["pool_size"] = 10  # or the threads of a worker open new connections over and over
    app.config["SQLALCHEMY_ENGINE_OPTIONS"] = options
    if app.config["DATABASE_URL"].startswith("postgresql"):
        options["connect_args"] = POSTGRES_PATIENCE
    app.json.sort_keys = False  # type: ignore[attr-defined]


def set_up_logging(app: Flask) -> None:
    """One line per log record, at LOG_LEVEL; servers that configured logging keep their streams."""
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger().setLevel(app.config["LOG_LEVEL"].upper())
    if app.config["LOG_FORMAT"] == "json":
        logs.use_json()
    logging.getLogger("alembic").setLevel(logging.WARNING)


def set_up_database(app: Flask) -> None:
    """Connect models and migrations to DATABASE_URL."""
    db.init_app(app)
    Migrate(app, db, directory=str(Path(app.root_path) / "migrations"))
    with app.app_context():
        if db.engine.dialect.name == "sqlite":
            prepare_sqlite(db.engine, app.config["SQLITE_SYNCHRONOUS"])
        else:
            prepare_postgres(db.engine)


def set_up_headers(app: Flask) -> None:
    """What makes browsers careful (OWASP secure headers); a view that set its own keeps it.

    Added on the way out: Flask and Werkzeug go through all headers several times (bench/).
    """

    inner = app.wsgi_app

    def hardened(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        extra = {**SECURITY_HEADERS, **(HTTPS_HEADERS if is_secure(environ) else {})}

        def start(status: str, headers: list[tuple[str, str]], *error: Any) -> Any:
            known = {name for name, _ in headers}
            new = [pair for pair in extra.items() if pair[0] not in known]
            return start_response(status, headers + new, *error)

        return inner(environ, start)

    app.wsgi_app = hardened  # type: ignore[method-assign]


def is_secure(environ: dict[str, Any]) -> bool:
    """Whether a request came by TLS."""
    return environ["wsgi.url_scheme"] in ("https", "wss")


def add_routes(app: Flask, blueprints: Sequence[Blueprint]) -> None:
    """Register blueprints of routes/."""
    for blueprint in blueprints:
        app.register_blueprint(blueprint)


def trust_proxies(app: Flask) -> None:
    """Believe as many proxies as PROXIES says about the caller's address and scheme."""
    if count := app.config["PROXIES"]:
        proxied = ProxyFix(app.wsgi_app, x_for=count, x_proto=count)
        app.wsgi_app = proxied  # type: ignore[method-assign]


def main() -> None:
    """Serve everything from one process: makes a secret once, migrates, listens on HOST:PORT."""
    settings = Settings()
    instance = Path(__file__).parent / "instance"
    instance.mkdir(mode=0o700, exist_ok=True)
    app = create_app({"SECRET_KEY": settings.SECRET_KEY or keep_secret(instance)})
    with app.app_context():
        upgrade()
    listen(app, settings.HOST, settings.PORT)


class QuietHandler(WSGIRequestHandler):
    """Logs requests without the tokens in their addresses; those of sockets are in the query."""

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """One line at DEBUG."""
        path = getattr(self, "path", "")  # none was read of bytes that are no HTTP
        log.debug("%s %s %s", self.command, logs.redact(path.partition("?")[0]), code)


def listen(app: Flask, host: str, port: int) -> None:
    """Serve on threads until SIGINT or SIGTERM, then close every socket with 1001."""
    server = make_server(host, port, app, threaded=True, request_handler=QuietHandler)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    shown = "localhost" if host in ("127.0.0.1", "0.0.0.0") else host
    print(f"Wharf is on http://{shown}:{server.port}", flush=True)
    print("Open it and register: an email and a password of 8 characters or more.", flush=True)
    with contextlib.suppress(KeyboardInterrupt):
        server.serve_forever()
    app.extensions["realtime"].stop()


if __name__ == "__main__":
    main()
