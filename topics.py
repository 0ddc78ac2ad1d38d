"""Topic messages: what the bus within a page sends and hears (docs/frontends/larc.md#topics).

A message is `{topic, data, retain?}`, a topic a few segments, as in `cart.added`. They say who
hears it: `user.<id>`, the names of tables and what a connector says of the rows of any other
resource, `notes.item.saved`, are personal, what is the page's own business goes nowhere, all else
reaches everybody with an account. Messages are stored as events, so sockets and streams tell them
alike and resume; other events are worded as topic messages too.
"""

import contextlib
import json
import secrets
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Annotated, Any

from flask import current_app
from pydantic import AfterValidator, Field, StringConstraints
from sqlalchemy import select

from bus import Event
from errors import WharfError, bad_request, forbidden, not_found, unauthorized
from events import record
from models import (
    Collection,
    Items,
    Receipt,
    Retained,
    StoredEvent,
    User,
    db,
    fingerprint,
    nouns,
    rows_of,
)
from validation import Input

SHARED = "topics"  # where messages to everybody are told
PUBLISHED = "published"  # the type of event that holds a message
OF_THE_PAGE = {"auth", "sse", "sys", "ws"}  # what these say concerns no other page, tokens among it
REPEAT = timedelta(seconds=3)  # how long the same data on a topic counts as an echo of itself
POLLED = 1000  # messages in one answer
MAX_PATTERNS = 100
SNAPSHOT_CHARACTERS = 1_000_000  # of a list; what is longer is cut, the newest stay

TABLES = nouns()  # whose changes are told
PERSONAL = {"notification", "notifications", *TABLES}


def check_topic(topic: str) -> str:
    """Raise ValueError for what no topic can be called."""
    if not topic.isprintable() or " " in topic or not all(topic.split(".")):
        raise ValueError("must be segments with dots between them, without spaces")
    if "*" in topic:
        raise ValueError("must not contain a star")
    return topic


class TopicMessage(Input):
    """`{topic, data?, retain?, id?}`; with `id` a repetition is told once."""

    topic: Annotated[
        str, StringConstraints(min_length=1, max_length=200), AfterValidator(check_topic)
    ]
    data: Any = None
    retain: bool = False
    id: Annotated[str, Field(max_length=200)] | int | None = None


# Who may say and hear what


def find_table(name: str, user: User | None) -> Any:
    """The noun of this name whose changes `user` may hear, or a collection; raises 401 and 404."""
    if name not in TABLES:
        return find_items(name, user)
    if not is_open(TABLES[name], user):
        raise unauthorized("No token provided")
    return TABLES[name]


def find_items(name: str, user: User | None) -> Items:
    """The items of the collection of this name; raises 401 and 404."""
    if not Items.is_word(name):
        raise not_found("table")
    return Items.named(name, user)


def is_open(model: Any, user: User | None) -> bool:
    """Whether `user`, or nobody in particular, may hear of changes of a noun."""
    return user is not None or bool(current_app.config.get(model.OPEN, model.OPEN))


def audience_of(topic: str, user: User | None) -> str:
    """Where a message of `user` is told, empty for nowhere; raises 401 and 403."""
    first, *rest = topic.split(".")
    if first in OF_THE_PAGE:
        return ""
    if user is None and not current_app.config["ANONYMOUS_CHAT"]:
        raise unauthorized("No token provided")
    if first != "user" and first not in PERSONAL and not is_of_rows(topic):
        return SHARED
    if user is None:
        raise unauthorized("No token provided")
    if first == "user" and rest[:1] != [str(user.id)]:
        raise forbidden("This topic belongs to somebody else")
    return user.topic


def is_of_rows(topic: str) -> bool:
    """Whether a topic is of the rows of a collection, there already or not: who forwards what a
    page says of its own shall not tell it to others, nor what others take for theirs."""
    name, _, rest = topic.partition(".")
    return Items.is_word(name) and rest.partition(".")[0] in ("item", "list")


