"""The Socket.IO dialect (docs/frontends/brolostack.md): packets, who sends them, how events read.

endpoint.py lets clients in, rooms.py says what the events do.
"""

import logging
from collections.abc import Sequence
from typing import Any

from flask import current_app, g
from socketio import packet as packets

from auth import NO_TOKEN, current_session, session_of
from bus import Event
from errors import WharfError, bad_request, forbidden, known_error, unauthorized
from models import Session, db
from origins import is_trusted_origin
from rate_limits import caller_address, count
from sockets import framing
from sockets.connection import Connection
from sockets.dialect import Dialect
from sockets.flusher import Job
from sockets.realtime import enter, realtime
from sockets.socketio.client import Client, State
from sockets.socketio.engine import NORMAL
from sockets.socketio.packets import END, Packet, refusal, to_event, to_packet
from sockets.socketio.rooms import (
    EVERYBODY,
    HANDLERS,
    PACKET,
    TOPIC,
    Handler,
    Relayed,
    broadcast,
    relay,
)
from validation import Input, validate

log = logging.getLogger(__name__)

EVENTS = (packets.EVENT, packets.BINARY_EVENT)
WITH_ATTACHMENTS = (packets.BINARY_EVENT, packets.BINARY_ACK)
MAX_ATTACHMENTS = 20  # of one event
MAX_NAME = 200  # characters of the name of an event
PRESENCE = ("user-joined", "user-left")


def look_up_caller() -> Session | WharfError | None:
    """The live session in the credentials of this request, None for none, or what is wrong."""
    try:
        session = current_session()
        if session and session is g.get("cookie_session") and not is_trusted_origin():
            raise forbidden("This origin may not use the session cookie")
        return session
    except WharfError as error:
        return error
    finally:
        db.session.remove()  # no session is held while waiting for messages


def find_session(client: Client, auth: Any) -> Session | None:
    """The live session of the `token` a client connects with, else of the request it came by.

    Some clients show their headers only then. None for nobody; raises 401 and 403.
    """
    token = auth.get("token") if isinstance(auth, dict) else None
    if token is None or (isinstance(token, str) and token in NO_TOKEN):
        found = client.state.caller or look_up_caller()
        if isinstance(found, WharfError):
            raise found
        return found
    if not isinstance(token, str):
        raise unauthorized("Invalid token")
    return session_of(token, "access")


def understand(name: Any, args: list[Any]) -> tuple[Handler, Input]:
    """The handler of an event and what it takes; raises 400."""
    if not isinstance(name, str) or len(name) > MAX_NAME:
        raise bad_request(f"The name of an event has {MAX_NAME} characters at most")
    known = HANDLERS.get(name.replace("_", "-"))
    if known is None:
        return relay, Relayed(event=name, args=args)
    model, handler = known
    first = args[0] if args else {}
    is_object = isinstance(first, dict) and not model.whole
    return handler, validate(model, first if is_object else {model.bare: first})


def perform(client: Client, handler: Handler, said: Input, ack: int | None) -> None:
    """Handle an event and acknowledge it, after the commit, where that was asked for."""
    answer = handler(client, said)
    if ack is not None:
        client.reply(to_packet(packets.ACK, [] if answer is None else [answer], id=ack))


