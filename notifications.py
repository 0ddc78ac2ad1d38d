"""Telling a user something that stays: `notify` is the one call any code makes.

A notification is stored with the transaction, told to all sockets of its user after the commit, and
then pushed to browsers without an open page (push.py). How many are unread is counted last, under
the lock of the user's topic, so that what is told last is right.

Three hooks on every database session, set at the end of this file, do what must wait.
"""

import re
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from sqlalchemy import event, select

import push
from events import UNNUMBERED, record, take_seqs
from models import Member, Notification, Room, User, db

# A name as validation.py allows, not within an email address or a longer word.
MENTION = re.compile(r"(?<![\w.+@-])@([A-Za-z0-9](?:[A-Za-z0-9._-]{0,98}[A-Za-z0-9])?)(?![\w@])")
MAX_MENTIONS = 50  # users one message can notify
EXCERPT = 200  # characters of it that they read


def notify(
    user_id: int, title: str, message: str = "", category: str = "info", link: str = ""
) -> Notification:
    """Store and tell a user something; the caller commits.

    Raises ValueError for a category that is none.
    """
    if category not in Notification.CATEGORIES:
        raise ValueError(f"{category!r} is not one of {', '.join(Notification.CATEGORIES)}")
    row = Notification(user_id=user_id, title=title, message=message, category=category, link=link)
    db.session.add(row)
    db.session.flush()
    facts = row.to_dict()
    # The guide's pages look into `payload`, where the category is called type.
    payload = {"id": row.id, "type": category, "title": title, "message": message}
    tell(user_id, "notification", {**facts, "payload": payload})
    db.session().info.setdefault("pushes", []).append((user_id, facts))
    return row


def tell(user_id: int, type: str, data: dict[str, Any]) -> None:
    """Collect an event for all sockets of a user; `unread` is added to `data` by the commit."""
    record(f"user:{user_id}", type, data)
    db.session().info.setdefault("unread", []).append((user_id, data))


def tell_ids(user: User, type: str, ids: Sequence[int]) -> None:
    """Tell the other devices which notifications changed, if any did."""
    if ids:
        tell(user.id, type, {"ids": list(ids)})


def mentioned(content: str) -> list[str]:
    """The names after an `@`, in lower case, each once, MAX_MENTIONS at most."""
    names = dict.fromkeys(match[1].lower() for match in MENTION.finditer(content))
    return list(names)[:MAX_MENTIONS]


def notify_mentions(room: Room, message: dict[str, Any]) -> None:
    """Notify whom a message, given as `Room.post` returned it, names and who may read the room."""
    names = mentioned(message["content"])
    if not names:
        return
    title = f"{message['userName']} mentioned you"
    if room.kind != "direct":
        title += f" in {room.name}"
    for user_id in readers(room, names):
        if user_id != message["userId"]:
            excerpt = message["content"][:EXCERPT]
            notify(user_id, title, excerpt, link=f"/?room={quote(room.id, safe='')}")


def readers(room: Room, names: Sequence[str]) -> Sequence[int]:
    """Which users of these usernames may read the room; a public one all who are not banned."""
    seat = (Member.user_id == User.id) & (Member.room_id == room.id)
    found = select(User.id).outerjoin(Member, seat).where(User.username.in_(names))
    allowed: Any = Member.is_banned.is_(False)
    if room.kind == "public":
        allowed |= Member.user_id.is_(None)
    ids: Sequence[int] = db.session.scalars(found.where(allowed).order_by(User.id)).all()
    return ids


def count_unread(session: Any) -> None:
    """Before events are numbered: add to what is told how many notifications are unread.

    The topics are locked for it as `number_and_store` does, all of them and sorted: whoever counts
    sees what was committed before on the topic, and no two transactions wait for each other.
    """
    waiting = session.info.pop("unread", None)
    if not waiting:
        return
    session.flush()
    for topic in sorted({one.topic for one in session.info["events"] if one.seq == UNNUMBERED}):
        take_seqs(session, topic, 0)
    counts = Notification.count_unread({user_id for user_id, _ in waiting})
    for user_id, data in waiting:
        data["unread"] = counts[user_id]


def push_collected(session: Any) -> None:
    """After the commit: hand what was collected to the push services, in the background."""
    for user_id, facts in session.info.pop("pushes", ()):
        push.send(user_id, facts)


def forget(session: Any, _previous: Any) -> None:
    """After a rollback: nothing happened."""
    session.info.pop("unread", None)
    session.info.pop("pushes", None)


event.listen(db.session, "before_commit", count_unread, insert=True)
event.listen(db.session, "after_commit", push_collected)
event.listen(db.session, "after_soft_rollback", forget)
