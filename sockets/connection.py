"""One client as the hub, the flusher and the dialects know it, whatever carries its bytes.

`WebSocket` and `EventStream` are its kinds. Knows nothing of Flask or of chat.
"""

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sockets.capacity import Allowance, Traffic

if TYPE_CHECKING:
    from sockets.dialect import Dialect
    from sockets.hub import Hub

MAX_STRIKES = 3


@dataclass(frozen=True)
class Limits:
    """What one connection may do; sizes in bytes (docs/settings.md)."""

    frame_bytes: int
    frames_per_second: int
    queue_bytes: int
    ping_seconds: float


class Connection:
    """A client: who it is, what it hears, and what its message at hand has led to."""

    def __init__(
        self,
        user: Any,
        dialect: "Dialect",
        limits: Limits,
        session_id: str = "",
        traffic: Traffic | None = None,
    ) -> None:
        self.id = secrets.token_hex(8)
        self.user = user
        self.session_id = session_id  # the sign-in it lives on; empty without account
        self.dialect = dialect
        self.limits = limits
        self.traffic = traffic or Traffic()
        self.hub: Hub  # set by Hub.add
        self.was: tuple[Any, str] | None = None  # user and session before this transaction
        self.state: Any = None  # what the dialect keeps about this client
        # What it hears
        self.topics: set[str] = set()
        self.entered: set[str] = set()  # topics that are new in this transaction
        self.behind: dict[str, int] = {}  # topics it still reads, with the last seq it was sent
        self.due: dict[str, int] = {}  # the same of topics it asked for in this transaction
        # Its messages
        self.replies: list[bytes] = []  # leave when what they report is committed
        self.effects: list[Callable[[], None]] = []  # happen when the message is committed
        self.pending = 0  # weight of the messages that wait in the flusher
        self.suspect = False  # a message of it failed: its others are committed alone
        self.allowance = Allowance(limits.frames_per_second)
        self.strikes = 0
        # What it is sent
        self.queued = 0  # bytes that wait for it
        self.closing = False  # its end is on its way, nothing may follow
        self.gone = False

    # Its messages

    def enter(self, topic: str) -> None:
        """Be on a topic, unless the transaction fails."""
        if topic not in self.topics:
            self.topics.add(topic)
            self.entered.add(topic)

    def become(self, user: Any, session_id: str) -> None:
        """Belong to a user, unless the transaction fails."""
        self.was = self.was or (self.user, self.session_id)
        self.user, self.session_id = user, session_id

    def reply(self, frame: bytes) -> None:
        """Answer this client once the current message's transaction has committed."""
        self.replies.append(frame)

    def after_commit(self, effect: Callable[[], None]) -> None:
        """Change memory once the current message's transaction has committed."""
        self.effects.append(effect)

    def commit(self) -> None:
        """The transaction has committed: let its effects happen and its replies leave."""
        effects, self.effects, self.was = self.effects, [], None
        self.entered.clear()
        self.due.clear()
        for effect in effects:
            effect()
        if self.replies:
            replies, self.replies = self.replies, []
            self.send(b"".join(replies))

    def roll_back(self) -> None:
        """The transaction has not committed: nothing happened."""
        self.replies, self.effects = [], []
        if self.was:
            (self.user, self.session_id), self.was = self.was, None
        self.topics -= self.entered
        self.entered.clear()
        self.due.clear()

    def told_up_to(self, topic: str) -> int | None:
        """The last seq it was sent of a topic that it still reads; None for none of those."""
        return self.due.get(topic, self.behind.get(topic))

    @property
    def lock_order(self) -> str:
        """In which order messages of several clients are handled in one transaction."""
        return self.dialect.lock_order(self)

    def strike(self, code: int, reason: str) -> None:
        """Count an abuse; the third one between two pings closes the connection with `code`."""
        self.strikes += 1
        if self.strikes >= MAX_STRIKES:
            self.close(code, reason)

    def pardon(self) -> None:
        """Forget what it did wrong."""
        self.strikes, self.suspect = 0, False

    def guest(self, _topic: str) -> dict[str, Any]:
        """As whom presence counts it on a topic, by `id`: as its user."""
        facts: dict[str, Any] = self.user.to_peer()
        return facts

    # What it is sent

    def send(self, data: bytes, last: bool = False) -> None:
        """Send whole frames; never blocks, from any thread. A client too slow is cut off.

        Nothing follows the `last` ones.
        """
        raise NotImplementedError

    def cut(self) -> None:
        """Cut off for the sake of the others; who is on the way out already, ends at once."""
        self.traffic.slow_closes += 1
        self.shut_down()

    def close(self, code: int, reason: str = "") -> None:
        """Say goodbye with a close code of RFC 6455 7.4, where there are such."""
        raise NotImplementedError

    def tick(self, now: float) -> None:
        """Called a few times a second, with the monotonic time."""

    def shut_down(self) -> None:
        """End it at once, so that whoever waits for it wakes up."""
        raise NotImplementedError
