"""Every table: the map of the data, with the short rules that belong to each row.

Nothing here reads the request or commits; routes and handlers do, as their last act.
Times are UTC, stored without a zone (SQLite drops it) and written with a `Z`.
"""

import hashlib
import json
import re
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache, lru_cache, wraps
from typing import Any, ClassVar, NamedTuple
from urllib.parse import quote
from uuid import uuid4
from weakref import WeakSet

from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    Select,
    Table,
    Text,
    UniqueConstraint,
    and_,
    bindparam,
    case,
    cast,
    delete,
    event,
    exists,
    false,
    func,
    insert,
    inspect,
    literal,
    null,
    or_,
    select,
    true,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Engine
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    contains_eager,
    declared_attr,
    joinedload,
    mapped_column,
    query_expression,
    relationship,
    synonym,
    with_expression,
)

from errors import WharfError, bad_request, forbidden, not_found, unauthorized
from json_data import (
    Field,
    cells_of,
    check_by_schema,
    check_cell,
    check_json,
    field_of,
    texts_of,
)
from validation import RequiredLine, adapter


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


def public_column(model: Any, name: str) -> Any:
    """The column of this name, if clients may know of it."""
    snake = "".join(f"_{c.lower()}" if c.isupper() else c for c in name)
    if snake in model.LISTED:
        return model.__table__.columns.get(snake)
    return model.field(name) if hasattr(model, "field") else None


def prepare_sqlite(engine: Engine, synchronous: str) -> None:
    """WAL lets readers and a writer work at once; keys are enforced; writers wait their turn."""

    @event.listens_for(engine, "connect")
    def set_pragmas(dbapi_connection: Any, _record: Any) -> None:
        cursor = dbapi_connection.cursor()
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute(f"PRAGMA synchronous={synchronous}")
        cursor.execute("PRAGMA foreign_keys=ON")
        # Pages of 4 KB. Writes touch the same ones again and again: each is copied once for all.
        cursor.execute("PRAGMA wal_autocheckpoint=4000")
        cursor.execute("PRAGMA busy_timeout=5000")
        cursor.close()


def prepare_postgres(engine: Engine) -> None:
    """A process that vanished in a transaction keeps its locks for 10 seconds, not for hours."""

    @event.listens_for(engine, "connect")
    def set_timeout(dbapi_connection: Any, _record: Any) -> None:
        with dbapi_connection.cursor() as cursor:
            cursor.execute("SET idle_in_transaction_session_timeout = '10s'")
        dbapi_connection.commit()  # or a rollback takes it back


