"""What every noun's routes share: read a body, answer an item or a list, answer a retry.

A writing route ends with `saved(...)`, which commits and answers. One that began with
`first_answer(...)`, as those that create something do, also has its answer kept for retries.
"""

import json
from typing import Any, TypeVar
from urllib.parse import quote, urlencode

from flask import Response, g, jsonify, request
from sqlalchemy import BigInteger, Boolean, Integer, Select, String, func, or_, select
from sqlalchemy.exc import IntegrityError

from errors import bad_request
from models import Receipt, User, db, rows_of
from validation import Input, parse_object, validate

AnyInput = TypeVar("AnyInput", bound=Input)

MAX_ITEMS = 1000
PAGE_SIZE = 20
PAGING_WORDS = {"page", "limit", "size", "cursor", "next"}
LIST_WORDS = PAGING_WORDS | {"sort", "q"}
OBJECT = "[object Object]"  # what connectors make of an object in a query
NO_VALUE = {"", "null", "undefined", OBJECT}


# Bodies


def parse_body(model: type[AnyInput]) -> AnyInput:
    """The JSON body as `model`, whatever its Content-Type; an empty one is `{}`. Raises 400."""
    body = request.get_data(cache=True)
    return validate(model, parse_object(body) if body.strip() else {})


# Answers


def answer(data: Any, status: int = 200) -> Response:
    """JSON with an ETag; 304 when the client has this very answer."""
    response = jsonify(data)
    response.status_code = status
    if status == 200:
        response.add_etag()
        response.make_conditional(request)
    return response


def saved(data: Any, status: int = 200) -> Response:
    """Commit what the route did and answer; a retry with the same Idempotency-Key answers again."""
    user: User | None = g.get("retry_user")
    if user:
        Receipt.keep(user, g.retry_key, request.get_data(), data, status)
    try:
        db.session.commit()
    except IntegrityError:
        db.session.rollback()
        if first := first_answer(user):  # a twin of this request was quicker
            return first
        raise
    return answer(data, status)


def deleted(item_id: Any) -> Response:
    """Commit a deletion: 204, or `{ok, id}` for clients that declare JSON and must read some."""
    db.session.commit()
    if request.mimetype == "application/json":
        return answer({"ok": True, "id": item_id})
    return Response(status=204)


# Retries (IETF draft httpapi-idempotency-key-header)


def first_answer(user: User | None) -> Response | None:
    """The answer already given to this Idempotency-Key within a day; 409 for another body."""
    key = request.headers.get("Idempotency-Key", "")
    if user is None or not key:
        return None
    g.retry_user = user
    g.retry_key = f"{request.method} {request.path} {key}"
    receipt = Receipt.find(user, g.retry_key, request.get_data())
    return answer(json.loads(receipt.answer), receipt.status) if receipt else None


# Lists


def answer_list(statement: Select[Any], model: Any, oldest_first: bool = False) -> Response:
    """Answer the rows of `statement` by the one list rule (docs/frontends/larc.md).

    Without paging words a bare array, newest first unless `oldest_first`, MAX_ITEMS at most; with
    `page`, `limit`, `size`, `cursor` or `next` an object with the items of one page.
    """
    args = request.args
    statement = search(filter_by(statement, model), model)
    total = db.session.scalar(select(func.count()).select_from(statement.order_by(None).subquery()))
    paged = bool(PAGING_WORDS & set(args))
    size = min(whole("limit", whole("size", PAGE_SIZE, 1), 1), MAX_ITEMS) if paged else MAX_ITEMS
    start = whole("next", whole("cursor", (whole("page", 1, 1) - 1) * size), 0)
    rows = rows_of(statement.order_by(*order(model)).offset(start).limit(size))
    items = [row.to_dict() for row in rows]
    if oldest_first and args.get("sort", "") in NO_VALUE:
        items.reverse()
    following = start + size if start + size < total else None
    data: Any = items
    if paged:
        data = page_of(items, total, start, size, following)
    response = answer(data)
    response.headers["X-Total-Count"] = str(total)
    if following is not None:
        words = {**args.to_dict(flat=False), "next": following, "limit": size}
        address = f"{quote(request.path)}?{urlencode(words, doseq=True)}"
        response.headers["Link"] = f'<{address}>; rel="next"'
    return response


def page_of(items: list[Any], total: int, start: int, size: int, following: Any) -> dict[str, Any]:
    """One page in all the names frontends read."""
    return {
        "items": items,
        "total": total,
        "page": start // size + 1,
        "size": size,
        "limit": size,
        "pages": -(-total // size),
        "hasMore": following is not None,
        "next": following,
    }


def whole(name: str, default: int, least: int = 0) -> int:
    """A whole number of the query; raises 400 for anything else. Empty and null mean default."""
    text = request.args.get(name, "")
    if text in NO_VALUE:
        return default
    if not (text.isascii() and text.isdecimal() and len(text) < 16) or int(text) < least:
        message = f"{name} must be a whole number from {least}"
        raise bad_request(message, {name: [message]})
    return int(text)


def order(model: Any) -> list[Any]:
    """`sort=name`, `-name`, `name:desc` or `name-desc`; newest first without one."""
    name = request.args.get("sort", "")
    if name in NO_VALUE:
        return [model.id.desc()]
    descending = name.startswith("-") or name.endswith((":desc", "-desc"))
    name = name.removeprefix("-")
    for end in (":desc", "-desc", ":asc", "-asc"):
        name = name.removesuffix(end)
    column = public_column(model, name)
    if column is None:
        message = f"Cannot sort by {name}"
        raise bad_request(message, {"sort": [message]})
    return [column.desc() if descending else column.asc(), model.id.desc()]


def public_column(model: Any, name: str) -> Any:
    """The column of this name, if clients may know of it."""
    snake = "".join(f"_{c.lower()}" if c.isupper() else c for c in name)
    return model.__table__.columns.get(snake) if snake in model.LISTED else None


def filter_by(statement: Select[Any], model: Any) -> Select[Any]:
    """Exact matches by column name; a repeated key matches any of its values."""
    for name, values in request.args.lists():
        column = None if name in LIST_WORDS else public_column(model, name)
        values = [value for value in values if value != OBJECT]
        if column is not None and values:
            statement = statement.where(column.in_([coerce(column, name, v) for v in values]))
    return statement


def coerce(column: Any, name: str, value: str) -> Any:
    """The text of a query as the type of its column; raises 400."""
    if isinstance(column.type, Boolean) and value.lower() in ("true", "false", "1", "0"):
        return value.lower() in ("true", "1")
    if isinstance(column.type, Integer) and value.isascii() and value.isdecimal():
        return min(int(value[:18]), 2**62 if isinstance(column.type, BigInteger) else 2**31 - 1)
    if isinstance(column.type, String):
        return value.replace("\0", "")
    message = f"{name} cannot be {value[:40]}"
    raise bad_request(message, {name: [message]})


def search(statement: Select[Any], model: Any) -> Select[Any]:
    """`q=` looks for a text in the model's text columns, in any case."""
    words = request.args.get("q", "").replace("\0", "")
    if words in ("", OBJECT):
        return statement
    columns = [model.__table__.columns[name] for name in model.SEARCHED]
    return statement.where(or_(*(c.icontains(words, autoescape=True) for c in columns)))
