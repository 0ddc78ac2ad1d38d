"""The one list rule: filters, search, order, pages and cursors, for every noun.

docs/frontends/larc.md#lists says what clients may ask. A list may have millions of rows: rows are
counted up to COUNTED, pages go as far, and a cursor leads through all of them at the same speed,
since it says which row was the last one, not how many there were.
"""

import base64
import json
from collections.abc import Callable, Sequence
from datetime import datetime
from operator import methodcaller
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode

from flask import Response, request
from sqlalchemy import Select, Text, and_, bindparam, literal, or_

from errors import WharfError, bad_request
from json_data import Field
from models import count_rows, derive, public_column, read_rows
from routes.filters import NO_VALUE, coerce, filter_by, parse_tree, refused, search
from routes.rest import answer
from validation import parse_json

MAX_ITEMS = 1000
PAGE_SIZE = 20
COUNTED = 10_000  # rows; to count more takes ever longer
MAX_SORTS = 5
SCANNED = 100_000  # rows that are looked through for what no index leads to
CURSOR = "W"  # what each cursor begins with: a list, in base64
PAGING_WORDS = {"page", "limit", "size", "page_size", "cursor", "next", "start"}
LIST_WORDS = PAGING_WORDS | {"sort", "orderBy", "where", "filters", "q"}


class Key(NamedTuple):
    """A column to sort by, and which way; `is_nullable` when rows may have no value there."""

    name: str
    column: Any
    is_descending: bool
    is_nullable: bool = False


class Page(NamedTuple):
    """Which part of a list is asked for; `last` are the values of the row before it."""

    is_asked: bool
    size: int
    start: int = 0
    last: list[Any] | None = None
    word: str = "page"  # that said so


def answer_list(
    statement: Select[Any],
    model: Any,
    order: Sequence[Key] = (),
    oldest_first: bool = False,
    paged: bool = False,
    show: Callable[[Any], Any] = methodcaller("to_dict"),
) -> Response:
    """Answer the rows of `statement` by the list rule; raises 400 for words it cannot follow.

    Without paging words a bare array, MAX_ITEMS at most; with them, or `paged`, an object with the
    items of one page. Newest first, unless the caller, or else `order` or the model's ORDER, says
    otherwise; of the newest the oldest first with `oldest_first`.
    """
    order = order or [key for word in getattr(model, "ORDER", ()) for key in sort_key(model, word)]
    if needs_scan(model):
        require_short(statement)
    statement, by_id = search(filter_by(statement, model, LIST_WORDS), model)
    keys = sort_keys(model, order, by_id)
    page = parse_page(keys, paged, getattr(model, "MAX_ITEMS", MAX_ITEMS))
    rows, total = read(statement, keys, page)
    items = [show(row[0]) for row in rows[: page.size]]
    if oldest_first and not sort_words():
        items.reverse()
    following = None
    if len(rows) > page.size:
        following = write_cursor(page.start + page.size, rows[page.size - 1][1:])
    response = answer(page_of(items, total, page, following) if page.is_asked else items)
    response.headers["X-Total-Count"] = str(total)
    if following is not None:
        words = {**request.args.to_dict(flat=False), "next": following, "limit": page.size}
        words.pop("page", None)
        address = f"{quote(request.path)}?{urlencode(words, doseq=True)}"
        response.headers["Link"] = f'<{address}>; rel="next"'
    return response


def needs_scan(model: Any) -> bool:
    """Whether the query asks for what no index of the table leads to."""
    args = request.args
    if any(args.get(name, "") not in NO_VALUE for name in ("where", "filters", "orderBy")):
        return True
    if args.get("q") and not getattr(model, "IS_INDEXED", False):
        return True
    if any(key.name != "id" for key in sort_keys(model, (), model.id)):
        return True
    asked = (public_column(model, name) for name in set(args) - LIST_WORDS)
    return not all(is_indexed(column) for column in asked if column is not None)


def is_indexed(column: Any) -> bool:
    """Whether an index begins with this column."""
    if getattr(column, "primary_key", False) or getattr(column, "unique", False):
        return True
    indexes = getattr(getattr(column, "table", None), "indexes", ())
    leading = (next(iter(index.columns)).name for index in indexes)
    return getattr(column, "name", "") in leading


def require_short(statement: Select[Any]) -> None:
    """Raise 400 for a list that is too long to look through."""
    if count_rows(statement, SCANNED + 1) > SCANNED:
        text = "This list is too long for that: narrow it, or search by q"
        raise bad_request(text, code="too_long")


def read(statement: Select[Any], keys: list[Key], page: Page) -> tuple[list[Any], int]:
    """The rows of a page and the one after it, and how many there are in all; raises 400."""
    if page.start >= COUNTED and not page.last and count_rows(statement, COUNTED) == COUNTED:
        text = f"Beyond {COUNTED} rows only the next of the page before leads on"
        raise refused(page.word, text)
    rows = fetch(statement, keys, page)
    is_end = len(rows) <= page.size and (rows or not page.start)
    total = page.start + len(rows) if is_end and not page.last else count_rows(statement, COUNTED)
    return rows, total


def fetch(statement: Select[Any], keys: list[Key], page: Page) -> list[Any]:
    """These rows, each as (object, *values it is sorted by)."""
    if page.last:
        statement = statement.where(follows(keys, page.last))
    words = {"list_start": 0 if page.last else page.start, "list_size": page.size + 1}
    return read_rows(derive(statement, arranged, *keys), words)


def arranged(statement: Any, *keys: Key) -> Any:
    """`list_size` rows from `list_start` on, sorted by these keys and with their values."""
    order = [part for key in keys for part in in_order(key)]
    statement = statement.add_columns(*(key.column for key in keys)).order_by(*order)
    return statement.limit(bindparam("list_size")).offset(bindparam("list_start"))


