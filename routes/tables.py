"""The table API of PHP-style pages: `/api.php?x=get&rsc=posts` (docs/frontends/larc.md#table-api).

Its pages look at the status and at `results` alone: what is wrong with a request is told as 200
with `{status: "error", msg}`, as their own servers do. Only POST writes.
"""

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any, Literal, NamedTuple

from flask import Blueprint, Response, request
from sqlalchemy import Boolean, Column, DateTime, Select, String, cast

import shapes
from auth import require_user
from errors import WharfError, bad_request, known_error
from models import Category, Comment, Post, Todo, User, count_rows, db, iso, parse_id, rows_of
from openapi import FORM, answers
from routes.categories import CategoryChanges, NewCategory
from routes.comments import CommentChanges, NewComment
from routes.filters import MAX_CONDITIONS, MAX_LENGTH, any_of
from routes.lists import COUNTED, require_short, whole
from routes.nouns import change, create, remove
from routes.posts import NewPost, PostChanges
from routes.rest import answer
from routes.todos import NewTodo, TodoChanges
from routes.users import Listed
from validation import Input, parse_json, parse_object, validate

bp = Blueprint("tables", __name__, url_prefix="/api.php")
PAGE_SIZE, MAX_PAGE_SIZE = 20, 100
REAL = {401, 403, 429}  # these and 5xx keep their status


class Resource(NamedTuple):
    """A table of the allow-list: its rows as a user may see them, and the shapes of writes."""

    model: Any
    visible_to: Callable[[User], Select[Any]]
    new: type[Input] | None = None
    changes: type[Input] | None = None

    def columns(self) -> dict[str, Any]:
        """The columns that clients may know of, by name."""
        known = {*self.model.LISTED, *self.model.SEARCHED}
        columns = self.model.__table__.columns.items()
        return {name: one for name, one in columns if name in known and isinstance(one, Column)}


RESOURCES = {
    "users": Resource(Listed, lambda _user: User.existing()),
    "posts": Resource(Post, Post.visible_to, NewPost, PostChanges),
    "comments": Resource(Comment, Comment.visible_to, NewComment, CommentChanges),
    "categories": Resource(Category, Category.visible_to, NewCategory, CategoryChanges),
    "todos": Resource(Todo, Todo.visible_to, NewTodo, TodoChanges),
}


class TableCall(Input):
    """Words of the query may come in the form too; `data` is JSON."""

    x: str = ""
    rsc: str = ""
    id: str = ""
    data: str = ""


TABLE_WORDS = {
    "x": Literal["list_resources", "list_fields", "get", "save", "delete"],
    "rsc": Literal["users", "posts", "comments", "categories", "todos"],
    **dict.fromkeys(("id", "filter", "fields", "filters"), str),
    **dict.fromkeys(("start", "page_size"), int),
}
TABLE_ANSWERS: Any = (
    shapes.TableRows
    | list[dict[str, Any]]
    | shapes.Resources
    | shapes.TableFields
    | shapes.TableDone
    | shapes.TableError
)


@bp.route("", methods=["GET", "POST"])
@answers(TABLE_ANSWERS, body=TableCall, reads=FORM, query=TABLE_WORDS)
def act() -> Response:
    """Do what `x` says; the words come in the query, or in a form."""
    user = require_user()
    try:
        word = request.values.get("x", "")
        if word not in ACTIONS or (word in WRITES and request.method != "POST"):
            raise bad_request("Invalid action")
        done = answer(ACTIONS[word](user))
        db.session.commit()
        return done
    except Exception as error:
        db.session.rollback()
        known = known_error(error)
        if known is None or known.status in REAL or known.status >= 500:
            raise
        return answer({**known.body(), "status": "error", "msg": known.message})


# Reading


def list_resources(user: User) -> dict[str, Any]:
    """`x=list_resources`: `{Resources}`, those whose name has `filter` in it."""
    part = request.args.get("filter", "").lower()
    return {"Resources": [name for name in RESOURCES if part in name]}


