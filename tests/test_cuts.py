"""A client that is cut off, wherever it may be, and comes back: it has it all, once, in order.

One conversation is held without a cut, to count its frames; then again for each of them, cut there.
"""

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import select

from models import Member, Message, Room, StoredEvent, db
from tests.conftest import Account, Server
from tests.soak_client import Frame, Log, SocketClient

SECONDS = 60  # for all conversations of a test together
AT_ONCE = 40  # conversations


@dataclass(frozen=True)
class Cut:
    """Where the first socket of a client ends, or with `again` every one of its sockets.

    After so many frames `received` or `sent`, after so many `bytes` received, or after so many
    bytes of the frame `sent`, its `part`.
    """

    received: int = 0
    sent: int = 0
    bytes: int | None = None
    part: int | None = None
    politely: bool = False
    again: bool = False


class Traveller:
    """A client that comes back with the last `seq` it saw, and sends again what had no answer."""

    def __init__(self, port: int, account: Account, room: str, cut: Cut) -> None:
        self.port, self.account, self.room, self.cut = port, account, room, cut
        self.logs = {"room": Log(0), "todos": Log(0)}
        self.unanswered: dict[str, tuple[list[Frame], asyncio.Future[Frame]]] = {}
        self.received = self.sent = self.sockets = self.ends = 0
        self.socket: SocketClient | None = None
        self.clients: list[SocketClient] = []
        self.frames: asyncio.Queue[Frame | None]
        self.news = asyncio.Event()

    async def live(self) -> None:
        """Read until the end of the conversation, on as many sockets as it takes."""
        while True:
            await self.connect()
            while frame := await self.frames.get():
                self.note(frame)
                self.received += 1
                if self.received == self.cut.received:
                    self.leave()
            self.ends += 1
            self.socket = None

    async def connect(self) -> None:
        """Open a socket; resume, and send what is unanswered."""
        self.sockets += 1
        self.frames = asyncio.Queue()
        if self.sockets == 1 or self.cut.again:
            self.received = self.sent = 0
        else:
            self.cut = Cut()
        client = SocketClient(
            self.frames.put_nowait, lambda _code: self.frames.put_nowait(None), self.cut.bytes
        )
        self.clients.append(client)
        self.socket = await client.connect(self.port, f"/ws?token={self.account.token}")
        self.send(type="join-room", roomId=self.room, since=self.logs["room"].since)
        self.send(type="subscribe", payload={"table": "todos"}, since=self.logs["todos"].since)
        for frames, _ in list(self.unanswered.values()):
            for frame in frames:
                self.send(**frame)

    def send(self, **frame: Any) -> None:
        """Send a frame, if there is a socket; it may be cut right behind it, or within."""
        if self.socket and self.socket.is_open:
            self.sent += 1
            here = self.sent == self.cut.sent
            self.socket.write(json.dumps(frame).encode(), size=self.cut.part if here else None)
            if here:
                self.leave()

    def leave(self) -> None:
        """Cut the socket; what is on its way to us is lost."""
        assert self.socket
        self.socket.cut(self.cut.politely)
        while not self.frames.empty():
            self.frames.get_nowait()
        self.frames.put_nowait(None)

    def note(self, frame: Frame) -> None:
        """Remember what is stored, and which of our frames have an answer."""
        kind = frame["type"]
        if frame.get("roomId") == self.room and kind != "room-read":
            self.logs["room"].take(frame, frame)
        elif "table" in frame:
            self.logs["todos"].take(frame, frame)
        elif kind in ("ack", "pong"):
            _, answer = self.unanswered.pop(frame.get("id") or frame["sentAt"], (None, None))
            if answer:
                answer.set_result(frame)
        elif kind == "error":
            assert frame["code"] == "message_not_found", frame  # deleted already, a frame before
        self.news.set()

    async def do(self, *frames: Frame) -> Frame:
        """Send frames, again on each new socket until the last of them is answered."""
        answer: asyncio.Future[Frame] = asyncio.get_running_loop().create_future()
        self.unanswered[frames[-1].get("id") or frames[-1]["sentAt"]] = list(frames), answer
        for frame in frames:
            self.send(**frame)
        return await answer

    async def say(self, content: str) -> int:
        """Post a message, once; returns its id."""
        frame = {"type": "chat-message", "roomId": self.room, "content": content, "id": content}
        return int((await self.do(frame))["message"]["id"])

    async def change(self, type: str, message_id: int, **fields: Any) -> None:
        """Edit, delete or read: without an answer of its own, so a ping goes behind it."""
        frame = {"type": type, "roomId": self.room, "messageId": message_id, **fields}
        await self.do(frame, {"type": "ping", "sentAt": f"{type} {message_id}"})

    async def hear(self, what: str, seq: int) -> None:
        """Wait until everything of a topic up to `seq` was heard."""
        while (self.logs[what].since or 0) < seq:
            self.news.clear()
            await self.news.wait()