class SocketIODialect(Dialect):
    """Socket.IO clients of whatever library."""

    # In

    def allows_anonymous(self) -> bool:
        """Only when ANONYMOUS_CHAT says so."""
        return bool(current_app.config["ANONYMOUS_CHAT"])

    def prepare(self, connection: Connection) -> None:
        """In no room yet; who it is, is judged when it connects."""
        connection.state = State(caller=g.caller)

    def open(self, connection: Connection) -> None:
        """Tell the client that it is connected, and its public id."""
        connection.hub.subscribe(connection, EVERYBODY)
        connection.reply(to_packet(packets.CONNECT, {"sid": connection.id}))

    def removed(self, connection: Connection, room_id: str) -> None:
        """Who may not hear the room of chat pages, does not hear its clients either."""
        if topic := connection.state.rooms.pop(room_id, None):
            connection.hub.unsubscribe(connection, topic)

    def receive(self, connection: Any, message: Any) -> None:
        """Take a packet, or a part of one; who sends anything else is sent away."""
        try:
            packet = self.assemble(connection, message)
        except Exception:
            log.info("not Socket.IO, connection %s", connection.id)
            connection.close(framing.INVALID_DATA, "not Socket.IO")
            return
        try:
            if packet:
                self.take(connection, packet)
        except Exception as error:
            self.report(connection, error)

    def assemble(self, client: Client, message: Any) -> Packet | None:
        """The packet that `message` is, or completes; raises whatever the library stumbles over."""
        state = client.state
        if state.partial:
            state.size += len(message)
            if not isinstance(message, bytes) or state.size > client.limits.frame_bytes:
                raise ValueError("not an attachment, or too large")
            packet = state.partial
            if not packet.add_attachment(message):
                return None
            state.partial = None
            return packet
        packet = Packet(encoded_packet=message)
        if packet.packet_type in WITH_ATTACHMENTS and packet.attachment_count:
            if packet.attachment_count > MAX_ATTACHMENTS or not client.known:
                raise ValueError("too many attachments")
            state.partial, state.size = packet, len(message)
            return None
        return packet

    def take(self, client: Client, packet: Packet) -> None:
        """Do what a packet asks for."""
        kind = packet.packet_type
        if kind not in EVENTS:
            self.check_rate(client)
        if packet.namespace not in (None, "/"):
            if kind == packets.CONNECT:
                refused = {"message": "Invalid namespace"}
                client.send(to_packet(packets.CONNECT_ERROR, refused, namespace=packet.namespace))
        elif kind == packets.CONNECT:
            self.greet(client, packet.data)
        elif not client.known:
            client.close(framing.POLICY, "connect first")
        elif kind == packets.DISCONNECT:
            client.close(NORMAL)
        elif kind in EVENTS:
            self.hear(client, packet.data, packet.id)

    def greet(self, client: Client, auth: Any) -> None:
        """Find out who it is, and let the flusher connect it; refused, it may try again."""

        if client.known:
            return
        try:
            session = find_session(client, auth)
            if session is None and not self.allows_anonymous():
                raise unauthorized("No token provided")
            with client.lock:
                if client.known or client.gone:
                    return
                if session:
                    realtime().seats.take("user", str(session.user.id), client.seats)
                    client.user, client.session_id = session.user, session.id
                client.known = True
                client.hub.flusher.submit(Job(client, enter))
        except WharfError as error:
            told = {"message": error.message, "data": error.body()}
            client.send(to_packet(packets.CONNECT_ERROR, told))
            return
        finally:
            db.session.remove()  # no session is held while waiting for messages

    def hear(self, client: Client, data: Any, ack: int | None) -> None:
        """Queue an event; whatever is wrong with it is answered."""
        try:
            self.check_rate(client)
            if not isinstance(data, list) or not data:
                raise bad_request("An event has a name")
            handler, said = understand(data[0], data[1:])
            if handler is broadcast:  # to all sockets: with a limit of its own
                count("CHAT_LIMIT", str(client.user.id) if client.user else caller_address())
            client.hub.flusher.submit(Job(client, perform, (handler, said, ack)))
        except WharfError as error:
            client.send(refusal(error, ack))
        except Exception as error:
            self.report(client, error)

    # Out

    def join_frames(self, events: Sequence[Event]) -> bytes:
        """The packets of events, in order."""
        return b"".join(map(self.word, events))

    def word(self, event: Event) -> bytes:
        """An event in packets; none for what only other dialects tell."""
        if event.type == PACKET:
            return "".join(part + END for part in event.data["packet"]).encode()
        if event.topic.startswith(TOPIC):
            guest = {key: value for key, value in event.data["user"].items() if key != "id"}
            room_id = event.topic.split(":", 2)[2]
            return to_event(event.type, {"roomId": room_id, **guest})
        if event.type == "room-left":
            return to_event(event.type, event.data)
        if event.seq and event.type not in PRESENCE:
            return to_event(event.type, {**event.data, "seq": event.seq})
        return b""

    def deliver(self, connections: Sequence[Connection], events: Sequence[Event]) -> None:
        """Tell events; one for several rooms is told on the first of them that a client hears."""
        if not any(is_for_many(event) for event in events):
            super().deliver(connections, events)
            return
        for connection in connections:
            heard = [event for event in events if is_due(connection, event)]
            super().deliver([connection], heard)

    # Trouble

    def report(self, connection: Connection, error: Exception, *job: Any) -> None:
        """A handler raised: a known error is told, a bug is logged and ends the connection."""
        known = known_error(error)
        if known is None:
            log.error("handler failed, connection %s", connection.id, exc_info=error)
            connection.close(framing.INTERNAL_ERROR, "internal error")
        elif job:
            connection.send(refusal(known, job[-1]))
        else:  # it could not even be greeted
            connection.close(framing.TRY_AGAIN_LATER, "try again")


def is_for_many(event: Event) -> bool:
    """Whether an event is told on several topics."""
    return event.type == PACKET and len(event.data["topics"]) > 1


def is_due(connection: Connection, event: Event) -> bool:
    """Whether a client is to be told an event on this topic."""
    if not is_for_many(event):
        return True
    return any(topic in connection.topics for topic in event.data["topics"])


dialect = SocketIODialect()