def list_fields(user: User) -> dict[str, Any]:
    """`x=list_fields`: the columns of `rsc` as MySQL describes them."""
    name, resource = asked()
    fields = [
        {
            "Field": column.name,
            "Type": str(column.type).lower(),
            "Null": "YES" if column.nullable else "NO",
            "Key": "PRI" if column.primary_key else "",
            "Default": None,
            "Extra": "auto_increment" if column.primary_key else "",
        }
        for column in resource.columns().values()
    ]
    return {"Resource": name, "PrimaryKey": "id", "Fields": fields}


def get_rows(user: User) -> Any:
    """`x=get`: a page of `rsc` from row `start`; with `id` a bare array of that row or none."""
    _, resource = asked()
    columns, model = resource.columns(), resource.model
    fields = [name for name in request.args.get("fields", "").split(",") if name in columns]
    statement = resource.visible_to(user)
    if row_id := request.args.get("id"):
        found = rows_of(statement.where(model.id == parse_id(row_id)))
        return [show(row, fields or columns) for row in found]
    if wanted := conditions(columns):
        require_short(statement)
    statement = statement.where(*wanted)
    total = count_rows(statement, COUNTED)
    size = min(whole("page_size", PAGE_SIZE), MAX_PAGE_SIZE)
    start = whole("start", 0, 0)
    page = statement.order_by(model.id.desc()).offset(start).limit(size)
    rows = rows_of(page) if start < total else []
    return {
        "total": total,
        "start": start,
        "count": len(rows),
        "pages": -(-total // size),
        "page": start // size + 1,
        "results": [show(row, fields or columns) for row in rows],
    }


def conditions(columns: dict[str, Any]) -> list[Any]:
    """What `filters`, `[{key, value}]` as JSON, asks for; what makes no sense is ignored."""
    text = request.args.get("filters", "")
    try:
        parts = parse_json(text) if len(text) <= MAX_LENGTH else []
    except WharfError:
        return []
    if not isinstance(parts, list):
        return []
    pairs = [(part.get("key"), part.get("value")) for part in parts if isinstance(part, dict)]
    return [
        condition(columns[key], key, value)
        for key, value in pairs[:MAX_CONDITIONS]
        if isinstance(key, str) and key in columns and value not in (None, "")
    ]


def condition(column: Any, key: str, value: Any) -> Any:
    """That a column has this somewhere in its text, or is this time or truth; raises 400."""
    if isinstance(column.type, Boolean | DateTime):
        return any_of(column, key, [value])
    return cast(column, String).icontains(str(value).replace("\0", ""), autoescape=True)


def show(row: Any, names: Iterable[str]) -> dict[str, Any]:
    """These columns of a row."""
    values = {name: getattr(row, name) for name in names}
    return {name: iso(v) if isinstance(v, datetime) else v for name, v in values.items()}


# Writing


def save_row(user: User) -> dict[str, Any]:
    """`x=save`: change the row `id` of `rsc`, or create one without, as the JSON of `data` says."""
    name, resource = asked()
    if resource.new is None or resource.changes is None:
        raise bad_request(f"{name} cannot be saved")
    data = parse_object(request.values.get("data", ""))
    if row_id := request.values.get("id"):
        row = resource.model.load(row_id, user)
        row.require_change(user)
        change(row, validate(resource.changes, data).model_dump(exclude_unset=True))
    else:
        [row] = create(resource.model, user, [validate(resource.new, data).model_dump()])
    return {"status": "success", "id": row.id}


def delete_row(user: User) -> dict[str, Any]:
    """`x=delete`: delete the row `id` of `rsc`."""
    name, resource = asked()
    if resource.new is None:
        raise bad_request(f"{name} cannot be deleted")
    row = resource.model.load(request.values.get("id", ""), user)
    remove(row, user)
    return {"status": "success", "id": row.id}


def asked() -> tuple[str, Resource]:
    """The table `rsc` names; raises 400."""
    name = request.values.get("rsc", "")
    if name not in RESOURCES:
        raise bad_request("Invalid resource")
    return name, RESOURCES[name]


WRITES = {"save": save_row, "delete": delete_row}
ACTIONS = {"get": get_rows, "list_resources": list_resources, "list_fields": list_fields, **WRITES}