def audiences(user: User | None, patterns: "Patterns") -> list[str]:
    """Where what these patterns match, and `user` may hear, is told; raises 401 for nothing."""
    found = []
    if user or current_app.config["ANONYMOUS_CHAT"]:
        found.append(SHARED)
    if user:
        found.append(user.topic)
    for name, model in TABLES.items():
        if patterns.touch(name) and is_open(model, user):
            found.append(model.topic_of(user))
    found += [items.topic for items in collections(user, patterns)]
    if not found:
        raise unauthorized("No token provided")
    return found


def collections(user: User | None, patterns: "Patterns") -> list[Items]:
    """Those that patterns name, one's own also before they are made; for a star all one's own."""
    names = {pattern.partition(".")[0] for pattern in patterns} - PERSONAL - OF_THE_PAGE - {"user"}
    found = []
    if user and "*" in names:
        own = select(Collection.name).where(Collection.owner_id == user.id)
        found += [Items(user.id, name) for name in db.session.scalars(own)]
    for name in filter(Items.is_word, sorted(names)):
        with contextlib.suppress(WharfError):  # neither there nor shared
            found.append(Items.named(name, user))
    return list(dict.fromkeys(found))


class Patterns(tuple[str, ...]):
    """What a client wants to hear: a star stands for one segment, alone for everything."""

    __slots__ = ()

    @classmethod
    def parse(cls, text: str) -> "Patterns":
        """Patterns with commas or spaces between them; none are all. Raises 400."""
        words = sorted(set(text.replace(",", " ").split()))
        if len(words) > MAX_PATTERNS:
            message = f"topics: {MAX_PATTERNS} patterns are enough"
            raise bad_request(message, {"topics": [message]})
        return cls(words or ["*"])

    def match(self, topic: str) -> bool:
        """Whether one of them is for this topic."""
        return any(pattern == "*" or fits(pattern, topic) for pattern in self)

    def names(self, first: str) -> bool:
        """Whether one of them begins with this very segment."""
        return any(pattern.partition(".")[0] == first for pattern in self)

    def touch(self, first: str) -> bool:
        """Whether one of them may be for topics that begin with this segment."""
        return any(pattern.partition(".")[0] in ("*", first) for pattern in self)


@lru_cache(maxsize=4096)
def fits(pattern: str, topic: str) -> bool:
    """Whether each segment of `pattern` is a star or that of `topic`."""
    wanted, given = pattern.split("."), topic.split(".")
    return len(wanted) == len(given) and all(
        want in ("*", have) for want, have in zip(wanted, given, strict=True)
    )


# Saying


def publish(message: TopicMessage, user: User | None, sender: str, skip: str = "") -> str | int:
    """Record a message and return its id; the connection `skip` does not hear it.

    Raises 400, 401, 403, and 409 for an id used for something else.

    Said once and no more: pages send each message several times under one id, and a page that
    sends what it hears would start a storm of the same data under ever new ids. `sender` is whom
    repetitions are counted for.
    """
    audience = audience_of(message.topic, user)
    message_id = secrets.token_hex(8) if message.id is None else message.id
    if not audience or is_known(message, user, sender):
        return message_id
    if is_echo(message, sender):
        if message.retain:
            keep(audience, message, user)  # on, off, and on again at once: the last is kept
        return message_id
    data: dict[str, Any] = {"topic": message.topic, "data": message.data}
    if message.retain:
        data["retain"] = True
        keep(audience, message, user)
    data |= {"id": message_id, "ts": int(time.time() * 1000)}
    record(audience, PUBLISHED, data, skip)
    return message_id


def is_known(message: TopicMessage, user: User | None, sender: str) -> bool:
    """Whether `sender` has said this under its id; raises 409 for something else under it."""
    if message.id is None:
        return False
    words = words_of(message)
    if user is None:  # visitors of one address do not know each other's ids
        return not Receipt.claim(sender, f"topic {message.id} {fingerprint(words)}")
    return not Receipt.claim(sender, f"topic {message.id}", words)