def page_of(items: list[Any], total: int, page: Page, following: str | None) -> dict[str, Any]:
    """One page in all the names frontends read."""
    return {
        "items": items,
        "total": total,
        "page": page.start // page.size + 1,
        "size": page.size,
        "limit": page.size,
        "pages": -(-total // page.size),
        "hasMore": following is not None,
        "next": following,
    }


# Which part


def parse_page(keys: list[Key], paged: bool, most: int) -> Page:
    """What the paging words ask for: `next` and `cursor` may also count rows; raises 400."""
    if not (paged or PAGING_WORDS & set(request.args)):
        return Page(False, most)
    size = min(whole("limit", whole("size", whole("page_size", PAGE_SIZE))), most)
    given = (
        word for word in ("next", "cursor", "start") if request.args.get(word, "") not in NO_VALUE
    )
    name = next(given, "page")
    start = whole("page", 1) * size - size
    if name != "page":
        if (text := request.args[name]).startswith(CURSOR):
            return Page(True, size, *read_cursor(name, text, keys))
        start = whole(name, 0, 0)
    return Page(True, size, start, word=name)


def whole(name: str, default: int, least: int = 1) -> int:
    """A whole number of the query; raises 400. Empty and null mean default."""
    text = request.args.get(name, "")
    if text in NO_VALUE:
        return default
    if not (text.isascii() and text.isdecimal() and len(text) < 16) or int(text) < least:
        raise refused(name, f"{name} must be a whole number from {least}")
    return int(text)


def write_cursor(start: int, values: list[Any]) -> str:
    """Where the next page begins: how many rows are before it, and the values of the last one."""
    parts = [start, *values]
    text = json.dumps(parts, default=datetime.isoformat, separators=(",", ":"), ensure_ascii=False)
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def read_cursor(name: str, text: str, keys: list[Key]) -> tuple[int, list[Any]]:
    """What `write_cursor` wrote for a list in this order; raises 400 for anything else."""
    try:
        written = parse_json(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
        start, *values = written
        if isinstance(start, int) and 0 <= start < 2**53 and len(values) == len(keys):
            pairs = zip(keys, values, strict=True)
            return start, [value_of(key, value) for key, value in pairs]
    except (ValueError, TypeError, WharfError):
        pass
    raise refused(name, f"{name} must be what the page before said, of a list in the same order")


def value_of(key: Key, value: Any) -> Any:
    """A value of a cursor as the type of its column; raises 400."""
    return None if value is None and key.is_nullable else coerce(key.column, key.name, value)


# Order


def sort_keys(model: Any, order: Sequence[Key], by_id: Any) -> list[Key]:
    """What `sort` or `orderBy` ask for, else `order`; newest first among equals. Raises 400."""
    words = sort_words()
    if len(words) > MAX_SORTS:
        raise refused("orderBy", f"{MAX_SORTS} columns to sort by are enough")
    chosen = [key for word in words for key in sort_key(model, word)] or order
    keys: dict[str, Key] = {}
    for key in (*chosen, Key("id", by_id, is_descending=True)):
        keys.setdefault(key.name, key)
    return list(keys.values())


def sort_words() -> list[str]:
    """What to sort by: the word of `sort`, or of `orderBy`, there also `{name: "desc"}` as JSON."""
    sort, by = request.args.get("sort", ""), request.args.get("orderBy", "")
    if sort not in NO_VALUE:
        return [sort]
    if not by.startswith(("{", "[{")):
        return [] if by in NO_VALUE else [by]
    tree = parse_tree("orderBy")
    parts = tree if isinstance(tree, list) else [tree]
    if not all(isinstance(part, dict) for part in parts):
        raise refused("orderBy", "orderBy must be objects such as {column: asc}")
    return [f"{key}:{way}" for part in parts for key, way in part.items()]


def sort_key(model: Any, word: str) -> list[Key]:
    """`name`, `-name`, `name:desc` or `name-desc`; raises 400 for no column of a list.

    By a field of JSON: first those with numbers, then those with texts.
    """
    is_descending = word.startswith("-") or word.endswith((":desc", "-desc"))
    name = word.removeprefix("-")
    for end in (":desc", "-desc", ":asc", "-asc"):
        name = name.removesuffix(end)
    column = public_column(model, name)
    if column is None or isinstance(column.type, Text):  # long texts have no place in a cursor
        raise refused("sort", f"Cannot sort by {name[:40]}")
    if isinstance(column, Field):
        ways = {f"{name} number": column.number, f"{name} text": column.text}
        return [Key(word, way, is_descending, True) for word, way in ways.items()]
    return [Key(name, column, is_descending, bool(getattr(column, "nullable", False)))]


def in_order(key: Key) -> list[Any]:
    """The order by one column; what has no value comes last, on every database."""
    way = key.column.desc() if key.is_descending else key.column.asc()
    return [key.column.is_(None), way] if key.is_nullable else [way]


def follows(keys: list[Key], last: list[Any]) -> Any:
    """The condition that a row comes after the one with the values `last`."""
    key, column = keys[0], keys[0].column
    if last[0] is None:
        return and_(column.is_(None), follows(keys[1:], last[1:]))
    value = literal(last[0], column.type)
    beyond = column < value if key.is_descending else column > value
    if len(keys) == 1:
        return beyond
    same = and_(column == value, follows(keys[1:], last[1:]))
    if key.is_nullable:
        return or_(beyond, column.is_(None), same)
    near = column <= value if key.is_descending else column >= value  # an index leads there
    return and_(near, or_(beyond, same))
