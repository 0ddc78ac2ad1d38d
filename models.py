"""Every table: the map of the data, with the short rules that belong to each row.

Nothing here reads the request or commits; routes and handlers do, as their last act.
Times are UTC, stored without a zone (SQLite drops it) and written with a `Z`.
"""

import hashlib
import json
import secrets
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any
from urllib.parse import quote

from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import (
    BigInteger,
    ForeignKey,
    Index,
    Integer,
    Select,
    Text,
    bindparam,
    delete,
    event,
    insert,
    select,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Engine
from sqlalchemy.orm import DeclarativeBase, Mapped, joinedload, mapped_column, relationship

from errors import WharfError, bad_request, forbidden, not_found


class Base(DeclarativeBase):
    """What every model is."""


# Any: its Model is made at run time. Rows stay readable after the commit that ends a request.
db: Any = SQLAlchemy(model_class=Base, session_options={"expire_on_commit": False})
BigId = BigInteger().with_variant(Integer, "sqlite")  # SQLite counts up only INTEGER keys


def now() -> datetime:
    """The one clock: UTC without zone; tests replace it."""
    return datetime.now(UTC).replace(tzinfo=None)


def iso(moment: datetime) -> str:
    """Write a stored time as ISO-8601 UTC with `Z`, in milliseconds."""
    return moment.isoformat(timespec="milliseconds") + "Z"


def parse_id(text: str | int) -> int | None:
    """Read an integer key from a URL or a frame; None for anything that cannot be one."""
    word = str(text)
    number = int(word) if word.isascii() and word.isdecimal() and len(word) < 11 else 0
    return number if 0 < number < 2**31 else None


def fingerprint(content: bytes) -> str:
    """Tells whether two contents are the same, without keeping them."""
    return hashlib.sha256(content).hexdigest()


def upsert(model: Any, dialect: str = "") -> Any:
    """`INSERT ... ON CONFLICT` for `model`, of this dialect or that of the database in use."""
    dialect = dialect or db.engine.dialect.name
    return (postgresql if dialect == "postgresql" else sqlite).insert(model)


def prepare_sqlite(engine: Engine, synchronous: str) -> None:
    """WAL lets readers and a writer work at once; keys are enforced; writers wait their turn."""

    @event.listens_for(engine, "connect")
    def set_pragmas(dbapi_connection: Any, _record: Any) -> None:
        cursor = dbapi_connection.cursor()
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute(f"PRAGMA synchronous={synchronous}")
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.execute("PRAGMA busy_timeout=5000")
        cursor.close()


# What each role may do, as (resource, action); `*` is any. Which rows, the loaders below decide.
ROLES: dict[str, dict[str, Any]] = {
    "user": {
        "description": "Works on what is their own",
        "hierarchy": 1,
        "permissions": (
            ("todos", "*"),
            ("rooms", "*"),
            ("files", "*"),
            ("channels", "*"),
            ("users", "read"),
        ),
    },
    "admin": {
        "description": "May do everything",
        "hierarchy": 100,
        "permissions": (("*", "*"),),
    },
}


def describe_permission(resource: str, action: str) -> dict[str, str]:
    """A permission as pages read it (docs/frontends/brolostack.md)."""
    return {
        "id": f"{resource}:{action}",
        "resource": resource,
        "action": action,
        "description": f"{action.replace('*', 'all')} on {resource.replace('*', 'everything')}",
    }


class User(db.Model):
    """An account; signs in by email or username."""

    __tablename__ = "users"

    id: Mapped[int] = mapped_column(primary_key=True)
    email: Mapped[str | None] = mapped_column(unique=True)
    username: Mapped[str | None] = mapped_column(unique=True)
    name: Mapped[str]
    password_hash: Mapped[str]
    role: Mapped[str] = mapped_column(default="user")
    created_at: Mapped[datetime] = mapped_column(default=now)

    @classmethod
    def find(cls, login: str) -> "User | None":
        """The account with this email or username, given as it is stored."""
        return db.session.scalar(
            select(cls).where((cls.email == login) | (cls.username == login)).limit(1)
        )

    @classmethod
    def load(cls, user_id: str | int) -> "User":
        """The account with this id; raises 404."""
        user = db.session.get(cls, parse_id(user_id) or 0)
        if user is None:
            raise not_found("user")
        return user

    @property
    def topic(self) -> str:
        """Where what concerns this user alone is told."""
        return f"user:{self.id}"

    def may(self, resource: str, action: str) -> bool:
        """Whether the role of this user allows `action` on `resource`."""
        return any(
            known in ("*", resource) and what in ("*", action)
            for known, what in ROLES[self.role]["permissions"]
        )

    def permissions(self) -> list[dict[str, str]]:
        """What the role allows, as pages read it."""
        return [describe_permission(*pair) for pair in ROLES[self.role]["permissions"]]

    def role_object(self) -> dict[str, Any]:
        """The role as AuthManager's `hasRole` reads it (docs/frontends/brolostack.md)."""
        role = {"id": self.role, "name": self.role, **ROLES[self.role]}
        return {**role, "permissions": self.permissions()}

    def end_sessions(self, *which: Any) -> list[str]:
        """End the live sessions that meet the conditions `which`; returns their ids."""
        ended = update(Session).where(
            Session.user_id == self.id, Session.ended_at.is_(None), *which
        )
        return list(db.session.scalars(ended.values(ended_at=now()).returning(Session.id)))

    def to_public(self) -> dict[str, Any]:
        """What every other user may know."""
        return {
            "id": self.id,
            "username": self.username,
            "name": self.name,
            "role": self.role,
            "createdAt": iso(self.created_at),
        }

    def to_dict(self) -> dict[str, Any]:
        """What the user may know of this account, in the names all frontends read."""
        return {
            "id": self.id,
            "email": self.email,
            "username": self.username,
            "name": self.name,
            "display_name": self.name,
            "role": self.role,
            "roles": [self.role],
            "permissions": self.permissions(),
            "is_active": True,
            "mfa_enabled": False,
            "createdAt": iso(self.created_at),
        }

    def to_peer(self) -> dict[str, Any]:
        """What other users in a room see."""
        return {"id": self.id, "name": self.name}


class Session(db.Model):
    """One sign-in on one device; every token names its session and dies with it."""

    __tablename__ = "sessions"

    id: Mapped[str] = mapped_column(primary_key=True, default=lambda: secrets.token_urlsafe(16))
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"), index=True)
    device: Mapped[str] = mapped_column(default="")
    address: Mapped[str] = mapped_column(default="")
    rotation: Mapped[int] = mapped_column(default=0)  # counts refreshes where each counts once
    created_at: Mapped[datetime] = mapped_column(default=now)
    seen_at: Mapped[datetime] = mapped_column(default=now)
    ended_at: Mapped[datetime | None]
    user: Mapped[User] = relationship()

    @classmethod
    def find_live(cls, session_id: str) -> "Session | None":
        """The session with its user, unless it has ended: one indexed query."""
        return db.session.scalar(find_session(), {"id": session_id})

    @classmethod
    def is_live(cls, session_id: str) -> bool:
        """Whether the session has not ended."""
        live = (cls.id == session_id) & cls.ended_at.is_(None)
        return db.session.scalar(select(cls.id).where(live)) is not None

    @classmethod
    def owned_by(cls, user: User, life: timedelta) -> "Select[tuple[Session]]":
        """The live sessions of `user` whose tokens, valid for `life`, can still be good."""
        live = cls.ended_at.is_(None) & (cls.seen_at > now() - life)
        return select(cls).where(cls.user_id == user.id, live).order_by(cls.seen_at.desc())

    def rotate(self, rotation: int) -> bool:
        """Count a refresh; False when the token's `rotation` is not the newest (RFC 9700 4.14)."""
        newest = (Session.id == self.id) & (Session.rotation == rotation)
        statement = update(Session).where(newest).values(rotation=rotation + 1)
        return db.session.scalar(statement.returning(Session.id)) is not None

    def to_dict(self, current_id: str) -> dict[str, Any]:
        """A session as account pages list it (docs/frontends/larc.md)."""
        return {
            "id": self.id,
            "device": self.device,
            "address": self.address,
            "location": self.address,
            "createdAt": iso(self.created_at),
            "lastActive": iso(self.seen_at),
            "isCurrent": self.id == current_id,
        }


@cache
def find_session() -> Any:
    """Finds the live session `id` with its user; built once, since every request asks (bench/)."""
    session_with_user = select(Session).options(joinedload(Session.user, innerjoin=True))
    return session_with_user.where(Session.id == bindparam("id"), Session.ended_at.is_(None))


class OneTimeToken(db.Model):
    """A secret that works once: a socket ticket or a password reset. Only its hash is kept."""

    __tablename__ = "one_time_tokens"

    digest: Mapped[str] = mapped_column(primary_key=True)
    purpose: Mapped[str]
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"), index=True)
    session_id: Mapped[str | None] = mapped_column(ForeignKey("sessions.id"))
    expires_at: Mapped[datetime] = mapped_column(index=True)

    @classmethod
    def issue(
        cls, purpose: str, user: User, life: timedelta, session: Session | None = None
    ) -> str:
        """A new token of `user` that works for `life`; tokens past their time are swept out."""
        db.session.execute(delete(cls).where(cls.expires_at < now()))
        token = secrets.token_urlsafe(32)
        row = cls(digest=fingerprint(token.encode()), purpose=purpose, user_id=user.id)
        row.session_id = session and session.id
        row.expires_at = now() + life
        db.session.add(row)
        return token

    @classmethod
    def redeem(cls, purpose: str, token: str) -> Any:
        """Use a token up: its row (`user_id`, `session_id`), or None. One caller alone gets it."""
        statement = delete(cls).where(cls.good(purpose, token))
        return db.session.execute(statement.returning(cls.user_id, cls.session_id)).first()

    @classmethod
    def is_good(cls, purpose: str, token: str) -> bool:
        """Whether `redeem` would find the token."""
        return db.session.scalar(select(cls.digest).where(cls.good(purpose, token))) is not None

    @classmethod
    def good(cls, purpose: str, token: str) -> Any:
        """The condition that a row is this token, in time."""
        digest = fingerprint(token.encode())
        return (cls.digest == digest) & (cls.purpose == purpose) & (cls.expires_at > now())

    @classmethod
    def revoke(cls, purpose: str, user: User) -> None:
        """Let no token of `user` work any more."""
        db.session.execute(delete(cls).where(cls.user_id == user.id, cls.purpose == purpose))


class Activity(db.Model):
    """What happened to an account: the audit trail; rows are only ever added."""

    __tablename__ = "activities"
    LISTED = {"id", "user_id", "type", "address", "created_at"}
    SEARCHED = ("type", "detail", "device")
    __table_args__ = (Index("activities_of_user", "user_id", "id"),)

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    user_id: Mapped[int | None]  # no foreign key: the trail outlives the account
    type: Mapped[str]
    detail: Mapped[str] = mapped_column(default="")
    address: Mapped[str] = mapped_column(default="")
    device: Mapped[str] = mapped_column(default="")
    created_at: Mapped[datetime] = mapped_column(default=now)

    @classmethod
    def visible_to(cls, user: User) -> "Select[tuple[Activity]]":
        """Everybody's for who may read it, else what concerns `user`."""
        if user.may("activity", "read"):
            return select(cls)
        return select(cls).where(cls.user_id == user.id)

    def to_dict(self) -> dict[str, Any]:
        """An entry as account pages list it."""
        return {
            "id": self.id,
            "userId": self.user_id,
            "type": self.type,
            "detail": self.detail,
            "address": self.address,
            "device": self.device,
            "createdAt": iso(self.created_at),
        }


class Todo(db.Model):
    """A line on somebody's list, or on the shared public list when it has no owner."""

    __tablename__ = "todos"
    LISTED = {"id", "title", "completed", "created_at", "updated_at"}
    SEARCHED = ("title",)

    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[int | None] = mapped_column(ForeignKey("users.id"), index=True)
    title: Mapped[str]
    completed: Mapped[bool] = mapped_column(default=False)
    created_at: Mapped[datetime] = mapped_column(default=now)
    updated_at: Mapped[datetime] = mapped_column(default=now, onupdate=now)

    @classmethod
    def owned_by(cls, user: User | None) -> "Select[tuple[Todo]]":
        """The list `user` works on; the public one for nobody."""
        return select(cls).where(cls.user_id == user.id if user else cls.user_id.is_(None))

    @classmethod
    def find(cls, todo_id: str | int, user: User | None) -> "Todo | None":
        """The todo, if it is on the list of `user`."""
        return db.session.scalar(cls.owned_by(user).where(cls.id == parse_id(todo_id)))

    @classmethod
    def load(cls, todo_id: str | int, user: User | None) -> "Todo":
        """The todo, if it is on the list of `user`; raises 404."""
        todo = cls.find(todo_id, user)
        if todo is None:
            raise not_found("todo")
        return todo

    @staticmethod
    def topic_of(user: User | None) -> str:
        """Where changes of this user's list are told."""
        return f"todos:{user.id}" if user else "todos:public"

    def to_dict(self) -> dict[str, Any]:
        """The row as the todo pages read it (docs/frontends/larc.md)."""
        created, updated = iso(self.created_at), iso(self.updated_at)
        return {
            "id": self.id,
            "title": self.title,
            "text": self.title,
            "completed": self.completed,
            "created_at": created,
            "updated_at": updated,
            "createdAt": created,
            "updatedAt": updated,
        }


class Room(db.Model):
    """A chat room; anybody may enter, and its first message makes it."""

    __tablename__ = "rooms"

    id: Mapped[str] = mapped_column(primary_key=True)
    created_at: Mapped[datetime] = mapped_column(default=now)

    @classmethod
    def load(cls, room_id: str, user: User) -> "Room":
        """The room of this name, which anybody may enter; raises 400 for one that cannot be."""
        if not room_id or len(room_id) > 200 or not room_id.isprintable():
            raise bad_request("RoomId must be 1 to 200 printable characters", code="invalid_room")
        return cls(id=room_id)

    @staticmethod
    def topic_of(room_id: str) -> str:
        """Where what happens in a room is told."""
        return f"room:{room_id}"

    @property
    def topic(self) -> str:
        """Where what happens in this room is told."""
        return self.topic_of(self.id)

    def history(self) -> "Select[tuple[Message]]":
        """Everything said here."""
        return select(Message).where(Message.room_id == self.id)

    def post(self, user: User, content: str) -> dict[str, Any]:
        """Store a message, and the room with its first one; returns it as clients read it."""
        connection, moment = db.session.connection(), now()
        connection.execute(make_room(connection.dialect.name), {"id": self.id, "at": moment})
        row = {
            "room_id": self.id,
            "user_id": user.id,
            "content": content,
            "created_at": moment,
        }
        row["id"] = connection.scalar(ADD_MESSAGE, row)
        return Message.as_dict(row, user.name)


class Message(db.Model):
    """Something said in a room."""

    __tablename__ = "messages"
    LISTED = {"id", "user_id", "content", "created_at"}
    SEARCHED = ("content",)
    __table_args__ = (Index("messages_of_room", "room_id", "id"),)

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    room_id: Mapped[str] = mapped_column(ForeignKey("rooms.id"))
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"))
    content: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(default=now)
    user: Mapped[User] = relationship(lazy="joined", innerjoin=True)

    @staticmethod
    def as_dict(row: Mapping[str, Any], user_name: str) -> dict[str, Any]:
        """A message as chat pages read it, in both spellings (docs/frontends/larc.md)."""
        created = iso(row["created_at"])
        return {
            "id": row["id"],
            "roomId": row["room_id"],
            "userId": row["user_id"],
            "userName": user_name,
            "content": row["content"],
            "createdAt": created,
            "room_id": row["room_id"],
            "user_id": row["user_id"],
            "created_at": created,
        }

    def to_dict(self) -> dict[str, Any]:
        """This message as chat pages read it."""
        return self.as_dict(vars(self), self.user.name)


# Core statements, built once: storing chat messages is the hot path (bench/).
ADD_MESSAGE = insert(Message.__table__).returning(Message.__table__.c.id)


@cache
def make_room(dialect: str) -> Any:
    """Adds the room `id`, made `at`, unless it is there."""
    values: dict[str, Any] = {"id": bindparam("id"), "created_at": bindparam("at")}
    return upsert(Room.__table__, dialect).values(values).on_conflict_do_nothing()


class File(db.Model):
    """An uploaded file; its bytes lie in storage.py under `filename`, a name of ours."""

    __tablename__ = "files"
    LISTED = {"id", "filename", "original_name", "mimetype", "size", "created_at"}
    SEARCHED = ("original_name",)

    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"), index=True)
    filename: Mapped[str] = mapped_column(unique=True)
    original_name: Mapped[str]
    mimetype: Mapped[str]
    size: Mapped[int] = mapped_column(BigInteger)
    created_at: Mapped[datetime] = mapped_column(default=now)

    @classmethod
    def owned_by(cls, user: User) -> "Select[tuple[File]]":
        """The files `user` uploaded."""
        return select(cls).where(cls.user_id == user.id)

    @classmethod
    def load(cls, file_id: str | int, user: User) -> "File":
        """The file, if `user` may read it; raises 404."""
        file = db.session.scalar(cls.owned_by(user).where(cls.id == parse_id(file_id)))
        if file is None:
            raise not_found("file")
        return file

    @classmethod
    def load_public(cls, filename: str) -> "File":
        """The file of this stored name, for whoever knows it; raises 404."""
        wanted = select(cls).where(cls.filename == filename.replace("\0", "/"))  # no name of ours
        file = db.session.scalar(wanted)
        if file is None:
            raise not_found("file")
        return file

    def to_dict(self) -> dict[str, Any]:
        """What upload components read (docs/frontends/larc.md)."""
        return {
            "id": self.id,
            "filename": self.filename,
            "url": f"/uploads/{quote(self.filename)}",
            "originalName": self.original_name,
            "mimetype": self.mimetype,
            "size": self.size,
            "createdAt": iso(self.created_at),
        }


class Receipt(db.Model):
    """The first answer to a request or message that carried an id, kept to answer its retries."""

    __tablename__ = "receipts"

    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"), primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    digest: Mapped[str]
    status: Mapped[int]
    answer: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(default=now, index=True)

    LIFE = timedelta(days=1)

    @classmethod
    def find(cls, user: User, key: str, content: bytes) -> "Receipt | None":
        """The receipt for `key`, if it is less than a day old; raises 409 for other content."""
        mine = (cls.user_id == user.id) & (cls.key == fingerprint(key.encode()))
        receipt = db.session.scalar(select(cls).where(mine))
        if receipt and receipt.created_at < now() - cls.LIFE:
            db.session.delete(receipt)
            db.session.flush()
            return None
        if receipt and receipt.digest != fingerprint(content):
            raise WharfError(409, "This id was used for something else", "id_reused")
        return receipt

    @classmethod
    def keep(cls, user: User, key: str, content: bytes, answer: Any, status: int = 200) -> None:
        """Remember `answer`, a JSON value, as the first one to `key` and `content`."""
        text = json.dumps(answer, separators=(",", ":"))
        row = cls(user_id=user.id, status=status, answer=text)
        # Fingerprints: both may be longer than an index or a row should hold.
        row.key, row.digest = fingerprint(key.encode()), fingerprint(content)
        db.session.add(row)


class Topic(db.Model):
    """Counts what was told on a topic; its row is locked while the next `seq` is given."""

    __tablename__ = "topics"

    name: Mapped[str] = mapped_column(primary_key=True)
    seq: Mapped[int] = mapped_column(BigInteger, default=0)


class StoredEvent(db.Model):
    """An event that must reach everybody: what reconnecting clients and other processes read."""

    __tablename__ = "events"
    __table_args__ = (
        Index("events_of_topic", "topic", "seq", unique=True),
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    topic: Mapped[str]
    seq: Mapped[int] = mapped_column(BigInteger)
    type: Mapped[str]
    data: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(default=now)


class Signal(db.Model):
    """An ephemeral event on its way to another process, where the bus has no better road."""

    __tablename__ = "signals"
    __table_args__ = {"sqlite_autoincrement": True}

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    origin: Mapped[str]
    payload: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(default=now)


class CrdtChannel(db.Model):
    """A sync channel: its server site id and version; its row is locked while merging."""

    __tablename__ = "crdt_channels"

    name: Mapped[str] = mapped_column(primary_key=True)
    owner_id: Mapped[int | None] = mapped_column(ForeignKey("users.id"))
    crdt_site_id: Mapped[str] = mapped_column(default=lambda: secrets.token_hex(16))
    crdt_db_version: Mapped[int] = mapped_column(BigInteger, default=0)
    created_at: Mapped[datetime] = mapped_column(default=now)

    @classmethod
    def load(cls, name: str, user: User | None) -> "CrdtChannel":
        """The channel, made by its first visitor and his from then on; raises 400 and 403.

        `default` is every user's own private channel, stored as `user:<id>`.
        """
        if not name or len(name) > 200 or not name.isprintable():
            raise bad_request("Channel must be 1 to 200 printable characters", code="bad_channel")
        key = f"user:{user.id}" if user and name == "default" else name
        channel = db.session.get(cls, key)
        if channel is None:
            if key.startswith("user:") and (user is None or key != f"user:{user.id}"):
                raise forbidden("This channel belongs to somebody else")
            values = {"name": key, "owner_id": user.id if user else None, "created_at": now()}
            values |= {"crdt_site_id": secrets.token_hex(16), "crdt_db_version": 0}
            db.session.execute(upsert(cls).values(values).on_conflict_do_nothing())
            channel = db.session.get(cls, key)
        if channel.owner_id is not None and (user is None or user.id != channel.owner_id):
            raise forbidden("This channel belongs to somebody else")
        return channel

    @classmethod
    def lock(cls, name: str) -> tuple[str, int]:
        """Hold the channel until the commit; returns its (server site id, version)."""
        statement = update(cls).where(cls.name == name).values(name=cls.name)
        row = db.session.execute(statement.returning(cls.crdt_site_id, cls.crdt_db_version)).one()
        return row.crdt_site_id, row.crdt_db_version

    @staticmethod
    def topic_of(name: str) -> str:
        """Where it is told that a channel changed."""
        return f"sync:{name}"


class CrdtChange(db.Model):
    """The winner of one cell (table, row, column) of a channel (docs/sync.md)."""

    __tablename__ = "crdt_changes"
    __table_args__ = (
        Index("crdt_changes_since", "channel", "version"),
        {"sqlite_with_rowid": False},
    )

    channel: Mapped[str] = mapped_column(ForeignKey("crdt_channels.name"), primary_key=True)
    table: Mapped[str] = mapped_column(primary_key=True)
    pk: Mapped[str] = mapped_column(primary_key=True)
    cid: Mapped[str] = mapped_column(primary_key=True)
    val: Mapped[str] = mapped_column(Text)
    col_version: Mapped[int] = mapped_column(BigInteger)
    cl: Mapped[int] = mapped_column(BigInteger)
    site_id: Mapped[str]
    db_version: Mapped[int] = mapped_column(BigInteger)
    version: Mapped[int] = mapped_column(BigInteger)
    reissued: Mapped[bool]


class CrdtPeer(db.Model):
    """What one replica sent us (`received`) and holds of ours (`sent`) (docs/sync.md)."""

    __tablename__ = "crdt_tracked_peers"

    channel: Mapped[str] = mapped_column(ForeignKey("crdt_channels.name"), primary_key=True)
    site_id: Mapped[str] = mapped_column(primary_key=True)
    user_id: Mapped[int | None] = mapped_column(ForeignKey("users.id"))
    received: Mapped[int] = mapped_column(BigInteger, default=0)
    sent: Mapped[int] = mapped_column(BigInteger, default=0)
    seen_at: Mapped[datetime] = mapped_column(default=now, onupdate=now)


def rows_of(statement: Select[Any]) -> Sequence[Any]:
    """All rows of `statement` as objects."""
    return db.session.scalars(statement).unique().all()
