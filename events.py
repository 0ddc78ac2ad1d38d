"""`This changed`: collected in the transaction, stored with it, told to the bus after its commit.

A durable event gets the next gapless `seq` of its topic under the topic's row lock, in the same
transaction as the change it reports, so its order is the commit order and a rollback leaves no
trace. A signal (typing, presence) is told but never stored and may be lost.

Three hooks on every database session do it: `number_and_store` before the commit,
`publish_collected` after it, `forget` after a rollback. They are set at the end of this file.
"""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import cache
from typing import Any, TypeVar

from flask import Flask, current_app
from sqlalchemy import bindparam, event, insert, select, update

from bus import Bus, Event, make_bus
from models import (
    Collection,
    Job,
    Member,
    Message,
    Record,
    Room,
    StoredEvent,
    Topic,
    User,
    db,
    now,
    upsert,
)

# What clients are told of stored events: nobody may pass for the house that says so.
RECORDED = {
    *("changed", "chat-message", "message-edited", "message-deleted", "published"),
    *("member-changed", "member-removed", "room-added", "room-removed", "room-read", "room:update"),
    *("notification", "notification-read", "notification-unread", "notification-deleted"),
    *("job:progress", "job:deleted"),
}
UNNUMBERED = -1
Key = TypeVar("Key", str, int)
PAGE = 500
PAGE_CHARACTERS = 1_000_000  # of the data in one page, unless one event has more


def record(topic: str, type: str, data: Any, skip: str = "") -> None:
    """Collect a durable event: stored with the transaction, told after its commit.

    The connection with id `skip` does not hear it.
    """
    collect(Event(topic, type, data, UNNUMBERED, skip))


def signal(topic: str, type: str, data: Any, skip: str = "") -> None:
    """Collect an ephemeral event; the connection with id `skip` does not hear it."""
    collect(Event(topic, type, data, skip=skip))


def record_change(topic: str, table: str, old: Any = None, new: Any = None) -> None:
    """Collect the INSERT, UPDATE or DELETE of a row, given as its dicts before and after."""
    kind = "UPDATE" if old and new else "INSERT" if new else "DELETE"
    record(topic, "changed", {"table": table, "event": kind, "old": old, "new": new})


def record_row(row: Record, old: dict[str, Any] | None, new: dict[str, Any] | None) -> None:
    """Collect what a row of a noun was and is, where it is told; nothing, while nobody may know.

    What nobody may read any longer is forgotten where it left traces: replays would tell it again.
    """
    if old and not new and (traces := row.traces()):
        for topic, facts in traces:
            forget_changes(topic, facts)
        old = {name: value for name, value in old.items() if isinstance(value, int | None)}
    if old or new:
        for topic, name in row.told_on():
            record_change(topic, name, old, new)


def forget_changes(topic: str, facts: dict[str, Any]) -> None:
    """Empty what was told on `topic` of rows with these facts, in this order; no seq is missing."""
    said = as_text(facts)[1:-1]
    told = (StoredEvent.topic == topic) & StoredEvent.data.contains(said, autoescape=True)
    forgotten = update(StoredEvent).where(told, StoredEvent.type == "changed")
    db.session.execute(forgotten.values(type="erased", data="{}"))


def forget_topics(topics: Sequence[str], *but: str) -> None:
    """Empty what was told on these topics, but for events of these types; no seq is missing."""
    told = update(StoredEvent).where(StoredEvent.topic.in_(topics), StoredEvent.type.not_in(but))
    db.session.execute(told.values(type="erased", data="{}"))


def record_withdrawal(collection: Collection, topics: Sequence[tuple[str, str]]) -> None:
    """Collect, for these of its topics, that all items are gone; what was told is forgotten."""
    keys = db.session.scalars(collection.keys()).all() if topics else []
    forget_topics([topic for topic, _ in topics])
    for topic, name in topics:
        for key in keys:
            record_change(topic, name, {"id": key}, None)


def record_message(room: Room, message: dict[str, Any]) -> None:
    """Collect a new chat message, given as `Room.post` returned it."""
    record(room.topic, "chat-message", {"roomId": room.id, "message": message})
    if "@" in message["content"]:
        from notifications import notify_mentions  # here: it tells by this module

        notify_mentions(room, message)


def record_edit(room: Room, message: Message) -> None:
    """Collect that what was said reads otherwise now."""
    record(room.topic, "message-edited", {"roomId": room.id, "message": message.to_dict()})


def record_room(room: Room) -> None:
    """Collect that the name, the lock or the owner of a room changed."""
    data: dict[str, Any] = {"roomId": room.id, "id": room.id, "name": room.name}
    data |= {"ownerId": room.owner_id, "isLocked": room.is_locked}
    data["participants"] = room.participants()
    record(room.topic, "room:update", data)


def record_member(room: Room, member: Member) -> None:
    """Collect that somebody has a seat in a room, or another one than before."""
    record(room.topic, "member-changed", {"roomId": room.id, "member": member.to_dict()})


def record_removal(room: Room, user: User, reason: str, handed_over: bool = False) -> None:
    """Collect that `user` may hear the room no longer: `left`, `kicked`, `banned`, `deleted`.

    And who owns it now, if it was handed over.
    """
    data = {"roomId": room.id, "userId": user.id, "reason": reason}
    record(room.topic, "member-removed", data)
    if handed_over:
        record_room(room)


