"""Two processes with sockets, a room with a guest in each, and what they are told."""

import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from tests.conftest import Account
from tests.processes import Deployment, Process, room

WAIT = 20  # seconds; far more than anything takes


class Duo:
    """Two processes with sockets: `home` on threads, which answers HTTP too, `away` on gevent.

    `away` has settings of its own, when its way to a server is another one.
    """

    def __init__(self, deployment: Deployment, **settings_of_away: str) -> None:
        away = deployment.spawn("socket", **settings_of_away)
        (self.home,) = deployment.start("app")
        self.away = away.wait_until_ready()
        self.accounts = [self.home.register("ann"), self.home.register("bob")]


class Guest:
    """A chat socket in a room that keeps all it was told."""

    def __init__(self, process: Process, account: Account, room_id: str) -> None:
        self.peer = process.connect("/ws", account)
        self.room = room_id
        self.frames: list[dict[str, Any]] = []
        self.peer.send("join-room", roomId=room_id)
        self.read_until(lambda: "user-joined" in self.types())

    def types(self) -> list[str]:
        """The types of all frames so far."""
        return [frame["type"] for frame in self.frames]

    def heard(self) -> list[int]:
        """The seqs of all messages so far."""
        return [frame["seq"] for frame in self.frames if frame["type"] == "chat-message"]

    def read_until(self, met: Callable[[], bool], timeout: float = WAIT) -> bool:
        """Read frames until `met`; False when that takes too long."""
        deadline = time.monotonic() + timeout
        with suppress(TimeoutError):
            while not met():
                self.frames.append(self.peer.receive(max(0.001, deadline - time.monotonic())))
        return met()

    def say(self, id: str) -> None:
        """Send a message with an id."""
        self.peer.send("chat-message", roomId=self.room, content=f"no. {id}", id=id)

    def answer(self, id: str) -> dict[str, Any]:
        """The next ack or error for this id."""
        self.frames = [frame for frame in self.frames if frame.get("id") != id]
        assert self.read_until(lambda: self.frames[-1:] != [] and self.frames[-1].get("id") == id)
        return self.frames[-1]

    def assert_unavailable(self, id: str) -> None:
        """The answer says that the database is away."""
        error = self.answer(id)
        assert (error["type"], error["status"], error["code"]) == ("error", 503, "unavailable")

    def hears_typing_of(self, speaker: "Guest") -> bool:
        """Whether a signal crosses; they may be lost, so some are tried."""
        for _ in range(WAIT):
            before = self.types().count("user-typing")
            speaker.peer.send("typing", roomId=self.room)
            if self.read_until(lambda n=before: self.types().count("user-typing") > n, 1):
                return True
        return False


class Talk:
    """A room with a guest in each process; `near` is at home, `far` away."""

    def __init__(self, duo: Duo) -> None:
        self.duo, self.room, self.posted = duo, room(), 0
        self.ann, bob = duo.accounts
        self.near = Guest(duo.home, self.ann, self.room)
        self.far = Guest(duo.away, bob, self.room)

    def post(self) -> int:
        """A message by HTTP; returns the status."""
        path, body = f"/api/rooms/{self.room}/messages", {"content": "by HTTP"}
        status, _ = self.duo.home.call("POST", path, body, self.ann)
        self.posted += status == 201
        return status

    def post_for(self, seconds: float) -> None:
        """A message now and then."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            assert self.post() == 201
            time.sleep(0.25)

    def post_until_stored(self) -> None:
        """A message as soon as the database is there for all of the processes' connections."""
        deadline = time.monotonic() + WAIT
        while (status := self.post()) != 201:
            assert (status, time.monotonic() < deadline) == (503, True)

    def say(self, guest: Guest, id: str = "") -> None:
        """A message by socket, which is acknowledged."""
        self.posted += 1
        guest.say(id or str(self.posted))
        answer = guest.answer(id or str(self.posted))
        assert answer["type"] == "ack", answer

    def assert_all_heard_once(self) -> None:
        """Both guests were told everything, in order, and nothing comes after it."""
        for guest in (self.near, self.far):
            guest.read_until(lambda guest=guest: self.posted in guest.heard())
            assert guest.heard() == list(range(1, self.posted + 1))

    def assert_joined(self) -> None:
        """The buses work again, and everybody was told everything once."""
        assert self.near.hears_typing_of(self.far)
        assert self.far.hears_typing_of(self.near)
        self.post_until_stored()
        self.assert_all_heard_once()
