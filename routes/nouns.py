"""The routes that every noun has: list, read, create, change and delete, alone or in batches.

The rules are the model's (models.Record): what a caller sees, makes, changes and deletes.
"""

from collections.abc import Callable, Sequence
from typing import Annotated, Any, Generic, TypeVar

from flask import Blueprint, Response
from pydantic import Field

import openapi
import shapes
import synced
from auth import current_caller, require_user
from errors import not_found
from events import record_row
from models import User, db, rows_of, store_rows
from routes.lists import answer_list
from routes.rest import answer, deleted, idempotent, parse_body, require_match, saved
from validation import Input

AnyInput = TypeVar("AnyInput", bound=Input)
Reader = Callable[[], Any]
Writer = Callable[[], Any]
MAX_BATCH = 100


class Batch(Input, Generic[AnyInput]):
    """`{items}`: several bodies at once."""

    items: Annotated[list[AnyInput], Field(min_length=1, max_length=MAX_BATCH)]


class Ids(Input):
    """`{ids}`: of the rows that are meant."""

    ids: Annotated[
        list[Annotated[str, Field(coerce_numbers_to_str=True)]], Field(max_length=MAX_BATCH)
    ]


class Noun:
    """The views of one noun.

    `new` and `changes` are the shapes of its bodies, with the names of the model's columns;
    `reader` and `writer` say who calls, None for a stranger, and raise 401. What `rows` and
    `store` do, a noun that is no table of its own does in another way (routes/collections.py).
    """

    def __init__(
        self,
        model: Any,
        new: type[Input],
        changes: type[Input],
        reader: Reader = current_caller,
        writer: Writer = require_user,
    ) -> None:
        self.model, self.new, self.changes = model, new, changes
        self.reader, self.writer = reader, writer

    def rows(self, user: User | None) -> Any:
        """The model that says what `user` may read and do."""
        return self.model

    def store(self, user: User | None, forms: Sequence[Any]) -> list[Any]:
        """Add rows made of these bodies."""
        return create(self.rows(user), user, [form.model_dump() for form in forms])

    def list_rows(self) -> Response:
        """All the caller may read, as a bare array or in pages."""
        user = self.reader()
        model = self.rows(user)
        return answer_list(model.visible_to(user), model)

    @idempotent
    def create_row(self) -> Response:
        """Add one: 201."""
        user = self.writer()
        [row] = self.store(user, [parse_body(self.new)])
        return saved(row.to_dict(), 201)

    @idempotent
    def create_rows(self) -> Response:
        """Add up to MAX_BATCH, all or none: 201 with them as `{items}`, in the same order."""
        user = self.writer()
        batch: Any = parse_body(Batch[self.new])  # type: ignore[name-defined]
        rows = self.store(user, batch.items)
        return saved({"items": [row.to_dict() for row in rows]}, 201)

    def show_row(self, row_id: str) -> Response:
        """One of those the caller may read."""
        user = self.reader()
        return answer(self.rows(user).read(row_id, user).to_dict())

    def update_row(self, row_id: str) -> Response:
        """Change the fields given; the others stay. With If-Match only what was read is changed."""
        user, form = self.writer(), parse_body(self.changes)
        row = self.rows(user).load(row_id, user)
        row.require_change(user)
        change(row, form.model_dump(exclude_unset=True))
        return saved(row.to_dict())

    def delete_row(self, row_id: str) -> Response:
        """Delete one; what is not there is deleted already."""
        user = self.writer()
        row = self.rows(user).find(row_id, user)
        if row is None:
            require_match(None)
        else:
            remove(row, user)
        return deleted(row.to_dict()["id"] if row else row_id)

    def delete_rows(self) -> Response:
        """Delete up to MAX_BATCH by `{ids}`, all or none; what is not there is deleted already."""
        user, ids = self.writer(), parse_body(Ids).ids
        model = self.rows(user)
        asked = model.visible_to(user).where(model.identified(ids))
        rows = rows_of(asked.order_by(model.id.desc()))  # what is below others is newer than they
        for row in rows:
            remove(row, user)
        return saved({"ok": True, "ids": [row.to_dict()["id"] for row in rows]})

    def answers(self) -> dict[str, openapi.Answers]:
        """What the views answer, for the document."""
        note, shape = openapi.Answers, openapi.shape_of(self.model, self.new)
        created: Any = shapes.Created  # generic in a type made at run time
        bodies: Any = Batch
        reader, writer = self.reader, self.writer
        return {
            "list_rows": note(shape, lists=self.model, caller=reader),
            "create_row": note(shape, (201, 404), body=self.new, caller=writer),
            "create_rows": note(created[shape], (201, 404), body=bodies[self.new], caller=writer),
            "show_row": note(shape, caller=reader),
            "update_row": note(shape, (200, 409, 412), body=self.changes, caller=writer),
            "delete_row": note(shapes.Deleted, (200, 204, 409, 412), caller=writer),
            "delete_rows": note(shapes.DeletedAll, (200, 409, 412), body=Ids, caller=writer),
        }

    def add_to(self, bp: Blueprint) -> None:
        """Give `bp` the routes."""
        bp.get("")(self.list_rows)
        bp.post("")(self.create_row)
        bp.post("/batch")(self.create_rows)
        bp.delete("/batch")(self.delete_rows)
        bp.get("/<row_id>")(self.show_row)
        bp.put("/<row_id>")(self.update_row)
        bp.patch("/<row_id>")(self.update_row)
        bp.delete("/<row_id>")(self.delete_row)


def create(model: Any, user: User | None, fields: Sequence[dict[str, Any]]) -> list[Any]:
    """Add rows made of these fields, and tell of them; raises 400, 403 and 404."""
    model.prepare(fields)
    rows = store_rows(model, [model.make(user, **one) for one in fields])
    for row in rows:
        record_row(row, None, row.told())
        synced.write_row(row)
    return list(rows)


def change(row: Any, fields: dict[str, Any]) -> None:
    """Change a row and tell of it; raises 400, 404 when it is gone, and 412."""
    synced.hold(row)
    if not row.lock():
        raise not_found(row.noun())
    require_match(row.to_dict())
    old = row.told()
    row.change(**fields)
    db.session.flush()
    record_row(row, old, row.told())
    synced.write_row(row)


def remove(row: Any, user: User | None) -> None:
    """Delete a row that may be gone by now, and tell of it; raises 403, 409 and 412."""
    row.require_removal(user)
    synced.hold(row)
    if not row.lock():
        return
    require_match(row.to_dict())
    old = row.told()
    row.delete()
    db.session.flush()
    record_row(row, old, None)
    synced.write_row(row, is_gone=True)
