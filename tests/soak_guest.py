"""One of many clients that join, talk, leave, are cut off and resume, each as its dice fall."""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

from tests.soak_client import Frame, Log, NotConnected, SocketClient, Violation

ROOMS_AT_ONCE = 3
STAY_AWAY = 3.0  # seconds at most, after a cut
RETRY = 0.5  # seconds before what the server could not do now is asked again


class Guest:
    """A client with an account; `ports` are those of the processes between which it moves.

    `logs` are of all rooms it was ever in, `rooms` those it is in now.
    """

    def __init__(
        self,
        dice: Random,
        name: str,
        token: str,
        ports: Sequence[int],
        reach: Sequence[str],
        pause: float,
    ) -> None:
        self.pause = pause  # seconds between two actions, on average
        self.dice, self.name, self.token, self.ports, self.reach = dice, name, token, ports, reach
        self.home = dice.randrange(len(ports))
        self.socket: SocketClient | None = None
        self.news = asyncio.Event()  # an answer came, or the socket ended
        self.logs: dict[str, Log] = {}
        self.rooms: list[str] = []
        self.leaving: dict[str, str] = {}  # rooms by the ping that went behind the `leave-room`
        self.unanswered: dict[str, Frame] = {}  # messages, by id
        self.acked: dict[str, Frame] = {}  # the stored messages, by the id they were sent with
        self.deleted: set[str] = set()
        self.wrong: list[str] = []
        self.figures: Counter[str] = Counter()

    # Life

    async def live(self, seconds: float) -> None:
        """Act now and then, for so long."""
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        while loop.time() < end:
            if self.socket is None:
                await self.connect()
            await asyncio.sleep(self.dice.expovariate(1 / self.pause))
            actions = (self.say, self.enter, self.leave, self.cut_off, self.edit, self.delete)
            (act,) = self.dice.choices(actions, (12, 4, 2, 3, 1, 1))
            await act()

    async def settle(self) -> None:
        """Come back once more, to all rooms; return when all that was said is acknowledged."""
        self.rooms = list(self.logs)
        await self.cut_off(stay_away=0)
        while self.socket is None or self.unanswered:
            self.news.clear()
            if self.socket is None:
                await self.connect()
            elif self.unanswered:
                await self.news.wait()

    async def connect(self) -> None:
        """Move to another process; resume, and send what is unanswered."""
        self.home = (self.home + 1) % len(self.ports)
        client = SocketClient(self.hear, self.lose)
        try:
            await client.connect(self.ports[self.home], f"/ws?token={self.token}")
        except NotConnected:
            self.figures["refused"] += 1
            await asyncio.sleep(self.dice.uniform(0.1, 1))
            return
        if not client.is_open:
            return  # closed as soon as it was open
        self.socket = client
        self.figures["sockets"] += 1
        for room in self.rooms:
            self.join(room)
        for frame in list(self.unanswered.values()):
            self.send(**frame)

    def join(self, room: str) -> None:
        """Join a room, from where it was left."""
        since = self.logs[room].since
        self.send(type="join-room", roomId=room, **({} if since is None else {"since": since}))
        self.figures["resumed"] += since is not None

    def send(self, **frame: Any) -> None:
        """Send, if there is a socket."""
        if self.socket:
            self.socket.send(**frame)

    # What it does

    async def enter(self) -> None:
        """Join one more room, where it was before or not."""
        taken = {*self.rooms, *self.leaving.values()}
        free = [room for room in self.reach if room not in taken]
        if len(self.rooms) < ROOMS_AT_ONCE and free:
            room = self.dice.choice(free)
            if room not in self.logs:
                self.logs[room] = Log(0 if self.dice.random() < 0.2 else None)
            self.rooms.append(room)
            if self.socket:
                self.join(room)

    async def leave(self) -> None:
        """Leave a room; what is on its way to us still counts, until the ping is answered."""
        if self.rooms:
            room = self.rooms.pop(self.dice.randrange(len(self.rooms)))
            self.figures["left"] += 1
            if self.socket:
                mark = f"{self.figures['left']}"
                self.leaving[mark] = room
                self.send(type="leave-room", roomId=room)
                self.send(type="ping", sentAt=mark)

    async def say(self) -> None:
        """Post a message, mostly where it listens."""
        room = self.dice.choice(self.rooms or self.reach)
        self.figures["said"] += 1
        key = f"{self.name}-{self.figures['said']}"
        frame = {"type": "chat-message", "roomId": room, "content": key, "id": key}
        self.unanswered[key] = frame
        self.send(**frame)

    async def edit(self) -> None:
        """Change something said before; it may be lost."""
        if self.acked:
            key = self.dice.choice(list(self.acked))
            self.change("edit-message", key, content=f"{key} edited")

    async def delete(self) -> None:
        """Take back something said before; it may be lost."""
        if self.acked:
            key = self.dice.choice(list(self.acked))
            self.change("delete-message", key)
            self.deleted.add(key)
            del self.acked[key]

    def change(self, type: str, key: str, **fields: Any) -> None:
        message = self.acked[key]
        self.send(type=type, roomId=message["roomId"], messageId=message["id"], **fields)

    async def cut_off(self, stay_away: float = STAY_AWAY) -> None:
        """Lose the socket, and stay away for a while."""
        if self.socket:
            self.socket.cut(politely=self.dice.random() < 0.5)
            self.socket = None
            self.leaving.clear()
            self.figures["cuts"] += 1
            await asyncio.sleep(self.dice.choice((0, self.dice.uniform(0, stay_away))))

    async def go(self) -> None:
        """Leave for good."""
        for room in self.rooms:
            self.send(type="leave-room", roomId=room)
        await self.cut_off(stay_away=0)

    # What it hears

    def lose(self, code: int) -> None:
        """The server ended the socket."""
        self.figures[f"closed with {code}"] += 1
        self.socket = None
        self.leaving.clear()
        self.news.set()

    def hear(self, frame: Frame) -> None:
        """Note a frame, and what is wrong with it."""
        self.figures["heard"] += 1
        try:
            if "roomId" in frame:
                self.hear_room(frame)
            elif answer := self.ANSWERS.get(frame["type"]):
                answer(self, frame)
        except Violation as violation:
            self.wrong.append(f"{self.name} at {self.home}: {violation}")

    def hear_room(self, frame: Frame) -> None:
        room = frame["roomId"]
        if room not in self.rooms and room not in self.leaving.values():
            raise Violation(f"{frame} came after the room was left")
        message_id = frame["message"]["id"] if "message" in frame else frame.get("messageId")
        self.logs[room].take(frame, message_id)

    def hear_ack(self, frame: Frame) -> None:
        if self.unanswered.pop(frame["id"], None) is None:
            raise Violation(f"{frame} came a second time")
        self.news.set()
        self.acked[frame["id"]] = {
            "id": frame["message"]["id"],
            "roomId": frame["message"]["roomId"],
        }

    def hear_pong(self, frame: Frame) -> None:
        self.leaving.pop(frame["sentAt"], None)

    def hear_error(self, frame: Frame) -> None:
        """What could not be done now is asked again; nothing else may go wrong."""
        if frame["status"] != 503:
            raise Violation(f"{frame} came")
        self.figures["retried"] += 1
        if again := self.unanswered.get(frame.get("id", "")):
            asyncio.get_running_loop().call_later(RETRY, self.send_again, self.socket, again)

    def send_again(self, socket: SocketClient, frame: Frame) -> None:
        """Send once more, unless the next socket did."""
        if self.socket is socket:
            self.send(**frame)

    ANSWERS: dict[str, Callable[["Guest", Frame], None]] = {
        "ack": hear_ack,
        "pong": hear_pong,
        "error": hear_error,
    }
