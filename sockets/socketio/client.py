"""A Socket.IO client as the hub knows it, whatever carries its packets."""

import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from engineio import packet

from sockets import framing
from sockets.connection import Connection
from sockets.socketio.engine import NORMAL, Engine, Wire
from sockets.socketio.packets import END, as_message, to_event
from sockets.websocket import CLOSE_SECONDS

CONNECT_SECONDS = 45  # it may take to say who it is, as with Socket.IO's own server
FAREWELL = packet.Packet(packet.MESSAGE, "1")  # a client that reads it does not come back
FINAL = {framing.POLICY, framing.TOO_BIG, framing.UNAUTHORIZED}


@dataclass
class State:
    """What is known of a client beside its connection."""

    caller: Any = None  # the session in its first request, or what is wrong with it
    rooms: dict[str, str] = field(default_factory=dict)  # it joined: names, and their topics
    partial: Any = None  # a packet whose attachments are to come
    size: int = 0  # of it, and of those that came


class Client(Connection):
    """A Socket.IO client, whatever carries its packets at the moment."""

    def __init__(self, engine: Engine, sid: str, *who: Any, **more: Any) -> None:
        super().__init__(*who, **more)
        self.engine = engine
        self.carrier = engine.sockets[sid]  # the library's; its sid is a secret of this client
        self.carrier.queue.client = self
        self.lock = threading.RLock()  # of the order of packets, and of the end
        self.poll = threading.Lock()  # held by the one request that may wait
        self.wire: Wire | None = None
        self.seats: list[Any] = []
        self.guests: dict[str, dict[str, Any]] = {}  # what others are told of it, by topic
        self.known = False  # has said who it is
        self.code = NORMAL
        self.ending = False
        self.deadline = time.monotonic() + CONNECT_SECONDS
        self.next_pardon = 0.0

    def guest(self, topic: str) -> dict[str, Any]:
        # Each client counts, with a user or without.
        return {"id": self.id, **self.guests.get(topic, {})}

    def send(self, data: bytes, last: bool = False) -> None:
        texts = data.decode().split(END)[:-1]
        with self.lock:
            if self.gone or self.closing or not texts:
                return
            self.closing = last
            self.traffic.frames_out += len(texts)
            for text in texts:
                self.carrier.queue.put(as_message(text))
        if self.queued > self.limits.queue_bytes:
            self.cut()
        elif self.traffic.queued_bytes > self.traffic.max_queued:
            self.traffic.relieve()

    def close(self, code: int, reason: str = "") -> None:
        # Who is to stay away is told so, and has a second to read it.
        with self.lock:
            if self.gone or self.closing:
                return
            self.code, self.deadline = code, time.monotonic() + CLOSE_SECONDS
            if code == framing.UNAUTHORIZED:
                self.send(to_event("auth-error", {"message": reason}))
            if code in FINAL:
                self.carrier.queue.put(FAREWELL)
            self.closing = True
        if code not in FINAL:
            self.end()

    def tick(self, now: float) -> None:
        if self.closing:
            if now > self.deadline:
                self.shut_down()
            elif not self.queued:
                self.end()
        elif not self.known and now > self.deadline:
            self.close(framing.POLICY)
        elif not self.carrier.closed:
            self.carrier.check_ping_timeout()
        if now > self.next_pardon:
            self.next_pardon = now + self.limits.ping_seconds
            self.pardon()

    def shut_down(self) -> None:
        self.gone = True
        self.traffic.note_queue(self, 0)
        if wire := self.wire:
            wire.shut_down()
        self.end(abort=True)

    def end(self, abort: bool = False) -> None:
        """Have the library end it, once; on a thread of its own, because that calls us back."""
        with self.lock:
            first, self.ending = not self.ending, True
        if first:
            with suppress(RuntimeError):  # no more threads
                self.engine.start_background_task(self.carrier.close, wait=False, abort=abort)