class Conversation:
    """The script: `ann` is cut off, `bob` never is."""

    def __init__(self, app: Flask, port: int, ann: Account, bob: Account, cut: Cut) -> None:
        self.app, self.cut = app, cut
        self.room = f"room of {ann.email}"
        self.ann = Traveller(port, ann, self.room, cut)
        self.bob = Traveller(port, bob, self.room, Cut())

    async def hold(self) -> None:
        """Say it all, and hear it all."""
        async with asyncio.TaskGroup() as group:
            lives = [group.create_task(self.bob.live())]
            before = [await self.bob.say(f"before {number}") for number in range(3)]
            await self.change_todos("milk")
            lives.append(group.create_task(self.ann.live()))
            await self.talk(before)
            await self.change_todos("bread")
            await self.ann.say("bye")
            await self.ann.hear("todos", len(await self.stored("todos")))
            await self.ann.hear("room", len(await self.stored("room")))
            for life in lives:
                life.cancel()
        for client in (*self.ann.clients, *self.bob.clients):
            client.cut()
        await asyncio.sleep(0.01)  # the loop closes them in its next turns

    async def talk(self, before: list[int]) -> None:
        """Both say, change, take back and read."""
        ann, bob = self.ann, self.bob
        mine = await ann.say("hello")
        await bob.change("edit-message", before[0], content="better")
        await ann.change("edit-message", mine, content="hello, bob")
        await bob.change("delete-message", before[1])
        await ann.change("read", mine)
        breath = (ann.say("one"), bob.say("two"), ann.say("three"), bob.say("four"))
        one, two, *_ = await asyncio.gather(*breath)
        await bob.change("edit-message", two, content="too")
        await bob.change("delete-message", two)
        await ann.change("delete-message", one)

    async def change_todos(self, title: str) -> None:
        """Another device of ann's makes a todo, ticks it off and deletes it."""
        await asyncio.to_thread(self.change_todos_now, title)

    def change_todos_now(self, title: str) -> None:
        client, headers = self.app.test_client(use_cookies=False), self.ann.account.headers
        todo = client.post("/api/todos", json={"title": title}, headers=headers).json
        path = f"/api/todos/{todo['id']}"
        assert client.patch(path, json={"completed": True}, headers=headers).status_code == 200
        assert client.delete(path, headers=headers).status_code == 204

    async def stored(self, what: str) -> Sequence[StoredEvent]:
        """The stored events of a topic."""
        return await asyncio.to_thread(self.stored_now, what)

    def stored_now(self, what: str) -> Sequence[StoredEvent]:
        user_id = self.ann.account.user["id"]
        topic = Room.topic_of(self.room) if what == "room" else f"todos:{user_id}"
        with self.app.app_context():
            wanted = select(StoredEvent).where(StoredEvent.topic == topic)
            return db.session.scalars(wanted.order_by(StoredEvent.seq)).all()

    def check(self) -> None:
        """What ann heard is what is stored, and what she said is stored once."""
        for what, log in self.ann.logs.items():
            rows = self.stored_now(what)
            assert [row.seq for row in rows] == [frame["seq"] for frame in log.heard], self.cut
            for row, frame in zip(rows, log.heard, strict=True):
                assert is_told_by(row, frame), (self.cut, row.type, row.data, frame)
        with self.app.app_context():
            said = select(Message.content).where(Message.room_id == self.room)
            contents = sorted(db.session.scalars(said))
            seat = db.session.get(Member, (self.room, self.ann.account.user["id"]))
        assert contents == sorted(["better", "before 2", "hello, bob", "three", "four", "bye"]), (
            self.cut
        )
        assert seat and seat.read_id > 0, self.cut


