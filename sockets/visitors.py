"""Chat sockets without a token: what visitors may do, and how they become users (`auth`).

Visitors are let in only with ANONYMOUS_CHAT. Everything is closed to them but what `for_visitors`
opens; whoever adds a handler need not think of them.
"""

from collections.abc import Callable, Iterator
from functools import cache, wraps
from typing import Any

from flask import current_app

from auth import NO_TOKEN, session_of
from errors import WharfError, forbidden, unauthorized
from models import Session, iso, now
from sockets.connection import Connection
from sockets.dialect import Dialect, Frame, Handler, to_frame
from sockets.flusher import Job
from validation import Input

OPEN: set[Handler] = set()


def for_visitors(handler: Handler) -> Handler:
    """Decorator: clients without account may send this too."""
    OPEN.add(handler)
    return handler


@cache
def for_users(handler: Handler) -> Handler:
    """`handler`, which raises 401 unless the client has an account by then."""

    @wraps(handler)
    def guarded(connection: Connection, *args: Any) -> None:
        if connection.user is None:
            raise unauthorized("No token provided")
        handler(connection, *args)

    return guarded


class Token(Input):
    """`{token}`."""

    token: str | None = None


class Auth(Frame):
    """`{payload: {token}}`, or the token beside `type`."""

    payload: Token | None = None
    token: str | None = None

    def find_session(self) -> Session:
        """The live session of the token; raises 401. Waits for the database: not in a handler."""
        token = (self.payload and self.payload.token) or self.token or ""
        if token in NO_TOKEN:
            raise unauthorized("No token provided")
        with current_app.app_context():  # its own: nothing it read outlives it
            return session_of(token, "access")


@for_visitors
def authenticate(
    connection: Connection,
    frame: Auth,
    found: Session | WharfError,
    welcome: Callable[[Connection], None],
) -> None:
    """Let the socket belong to the user of the token; a bad token changes nothing.

    At once and not after the commit: what the client sent behind it shall be done as that user.
    """
    try:
        if isinstance(found, WharfError):
            raise found
        become(connection, found)
    except WharfError as error:
        refusal = {"success": False, "error": error.message, "userId": None, "permissions": []}
        connection.reply(to_frame(envelope("auth_response", refusal)))
        return
    user = connection.user
    granted = {"success": True, "userId": user.id, "permissions": user.permissions()}
    connection.reply(to_frame(envelope("auth_response", granted)))
    welcome(connection)


def become(connection: Connection, session: Session) -> None:
    """Hear what concerns the user, the end of the session too; raises 401 if it came before."""
    user, hub = session.user, connection.hub
    if connection.user and connection.user.id != user.id:
        raise forbidden("This socket belongs to another account")
    hub.subscribe(connection, user.topic)
    if not Session.is_live(session.id):
        if connection.user is None:
            hub.unsubscribe(connection, user.topic)
        raise unauthorized("Invalid token")
    connection.become(user, session.id)


def envelope(kind: str, payload: Any, **more: Any) -> dict[str, Any]:
    """A frame as the widget reads them all."""
    return {"type": kind, "payload": payload, **more, "timestamp": iso(now())}


class OpenDialect(Dialect):
    """A dialect whose sockets visitors may open."""

    closes_unauthorized = True

    def allows_anonymous(self) -> bool:
        """Only when ANONYMOUS_CHAT says so."""
        return bool(current_app.config["ANONYMOUS_CHAT"])

    def welcome(self, connection: Connection) -> None:
        """Subscribe to what users hear; `connection.user` is set."""

    def jobs(self, connection: Connection, handler: Handler, frame: Any) -> Iterator[Job]:
        """Look tokens up here, on the socket's own thread; guard what is not for visitors."""
        if isinstance(frame, Auth):
            try:
                found: Session | WharfError = frame.find_session()
            except WharfError as error:
                found = error
            yield Job(connection, handler, (frame, found, self.welcome))
        elif connection.user is None and handler not in OPEN:
            # Judged when its turn comes: an `auth` before it may still be waiting.
            yield Job(connection, for_users(handler), (frame,))
        else:
            yield Job(connection, handler, (frame,))
