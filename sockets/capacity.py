"""What the sockets of one process may take together, and counts of what passes through them.

`Seats` says who may open one more socket, before the upgrade; `Allowance` how many messages one may
send. `Traffic` adds up frames and bytes, and bounds what waits for slow clients.
Knows nothing of Flask.
"""

import logging
import sys
import threading
import time
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING

from errors import WharfError
from sockets.waiting import Lock

log = logging.getLogger(__name__)

if TYPE_CHECKING:
    from sockets.connection import Connection

FULL = 0.9  # of the bytes that may wait: who comes now would be cut off soon
RETRY_AFTER = {"Retry-After": "5"}
MESSAGES = {
    "process": "This process has as many sockets as it may, try again",
    "queue": "This process is too busy, try again",
    "address": "Too many sockets from this address",
    "user": "Too many sockets of this user",
}
Seat = tuple[str, str]  # (what is limited, whose it is)


class Allowance:
    """How many messages one client may send: `rate` per second, bursts of two seconds."""

    def __init__(self, rate: int) -> None:
        self.rate = rate
        self.left = 2.0 * rate
        self.refilled = time.monotonic()

    def take(self) -> bool:
        """Take one; False when none is left."""
        now = time.monotonic()
        self.left = min(2.0 * self.rate, self.left + (now - self.refilled) * self.rate)
        self.refilled = now
        if self.left < 1:
            return False
        self.left -= 1
        return True


class Traffic:
    """Sums since the start, and the bytes that wait for slow clients: `max_queued` at most.

    The sums are bare integers, because they are added to for each write: CPython lets another
    thread run between calls and loops, never within `+=`.
    """

    def __init__(self, max_queued: int = sys.maxsize) -> None:
        self.max_queued = max_queued
        self.frames_in = self.frames_out = self.bytes_in = self.bytes_out = 0
        self.slow_closes = 0
        self.resumed = 0  # subscriptions with `since`
        self.deliveries = 0  # batches of events told to the clients here,
        self.delivery_seconds = 0.0  # and how long they took from their commit, or arrival
        self.queued: dict[Connection, int] = {}  # who is slow, and what waits for them
        self.queued_bytes = 0
        self.lock = Lock()  # of what is queued; held within a connection's, never around
        self.counted = (b"", 0)

    def count_sent(self, data: bytes) -> None:
        """Count the frames of `data`, looked into once for all who are sent the same bytes."""
        known, frames = self.counted
        if known is not data:
            frames = count_frames(data)
            self.counted = data, frames
        self.frames_out += frames

    def note_queue(self, connection: "Connection", size: int) -> bool:
        """Note what waits for a connection; whether too much waits in all."""
        with self.lock:
            size = 0 if connection.gone else size  # nothing waits for who is gone, ever again
            self.queued_bytes += size - self.queued.pop(connection, 0)
            if size:
                self.queued[connection] = size
            return self.queued_bytes > self.max_queued

    def relieve(self) -> None:
        """Cut off the slowest clients until what waits is within bounds; holds no lock meanwhile.

        Each look takes one of them a step nearer to its end, so this ends too.
        """
        while slowest := self.slowest():
            log.warning("too much waits for slow clients, connection %s is cut off", slowest.id)
            slowest.cut()

    def slowest(self) -> "Connection | None":
        """For whom most waits, while too much waits in all."""
        with self.lock:
            if self.queued_bytes <= self.max_queued:
                return None
            return max(self.queued, key=self.queued.__getitem__, default=None)

    @property
    def is_full(self) -> bool:
        """Whether so much waits that nobody should come in."""
        return self.queued_bytes > FULL * self.max_queued


def count_frames(data: bytes) -> int:
    """How many frames of ours lie one behind the other in `data`."""
    position = count = 0
    while position + 1 < len(data):
        size = data[position + 1]
        head = 2 if size < 126 else 4 if size == 126 else 10
        if size >= 126:
            size = int.from_bytes(data[position + 2 : position + head], "big")
        position += head + size
        count += 1
    return count


class Seats:
    """Who holds how many sockets of this process: `limits` by "process", "address" and "user"."""

    def __init__(self, limits: Mapping[str, int], traffic: Traffic) -> None:
        self.limits = limits
        self.traffic = traffic
        self.taken: Counter[Seat] = Counter()
        self.refused: Counter[str] = Counter()
        self.lock = threading.Lock()

    def enter(self, address: str, held: list[Seat]) -> None:
        """Take a place for one more socket of `address`, noted in `held`; raises 503 or 429."""
        if self.traffic.is_full:
            raise self.refusal("queue")
        self.take("process", "", held)
        self.take("address", address, held)

    def take(self, what: str, whose: str, held: list[Seat]) -> None:
        """Count one more of `what`, noted in `held`; raises 503 or 429 when there are enough."""
        seat = what, whose
        with self.lock:
            free = self.taken[seat] < self.limits[what]
            if free:
                self.taken[seat] += 1
                held.append(seat)
        if not free:
            raise self.refusal(what)

    def leave(self, held: list[Seat]) -> None:
        """Give back all that is held; a second time does nothing."""
        with self.lock:
            while held:
                seat = held.pop()
                self.taken[seat] -= 1
                if not self.taken[seat]:
                    del self.taken[seat]

    def refusal(self, what: str) -> WharfError:
        """503 when the process has enough, 429 when the caller has."""
        with self.lock:
            self.refused[what] += 1
        status = 429 if what in ("address", "user") else 503
        return WharfError(status, MESSAGES[what], headers=RETRY_AFTER)