def is_told_by(row: StoredEvent, frame: Frame) -> bool:
    """Whether a frame tells this event, or the words that were there before they were deleted."""
    data = json.loads(row.data)
    if row.type == "changed":
        return all(frame[key] == data[key] for key in ("table", "event", "old", "new"))
    if row.type == "message-deleted" and "message" in frame:
        return bool(frame["message"]["id"] == data["messageId"])
    return frame == {"type": row.type, **data, "seq": row.seq}


@pytest.fixture
def app(make_app: Callable[..., Flask]) -> Flask:
    """An app for many clients from one address."""
    return make_app(REGISTER_LIMIT="10000 per hour", MAX_SOCKETS_PER_USER=500)


Hold = Callable[[Sequence[Cut]], list[Conversation]]


@pytest.fixture
def hold(app: Flask, server: Server, register: Callable[..., Account]) -> Hold:
    """Holds one conversation for each cut, many at once, and checks each."""
    port, bob = server.server.port, register("bob")
    names = (f"ann-{number}" for number in range(10_000))

    async def hold_all(conversations: list[Conversation]) -> None:
        some = asyncio.Semaphore(AT_ONCE)

        async def hold_one(conversation: Conversation) -> None:
            async with some:
                await conversation.hold()

        async with asyncio.timeout(SECONDS), asyncio.TaskGroup() as group:
            for conversation in conversations:
                group.create_task(hold_one(conversation))

    def run(cuts: Sequence[Cut]) -> list[Conversation]:
        conversations = [Conversation(app, port, register(next(names)), bob, cut) for cut in cuts]
        asyncio.run(hold_all(conversations))
        for conversation in conversations:
            conversation.check()
        return conversations

    return run


HOWS = [pytest.param(False, id="reset"), pytest.param(True, id="end of stream")]


@pytest.mark.parametrize("politely", HOWS)
def test_a_cut_after_any_received_frame_loses_and_repeats_nothing(
    hold: Hold, politely: bool
) -> None:
    (whole,) = hold([Cut()])
    assert whole.ann.received > 25
    for one in hold(
        [Cut(received=place + 1, politely=politely) for place in range(whole.ann.received)]
    ):
        assert one.ann.ends == 1, one.cut


@pytest.mark.parametrize("politely", HOWS)
def test_a_cut_after_any_sent_frame_loses_and_repeats_nothing(hold: Hold, politely: bool) -> None:
    (whole,) = hold([Cut()])
    assert whole.ann.sent > 10
    for one in hold([Cut(sent=place + 1, politely=politely) for place in range(whole.ann.sent)]):
        assert one.ann.ends == 1, one.cut


def test_a_cut_within_a_sent_frame_loses_and_repeats_nothing(hold: Hold) -> None:
    (whole,) = hold([Cut()])
    places = range(1, whole.ann.sent + 1)
    cuts = [Cut(sent=place, part=part, politely=True) for place in places for part in (1, 5, 20)]
    for one in hold(cuts):
        assert one.ann.ends == 1, one.cut


def test_a_cut_within_a_received_frame_loses_and_repeats_nothing(hold: Hold) -> None:
    for one in hold([Cut(bytes=place) for place in (1, 2, 3, *range(50, 8000, 499))]):
        assert one.ann.ends == 1, one.cut


def test_one_cut_after_the_other_loses_and_repeats_nothing(hold: Hold) -> None:
    for one in hold([Cut(received=place, again=True) for place in range(5, 20)]):
        assert one.ann.ends >= 1, one.cut