def is_echo(message: TopicMessage, sender: str) -> bool:
    """Whether `sender` has said the same just now."""
    words = fingerprint(words_of(message))
    return not Receipt.claim(sender, f"topic {message.retain} {words}", life=REPEAT)


def words_of(message: TopicMessage) -> bytes:
    """What tells messages apart."""
    return json.dumps([message.topic, message.data], sort_keys=True).encode()


def is_made(name: str, user: User | None) -> bool:
    """Whether items have this name."""
    return ":" in name or (user is not None and Collection.find(user, name) is not None)


def keep(audience: str, message: TopicMessage, user: User | None) -> None:
    """Keep the message for those who come later; one without data ends that.

    Not of tables: a page forwards what it was told, and rows may be gone.
    """
    first = message.topic.partition(".")[0]
    if message.data is None:
        Retained.drop(audience, message.topic)
    elif first not in TABLES and not (is_of_rows(message.topic) and is_made(first, user)):
        Retained.keep(audience, message.topic, message.data)


# Hearing


def worded(event: Event) -> dict[str, Any] | None:
    """An event as a topic message; None for what pages do not hear this way."""
    if event.type == PUBLISHED:
        return dict(event.data)
    if event.type == "notification":
        return {"topic": "notification", "data": event.data["payload"]}
    if event.type != "changed":
        return None
    table, new, old = (event.data[name] for name in ("table", "new", "old"))
    row_id = (new or old)["id"]
    data = {"item": new} if new else {"id": row_id, "deleted": True}
    return {"topic": f"{table}.item.state.{row_id}", "data": data, "retain": True}


def snapshots(user: User | None, audience: str, patterns: Patterns) -> Iterator[dict[str, Any]]:
    """The rows of the table whose changes are told there, if somebody wants to hear of it."""
    items = Items.at(audience)
    told: dict[str, Any] = TABLES
    if items:  # any topic may be called as one that is to be made
        told = {items.word: items} if items.is_made() else {}
    for name, model in told.items():
        topic = f"{name}.list.state"
        is_wanted = patterns.touch(name) if model.IS_SHORT else patterns.names(name)
        if audience == model.topic_of(user) and is_wanted and patterns.match(topic):
            newest = model.visible_to(user).order_by(model.id.desc()).limit(model.MAX_ITEMS)
            rows = light([row.to_dict() for row in rows_of(newest)])
            yield {"topic": topic, "data": {"items": rows}, "retain": True}


def light(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The first items, SNAPSHOT_CHARACTERS of JSON at most."""
    size, found = 0, []
    for item in items:
        size += len(json.dumps(item))
        if size > SNAPSHOT_CHARACTERS:
            break
        found.append(item)
    return found


def retained(audience: str, patterns: Patterns) -> Iterator[dict[str, Any]]:
    """What was kept there of the topics asked for."""
    for topic, data in Retained.of(audience).items():
        if patterns.match(topic):
            yield {"topic": topic, "data": json.loads(data), "retain": True}


def poll(user: User | None, patterns: Patterns, since: int) -> list[dict[str, Any]]:
    """What was told after a time, in milliseconds since 1970: of each audience POLLED at most."""
    after = datetime.fromtimestamp(since / 1000, UTC).replace(tzinfo=None)
    rows: list[StoredEvent] = []
    for audience in audiences(user, patterns):
        new = StoredEvent.created_at > after
        told = select(StoredEvent).where(StoredEvent.topic == audience, new)
        rows += rows_of(told.order_by(StoredEvent.seq.desc()).limit(POLLED))
    found = []
    for row in sorted(rows, key=lambda row: row.id):
        message = worded(Event(row.topic, row.type, json.loads(row.data), row.seq))
        if message and patterns.match(message["topic"]):
            at = int(row.created_at.replace(tzinfo=UTC).timestamp() * 1000)
            found.append({**message, "ts": at})
    return found