def record_deletion(room: Room, message_id: int) -> None:
    """Collect that a message is gone, and take its words out of what was told before."""
    gone = {"roomId": room.id, "messageId": message_id}
    was = as_text({"roomId": room.id, "message": {"id": message_id}}).removesuffix("}}") + ","
    told = (StoredEvent.topic == room.topic) & StoredEvent.data.startswith(was, autoescape=True)
    values = {"type": "message-deleted", "data": as_text(gone)}  # in its place: no seq is missing
    db.session.execute(update(StoredEvent).where(told).values(values))
    record(room.topic, "message-deleted", gone)


def record_job(job: Job) -> None:
    """Collect how far a job is, for its user alone."""
    facts = job.to_dict()  # without its type: a frame has one of its own
    told = ("jobId", "progress", "status", "totalItems", "processedItems", "error")
    record(f"user:{job.user_id}", "job:progress", {name: facts[name] for name in told})


def collect(told: Event) -> None:
    """Keep an event for the commit of the current transaction."""
    session = db.session()
    if not session.in_transaction():
        session.begin()
    session.info.setdefault("events", []).append(told)


def number_and_store(session: Any) -> None:
    """Before the commit: give every durable event its seq and add its row."""
    told: list[Event] = session.info.get("events", [])
    counts = Counter(event.topic for event in told if event.seq == UNNUMBERED)
    if not counts:
        return
    # Sorted: two transactions that tell on the same topics lock them in the same order.
    last = {topic: take_seqs(session, topic, counts[topic]) for topic in sorted(counts)}
    position = {topic: last[topic] - counts[topic] for topic in counts}
    for index, one in enumerate(told):
        if one.seq == UNNUMBERED:
            position[one.topic] += 1
            told[index] = replace(one, seq=position[one.topic])
    session.connection().execute(STORE, [as_row(one) for one in told if one.seq])


def take_seqs(session: Any, topic: str, count: int) -> int:
    """Reserve the next `count` seqs of a topic under its row lock; returns the last of them."""
    connection = session.connection()
    statement = count_up(connection.dialect.name)
    return int(connection.scalar(statement, {"topic": topic, "count": count}))


@cache
def count_up(dialect: str) -> Any:
    """Adds `count` to the seq of `topic`, which may be new; built once, as STORE is (bench/)."""
    table = Topic.__table__
    values: dict[str, Any] = {"name": bindparam("topic"), "seq": bindparam("count")}
    statement = upsert(table, dialect).values(values)
    more = {"seq": table.c.seq + statement.excluded.seq}
    return statement.on_conflict_do_update(index_elements=["name"], set_=more).returning(
        table.c.seq
    )


STORE = insert(StoredEvent.__table__)


def as_text(data: Any) -> str:
    """The data of an event as it is stored."""
    return json.dumps(data, ensure_ascii=False, separators=(",", ":"))


def as_row(one: Event) -> dict[str, Any]:
    """The row of a numbered event."""
    return {
        "topic": one.topic,
        "seq": one.seq,
        "type": one.type,
        "data": as_text(one.data),
        "skip": one.skip,
        "created_at": now(),
    }


def publish_collected(session: Any) -> None:
    """After the commit: hand what was collected to the bus."""
    told = session.info.pop("events", None)
    if told:
        get_bus().publish(told)


def forget(session: Any, _previous: Any) -> None:
    """After a rollback: nothing happened, so nothing is told."""
    session.info.pop("events", None)


def read(topic: str, after: int) -> list[Event]:
    """The next stored events of a topic above seq `after`, in order, a page of them at most."""
    rows = db.session.execute(
        select(StoredEvent.seq, StoredEvent.type, StoredEvent.data, StoredEvent.skip)
        .where(StoredEvent.topic == topic, StoredEvent.seq > after)
        .order_by(StoredEvent.seq)
        .limit(PAGE)
    )
    page: list[Event] = []
    size = 0
    for row in rows:
        size += len(row.data)
        if page and size > PAGE_CHARACTERS:
            break
        page.append(Event(topic, row.type, json.loads(row.data), row.seq, row.skip))
    return page


def last_seqs(topics: Sequence[str]) -> dict[str, int]:
    """The last seq of each topic; a topic nothing was told on yet is at 0."""
    found = dict.fromkeys(topics, 0)
    for chunk in chunks(topics):
        rows = db.session.execute(select(Topic.name, Topic.seq).where(Topic.name.in_(chunk)))
        found.update({row.name: row.seq for row in rows})
    return found


def chunks(keys: Sequence[Key]) -> Iterable[Sequence[Key]]:
    """Cut a long list so that its parts fit one statement each."""
    for start in range(0, len(keys), PAGE):
        yield keys[start : start + PAGE]


def get_bus() -> Bus:
    """The bus of the current app."""
    bus: Bus = current_app.extensions["bus"]
    return bus


def init_app(app: Flask) -> None:
    """Give `app` its bus. The session hooks below serve all apps."""
    with app.app_context():
        config = app.config
        app.extensions["bus"] = make_bus(db.engine, config["REDIS_URL"], config["SECRET_KEY"])


event.listen(db.session, "before_commit", number_and_store)
event.listen(db.session, "after_commit", publish_collected)
event.listen(db.session, "after_soft_rollback", forget)