# What each role may do, as (resource, action); `*` is any. Which rows, the loaders below decide.
ROLES: dict[str, dict[str, Any]] = {
    "user": {
        "description": "Works on what is their own",
        "hierarchy": 1,
        "permissions": (
            ("todos", "*"),
            ("posts", "create"),
            ("comments", "create"),
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


def is_allowed(role: str, resource: str, action: str) -> bool:
    """Whether `role` allows `action` on `resource`."""
    return any(
        known in ("*", resource) and what in ("*", action)
        for known, what in ROLES[role]["permissions"]
    )


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
    is_active: Mapped[bool] = mapped_column(default=True)  # who is not cannot sign in
    created_at: Mapped[datetime] = mapped_column(default=now)
    deleted_at: Mapped[datetime | None]  # the row stays for what was said in rooms (erasure.py)

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
        if user is None or user.deleted_at:
            raise not_found("user")
        return user

    @classmethod
    def existing(cls) -> "Select[tuple[User]]":
        """Every account that was not deleted."""
        return select(cls).where(cls.deleted_at.is_(None))

    def require_other_admin(self) -> None:
        """Raise 409 when this is the only one who can administer."""
        others = User.existing().where(User.role == "admin", User.is_active, User.id != self.id)
        if self.role == "admin" and db.session.scalar(others.limit(1)) is None:
            raise WharfError(409, "This is the only admin", "last_admin")

    @property
    def topic(self) -> str:
        """Where what concerns this user alone is told."""
        return f"user:{self.id}"

    def may(self, resource: str, action: str) -> bool:
        """Whether the role of this user allows `action` on `resource`."""
        return is_allowed(self.role, resource, action)

    def hold(self) -> None:
        """Let nobody else change what this user has of files until the commit; raises 401."""
        if not self.try_hold():
            raise unauthorized("There is no such account any longer")

    def try_hold(self) -> bool:
        """The same; False when the account is gone."""
        known = (User.id == self.id) & User.deleted_at.is_(None)
        held = update(User).where(known).values(role=User.role).returning(User.id)
        row = db.session.scalar(held, execution_options={"synchronize_session": False})
        return row is not None

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
        """What every other user may know; the key of the email is there for who reads it."""
        return {
            "id": self.id,
            "email": None,
            "username": self.username,
            "name": self.name,
            "role": self.role,
            "is_active": self.is_active,
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
            "is_active": self.is_active,
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


class Caller(NamedTuple):
    """What most views ask of a user: a row without the object around it."""

    id: int
    role: str
    seen_at: datetime  # when the session was last used, as far as that is kept

    @classmethod
    def find(cls, session_id: str) -> "Caller | None":
        """Whose live session this is."""
        row = db.session.connection().execute(find_caller(), {"id": session_id}).first()
        return cls(*row) if row else None

    def may(self, resource: str, action: str) -> bool:
        """Whether the role of this user allows `action` on `resource`."""
        return is_allowed(self.role, resource, action)


@cache
def find_caller() -> Any:
    """Finds who has the live session `id`; built once, since every request asks (bench/)."""
    user, session = User.__table__, Session.__table__
    known = select(user.c.id, user.c.role, session.c.seen_at)
    known = known.select_from(session.join(user, user.c.id == session.c.user_id))
    return known.where(session.c.id == bindparam("id"), session.c.ended_at.is_(None))


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


# Records: what the nouns of routes/ share, and the nouns

KEPT: WeakSet[Any] = WeakSet()  # statements that are built once, as most time goes into building


def per_viewer(build: Any) -> Any:
    """Decorator: build a statement once for each viewer; of the user it uses id and role alone."""

    @lru_cache(maxsize=1024)
    def keep(cls: Any, viewer: tuple[int, str] | None) -> Any:
        statement = build(cls, User(id=viewer[0], role=viewer[1]) if viewer else None)
        KEPT.add(statement)
        return statement

    @wraps(build)
    def kept(cls: Any, user: Any) -> Any:
        return keep(cls, (user.id, user.role) if user else None)

    return kept


def derive(statement: Any, make: Any, *more: Any) -> Any:
    """What `make(statement, *more)` is: made once, if the statement is one that is kept."""
    return derive_once(statement, make, *more) if statement in KEPT else make(statement, *more)


@lru_cache(maxsize=2048)
def derive_once(statement: Any, make: Any, *more: Any) -> Any:
    """What `derive` makes."""
    return make(statement, *more)


def with_id(statement: Any, model: Any) -> Any:
    """The row `row_id` of a statement."""
    return statement.where(model.id == bindparam("row_id"))


class Record:
    """What the rows of a noun share: an id, times, and rules that a noun may replace.

    Clients may sort and filter by the columns in `LISTED`, and by what `RELATED` makes of other
    words; `q` looks in those in `SEARCHED`, by an index of their words where `IS_INDEXED`.

    Rows of a noun with `SYNCED` and a `user_id` are rows of their user's sync channel too: for each
    column that is a cell there, what a value must be, and what stands in where it is not.
    """

    LISTED = {"id", "created_at", "updated_at"}
    RELATED: dict[str, Any] = {}
    SEARCHED: tuple[str, ...] = ()
    IS_INDEXED = False
    ORDER: tuple[str, ...] = ()  # as in `sort`; newest first without
    MAX_ITEMS = 1000  # in one answer
    IS_SHORT = True  # or it is listed to streams that ask for it by name alone
    IS_NOUN = True  # watched by the name of its table
    OPEN: bool | str = True  # to callers without account too, or the setting that says so
    SYNCED: dict[str, tuple[Any, Any]] = {}

    id: Mapped[int] = mapped_column(primary_key=True)
    created_at: Mapped[datetime] = mapped_column(default=now)
    updated_at: Mapped[datetime] = mapped_column(default=now, onupdate=now)

    @classmethod
    def noun(cls) -> str:
        """What a row is called, as in `context rule`."""
        return re.sub("(?<=[a-z])(?=[A-Z])", " ", cls.__name__).lower()

    @classmethod
    def parse_id(cls, row_id: str | int) -> Any:
        """An id as rows show it; None for one that no row can have."""
        return parse_id(row_id)

    @classmethod
    @per_viewer
    def visible_to(cls, user: User | None) -> Select[Any]:
        """The rows `user`, or nobody in particular, may read; here all."""
        return select(cls)

    @classmethod
    def find(cls, row_id: str | int, user: User | None) -> Any:
        """The row, if `user` may read it."""
        statement = derive(cls.visible_to(user), with_id, cls)
        return db.session.scalar(statement, {"row_id": parse_id(row_id)})

    @classmethod
    def identified(cls, ids: Iterable[str]) -> Any:
        """The condition that a row has one of these ids."""
        return cls.id.in_({parse_id(row_id) for row_id in ids} - {None})

    @classmethod
    def load(cls, row_id: str | int, user: User | None) -> Any:
        """The row, if `user` may read it; raises 404."""
        row = cls.find(row_id, user)
        if row is None:
            raise not_found(cls.noun())
        return row

    @classmethod
    def read(cls, row_id: str | int, user: User | None) -> Any:
        """The same to be read, not to be changed (`read_rows`)."""
        statement = derive(cls.visible_to(user), with_id, cls)
        rows = read_rows(statement, {"row_id": parse_id(row_id)})
        if not rows:
            raise not_found(cls.noun())
        return rows[0][0]

    @classmethod
    def topic_of(cls, user: User | None) -> str:
        """Where the changes are told of which `user` may hear; here everybody's."""
        return str(cls.__tablename__)  # type: ignore[attr-defined]

    @property
    def topic(self) -> str:
        """Where changes of this row are told."""
        return self.topic_of(None)

    def told_on(self) -> list[tuple[str, str]]:
        """The topics where changes of this row are told, each with the name of its noun there."""
        return [(self.topic, self.__tablename__)]  # type: ignore[attr-defined]

    @classmethod
    def prepare(cls, rows: Sequence[dict[str, Any]]) -> None:
        """Make ready for several new rows at once, given as the fields of each."""

    @classmethod
    def make(cls, user: User | None, **fields: Any) -> Any:
        """A new row of `user`; raises 400, 403 and 404."""
        row = cls()
        row.created_at = row.updated_at = now()
        row.change(**fields)
        return row

    def change(self, **fields: Any) -> None:
        """Take these values; raises 400."""
        for name, value in fields.items():
            setattr(self, name, value)

    def lock(self) -> bool:
        """Hold the row until the commit and read it anew; False when it is gone.

        So what is told is what is stored, whoever else writes at this moment.
        """
        return lock_row(self)

    def delete(self) -> None:
        """Take the row out, and what belongs to it alone."""
        db.session.delete(self)

    def require_change(self, user: User | None) -> None:
        """Raise 403 when `user` may not change the row; here who sees it may."""

    def require_removal(self, user: User | None) -> None:
        """Raise 403 when `user` may not delete the row, 409 when nobody may."""
        self.require_change(user)

    def told(self) -> dict[str, Any] | None:
        """The row as its topic hears of it; None while nobody may."""
        return self.to_dict()

    def traces(self) -> list[tuple[str, dict[str, Any]]]:
        """What to forget once nobody may read the row: topics, and facts that tell it there."""
        return []

    # In the sync channel of its user (synced.py)

    def synced_at(self) -> tuple[int, str] | None:
        """Whose channel has this row, and in which table."""
        owner_id = getattr(self, "user_id", None) if self.SYNCED else None
        return (owner_id, self.__tablename__) if owner_id else None  # type: ignore[attr-defined]

    def cells(self) -> dict[str, Any]:
        """The row as cells of the channel."""
        return {name: getattr(self, name) for name in self.SYNCED}

    @classmethod
    def clean_cell(cls, cid: str, value: Any) -> Any:
        """What a cell of the channel means to the column; raises ValueError. Others are kept."""
        return adapter(cls.SYNCED[cid][0]).validate_python(value) if cid in cls.SYNCED else value

    @classmethod
    def blank(cls, cid: str) -> Any:
        """What stands in for a value that is missing or wrong."""
        return cls.SYNCED[cid][1] if cid in cls.SYNCED else None

    @classmethod
    def make_synced(cls, user: User, _pk: str, values: dict[str, Any]) -> Any:
        """A new row of `user`, of these cells."""
        return cls.make(user, **{name: values[name] for name in cls.SYNCED})

    def change_synced(self, values: dict[str, Any]) -> None:
        """Take what cells say; those that are no columns are in the channel alone."""
        self.change(**{name: values[name] for name in self.SYNCED.keys() & values.keys()})

    @classmethod
    def synced_rows(cls, user_id: int) -> Select[Any]:
        """The rows that are in the channel of a user."""
        return select(cls).where(cls.user_id == user_id)  # type: ignore[attr-defined]

    def to_dict(self) -> dict[str, Any]:
        """The row as clients read it, times in both spellings."""
        created, updated = iso(self.created_at), iso(self.updated_at)
        return {
            "id": self.id,
            "created_at": created,
            "updated_at": updated,
            "createdAt": created,
            "updatedAt": updated,
        }


class Authored(Record):
    """A record that everybody may read, and its author and admins change."""

    MAX_ITEMS = 100
    IS_SHORT = False

    author_id: Mapped[int] = mapped_column(ForeignKey("users.id"), index=True)

    @declared_attr
    def author(cls) -> Mapped[User]:
        """Who wrote it: loaded along, since every answer shows it."""
        return relationship(lazy="joined", innerjoin=True)

    @classmethod
    def make(cls, user: User | None, **fields: Any) -> Any:
        """A new row of this author."""
        row = super().make(user, **fields)
        row.author = user
        return row

    def require_change(self, user: User | None) -> None:
        """Raise 403 for another's row."""
        if user is None or (user.id != self.author_id and not self.moderated_by(user)):
            raise forbidden()

    def traces(self) -> list[tuple[str, dict[str, Any]]]:
        """All that was told of the row."""
        return [(self.topic, {"id": self.id, "created_at": iso(self.created_at)})]

    @classmethod
    def moderated_by(cls, user: User | None) -> bool:
        """Whether `user` may read and change the rows of others."""
        return user is not None and user.may(cls.topic_of(None), "moderate")

    def to_dict(self) -> dict[str, Any]:
        """The row with its author, without their email: others read it."""
        author = {"id": self.author.id, "name": self.author.name, "email": None}
        facts = {"author": author, "author_id": self.author_id, "authorId": self.author_id}
        return {**super().to_dict(), **facts}


class Curated(Record):
    """A record that everybody may read and only admins write."""

    @classmethod
    def make(cls, user: User | None, **fields: Any) -> Any:
        """A new row; raises 400 and 403."""
        cls().require_change(user)
        return super().make(user, **fields)

    def require_change(self, user: User | None) -> None:
        """Raise 403 for who is no admin."""
        if user is None or not user.may(self.topic, "update"):
            raise forbidden()


class Todo(Record, db.Model):
    """A line on somebody's list, or on the shared public list when it has no owner."""

    __tablename__ = "todos"
    LISTED = Record.LISTED | {"title", "completed"}
    SEARCHED = ("title",)
    IS_INDEXED = True
    OPEN = "PUBLIC_TODOS"
    SYNCED = {"title": (RequiredLine, "Untitled"), "completed": (bool, False)}

    user_id: Mapped[int | None] = mapped_column(ForeignKey("users.id"), index=True)
    title: Mapped[str]
    completed: Mapped[bool] = mapped_column(default=False)

    @classmethod
    @per_viewer
    def visible_to(cls, user: User | None) -> Select[Any]:
        """The list `user` works on; the public one for nobody."""
        mine = select(cls).where(cls.user_id == user.id if user else cls.user_id.is_(None))
        return mine.execution_options(owner=("user_id", user.id if user else 0))  # search.py

    @classmethod
    def topic_of(cls, user: User | None) -> str:
        """Where changes of this user's list are told."""
        return f"todos:{user.id}" if user else "todos:public"

    @property
    def topic(self) -> str:
        """Where changes of the list this is on are told."""
        return f"todos:{self.user_id or 'public'}"

    @classmethod
    def make(cls, user: User | None, **fields: Any) -> Any:
        """A new line on the list of `user`."""
        return super().make(user, user_id=user and user.id, **fields)

    def to_dict(self) -> dict[str, Any]:
        """The row as the todo pages read it (docs/frontends/larc.md)."""
        facts = {"title": self.title, "text": self.title, "completed": self.completed}
        return {**super().to_dict(), **facts}


post_tags = Table(
    "post_tags",
    Base.metadata,
    Column("tag_id", ForeignKey("tags.id"), primary_key=True),
    Column("post_id", ForeignKey("posts.id"), primary_key=True, index=True),
)


class Tag(db.Model):
    """A word by which posts are found; made by its first use."""

    __tablename__ = "tags"
    LISTED = {"id", "name"}
    SEARCHED = ("name",)

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)

    @classmethod
    def named(cls, names: Iterable[str]) -> Sequence["Tag"]:
        """The tags of these names, made if there are none yet."""
        names = set(names)
        known = rows_of(select(cls).where(cls.name.in_(names)).order_by(cls.name))
        missing = names - {tag.name for tag in known}
        if not missing:
            return known
        rows = [{"name": name} for name in sorted(missing)]  # sorted: locked in one order by all
        db.session.execute(upsert(cls).values(rows).on_conflict_do_nothing())
        return rows_of(select(cls).where(cls.name.in_(names)).order_by(cls.name))

    @classmethod
    @per_viewer
    def visible_to(cls, user: User | None) -> Select[Any]:
        """The tags of posts that `user` may read."""
        there = (post_tags.c.tag_id == cls.id) & (post_tags.c.post_id == Post.id)
        return select(cls).where(exists().where(there, Post.readable_by(user)))

    def to_dict(self) -> dict[str, Any]:
        """The tag as lists show it."""
        return {"id": self.id, "name": self.name}


class Category(Curated, db.Model):
    """A place for posts in a tree: a post is in its category and in all above that."""

    __tablename__ = "categories"
    LISTED = Record.LISTED | {"name", "slug", "parent_id"}
    SEARCHED = ("name",)
    ORDER = ("name",)

    name: Mapped[str]
    slug: Mapped[str] = mapped_column(unique=True)
    parent_id: Mapped[int | None] = mapped_column(ForeignKey("categories.id"), index=True)

    @classmethod
    def named(cls, word: str) -> "Category":
        """The category of this slug or id; raises 400."""
        known = (cls.slug == word) | (cls.id == parse_id(word))
        category = db.session.scalar(select(cls).where(known).order_by(cls.slug != word).limit(1))
        if category is None:
            text = "Category must be the slug or id of one"
            raise bad_request(text, {"category": [text]})
        return category

    @classmethod
    def under(cls, words: Sequence[str]) -> set[int]:
        """The ids of the categories with one of these slugs or ids, and of all below them."""
        rows = db.session.execute(select(cls.id, cls.slug, cls.parent_id)).all()
        found = {row.id for row in rows if row.slug in words or str(row.id) in words}
        while more := {row.id for row in rows if row.parent_id in found} - found:
            found |= more
        return found

    def change(self, **fields: Any) -> None:
        """Take these values; the slug follows the name of a new one. Raises 400 for a cycle."""
        if "parent_id" in fields:
            self.require_parent(fields["parent_id"])
        super().change(**fields)
        if not self.slug:
            self.slug = re.sub(r"[\W_]+", "-", self.name.casefold()).strip("-")
        if not self.slug or self.slug.isdecimal():
            text = "Slug needs a letter"
            raise bad_request(text, {"slug": [text]})

    def require_parent(self, parent_id: int | None) -> None:
        """Raise 400 for a parent that is not there, or below this category."""
        everything = select(Category.id).order_by(Category.id)
        db.session.execute(everything.with_for_update())  # or two moves could make a circle
        below = self.under([str(self.id)]) if self.id else set()
        if parent_id in below or (parent_id and db.session.get(Category, parent_id) is None):
            text = "Parent must be another category that is not below this one"
            raise bad_request(text, {"parent_id": [text]})

    def require_removal(self, user: User | None) -> None:
        """Raise 403 for who is no admin, 409 while something is in there."""
        super().require_removal(user)
        inside = select(Category.id).where(Category.parent_id == self.id)
        posts = select(Post.id).where(Post.category_id == self.id)
        if db.session.scalar(inside.union_all(posts).limit(1)) is not None:
            raise WharfError(409, "This category is not empty", "in_use")

    def to_dict(self) -> dict[str, Any]:
        """The category as lists show it."""
        facts = {"name": self.name, "slug": self.slug}
        return {**super().to_dict(), **facts, "parent_id": self.parent_id}


class Post(Authored, db.Model):
    """An article; a draft, for its author's eyes, until it is published."""

    __tablename__ = "posts"
    LISTED = Record.LISTED | {"title", "published", "author_id", "category_id"}
    SEARCHED = ("title", "content")
    IS_INDEXED = True
    __table_args__ = (Index("posts_published", "published", "id"),)

    title: Mapped[str]
    content: Mapped[str] = mapped_column(Text, default="")
    published: Mapped[bool] = mapped_column(default=False)
    category_id: Mapped[int | None] = mapped_column(ForeignKey("categories.id"), index=True)
    category: Mapped[Category | None] = relationship(lazy="joined")
    tags: Mapped[list[Tag]] = relationship(secondary=post_tags, lazy="selectin", order_by=Tag.name)

    @classmethod
    @per_viewer
    def visible_to(cls, user: User | None) -> Select[Any]:
        """What is published, and the drafts of `user`; an admin sees all."""
        return select(cls).where(cls.readable_by(user))

    @classmethod
    def readable_by(cls, user: User | None) -> Any:
        """The condition that `user`, or nobody in particular, may read a post."""
        if user is None:
            return cls.published
        if cls.moderated_by(user):
            return true()
        # No OR: SQLite would sort all rows of both indexes to find the newest.
        return case((cls.published, true()), else_=cls.author_id == user.id)

    @classmethod
    def tagged(cls, names: Sequence[str]) -> Any:
        """The condition that a post has one of these tags."""
        tagged = select(post_tags.c.post_id).join(Tag, Tag.id == post_tags.c.tag_id)
        clean = [name.replace("\0", "").strip().lower() for name in names]
        return cls.id.in_(tagged.where(Tag.name.in_(clean)))

    @classmethod
    def filed(cls, words: Sequence[str]) -> Any:
        """The condition that a post is in one of these categories, given by slug or id."""
        return cls.category_id.in_(Category.under(words))

    @classmethod
    def prepare(cls, rows: Sequence[dict[str, Any]]) -> None:
        """Make the tags of all rows first, or two batches would wait for each other."""
        Tag.named({name for row in rows for name in row["tags"]})

    def change(self, **fields: Any) -> None:
        """Take these values: tags as a set of names, the category as its slug, id, or empty."""
        if "tags" in fields:
            self.tags = list(Tag.named(fields.pop("tags")))
            self.updated_at = now() if self.id else self.updated_at  # though no column changes
        if "category" in fields:
            word = fields.pop("category")
            self.category = Category.named(word) if word else None
        super().change(**fields)

    def delete(self) -> None:
        """Take the post out with its comments."""
        db.session.execute(delete(Comment).where(Comment.post_id == self.id))
        super().delete()

    def told(self) -> dict[str, Any] | None:
        """The post once it is published."""
        return self.to_dict() if self.published else None

    def traces(self) -> list[tuple[str, dict[str, Any]]]:
        """All that was told of the post and of its comments, which nobody may read either."""
        comments = (Comment.topic_of(None), {"post_id": self.id, "postId": self.id})
        return [*super().traces(), comments]

    def to_dict(self) -> dict[str, Any]:
        """The post as pages read it (docs/frontends/larc.md)."""
        return {
            **super().to_dict(),
            "title": self.title,
            "content": self.content,
            "published": self.published,
            "category": self.category and self.category.slug,
            "category_id": self.category and self.category.id,
            "tags": [tag.name for tag in self.tags],
        }


Post.RELATED = {"tag": Post.tagged, "tags": Post.tagged, "category": Post.filed}


class Comment(Authored, db.Model):
    """What somebody has to say to a post."""

    __tablename__ = "comments"
    LISTED = Record.LISTED | {"post_id", "author_id"}
    SEARCHED = ("content",)
    __table_args__ = (Index("comments_of_post", "post_id", "id"),)

    post_id: Mapped[int] = mapped_column(ForeignKey("posts.id"))
    content: Mapped[str] = mapped_column(Text)

    @classmethod
    @per_viewer
    def visible_to(cls, user: User | None) -> Select[Any]:
        """The comments on posts that `user` may read."""
        readable = exists().where(Post.id == cls.post_id, Post.readable_by(user))
        return select(cls).where(readable)

    @classmethod
    def make(cls, user: User | None, **fields: Any) -> Any:
        """A new comment on a post that `user` may read; raises 404."""
        post = Post.load(fields["post_id"], user)
        return super().make(user, **{**fields, "post_id": post.id})

    def require_removal(self, user: User | None) -> None:
        """Raise 403 for who wrote neither the comment nor the post."""
        if user is None or user.id != self.written_under().author_id:
            self.require_change(user)

    def written_under(self) -> Post:
        """The post."""
        return db.session.get(Post, self.post_id)

    def told(self) -> dict[str, Any] | None:
        """The comment, if its post is published."""
        return self.to_dict() if self.written_under().published else None

    def to_dict(self) -> dict[str, Any]:
        """The comment as pages read it."""
        facts = {"post_id": self.post_id, "postId": self.post_id, "content": self.content}
        return {**super().to_dict(), **facts}


class ContextRule(Curated, db.Model):
    """What a chat assistant is told of a context (docs/frontends/widget.md)."""

    __tablename__ = "context_rules"
    LISTED = Record.LISTED | {"name", "priority", "is_active", "context_type", "version"}
    SEARCHED = ("name", "description", "content")
    ORDER = ("-priority",)

    name: Mapped[str]
    content: Mapped[str] = mapped_column(Text)
    description: Mapped[str] = mapped_column(Text, default="")
    is_active: Mapped[bool] = mapped_column(default=True)
    priority: Mapped[int] = mapped_column(default=0, index=True)
    context_type: Mapped[str] = mapped_column(default="")
    keywords: Mapped[list[str]] = mapped_column(JSON, default=list)
    excluded_topics: Mapped[list[str]] = mapped_column(JSON, default=list)
    prompt_template: Mapped[str] = mapped_column(Text, default="")
    response_filters: Mapped[Any] = mapped_column(JSON, default=dict)
    version: Mapped[int] = mapped_column(default=0)

    def change(self, **fields: Any) -> None:
        """Take these values as the next version."""
        super().change(**fields)
        self.version = (self.version or 0) + 1

    def to_dict(self) -> dict[str, Any]:
        """The rule under the names of the widget's pages."""
        return {
            **super().to_dict(),
            "name": self.name,
            "content": self.content,
            "description": self.description,
            "is_active": self.is_active,
            "isActive": self.is_active,
            "priority": self.priority,
            "context_type": self.context_type,
            "keywords": self.keywords,
            "excluded_topics": self.excluded_topics,
            "prompt_template": self.prompt_template,
            "response_filters": self.response_filters,
            "version": self.version,
        }


class Collection(db.Model):
    """Items of a kind that an app invented, made by their owner's first write.

    `private`: for the owner alone. `shared`: whoever has an account reads and writes. `public`:
    everybody reads, the owner writes. To its owner it is `notes`, to others `7:notes`.
    """

    __tablename__ = "collections"
    __table_args__ = (UniqueConstraint("owner_id", "name"),)
    LISTED = {"id", "owner_id", "name", "access", "count", "created_at", "updated_at"}
    SEARCHED = ("name",)
    ORDER = ("name",)
    TAKEN = {  # beside the names of nouns: other tables, and topics that mean something else
        *("users", "rooms", "messages", "files", "jobs", "notifications", "notification"),
        *("auth", "sse", "sys", "topics", "user", "ws"),
    }
    WORD = re.compile(r"([1-9][0-9]{0,9}:)?(?P<name>[A-Za-z][A-Za-z0-9_-]{0,63})")
    MOST = 100  # collections of one owner
    MOST_ITEMS = 10_000
    MOST_CHARACTERS = 10_000_000  # of all its items as JSON

    id: Mapped[int] = mapped_column(primary_key=True)
    owner_id: Mapped[int] = mapped_column(ForeignKey("users.id"))
    name: Mapped[str]
    access: Mapped[str] = mapped_column(default="private")
    schema: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    is_synced: Mapped[bool] = mapped_column(default=False)
    count: Mapped[int] = mapped_column(default=0)
    characters: Mapped[int] = mapped_column(default=0)
    created_at: Mapped[datetime] = mapped_column(default=now)
    updated_at: Mapped[datetime] = mapped_column(default=now, onupdate=now)

    @classmethod
    def visible_to(cls, user: User | None) -> "Select[tuple[Collection]]":
        """Those of `user`, and what others share."""
        if user is None:
            return select(cls).where(cls.access == "public")
        return select(cls).where((cls.owner_id == user.id) | (cls.access != "private"))

    @classmethod
    def find(cls, owner: User, name: str) -> "Collection | None":
        """The collection of `owner` with this name."""
        known = (cls.owner_id == owner.id) & (cls.name == name)
        return db.session.scalar(select(cls).where(known))

    @classmethod
    def hold(cls, owner_id: int, name: str) -> "Collection":
        """The collection, held until the commit; the first time made. Raises 409 for too many."""
        known = (cls.owner_id == owner_id) & (cls.name == name)
        held = update(cls).where(known).values(name=cls.name, updated_at=cls.updated_at)
        if db.session.scalar(held.returning(cls.id)) is None:
            owner = select(User.id).where(User.id == owner_id).with_for_update(key_share=True)
            db.session.execute(owner)  # who counts the same at this moment waits
            own = select(cls.id).where(cls.owner_id == owner_id)
            if count_rows(own, cls.MOST) == cls.MOST:
                raise WharfError(409, f"{cls.MOST} collections are enough", "too_many")
            new = upsert(cls).values(owner_id=owner_id, name=name)
            same_name: dict[str, Any] = {"index_elements": ["owner_id", "name"]}
            db.session.execute(new.on_conflict_do_update(**same_name, set_={"name": name}))
        same = select(cls).where(known).with_for_update()
        return db.session.scalars(same, execution_options={"populate_existing": True}).one()

    @property
    def topics(self) -> list[tuple[str, str]]:
        """Where its changes are told, each with the name it has there."""
        ways = [Items(self.owner_id, self.name)]
        if self.access != "private":
            ways.append(Items(self.owner_id, self.name, self.access))
        return [(items.topic, items.word) for items in ways]

    def lock(self) -> bool:
        """Hold it until the commit and read it anew; False when it is gone."""
        return lock_row(self)

    def keys(self) -> Select[Any]:
        """The keys of its items."""
        return select(Item.key).where(Item.collection_id == self.id)

    def delete(self) -> None:
        """Take it out with its items."""
        db.session.execute(delete(Item).where(Item.collection_id == self.id))
        db.session.delete(self)

    def make_room(self, items: int, characters: int) -> None:
        """Count what comes or goes; raises 413 for more than there may be."""
        if items > 0 and self.count + items > self.MOST_ITEMS:
            raise WharfError(413, f"{self.MOST_ITEMS} items are enough")
        if characters > 0 and self.characters + characters > self.MOST_CHARACTERS:
            raise WharfError(413, f"{self.MOST_CHARACTERS} characters are enough")
        self.count += items
        self.characters += characters

    # In the sync channel of its owner, when `is_synced`: a noun, as a model with SYNCED is

    SYNCED: ClassVar[dict[str, Any]] = {}  # no field must be there

    def clean_cell(self, cid: str, value: Any) -> Any:
        """What a cell means to an item; raises 400."""
        check_json({cid: value})
        check_cell(self.schema, cid, value)
        return value

    def blank(self, cid: str) -> None:
        """Nothing stands in for a wrong value."""

    def make_synced(self, user: User, pk: str, values: dict[str, Any]) -> "Item":
        """A new item of these cells, under the key of its row if it may have that; raises 413."""
        self.lock()
        key = pk if Item.is_key(pk) and not self.has(pk) else None
        return Item.make(user, collection=self, id=key, data=values)

    def has(self, key: str) -> bool:
        """Whether it has an item of this key."""
        return db.session.scalar(self.keys().where(Item.key == key)) is not None

    def synced_rows(self, user_id: int) -> Select[Any]:
        """All its items."""
        return select(Item).where(Item.collection_id == self.id)

    def to_dict(self) -> dict[str, Any]:
        """The collection as lists show it."""
        created, updated = iso(self.created_at), iso(self.updated_at)
        return {
            "id": self.id,
            "name": self.name,
            "sharedName": Items(self.owner_id, self.name, "shared").word,
            "owner_id": self.owner_id,
            "access": self.access,
            "schema": self.schema,
            "synced": self.is_synced,
            "count": self.count,
            "created_at": created,
            "updated_at": updated,
            "createdAt": created,
            "updatedAt": updated,
        }


class Item(Record, db.Model):
    """A small JSON object in a collection, under a key that its client may choose."""

    __tablename__ = "items"
    __table_args__ = (
        UniqueConstraint("collection_id", "key"),
        Index("items_of_collection", "collection_id", "id"),
    )
    IS_NOUN = False  # the words of its collection are
    LISTED = {"created_at", "updated_at"}
    MOST_CHARACTERS = 100_000  # as JSON
    KEPT = {"id", "created_at", "updated_at", "createdAt", "updatedAt"}  # what the house says
    KEY = re.compile(r"[A-Za-z0-9_:@~+=-]{1,100}")
    TAKEN = {"batch", "settings"}  # addresses of their own

    collection_id: Mapped[int] = mapped_column(ForeignKey("collections.id"))
    key: Mapped[str]
    data: Mapped[dict[str, Any]] = mapped_column(JSON)
    texts: Mapped[str] = mapped_column(Text)  # those in it, to be searched
    collection: Mapped[Collection] = relationship(lazy="joined", innerjoin=True)

    @classmethod
    def noun(cls) -> str:
        """What the error of a missing one says."""
        return "item"

    @classmethod
    def is_key(cls, text: str) -> bool:
        """Whether an item may be called so."""
        return cls.KEY.fullmatch(text) is not None and text not in cls.TAKEN

    @classmethod
    def make(cls, user: User | None, **fields: Any) -> Any:
        """A new item of a `collection` that is held, under its `id` or one made for it; `data` are
        its fields. Raises 400 and 413."""
        row = cls(collection=fields["collection"], key=fields.get("id") or str(uuid4()))
        row.created_at = row.updated_at = now()
        row.change(data=fields["data"])
        return row

    def change(self, **fields: Any) -> None:
        """Take the fields in `data`; raises 400, and 413 for more than there may be."""
        is_new = self.data is None
        given = {name: value for name, value in fields["data"].items() if name not in self.KEPT}
        data = given if is_new else {**self.data, **given}
        check_json(data)
        size = len(json.dumps(data, ensure_ascii=False))
        if size > self.MOST_CHARACTERS:
            raise WharfError(413, f"An item has {self.MOST_CHARACTERS} characters at most")
        check_by_schema(self.collection.schema, data)
        self.collection.make_room(int(is_new), size - self.size())
        self.data, self.texts = data, "\n".join(texts_of(data))

    def require_change(self, user: User | None) -> None:
        """Raise 403 for who may only read."""
        if self.collection.access != "shared" and (user and user.id) != self.collection.owner_id:
            raise forbidden()

    def size(self) -> int:
        """The characters it has as JSON."""
        return len(json.dumps(self.data, ensure_ascii=False)) if self.data is not None else 0

    def lock(self) -> bool:
        """Hold the row, and before it the collection, which counts; raises 409 when who may use
        that has changed since the row was read."""
        access = self.collection.access
        if not self.collection.lock():
            return False
        if self.collection.access != access:
            raise WharfError(409, "This is shared with others than before, try again")
        return super().lock()

    def delete(self) -> None:
        """Take the row out of its collection."""
        self.collection.make_room(-1, -self.size())
        super().delete()

    def told_on(self) -> list[tuple[str, str]]:
        """The topics of its collection."""
        return self.collection.topics

    def synced_at(self) -> tuple[int, str] | None:
        """The channel of its collection's owner, if the collection is synced."""
        shelf = self.collection
        return (shelf.owner_id, shelf.name) if shelf.is_synced else None

    def cells(self) -> dict[str, Any]:
        """Its fields; those that hold an object or a list are null in the channel."""
        return cells_of(self.data)

    def change_synced(self, values: dict[str, Any]) -> None:
        """Take what cells say."""
        self.collection.lock()
        self.change(data=values)

    def to_dict(self) -> dict[str, Any]:
        """The object as clients wrote it, with its key as `id`."""
        return {**self.data, **super().to_dict(), "id": self.key}


@dataclass(frozen=True)
class Items:
    """The items of one collection as its readers see them: a noun, as a model is one.

    `access` is what lets others read, empty for the owner's own view.
    """

    owner_id: int
    name: str
    access: str = ""

    __table__ = Item.__table__
    id = Item.__table__.columns.id
    LISTED = Item.LISTED
    SEARCHED = ("texts",)
    ORDER = Item.ORDER
    MAX_ITEMS = Item.MAX_ITEMS
    IS_SHORT = False
    OPEN = True

    @classmethod
    def named(cls, word: str, user: User | None) -> "Items":
        """What this name means to `user`; raises 400, 401 and 404.

        `notes` is one's own, there or not; `7:notes` is what user 7 shares.
        """
        first, colon, name = word.rpartition(":")
        if not cls.is_word(word):
            text = "A collection is named by letters, digits, - and _, and not as other tables"
            raise bad_request(text, {"collection": [text]})
        if not colon:
            if user is None:
                raise unauthorized("No token provided")
            return cls(user.id, name)
        known = (Collection.owner_id == parse_id(first)) & (Collection.name == name)
        shown = Collection.visible_to(user).where(known, Collection.access != "private")
        collection = db.session.scalar(shown)
        if collection is None:
            raise not_found("collection")
        return cls(collection.owner_id, name, collection.access)

    @staticmethod
    def is_word(word: str) -> bool:
        """Whether a collection may be called so."""
        match = Collection.WORD.fullmatch(word)
        return match is not None and match["name"] not in nouns().keys() | Collection.TAKEN

    @classmethod
    def at(cls, topic: str) -> "Items | None":
        """Those whose changes are told on a topic."""
        access, _, rest = topic.partition(":")
        owner_id, _, name = rest.partition(":")
        if not name or access not in ("items", "shared", "public"):
            return None
        return cls(int(owner_id), name, "" if access == "items" else access)

    @property
    def word(self) -> str:
        """What they are called."""
        return f"{self.owner_id}:{self.name}" if self.access else self.name

    @property
    def topic(self) -> str:
        """Where their changes are told: to the owner, or to all who may read them."""
        return f"{self.access or 'items'}:{self.owner_id}:{self.name}"

    def topic_of(self, user: User | None) -> str:
        """The same for all who came here."""
        return self.topic

    @staticmethod
    def noun() -> str:
        """What one of them is called."""
        return Item.noun()

    @staticmethod
    def parse_id(item_id: str | int) -> str:
        """An id as items show it; empty for one that no item can have."""
        return str(item_id) if Item.KEY.fullmatch(str(item_id)) else ""

    def visible_to(self, user: User | None) -> Select[Any]:
        """All of them, while access is what it was."""
        mine = (Collection.owner_id == self.owner_id) & (Collection.name == self.name)
        if self.access:
            mine &= Collection.access == self.access
        rows = select(Item).join(Item.collection).where(mine)
        return rows.options(contains_eager(Item.collection))

    def is_made(self) -> bool:
        """Whether there is such a collection, which may be empty."""
        known = (Collection.owner_id == self.owner_id) & (Collection.name == self.name)
        return db.session.scalar(select(Collection.id).where(known)) is not None

    def hold(self) -> Collection:
        """The collection, held until the commit; one's own is made if there is none.

        Raises 403 for who may only read, 404 when it is not shared any longer, 409 for too many.
        """
        if self.access == "public":
            raise forbidden()
        collection = Collection.hold(self.owner_id, self.name)
        if self.access not in ("", collection.access):
            raise not_found("collection")
        return collection

    @classmethod
    def identified(cls, ids: Iterable[str]) -> Any:
        """The condition that an item has one of these ids."""
        return Item.key.in_(map(cls.parse_id, ids))

    def find(self, item_id: str | int, user: User | None) -> Item | None:
        """The item of this id."""
        return db.session.scalar(self.visible_to(user).where(Item.key == self.parse_id(item_id)))

    def load(self, item_id: str | int, user: User | None) -> Item:
        """The item of this id; raises 404."""
        item = self.find(item_id, user)
        if item is None:
            raise not_found(self.noun())
        return item

    read = load  # with its collection, so there is no shorter way

    def field(self, name: str) -> Any:
        """A field of the items, if a query may name it; see public_column."""
        if name == "id":
            return Field(Item.key, cast(null(), Float))
        return field_of(Item.data, name, db.engine.dialect.name)


@dataclass(slots=True)
class Seat:
    """The place of one user in a room."""

    is_muted: bool = False
    is_banned: bool = False
    read_id: int = 0


class Room(db.Model):
    """A chat room.

    `public`: anybody may enter, and who first does makes and owns it. `private`: its members alone.
    `direct`: two users, named after both. A locked room takes nobody new.
    """

    __tablename__ = "rooms"
    LISTED = {"id", "kind", "name", "owner_id", "is_locked", "created_at"}
    SEARCHED = ("name",)
    SHOWN = 1000  # participants named in one answer or event

    id: Mapped[str] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(default="public")
    name: Mapped[str] = mapped_column(default="")
    owner_id: Mapped[int | None]  # no foreign key: SQLite adds none to a table others refer to
    is_locked: Mapped[bool] = mapped_column(default=False)
    created_at: Mapped[datetime] = mapped_column(default=now)

    # Filled in by `seen_by` alone.
    shown_name: Mapped[str] = query_expression()
    member_count: Mapped[int] = query_expression()
    unread_count: Mapped[int] = query_expression()
    last_message: Mapped["Message | None"] = relationship(
        primaryjoin="Room.id == foreign(Message.room_id)",
        viewonly=True,
        uselist=False,
        lazy="raise",
    )

    __allow_unmapped__ = True
    seat: Seat | None = None  # of the user it was loaded for
    exists = True

    @staticmethod
    def check_id(room_id: str) -> None:
        """Raise 400 for what cannot be the id of a room."""
        if not room_id or len(room_id) > 200 or not room_id.isprintable():
            raise bad_request("RoomId must be 1 to 200 printable characters", code="invalid_room")

    @classmethod
    def create(cls, room_id: str, kind: str, name: str, owner: User) -> "Room":
        """A new room with the seat of its owner; raises 400 and 409."""
        cls.check_id(room_id)
        if "/" in room_id or room_id.startswith("direct:"):
            text = "RoomId must not contain a slash or begin with direct:"
            raise bad_request(text, code="invalid_room")
        room = cls(id=room_id, kind=kind, name=name, owner_id=owner.id, is_locked=False)
        if not room.make(owner):
            raise WharfError(409, "There is a room of this id already", "room_taken")
        room.enter(owner)
        return room

    @classmethod
    def between(cls, user: User, other: User) -> tuple["Room", bool]:
        """The direct room of two users, and whether it was made just now."""
        room = cls(id=cls.direct_id(user.id, other.id), kind="direct", name="", is_locked=False)
        made = room.make(None)
        if made:
            room.seat_user(user)
            room.seat_user(other)
        return room, made

    @classmethod
    def load_existing(cls, room_id: str, user: User) -> "Room":
        """As `load`, but 404 for a public room that nobody entered yet."""
        room = cls.load(room_id, user)
        if not room.exists:
            raise not_found("room")
        return room

    @classmethod
    def load(cls, room_id: str, user: User) -> "Room":
        """The room of this id and the seat of `user` in it; raises 400, 403 and 404.

        A public room that nobody entered yet is there all the same. One query: the hot path.
        """
        cls.check_id(room_id)
        row = db.session.connection().execute(FIND_ROOM, {"room": room_id, "user": user.id}).first()
        if row is None:
            if room_id.startswith("direct:"):
                raise not_found("room")
            room = cls(id=room_id, kind="public", name=room_id, owner_id=None, is_locked=False)
            room.exists = False
            return room
        facts = row._asdict()
        seated = facts.pop("user_id") is not None
        seat = Seat(*(facts.pop(field) for field in ("is_muted", "is_banned", "read_id")))
        room = cls(**facts)
        room.seat = seat if seated else None
        if room.seat and room.seat.is_banned and not cls.moderated_by(user):
            raise forbidden("You are banned from this room")
        if room.kind != "public" and room.seat is None:
            raise not_found("room")
        return room

    @staticmethod
    def topic_of(room_id: str) -> str:
        """Where what happens in a room is told."""
        return f"room:{room_id}"

    @staticmethod
    def direct_id(one: int, other: int) -> str:
        """The id of the room of two users."""
        return f"direct:{min(one, other)}:{max(one, other)}"

    @property
    def topic(self) -> str:
        """Where what happens in this room is told."""
        return self.topic_of(self.id)

    def enter(self, user: User) -> None:
        """Give `user` a seat, and make the room with its first; raises 403 when it is locked."""
        if self.seat:
            return
        if self.is_locked:
            raise forbidden("Room is locked")
        if not self.exists and not self.make(user):
            # Somebody was quicker, perhaps with a room that is not for everybody.
            twin = Room.load(self.id, user)
            twin.enter(user)
            self.seat, self.exists = twin.seat, True
            return
        self.seat_user(user)
        self.seat = Seat()

    def make(self, owner: User | None) -> bool:
        """Store this room, owned by `owner`; False when there is one of its id already."""
        connection = db.session.connection()
        values: dict[str, Any] = {"id": self.id, "kind": self.kind, "name": self.name}
        values |= {"owner": owner and owner.id, "at": now()}
        self.exists = connection.scalar(make_room(connection.dialect.name), values) is not None
        return self.exists

    def seat_user(self, user: User) -> bool:
        """Give `user` a seat; False when they have one, muted or banned as it may be."""
        connection = db.session.connection()
        values = {"room": self.id, "user": user.id, "at": now()}
        return connection.scalar(make_member(connection.dialect.name), values) is not None

    def invite(self, user: User) -> bool:
        """Give `user` a seat at the wish of the owner; raises 403 when the room is locked."""
        if self.is_locked and Member.find(self, user.id) is None:
            raise forbidden("Room is locked")
        return self.seat_user(user)

    @staticmethod
    def moderated_by(user: User) -> bool:
        """Whether `user` moderates all rooms they can see. Users hold `rooms:*`, of their own."""
        return user.may("members", "moderate")

    def is_owned_by(self, user: User) -> bool:
        """Whether `user` owns the room or moderates them all."""
        return self.owner_id == user.id or self.moderated_by(user)

    def require_owner(self, user: User) -> None:
        """Raise 403 unless `user` owns the room or moderates them all."""
        if not self.is_owned_by(user):
            raise forbidden("Only the owner of the room may do this")

    def require_seats(self) -> None:
        """Raise 403 for a direct room, whose two members always stay."""
        if self.kind == "direct":
            raise forbidden("A direct room always has its two members")

    def lock(self) -> None:
        """Let nobody else change owner or leave until the commit; reads the owner anew."""
        wanted = select(Room.owner_id).where(Room.id == self.id)
        self.owner_id = db.session.scalar(wanted.with_for_update(key_share=True))

    def change(self, **values: Any) -> None:
        """Store new values of these columns."""
        db.session.execute(update(Room).where(Room.id == self.id).values(**values))
        for name, value in values.items():
            setattr(self, name, value)

    def others(self, user_id: int) -> "Select[tuple[Member]]":
        """The other members who are not banned, the one who is there longest first."""
        others = (Member.user_id != user_id, Member.is_banned.is_(False))
        statement = select(Member).where(Member.room_id == self.id, *others)
        return statement.order_by(Member.joined_at, Member.user_id)

    def remove(self, member: "Member") -> bool:
        """Take a member out; the owner's room goes to who is there longest. True if the owner's.

        The seat of who is banned stays, and in a public room of who is muted: else the next
        entry would end the mute.
        """
        self.lock()
        heir = db.session.scalar(self.others(member.user_id).limit(1))
        if heir is None and self.kind == "private":
            raise WharfError(409, "The last member deletes the room", "last_member")
        if not (member.is_banned or (member.is_muted and self.kind == "public")):
            db.session.delete(member)
        if heir is None or self.owner_id != member.user_id:
            return False
        self.change(owner_id=heir.user_id)
        return True

    def delete(self, user: User) -> None:
        """Delete a private room with all that was said; raises 403, and 409 when others are in."""
        if self.kind != "private":
            raise forbidden("Only private rooms can be deleted")
        self.lock()
        if db.session.scalar(self.others(user.id).limit(1)):
            raise WharfError(409, "Other members are in this room", "room_in_use")
        for table in (Message, Member, StoredEvent):
            inside = table.topic == self.topic if table is StoredEvent else table.room_id == self.id
            db.session.execute(delete(table).where(inside))
        db.session.execute(delete(Room).where(Room.id == self.id))

    def mark_read(self, user: User, message_id: int | None) -> tuple[dict[str, Any], bool]:
        """Move the read marker of `user` forward, to the last message at most.

        Returns `{roomId, messageId, unread}` and whether it moved; raises 403 for who is no member.
        """
        if self.seat is None:
            raise forbidden("You are not a member of this room")
        said = select(func.max(Message.id)).where(Message.room_id == self.id)
        if message_id is not None:
            said = said.where(Message.id <= message_id)
        target = db.session.scalar(said) or 0
        mine = (Member.room_id == self.id) & (Member.user_id == user.id)
        forward = update(Member).where(mine, Member.read_id < target).values(read_id=target)
        moved = db.session.scalar(forward.returning(Member.read_id)) is not None
        marker = db.session.scalar(select(Member.read_id).where(mine))
        unread = self.as_seen_by(user)["unread"]
        return {"roomId": self.id, "messageId": marker, "unread": unread}, moved

    @classmethod
    def seen_by(cls, user: User) -> "Select[tuple[Room]]":
        """All rooms with the seat of `user`, if they have one, and what lists show: one query."""
        room, message, others = cls.id, Message.__table__.alias(), Member.__table__.alias()
        there = (others.c.room_id == room) & others.c.is_banned.is_(False)
        members = select(func.count()).select_from(others).where(there)
        name = select(User.name).join(others, others.c.user_id == User.id)
        name = name.where(others.c.room_id == room, User.id != user.id).limit(1)
        last = select(func.max(message.c.id)).where(message.c.room_id == room)
        newer = (message.c.room_id == room) & (message.c.id > Member.read_id)
        unread = select(func.count()).select_from(message).where(newer)
        unread = unread.where(message.c.user_id != user.id).correlate(cls, Member)
        direct = case((cls.kind == "direct", name.correlate(cls).scalar_subquery()), else_=cls.name)
        return (
            select(cls)
            .outerjoin(Member, (Member.room_id == room) & (Member.user_id == user.id))
            .outerjoin(Message, Message.id == last.correlate(cls).scalar_subquery())
            .options(
                contains_eager(cls.last_message).joinedload(Message.user, innerjoin=False),
                with_expression(cls.shown_name, direct),
                with_expression(cls.member_count, members.correlate(cls).scalar_subquery()),
                with_expression(cls.unread_count, unread.scalar_subquery()),
            )
        )

    @classmethod
    def joined_by(cls, user: User) -> "Select[tuple[Room]]":
        """The rooms `user` is a member of."""
        return cls.seen_by(user).where(Member.user_id == user.id, Member.is_banned.is_(False))

    def participants(self) -> list[dict[str, Any]]:
        """Who is in the room, the longest first, SHOWN at most."""
        return [one.user.to_peer() for one in rows_of(self.others(0).limit(self.SHOWN))]

    def as_seen_by(self, user: User) -> dict[str, Any]:
        """The room as `user` reads it, with its participants."""
        room = db.session.scalar(Room.seen_by(user).where(Room.id == self.id))
        return {**room.to_dict(), "participants": self.participants()}

    @classmethod
    def require_voices(cls, room_ids: Sequence[str], user: User | None) -> None:
        """Raise 403 for who is muted or banned in one of these rooms; one query for all."""
        if user is None or cls.moderated_by(user):
            return
        silenced = Member.is_muted | Member.is_banned
        there = (Member.user_id == user.id) & Member.room_id.in_(room_ids)
        if db.session.scalar(select(Member.room_id).where(there, silenced).limit(1)) is not None:
            raise forbidden("You are muted in this room")

    def require_voice(self) -> None:
        """Raise 403 for who is muted."""
        if self.seat and self.seat.is_muted:
            raise forbidden("You are muted in this room")

    def history(self) -> "Select[tuple[Message]]":
        """Everything said here."""
        return select(Message).where(Message.room_id == self.id)

    def post(self, user: User, content: str) -> dict[str, Any]:
        """Store a message of `user`, who enters by it; returns it as clients read it."""
        self.enter(user)
        self.require_voice()
        row = {
            "room_id": self.id,
            "user_id": user.id,
            "content": content,
            "created_at": now(),
            "edited_at": None,
        }
        row["id"] = db.session.connection().scalar(ADD_MESSAGE, row)
        return Message.as_dict(row, user.name)

    def to_dict(self) -> dict[str, Any]:
        """A room of `seen_by`, as pages read it (docs/rooms.md)."""
        return {
            "id": self.id,
            "kind": self.kind,
            "name": self.shown_name,
            "ownerId": self.owner_id,
            "isLocked": self.is_locked,
            "createdAt": iso(self.created_at),
            "members": self.member_count,
            "unread": self.unread_count,
            "lastMessage": self.last_message.to_dict() if self.last_message else None,
        }


class Member(db.Model):
    """A user in a room: what they may do there, and how far they have read."""

    __tablename__ = "members"

    room_id: Mapped[str] = mapped_column(ForeignKey("rooms.id"), primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"), primary_key=True, index=True)
    is_muted: Mapped[bool] = mapped_column(default=False)
    is_banned: Mapped[bool] = mapped_column(default=False)
    read_id: Mapped[int] = mapped_column(BigInteger, default=0)  # the last message read
    joined_at: Mapped[datetime] = mapped_column(default=now)
    user: Mapped[User] = relationship(lazy="joined", innerjoin=True)

    @classmethod
    def find(cls, room: Room, user_id: str | int) -> "Member | None":
        """The seat of this user in the room."""
        wanted = (cls.room_id == room.id, cls.user_id == parse_id(user_id))
        return db.session.scalar(select(cls).where(*wanted))

    @classmethod
    def load(cls, room: Room, user_id: str | int) -> "Member":
        """The seat of this user in the room; raises 404."""
        member = cls.find(room, user_id)
        if member is None:
            raise not_found("member")
        return member

    def to_dict(self) -> dict[str, Any]:
        """A member as pages read it (docs/rooms.md)."""
        return {
            "userId": self.user_id,
            "name": self.user.name,
            "isMuted": self.is_muted,
            "isBanned": self.is_banned,
            "joinedAt": iso(self.joined_at),
        }


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
    edited_at: Mapped[datetime | None]
    user: Mapped[User] = relationship(lazy="joined", innerjoin=True)

    @classmethod
    def load(cls, message_id: str | int, room: Room) -> "Message":
        """A message in the room; raises 404."""
        message = db.session.scalar(room.history().where(cls.id == parse_id(message_id)))
        if message is None:
            raise not_found("message")
        return message

    def require_author(self, user: User) -> None:
        """Raise 403 for a message of somebody else."""
        if self.user_id != user.id:
            raise forbidden("This message is not yours")

    def edit(self, room: Room, user: User, content: str) -> None:
        """Change what `user` said in the room; raises 403."""
        self.require_author(user)
        room.require_voice()
        self.content, self.edited_at = content, now()
        db.session.flush()

    def delete(self, room: Room, user: User) -> None:
        """Take back what `user` said, or anything as the owner of the room; raises 403."""
        if not room.is_owned_by(user):
            self.require_author(user)
        db.session.delete(self)
        db.session.flush()

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
            "editedAt": row["edited_at"] and iso(row["edited_at"]),
            "room_id": row["room_id"],
            "user_id": row["user_id"],
            "created_at": created,
        }

    def to_dict(self) -> dict[str, Any]:
        """This message as chat pages read it."""
        return self.as_dict(vars(self), self.user.name)


# Core statements, built once: storing chat messages is the hot path (bench/).
ADD_MESSAGE = insert(Message.__table__).returning(Message.__table__.c.id)
FIND_ROOM = (
    select(
        *(Room.__table__.c[name] for name in ("id", "kind", "name", "owner_id", "is_locked")),
        Room.__table__.c.created_at,
        *(Member.__table__.c[name] for name in ("user_id", "is_muted", "is_banned", "read_id")),
    )
    .select_from(Room.__table__)
    .outerjoin(
        Member.__table__,
        (Member.__table__.c.room_id == Room.__table__.c.id)
        & (Member.__table__.c.user_id == bindparam("user")),
    )
    .where(Room.__table__.c.id == bindparam("room"))
)


@cache
def make_room(dialect: str) -> Any:
    """Adds the room `id` of `owner`, made `at`, unless it is there; returns the id if it did."""
    values: dict[str, Any] = {"id": bindparam("id"), "name": bindparam("name")}
    values |= {"kind": bindparam("kind"), "owner_id": bindparam("owner"), "is_locked": False}
    values["created_at"] = bindparam("at")
    table = Room.__table__
    return upsert(table, dialect).values(values).on_conflict_do_nothing().returning(table.c.id)


@cache
def make_member(dialect: str) -> Any:
    """Seats `user` in `room`, unless they are there; returns their id if it did."""
    values: dict[str, Any] = {"room_id": bindparam("room"), "user_id": bindparam("user")}
    values |= {"is_muted": False, "is_banned": False, "read_id": 0, "joined_at": bindparam("at")}
    table = Member.__table__
    added = upsert(table, dialect).values(values).on_conflict_do_nothing()
    return added.returning(table.c.user_id)


def discard(names: Iterable[str]) -> None:
    """Have these bytes deleted after the commit of the current transaction (storage.py)."""
    db.session.info.setdefault("unneeded", []).extend(names)


class Blob(db.Model):
    """Bytes in storage.py under `name`, a name of ours: once for all files that have the same.

    There as long as a version of a file needs them. `sha256` is in hex; None for those that were
    stored before it was kept.
    """

    __tablename__ = "blobs"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    sha256: Mapped[str | None] = mapped_column(unique=True)
    size: Mapped[int] = mapped_column(BigInteger)

    @classmethod
    def of(cls, name: str, sha256: str, size: int) -> "Blob":
        """The bytes with this digest, held until the commit: those there are, or these."""
        new = upsert(cls).values(name=name, sha256=sha256, size=size)
        same: dict[str, Any] = {"index_elements": ["sha256"], "set_": {"size": size}}
        stored = new.on_conflict_do_update(**same).returning(cls)
        return db.session.scalars(stored, execution_options={"populate_existing": True}).one()

    @classmethod
    def release(cls, ids: Iterable[int]) -> None:
        """Take out those of these that no version needs; their bytes go after the commit."""
        some = cls.id.in_(set(ids))
        locked = select(cls.id).where(some).order_by(cls.id).with_for_update()
        db.session.execute(locked)  # or who finds the same bytes at this moment is left with none
        needed = exists().where(FileVersion.blob_id == cls.id)
        gone = db.session.scalars(delete(cls).where(some, ~needed).returning(cls.name)).all()
        for name in gone:
            discard([name, *(cls.thumbnail_of(name, size) for size in File.SIZES)])

    @staticmethod
    def thumbnail_of(name: str, size: str) -> str:
        """What the thumbnail in this size of the bytes `name` is called in storage.py."""
        return f"{name}.{size}.webp"


class Folder(Record, db.Model):
    """A folder of its user's files; `path` is `/` and the names from the top, with `/` between."""

    __tablename__ = "folders"
    LISTED = Record.LISTED | {"name", "path", "parent_id"}
    SEARCHED = ("name",)
    ORDER = ("path",)
    OPEN = False
    MOST = 1000  # of one user
    LONGEST = 1000  # characters of a path
    LONGEST_BYTES = 2500  # of it as UTF-8: PostgreSQL puts little more into an index
    __table_args__ = (UniqueConstraint("user_id", "path"), {"sqlite_autoincrement": True})

    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"))
    parent_id: Mapped[int | None] = mapped_column(ForeignKey("folders.id"), index=True)
    name: Mapped[str]
    path: Mapped[str]

    @classmethod
    @per_viewer
    def visible_to(cls, user: User | None) -> Select[Any]:
        """The folders of `user`."""
        return select(cls).where(cls.user_id == (user.id if user else 0))

    @classmethod
    def topic_of(cls, user: User | None) -> str:
        """Where the changes are told of this user's folders."""
        return f"folders:{user.id if user else 0}"

    @property
    def topic(self) -> str:
        """Where changes of this folder are told."""
        return f"folders:{self.user_id}"

    @classmethod
    def require(cls, user_id: int, folder_id: int | None) -> None:
        """Raise 400 unless this is a folder of that user's, or None, the top."""
        known = select(cls.id).where(cls.id == folder_id, cls.user_id == user_id)
        if folder_id is not None and db.session.scalar(known) is None:
            raise no_folder()

    @classmethod
    def make(cls, user: User | None, **fields: Any) -> Any:
        """A new folder of `user`; raises 400, and 409 for a name that is taken or too many."""
        assert user
        user.hold()
        if count_rows(cls.visible_to(user), cls.MOST) == cls.MOST:
            raise WharfError(409, f"{cls.MOST} folders are enough", "too_many")
        return super().make(user, user_id=user.id, **{"parent_id": None} | fields)

    def change(self, **fields: Any) -> None:
        """Take name and place; what is below goes along. Raises 400 and 409."""
        super().change(**fields)
        above = select(Folder.path).where(Folder.user_id == self.user_id)
        place = db.session.scalar(above.where(Folder.id == self.parent_id)) or ""
        if self.parent_id and (not place or f"{place}/".startswith(f"{self.path}/")):
            text = "ParentId must be that of another folder of yours, not below this one"
            raise bad_request(text, {"parentId": [text]})
        self.move(f"{place}/{self.name}")

    def move(self, path: str) -> None:
        """Have this path, and what is below along with it; raises 400 and 409."""
        same = select(Folder.id).where(Folder.user_id == self.user_id, Folder.path == path)
        if db.session.scalar(same) not in (None, self.id):
            raise name_taken()
        old, below = self.path or path, self.below()
        deeper = db.session.scalars(select(Folder.path).where(below))
        for one in (path, *(path + was[len(old) :] for was in deeper)):
            if len(one) > self.LONGEST or len(one.encode()) > self.LONGEST_BYTES:
                text = f"A path has {self.LONGEST} characters at most, fewer of long ones"
                raise bad_request(text, {"name": [text]})
        if path != old:
            moved = literal(path) + func.substr(Folder.path, len(old) + 1)
            options = {"synchronize_session": False}
            below_too = update(Folder).where(below).values(path=moved)
            db.session.execute(below_too, execution_options=options)
        self.path = path

    def below(self) -> Any:
        """The condition that a folder is below this one; not by LIKE, for which /Sea and /sea are
        the same in SQLite."""
        above = f"{self.path}/"
        down = func.substr(Folder.path, 1, len(above)) == above
        return and_(Folder.user_id == self.user_id, down)

    def tree(self) -> "Select[tuple[Folder]]":
        """This folder and all below it, the deepest first."""
        some = or_(Folder.id == self.id, self.below())
        return select(Folder).where(some).order_by(Folder.path.desc())

    def to_dict(self) -> dict[str, Any]:
        """The folder as its user reads it."""
        facts = {"name": self.name, "path": self.path, "parentId": self.parent_id}
        return {**super().to_dict(), **facts}


def name_taken() -> WharfError:
    """409: a folder has no two of one name."""
    return WharfError(409, "There is one of this name already", "name_taken")


class FileVersion(db.Model):
    """What a file was or is; the public name `filename` leads to these bytes as long as it is."""

    __tablename__ = "file_versions"
    LISTED = {"id", "number", "created_at"}
    __table_args__ = (UniqueConstraint("file_id", "number"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    file_id: Mapped[int] = mapped_column(ForeignKey("files.id"))
    number: Mapped[int]
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"), index=True)
    blob_id: Mapped[int] = mapped_column(ForeignKey("blobs.id"), index=True)
    filename: Mapped[str] = mapped_column(unique=True)
    mimetype: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(default=now)
    blob: Mapped[Blob] = relationship(lazy="joined", innerjoin=True)
    file: Mapped["File"] = relationship(innerjoin=True)

    @classmethod
    def load_public(cls, filename: str) -> "FileVersion":
        """The version of this public name, for whoever knows it; raises 404."""
        known = cls.filename == filename.replace("\0", "/")  # no name of ours
        version = db.session.scalar(select(cls).where(known).options(joinedload(cls.file)))
        if version is None:
            raise not_found("file")
        return version

    def to_dict(self) -> dict[str, Any]:
        """The version as those read it who may read the file."""
        return {
            "id": self.id,
            "version": self.number,
            "userId": self.user_id,
            "filename": self.filename,
            "url": f"/uploads/{quote(self.filename)}",
            "mimetype": self.mimetype,
            "size": self.blob.size,
            "sha256": self.blob.sha256,
            "createdAt": iso(self.created_at),
        }


class File(Record, db.Model):
    """An uploaded file, as it is now: `filename`, `mimetype`, `size` and `sha256` are those of its
    version number `version`."""

    __tablename__ = "files"
    LISTED = Record.LISTED | {
        *("filename", "original_name", "mimetype", "size", "folder_id", "user_id", "version")
    }
    SEARCHED = ("original_name",)
    OPEN = False
    SIZES: ClassVar[dict[str, int]] = {"small": 128, "medium": 512, "large": 1024}  # of thumbnails
    DRAWN = {"image/jpeg", "image/png", "image/gif", "image/webp"}  # that have thumbnails
    __table_args__ = (
        Index("files_named", "user_id", "folder_id", "original_name"),
        {"sqlite_autoincrement": True},  # what somebody kept of a deleted one leads to no other
    )

    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"), index=True)
    folder_id: Mapped[int | None] = mapped_column(ForeignKey("folders.id"), index=True)
    filename: Mapped[str] = mapped_column(unique=True)
    original_name: Mapped[str]
    mimetype: Mapped[str]
    size: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str | None]
    version: Mapped[int] = mapped_column(default=1)
    details: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    shares: Mapped[list["FileShare"]] = relationship(lazy="selectin", order_by="FileShare.id")

    @classmethod
    @per_viewer
    def visible_to(cls, user: User | None) -> Select[Any]:
        """The files of `user`, and those shared with them."""
        user_id = user.id if user else 0
        shared = select(FileShare.file_id).where(FileShare.user_id == user_id)
        return select(cls).where(or_(cls.user_id == user_id, cls.id.in_(shared)))

    @classmethod
    def in_folder(cls, words: Sequence[str]) -> Any:
        """The condition that a file lies in one of these folders, by id; `root` is in none."""
        nowhere = cls.folder_id.is_(None) if "root" in words else false()
        return or_(nowhere, cls.folder_id.in_({parse_id(word) for word in words} - {None}))

    @classmethod
    def topic_of(cls, user: User | None) -> str:
        """Where the changes are told of the files that `user` may read."""
        return f"files:{user.id if user else 0}"

    @property
    def topic(self) -> str:
        """Where changes of this file are told to its owner."""
        return f"files:{self.user_id}"

    def told_on(self) -> list[tuple[str, str]]:
        """The topics of its owner and of all it is shared with."""
        readers = [self.user_id, *(share.user_id for share in self.shares)]
        return [(f"files:{user_id}", "files") for user_id in readers]

    @classmethod
    def named(cls, user_id: int, folder_id: int | None, name: str) -> Any:
        """The file of this name in a folder, None when there is none; call User.hold before."""
        place = cls.folder_id.is_(None) if folder_id is None else cls.folder_id == folder_id
        same = select(cls).where(cls.user_id == user_id, place, cls.original_name == name)
        return db.session.scalars(same.order_by(cls.id.desc()).limit(1)).first()

    def lock(self) -> bool:
        """Hold the owner first: so all who change files, or folders of them, come one by one."""
        owner: User = db.session.get(User, self.user_id)
        return owner.try_hold() and super().lock()

    def share_of(self, user_id: int | None) -> "FileShare | None":
        """What this user may do here, unless it is shared with others alone."""
        return next((share for share in self.shares if share.user_id == user_id), None)

    def require_owner(self, user: User | None) -> None:
        """Raise 403 for anybody but its owner."""
        if user is None or user.id != self.user_id:
            raise forbidden()

    def require_change(self, user: User | None) -> None:
        """Raise 403 for who may only read it."""
        writers = {share.user_id for share in self.shares if share.mode == "write"}
        if user is None or user.id not in writers | {self.user_id}:
            raise forbidden()

    def require_removal(self, user: User | None) -> None:
        """Raise 403 for anybody but its owner."""
        self.require_owner(user)

    def change(self, **fields: Any) -> None:
        """Take name and folder; raises 400 for no folder of the owner's, 409 for a taken name."""
        folder_id = fields.get("folder_id", self.folder_id)
        Folder.require(self.user_id, folder_id)
        name = fields.get("original_name", self.original_name)
        if self.named(self.user_id, folder_id, name) not in (None, self):
            raise name_taken()
        super().change(**fields)

    @classmethod
    def begin(cls, user: User, folder_id: int | None, name: str) -> "File":
        """A file of `user` that has no version yet."""
        place: dict[str, Any] = {"folder_id": folder_id, "original_name": name, "shares": []}
        moment = now()
        return cls(user_id=user.id, created_at=moment, updated_at=moment, **place)

    def add_version(self, blob: Blob, mimetype: str, user: User, name: str) -> None:
        """Have these bytes from now on, under the public name `name`."""
        last = select(func.max(FileVersion.number)).where(FileVersion.file_id == self.id)
        self.version = (db.session.scalar(last) or 0) + 1
        if self.id:
            self.updated_at = now()
        self.filename, self.mimetype = name, mimetype
        self.size, self.sha256 = blob.size, blob.sha256
        facts = {"number": self.version, "filename": name, "mimetype": mimetype}
        db.session.add(FileVersion(file=self, user_id=user.id, blob=blob, **facts))
        db.session.flush()

    def versions(self) -> "Select[tuple[FileVersion]]":
        """All versions, this one too."""
        return select(FileVersion).where(FileVersion.file_id == self.id)

    def load_version(self, number: str | int) -> FileVersion:
        """The version of this number; raises 404."""
        known = self.versions().where(FileVersion.number == parse_id(number))
        version: FileVersion | None = db.session.scalar(known)
        if version is None:
            raise not_found("version")
        return version

    def prune(self, most: int) -> None:
        """Keep the newest `most` versions; all when 0."""
        old = self.versions().order_by(FileVersion.number.desc()).offset(most)
        if most and (gone := rows_of(old)):
            for version in gone:
                db.session.delete(version)
            db.session.flush()
            Blob.release(version.blob_id for version in gone)

    def delete(self) -> None:
        """Take the file out with its versions, shares and links."""
        self.delete_all([self.id])

    @classmethod
    def delete_all(cls, ids: Sequence[int]) -> None:
        """Take these files out, with all that belongs to them."""
        some = FileVersion.file_id.in_(ids)
        blobs = set(
            db.session.scalars(delete(FileVersion).where(some).returning(FileVersion.blob_id))
        )
        for table in (FileShare, FileLink):
            db.session.execute(delete(table).where(table.file_id.in_(ids)))
        db.session.execute(delete(Upload).where(Upload.file_id.in_(ids)))
        db.session.execute(delete(cls).where(cls.id.in_(ids)))
        Blob.release(blobs)

    def to_dict(self) -> dict[str, Any]:
        """What upload components and the page read (docs/files.md)."""
        url = f"/uploads/{quote(self.filename)}"
        drawn = self.SIZES if self.mimetype in self.DRAWN else {}
        return {
            **super().to_dict(),
            "filename": self.filename,
            "url": url,
            "originalName": self.original_name,
            "mimetype": self.mimetype,
            "size": self.size,
            "sha256": self.sha256,
            "version": self.version,
            "folderId": self.folder_id,
            "userId": self.user_id,
            "metadata": self.details,
            "sharedWith": [{"userId": one.user_id, "mode": one.mode} for one in self.shares],
            "thumbnails": {size: f"{url}/{size}" for size in drawn},
        }


File.RELATED = {"folder": File.in_folder}


def no_folder() -> WharfError:
    """400: the folder is not there, or another's."""
    text = "FolderId must be that of a folder of yours"
    return bad_request(text, {"folderId": [text]})


class FileShare(db.Model):
    """Somebody a file is shared with, to read it or to write it too."""

    __tablename__ = "file_shares"
    LISTED = {"id", "user_id", "mode"}
    __table_args__ = (UniqueConstraint("file_id", "user_id"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    file_id: Mapped[int] = mapped_column(ForeignKey("files.id"))
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"), index=True)
    mode: Mapped[str] = mapped_column(default="read")
    created_at: Mapped[datetime] = mapped_column(default=now)
    user: Mapped[User] = relationship(lazy="joined", innerjoin=True)

    def to_dict(self) -> dict[str, Any]:
        """The share with its reader's name, which events do not tell: it may change."""
        return {"userId": self.user_id, "name": self.user.name, "mode": self.mode}


class FileLink(db.Model):
    """A way to a file for whoever has it, signed by routes/file_links.py, until it ends."""

    __tablename__ = "file_links"
    LISTED = {"id", "expires_at", "created_at"}
    MOST = 100  # of one file
    __table_args__ = {"sqlite_autoincrement": True}  # or a revoked address led to the next one

    id: Mapped[int] = mapped_column(primary_key=True)
    file_id: Mapped[int] = mapped_column(ForeignKey("files.id"), index=True)
    expires_at: Mapped[datetime]
    max_downloads: Mapped[int | None]
    downloads: Mapped[int] = mapped_column(default=0)
    password_hash: Mapped[str | None]
    created_at: Mapped[datetime] = mapped_column(default=now)
    file: Mapped[File] = relationship(lazy="joined", innerjoin=True)

    @classmethod
    def good(cls) -> Any:
        """The condition that a link leads somewhere still."""
        left = or_(cls.max_downloads.is_(None), cls.downloads < cls.max_downloads)
        return and_(cls.expires_at > now(), left)

    def use(self) -> bool:
        """Count a download; False when none is left, whoever else counts at this moment."""
        counted = update(FileLink).where(FileLink.id == self.id, self.good())
        counted = counted.values(downloads=FileLink.downloads + 1).returning(FileLink.id)
        return db.session.scalar(counted) is not None

    def to_dict(self, url: str) -> dict[str, Any]:
        """The link as the owner of the file reads it."""
        return {
            "id": self.id,
            "url": url,
            "expiresAt": iso(self.expires_at),
            "maxDownloads": self.max_downloads,
            "downloads": self.downloads,
            "hasPassword": self.password_hash is not None,
            "createdAt": iso(self.created_at),
        }


class Upload(db.Model):
    """A resumable upload under way (docs/files.md#resumable-uploads).

    `parts` are [name in storage, size in bytes] in order, `offset` the sum of their sizes. Once
    all is there it is the file `file_id`, and `parts` is empty.
    """

    __tablename__ = "uploads"
    MOST = 100  # of one user at once

    id: Mapped[str] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"), index=True)
    file_id: Mapped[int | None] = mapped_column(ForeignKey("files.id"), index=True)
    folder_id: Mapped[int | None] = mapped_column(ForeignKey("folders.id"), index=True)
    original_name: Mapped[str]
    mimetype: Mapped[str]
    metadata_header: Mapped[str] = mapped_column(Text, default="")
    length: Mapped[int] = mapped_column(BigInteger)
    offset: Mapped[int] = mapped_column(BigInteger, default=0)
    parts: Mapped[Any] = mapped_column(JSON, default=list)
    expires_at: Mapped[datetime] = mapped_column(index=True)
    created_at: Mapped[datetime] = mapped_column(default=now)

    @classmethod
    def find(cls, upload_id: str, user: User) -> "Upload | None":
        """The upload of `user`, None when there is none."""
        known = select(cls).where(cls.id == upload_id.replace("\0", "/"), cls.user_id == user.id)
        upload: Upload | None = db.session.scalar(known)
        return upload

    @classmethod
    def expired(cls) -> "Select[tuple[Upload]]":
        """Those whose time is over."""
        return select(cls).where(cls.expires_at <= now())

    def advance(self, parts: Sequence[Sequence[Any]]) -> bool:
        """Add these parts; False when another was quicker."""
        more = sum(size for _, size in parts)
        there = (Upload.id == self.id, Upload.offset == self.offset)
        values = {"offset": self.offset + more, "parts": [*self.parts, *parts]}
        moved = update(Upload).where(*there).values(values).returning(Upload.id)
        return db.session.scalar(moved) is not None

    def release(self) -> None:
        """Forget the parts; their bytes go after the commit."""
        discard(name for name, _ in self.parts)
        self.parts = []

    def delete(self) -> None:
        """Give it up with what arrived of it."""
        self.release()
        db.session.delete(self)


class Job(db.Model):
    """Work that takes a while, as who does it reports it."""

    __tablename__ = "jobs"
    LISTED = {"id", "type", "status", "total_items", "processed_items", "created_at", "updated_at"}
    SEARCHED = ("type", "error")
    BEFORE = {  # the states from which a job may come into another
        "pending": ("pending",),
        "running": ("pending", "running"),
        "completed": ("pending", "running"),
        "failed": ("pending", "running"),
    }

    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"), index=True)
    type: Mapped[str]
    status: Mapped[str] = mapped_column(default="pending")
    total_items: Mapped[int] = mapped_column(default=0)
    processed_items: Mapped[int] = mapped_column(default=0)
    error: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(default=now)
    updated_at: Mapped[datetime] = mapped_column(default=now, onupdate=now)

    @classmethod
    def owned_by(cls, user: User) -> "Select[tuple[Job]]":
        """The jobs of `user`."""
        return select(cls).where(cls.user_id == user.id)

    @classmethod
    def load(cls, job_id: str | int, user: User) -> "Job":
        """The job, if it is one of `user`; raises 404."""
        job = db.session.scalar(cls.owned_by(user).where(cls.id == parse_id(job_id)))
        if job is None:
            raise not_found("job")
        return job

    @property
    def progress(self) -> float:
        """Percent done, to two places; 0 for a job without items."""
        done = 100 * self.processed_items / self.total_items if self.total_items else 0
        return round(done, 2)

    def advance(
        self, processed: int | None = None, status: str | None = None, error: str | None = None
    ) -> bool:
        """Bring the job forward; returns whether anything changed.

        What is processed runs, and an error fails the job. Raises 400 for more items than there
        are, 409 for another state than the job can come into.
        """
        if processed is not None and processed > self.total_items:
            text = f"ProcessedItems must be {self.total_items} at most"
            raise bad_request(text, {"processedItems": [text]})
        status = "failed" if error else status or ("running" if processed else self.status)
        values = {"status": status, "processed_items": processed, "error": error}
        news = {k: v for k, v in values.items() if v is not None and v != getattr(self, k)}
        if not news:
            return False  # a report that came twice
        # In the database, since others may report at this very moment.
        open_job = (Job.id == self.id) & Job.status.in_(self.BEFORE[status])
        changed = db.session.scalar(update(Job).where(open_job).values(news).returning(Job.id))
        db.session.refresh(self)
        if changed is None:
            raise WharfError(409, f"This job is {self.status} already", "job_settled")
        return True

    def to_dict(self) -> dict[str, Any]:
        """The state as job pages read it (docs/frontends/reactive.md)."""
        return {
            "id": self.id,
            "jobId": self.id,
            "type": self.type,
            "status": self.status,
            "progress": self.progress,
            "totalItems": self.total_items,
            "processedItems": self.processed_items,
            "error": self.error,
            "createdAt": iso(self.created_at),
            "updatedAt": iso(self.updated_at),
        }


class Notification(db.Model):
    """Something a user should know, kept until it is deleted."""

    __tablename__ = "notifications"
    CATEGORIES = ("info", "warning", "error")
    LISTED = {"id", "category", "read_at", "created_at"}
    SEARCHED = ("title", "message")
    __table_args__ = (Index("notifications_of_user", "user_id", "id"),)

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"))
    category: Mapped[str] = mapped_column(default="info")
    title: Mapped[str]
    message: Mapped[str] = mapped_column(Text, default="")
    link: Mapped[str] = mapped_column(default="")
    read_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(default=now)

    @classmethod
    def owned_by(cls, user: User) -> "Select[tuple[Notification]]":
        """What `user` was told."""
        return select(cls).where(cls.user_id == user.id)

    @classmethod
    def load(cls, notification_id: str | int, user: User) -> "Notification":
        """The notification, if `user` was told it; raises 404."""
        mine = cls.owned_by(user).where(cls.id == parse_id(notification_id))
        notification = db.session.scalar(mine)
        if notification is None:
            raise not_found("notification")
        return notification

    @classmethod
    def count_unread(cls, user_ids: Iterable[int]) -> dict[int, int]:
        """How many each of these users has not read."""
        unread = cls.user_id.in_(user_ids) & cls.read_at.is_(None)
        counts = select(cls.user_id, func.count()).where(unread).group_by(cls.user_id)
        found = dict(db.session.execute(counts).all())
        return {user_id: found.get(user_id, 0) for user_id in user_ids}

    @classmethod
    def mark(cls, user: User, read: bool, *which: Any) -> list[int]:
        """Mark those of `user` that meet the conditions `which`; returns the ids that changed."""
        other = cls.read_at.is_(None) if read else cls.read_at.is_not(None)
        changed = update(cls).where(cls.user_id == user.id, other, *which)
        statement = changed.values(read_at=now() if read else None).returning(cls.id)
        return sorted(db.session.scalars(statement))

    @classmethod
    def delete_read(cls, user: User) -> list[int]:
        """Delete all that `user` has read; returns their ids."""
        read = (cls.user_id == user.id) & cls.read_at.is_not(None)
        return sorted(db.session.scalars(delete(cls).where(read).returning(cls.id)))

    def to_dict(self) -> dict[str, Any]:
        """What pages read (docs/notifications.md)."""
        return {
            "id": self.id,
            "category": self.category,
            "title": self.title,
            "message": self.message,
            "link": self.link,
            "read": self.read_at is not None,
            "readAt": self.read_at and iso(self.read_at),
            "createdAt": iso(self.created_at),
        }


class PushSubscription(db.Model):
    """A browser that takes notifications while no page is open (RFC 8030, RFC 8291)."""

    __tablename__ = "push_subscriptions"

    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"), index=True)
    endpoint: Mapped[str] = mapped_column(unique=True)
    p256dh: Mapped[str]
    auth: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(default=now)

    PER_USER = 20

    @classmethod
    def keep(cls, user: User, endpoint: str, p256dh: str, auth: str) -> "PushSubscription":
        """Store what a browser of `user` subscribed; of too many the oldest go.

        An endpoint belongs to the account that named it last: browsers change hands.
        """
        facts = {"user_id": user.id, "p256dh": p256dh, "auth": auth, "created_at": now()}
        added = upsert(cls).values(endpoint=endpoint, **facts)
        stored = added.on_conflict_do_update(index_elements=["endpoint"], set_=facts)
        row_id = db.session.scalar(stored.returning(cls.id))
        newest = cls.owned_by(user).order_by(cls.created_at.desc(), cls.id.desc())
        kept = newest.with_only_columns(cls.id).limit(cls.PER_USER)
        db.session.execute(delete(cls).where(cls.user_id == user.id, cls.id.not_in(kept)))
        return db.session.get(cls, row_id, populate_existing=True)

    @classmethod
    def owned_by(cls, user: User) -> "Select[tuple[PushSubscription]]":
        """The browsers of `user`."""
        return select(cls).where(cls.user_id == user.id)

    @classmethod
    def forget(cls, user: User, endpoint: str) -> None:
        """Delete the subscription of a browser of `user`, if there is one."""
        db.session.execute(delete(cls).where(cls.user_id == user.id, cls.endpoint == endpoint))

    def to_dict(self) -> dict[str, Any]:
        """What its browser may know."""
        return {"id": self.id, "endpoint": self.endpoint, "createdAt": iso(self.created_at)}


class Receipt(db.Model):
    """The first answer to a request or message that carried an id, kept to answer its retries.

    `owner` is whose it is: the topic of a user, or what else tells senders apart.
    """

    __tablename__ = "receipts"

    owner: Mapped[str] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    digest: Mapped[str]
    status: Mapped[int]
    answer: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(default=now, index=True)

    LIFE = timedelta(days=1)

    @classmethod
    def find(cls, owner: str, key: str, content: bytes) -> "Receipt | None":
        """The receipt for `key`, if it is less than a day old; raises 409 for other content."""
        mine = (cls.owner == owner) & (cls.key == fingerprint(key.encode()))
        receipt = db.session.scalar(select(cls).where(mine))
        if receipt and receipt.created_at < now() - cls.LIFE:
            db.session.delete(receipt)
            db.session.flush()
            return None
        if receipt and receipt.digest != fingerprint(content):
            raise WharfError(409, "This id was used for something else", "id_reused")
        return receipt

    @classmethod
    def keep(cls, owner: str, key: str, content: bytes, answer: Any, status: int = 200) -> None:
        """Remember `answer`, a JSON value, as the first one to `key` and `content`."""
        text = json.dumps(answer, separators=(",", ":"))
        row = cls(owner=owner, status=status, answer=text)
        # Fingerprints: both may be longer than an index or a row should hold.
        row.key, row.digest = fingerprint(key.encode()), fingerprint(content)
        db.session.add(row)

    @classmethod
    def claim(cls, owner: str, key: str, content: bytes = b"", life: timedelta = LIFE) -> bool:
        """Take `key`; False when it was taken less than `life` ago. Of twins only one gets it.

        Raises 409 when it was taken for other content.
        """
        at, mine = now(), {"owner": owner, "key": fingerprint(key.encode())}
        facts = {"digest": fingerprint(content), "status": 200, "answer": "", "created_at": at}
        taken = upsert(cls).values(**mine, **facts)
        stale = cls.created_at < at - life
        again = taken.on_conflict_do_update(index_elements=list(mine), set_=facts, where=stale)
        if db.session.scalar(again.returning(cls.key)) is not None:
            return True
        return cls.find(owner, key, content) is None


class Retained(db.Model):
    """The last message of a topic whose sender wanted it kept for those who come later."""

    __tablename__ = "retained"

    audience: Mapped[str] = mapped_column(primary_key=True)  # where it was told: a Topic
    topic: Mapped[str] = mapped_column(primary_key=True)
    data: Mapped[str] = mapped_column(Text)

    MAX, MAX_CHARACTERS = 1000, 1_000_000  # of one audience: each new stream is told all of it

    @classmethod
    def keep(cls, audience: str, topic: str, data: Any) -> None:
        """Keep the message, in place of the one before; raises 400 when there is too much."""
        row = {"audience": audience, "topic": topic, "data": json.dumps(data)}
        size, there = func.length(cls.data), cls.audience == audience
        before = db.session.scalar(select(size).where(there, cls.topic == topic))
        kept = upsert(cls).values(row)
        db.session.execute(
            kept.on_conflict_do_update(
                index_elements=["audience", "topic"], set_={"data": kept.excluded.data}
            )
        )
        sums = select(func.count(), func.sum(size)).where(there)
        count, together = db.session.execute(sums).one()
        if before is None and count > cls.MAX:
            raise bad_request(f"{cls.MAX} retained topics are enough", code="too_many")
        if len(row["data"]) > (before or 0) and together > cls.MAX_CHARACTERS:
            raise bad_request("The retained messages are too large together", code="too_many")

    @classmethod
    def drop(cls, audience: str, topic: str) -> None:
        """Keep nothing of this topic any longer."""
        db.session.execute(delete(cls).where(cls.audience == audience, cls.topic == topic))

    @classmethod
    def of(cls, audience: str) -> dict[str, str]:
        """What is kept, as JSON texts by topic."""
        rows = db.session.execute(select(cls.topic, cls.data).where(cls.audience == audience))
        return {row.topic: row.data for row in rows}


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
    skip: Mapped[str] = mapped_column(default="", server_default="")  # who shall not hear it
    created_at: Mapped[datetime] = mapped_column(default=now)


class Signal(db.Model):
    """An ephemeral event on its way to another process, where the bus has no better road."""

    __tablename__ = "signals"
    __table_args__ = {"sqlite_autoincrement": True}

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    origin: Mapped[str]
    payload: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(default=now)


class ChannelState(NamedTuple):
    """A sync channel as a merge needs it."""

    site_id: str
    version: int
    owner_id: int | None
    tables: list[str] | None
    schemas: dict[str, Any] | None
    is_mapped: bool


class CrdtChannel(db.Model):
    """A sync channel: whose it is, its server site id and version (docs/sync.md).

    `tables` are those it takes, None for any; `schemas` the JSON Schema of each; `kind` what its
    replicas are unless they say otherwise; `is_mapped` whether rows of nouns are among its rows.
    """

    __tablename__ = "crdt_channels"
    LISTED = {"name", "owner_id", "created_at"}
    SEARCHED = ("name",)
    ORDER = ("name",)
    MOST = 100  # of one owner
    MOST_MEMBERS = 100

    name: Mapped[str] = mapped_column(primary_key=True)
    owner_id: Mapped[int | None] = mapped_column(ForeignKey("users.id"), index=True)
    crdt_site_id: Mapped[str] = mapped_column(default=lambda: secrets.token_hex(16))
    crdt_db_version: Mapped[int] = mapped_column(BigInteger, default=0)
    kind: Mapped[str] = mapped_column(default="log")
    tables: Mapped[list[str] | None] = mapped_column(JSON(none_as_null=True))
    schemas: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    is_mapped: Mapped[bool] = mapped_column(default=False)
    created_at: Mapped[datetime] = mapped_column(default=now)
    id = synonym("name")

    @classmethod
    def key_of(cls, name: str, user: User | None) -> str:
        """The name under which a channel is stored: `default` is every user's own, `user:<id>`.

        Raises 400 for what cannot be one.
        """
        if not name or len(name) > 200 or not name.isprintable():
            raise bad_request("Channel must be 1 to 200 printable characters", code="bad_channel")
        return cls.own_name(user.id) if user and name == "default" else name

    @staticmethod
    def own_name(user_id: int) -> str:
        """The channel where a user's own rows are, and nobody else's."""
        return f"user:{user_id}"

    @classmethod
    def load(cls, name: str, user: User | None) -> "CrdtChannel":
        """A channel that is there and that `user` may read; raises 400, 403 and 404."""
        channel = db.session.get(cls, cls.key_of(name, user))
        if channel is None:
            raise not_found("channel")
        channel.require_reader(user)
        return channel

    @classmethod
    def enter(cls, name: str, user: User | None) -> "CrdtChannel":
        """The same, made by its first visitor and theirs from then on; raises 400, 403 and 409."""
        key = cls.key_of(name, user)
        channel = db.session.get(cls, key) or cls.make(key, user)
        channel.require_reader(user)
        return channel

    @classmethod
    def make(cls, key: str, user: User | None, **facts: Any) -> "CrdtChannel":
        """A channel of `user`, or the one that is there by now; raises 403 and 409."""
        if key.startswith("user:") and (user is None or key != cls.own_name(user.id)):
            raise forbidden("This channel belongs to somebody else")
        if user:
            # Who counts the same at this moment waits, and who writes a row of this user's.
            db.session.execute(select(User.id).where(User.id == user.id).with_for_update())
            own = cls.own_name(user.id)  # has its place whatever else there is
            others = select(literal(1)).where(cls.owner_id == user.id, cls.name != own)
            if key != own and count_rows(others, cls.MOST) == cls.MOST:
                raise WharfError(409, f"{cls.MOST} channels are enough", "too_many")
        values = {"name": key, "owner_id": user.id if user else None, "created_at": now(), **facts}
        values |= {"crdt_site_id": secrets.token_hex(16), "crdt_db_version": 0}
        db.session.execute(upsert(cls).values(values).on_conflict_do_nothing())
        DeletedChannel.refuse(key)  # now: who deletes it at this moment is waited for
        return db.session.get_one(cls, key)

    def role_of(self, user: User | None) -> str | None:
        """`owner`, `writer`, `reader`, or None for who may not enter."""
        if self.owner_id is None:
            return "writer"
        if user is None:
            return None
        if user.id == self.owner_id:
            return "owner"
        return CrdtMember.role_in(self.name, user.id)

    def require_reader(self, user: User | None) -> None:
        """Raise 403 for who may not enter."""
        if self.role_of(user) is None:
            raise forbidden("This channel belongs to somebody else")

    def require_owner(self, user: User | None) -> None:
        """Raise 403 for who does not decide about it."""
        if self.role_of(user) != "owner":
            raise forbidden("Only the owner of the channel may do this")

    @classmethod
    def visible_to(cls, user: User) -> Select[Any]:
        """Those of `user`, and those they are a member of."""
        joined = select(CrdtMember.channel).where(CrdtMember.user_id == user.id)
        return select(cls).where((cls.owner_id == user.id) | cls.name.in_(joined))

    @classmethod
    def lock(cls, name: str) -> ChannelState | None:
        """Hold the channel until the commit; None when there is none."""
        row = db.session.connection().execute(cls.lock_statement(), {"key": name}).first()
        return ChannelState(*row) if row else None

    @classmethod
    @cache
    def lock_statement(cls) -> Any:
        """Locks the row `key` and says what it is; built once (bench/crdt.py).

        By the version, not the name, which others point to: SQLite would look at all rows that do.
        """
        table = cls.__table__.c
        state = (table.owner_id, table.tables, table.schemas, table.is_mapped)
        statement = update(cls.__table__).where(table.name == bindparam("key"))
        same = {"crdt_db_version": table.crdt_db_version}
        return statement.values(same).returning(table.crdt_site_id, table.crdt_db_version, *state)

    def delete(self) -> None:
        """Take it out with all that is in it."""
        for table in (CrdtRow, CrdtChange, CrdtPeer, CrdtMember, CrdtInvite):
            db.session.execute(delete(table).where(table.channel == self.name))
        db.session.delete(self)
        if not self.name.startswith("user:"):  # nobody else can have that anyway
            DeletedChannel.keep(self.name, self.owner_id)

    @property
    def topic(self) -> str:
        """Where it is told that the channel changed."""
        return self.topic_of(self.name)

    @staticmethod
    def topic_of(name: str) -> str:
        """Where it is told that a channel changed."""
        return f"sync:{name}"

    def to_dict(self, role: str | None = None) -> dict[str, Any]:
        """The channel as its members read it."""
        created = iso(self.created_at)
        return {
            "id": self.name,
            "name": self.name,
            "owner_id": self.owner_id,
            "ownerId": self.owner_id,
            "role": role,
            "siteId": self.crdt_site_id,
            "version": self.crdt_db_version,
            "kind": self.kind,
            "tables": self.tables,
            "schemas": self.schemas,
            "created_at": created,
            "createdAt": created,
        }


class DeletedChannel(db.Model):
    """The name of a channel that was deleted: for a month only its owner may make it again.

    Replicas that come back would otherwise be the first visitors of a channel of their own.
    """

    __tablename__ = "crdt_deleted_channels"
    LIFE = timedelta(days=30)

    name: Mapped[str] = mapped_column(primary_key=True)
    owner_id: Mapped[int | None] = mapped_column(ForeignKey("users.id"), index=True)
    deleted_at: Mapped[datetime] = mapped_column(default=now, index=True)

    @classmethod
    def keep(cls, name: str, owner_id: int | None) -> None:
        """Keep a name from others; those past their time are let go."""
        db.session.execute(delete(cls).where(cls.deleted_at < now() - cls.LIFE))
        db.session.add(cls(name=name, owner_id=owner_id))

    @classmethod
    def refuse(cls, name: str) -> None:
        """Raise 409 for a name that is kept."""
        kept = db.session.get(cls, name)
        if kept and kept.deleted_at > now() - cls.LIFE:
            raise WharfError(409, "This channel was deleted", "channel_deleted")

    @classmethod
    def let_go(cls, name: str, owner_id: int) -> None:
        """Its owner makes the channel again."""
        db.session.execute(delete(cls).where(cls.name == name, cls.owner_id == owner_id))


class CrdtMember(db.Model):
    """Somebody with whom a channel is shared, to read or to write too."""

    __tablename__ = "crdt_members"
    LISTED = {"user_id", "role", "created_at"}
    SEARCHED = ("role",)
    ORDER = ("-created_at",)

    channel: Mapped[str] = mapped_column(ForeignKey("crdt_channels.name"), primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"), primary_key=True, index=True)
    role: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(default=now)
    user: Mapped[User] = relationship(lazy="joined", innerjoin=True)
    id = synonym("user_id")

    @classmethod
    def seat(cls, channel: CrdtChannel, user_id: int, role: str) -> "CrdtMember":
        """The member with this role, new or not; raises 409 for too many. The channel is held."""
        member = db.session.get(cls, (channel.name, user_id))
        if member is None:
            seated = select(literal(1)).where(cls.channel == channel.name)
            if count_rows(seated, channel.MOST_MEMBERS) == channel.MOST_MEMBERS:
                raise WharfError(409, f"{channel.MOST_MEMBERS} members are enough", "too_many")
            member = cls(channel=channel.name, user_id=user_id)
            db.session.add(member)
        member.role = role
        db.session.flush()
        return member

    @classmethod
    def role_in(cls, channel: str, user_id: int | None) -> str | None:
        """What a user may do in a channel that is another's."""
        seat = (cls.channel == channel) & (cls.user_id == user_id)
        return db.session.scalar(select(cls.role).where(seat))

    def to_dict(self) -> dict[str, Any]:
        """The member as others read it, without email."""
        return {
            "id": self.user_id,
            "user_id": self.user_id,
            "userId": self.user_id,
            "name": self.user.name,
            "role": self.role,
            "created_at": iso(self.created_at),
            "createdAt": iso(self.created_at),
        }


class CrdtInvite(db.Model):
    """A link that makes who follows it a member. Only the hash of its token is kept."""

    __tablename__ = "crdt_invites"
    LISTED = {"id", "role", "expires_at", "created_at"}
    SEARCHED = ("role",)
    MOST = 100  # of one channel

    id: Mapped[int] = mapped_column(primary_key=True)
    digest: Mapped[str] = mapped_column(unique=True)
    channel: Mapped[str] = mapped_column(ForeignKey("crdt_channels.name"), index=True)
    role: Mapped[str]
    expires_at: Mapped[datetime]
    created_at: Mapped[datetime] = mapped_column(default=now)

    @classmethod
    def issue(cls, channel: CrdtChannel, role: str, life: timedelta) -> tuple["CrdtInvite", str]:
        """A new invite and its token; those past their time are swept out. Raises 409."""
        here = cls.channel == channel.name
        db.session.execute(delete(cls).where(here, cls.expires_at < now()))
        if count_rows(select(literal(1)).where(here), cls.MOST) == cls.MOST:
            raise WharfError(409, f"{cls.MOST} invites are enough", "too_many")
        token = secrets.token_urlsafe(32)
        invite = cls(digest=fingerprint(token.encode()), channel=channel.name, role=role)
        invite.expires_at = now() + life
        db.session.add(invite)
        db.session.flush()
        return invite, token

    @classmethod
    def find(cls, token: str) -> "CrdtInvite | None":
        """The invite of this token, in time."""
        known = cls.digest == fingerprint(token.encode())
        return db.session.scalar(select(cls).where(known, cls.expires_at > now()))

    def to_dict(self) -> dict[str, Any]:
        """The invite as the owner reads it; the token is shown once, when it is made."""
        return {
            "id": self.id,
            "channel": self.channel,
            "role": self.role,
            "expires_at": iso(self.expires_at),
            "expiresAt": iso(self.expires_at),
            "created_at": iso(self.created_at),
            "createdAt": iso(self.created_at),
        }


class CrdtRow(db.Model):
    """A row of a channel that is a row of a noun too (synced.py)."""

    __tablename__ = "crdt_rows"
    __table_args__ = (
        UniqueConstraint("channel", "table", "row_id"),
        {"sqlite_with_rowid": False},
    )

    channel: Mapped[str] = mapped_column(ForeignKey("crdt_channels.name"), primary_key=True)
    table: Mapped[str] = mapped_column(primary_key=True)
    pk: Mapped[str] = mapped_column(primary_key=True)
    row_id: Mapped[int]


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
    """What one replica sent us (`received`) and holds of ours (`sent`) (docs/sync.md).

    `kind` is "cl" for one that counts the lives of its rows, else "log".
    """

    __tablename__ = "crdt_tracked_peers"
    LISTED = {"site_id", "user_id", "kind", "received", "sent", "seen_at"}

    channel: Mapped[str] = mapped_column(ForeignKey("crdt_channels.name"), primary_key=True)
    site_id: Mapped[str] = mapped_column(primary_key=True)
    user_id: Mapped[int | None] = mapped_column(ForeignKey("users.id"))
    kind: Mapped[str] = mapped_column(default="log")
    received: Mapped[int] = mapped_column(BigInteger, default=0)
    sent: Mapped[int] = mapped_column(BigInteger, default=0)
    seen_at: Mapped[datetime] = mapped_column(default=now, onupdate=now)
    SEARCHED = ("site_id",)
    ORDER = ("-seen_at",)
    id = synonym("site_id")

    def to_dict(self, version: int) -> dict[str, Any]:
        """The replica as members see it, in a channel that is at `version`."""
        return {
            "id": self.site_id,
            "siteId": self.site_id,
            "userId": self.user_id,
            "kind": self.kind,
            "received": self.received,
            "sent": self.sent,
            "lag": version - self.sent,
            "seenAt": iso(self.seen_at),
        }


@cache
def nouns() -> dict[str, Any]:
    """The records there are, by table."""
    models = (mapper.class_ for mapper in db.Model.registry.mappers)
    records = (model for model in models if issubclass(model, Record) and model.IS_NOUN)
    return {model.__tablename__: model for model in sorted(records, key=lambda one: one.__name__)}


def read_rows(statement: Select[Any], words: dict[str, Any]) -> list[Any]:
    """The rows of `statement`, each as (object, *more), with `words` for its parameters.

    The objects are to be read, not to be changed: where columns are all they have, no session
    watches them, which takes most of the time (bench/).
    """
    model = derive(statement, entity_of)
    names = plain_names(model) if model else ()
    if not names:
        return list(db.session.execute(statement, words).unique())
    found = db.session.connection().execute(statement, words).all()
    return [(plain(model, names, row), *row[len(names) :]) for row in found]


def entity_of(statement: Any) -> Any:
    """The model whose rows a statement finds."""
    return statement.column_descriptions[0]["entity"]


@cache
def plain_names(model: Any) -> tuple[str, ...]:
    """The names of a model's columns; none when its rows have more than columns."""
    mapper = inspect(model)
    has_more = set(mapper.attrs.keys()) != set(mapper.columns.keys())
    return () if has_more else tuple(mapper.columns.keys())


def store_rows(model: Any, rows: Sequence[Any]) -> Sequence[Any]:
    """Add new rows; returns them with all that the database knows of them.

    Where columns are all they have, past the ORM, and then to be read alone (`read_rows`).
    """
    names = plain_names(model)
    if not names:
        db.session.add_all(rows)
        db.session.flush()
        return rows
    given = [{name: value for name, value in vars(row).items() if name in names} for row in rows]
    stored = db.session.connection().execute(insert_of(model), given)
    return [plain(model, names, row) for row in stored]


@cache
def insert_of(model: Any) -> Any:
    """Adds rows and returns them in the same order; built once."""
    table = model.__table__
    return insert(table).returning(*table.columns, sort_by_parameter_order=True)


def plain(model: Any, names: Sequence[str], row: Any) -> Any:
    """An object made of the columns that come first in a row."""
    made = model.__new__(model)
    made.__dict__.update(zip(names, row, strict=False))
    return made


def count_rows(statement: Select[Any], most: int) -> int:
    """How many stored rows there are, `most` at most: to count more takes ever longer."""
    return int(db.session.connection().scalar(derive(statement, counting, most)))


def counting(statement: Any, most: int) -> Any:
    """Counts the rows of a statement, `most` at most."""
    one = statement.with_only_columns(literal(1), maintain_column_froms=True)
    some = one.order_by(None).limit(most)
    return select(func.count()).select_from(some.subquery())


def lock_row(row: Any, column: str = "updated_at") -> bool:
    """Hold a row until the commit and read it anew; False when it is gone.

    By a column that stays as it is; not the id, for which search would index the row anew.
    """
    model = type(row)
    same = {column: getattr(model, column)}
    held = update(model).where(model.id == row.id).values(same).returning(model.id)
    if db.session.scalar(held, execution_options={"synchronize_session": False}) is None:
        return False
    db.session.refresh(row)
    return True


def rows_of(statement: Select[Any]) -> Sequence[Any]:
    """All rows of `statement` as objects."""
    return db.session.scalars(statement).unique().all()
