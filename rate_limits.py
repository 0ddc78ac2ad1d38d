"""How often somebody may do something: a rule is a setting such as LOGIN_LIMIT.

Uses are counted by the library `limits`, in Redis for all processes, or in memory for each: without
REDIS_URL, and while Redis is away.
"""

import hashlib
import logging
import math
import re
import threading
import time
from functools import cache
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Any

from flask import Flask, current_app, request
from limits import RateLimitItem, parse
from limits.errors import StorageError
from limits.storage import MemoryStorage, storage_from_string
from limits.strategies import SlidingWindowCounterRateLimiter

from auth import claimed_user_id
from errors import WharfError

log = logging.getLogger(__name__)

# Some load balancers forward the port too: 192.0.2.1:4711, [2001:db8::1]:4711.
WITH_PORT = re.compile(r"(?:(?P<four>[\d.]+)|\[(?P<six>[^]]+)\]):\d+")
SWEEP_SECONDS = 10.0
RETRY_SECONDS = 5.0  # how long Redis is left alone after it did not answer
LIMITED = ("/api/", "/auth/", "/users")
UNLIMITED = {"/api/auth/check", "/auth/check", "/api/health"}  # pages ask them over and over


class Memory(MemoryStorage):
    """Forgets what has expired every few seconds.

    The library does it a hundred times a second, each time in a new thread, and every request that
    counts waits for that (bench/).
    """

    @property
    def timer(self) -> threading.Timer:
        """The thread that waits to forget."""
        return self.waiting

    @timer.setter
    def timer(self, timer: threading.Timer) -> None:
        timer.interval = SWEEP_SECONDS
        timer.daemon = True
        self.waiting = timer


class Counter:
    """Counts uses by rule and key, in Redis when it is there and answers."""

    def __init__(self, redis_url: str, secret: str) -> None:
        self.own = SlidingWindowCounterRateLimiter(Memory())
        self.shared = self.own
        self.lock = threading.Lock()  # the library's memory loses counts when threads meet in it
        self.away_until = 0.0
        if redis_url:
            address = redis_url.replace("unix://", "redis+unix://", 1)
            prefix = f"wharf-{hashlib.sha256(secret.encode()).hexdigest()[:16]}"
            storage = storage_from_string(
                address,
                key_prefix=prefix,
                wrap_exceptions=True,
                socket_timeout=1,
                socket_connect_timeout=1,
            )
            self.shared = SlidingWindowCounterRateLimiter(storage)

    def ask(self, question: str, rule: str, key: str) -> Any:
        """Put a question, a method of the library, to the shared counter, or to ours meanwhile."""
        limit = limit_of(current_app.config[rule])
        if self.shared is not self.own and time.monotonic() >= self.away_until:
            try:
                return getattr(self.shared, question)(limit, rule, key)
            except StorageError:
                self.leave_alone()
        with self.lock:
            return getattr(self.own, question)(limit, rule, key)

    def leave_alone(self) -> None:
        """Redis did not answer: do without it for a while."""
        with self.lock:
            if time.monotonic() >= self.away_until:
                log.warning("rate limits: Redis does not answer, counting here")
                self.away_until = time.monotonic() + RETRY_SECONDS


def count(rule: str, key: str) -> None:
    """Count one use of `rule`, a setting, by `key`; raises 429 when there were too many."""
    if not counter().ask("hit", rule, key):
        refuse(rule, key)


def check(rule: str, key: str) -> None:
    """Raise 429 when `key` has used `rule` up; counts nothing."""
    if not counter().ask("test", rule, key):
        refuse(rule, key)


def clear(rule: str, key: str) -> None:
    """Forget the uses of `rule` by `key`."""
    counter().ask("clear", rule, key)


def refuse(rule: str, key: str) -> None:
    """Raise 429, which says when to come again."""
    window = counter().ask("get_window_stats", rule, key)
    seconds = max(1, math.ceil(window.reset_time - time.time()))
    headers = {
        "Retry-After": str(seconds),
        "X-RateLimit-Limit": str(limit_of(current_app.config[rule]).amount),
        "X-RateLimit-Remaining": "0",
        "X-RateLimit-Reset": str(math.ceil(window.reset_time)),
    }
    message = f"Too many requests, try again in {seconds} seconds"
    raise WharfError(429, message, headers=headers)


@cache
def limit_of(text: str) -> RateLimitItem:
    """A rule as the library reads it."""
    return parse(text)


def counter() -> Counter:
    """The counter of the current app."""
    found: Counter = current_app.extensions["rate_limits"]
    return found


def caller_address() -> str:
    """The address of the caller; of IPv6 the network, since each customer has a whole one."""
    text = request.remote_addr or ""
    try:
        with_port = WITH_PORT.fullmatch(text)
        address = ip_address(with_port["four"] or with_port["six"] if with_port else text)
    except ValueError:  # a proxy on a Unix socket has none
        return "unknown"
    if isinstance(address, IPv6Address):
        return str(address.ipv4_mapped or ip_network((address, 64), strict=False))
    return str(address)


def count_call() -> None:
    """Before each API call: count it for its user, or its address."""
    limited = request.path.startswith(LIMITED) and request.path not in UNLIMITED
    if limited and request.method != "OPTIONS":
        count("API_LIMIT", claimed_user_id() or caller_address())


def init_app(app: Flask) -> None:
    """Give `app` its counter."""
    app.extensions["rate_limits"] = Counter(app.config["REDIS_URL"], app.config["SECRET_KEY"])
    app.before_request(count_call)
