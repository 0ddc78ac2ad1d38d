"""Collections: nouns that an app invents (docs/frontends/larc.md#collections).

`/api/collections/notes` is the caller's own, made by the first write; `/api/collections/7:notes` is
what user 7 shares. Each item is an object of any fields.
"""

from dataclasses import replace
from typing import Annotated, Any, Literal

from flask import Blueprint, Response, g
from pydantic import AfterValidator, ConfigDict, Field, model_validator

import shapes
import synced
from auth import current_user, signed_in
from errors import not_found
from events import record_withdrawal
from json_data import check_schema
from models import Collection, Item, Items, User, db, rows_of
from openapi import Answers, answers
from routes.lists import answer_list
from routes.nouns import Noun, change, create
from routes.rest import answer, deleted, parse_body, require_match, saved
from validation import Input

bp = Blueprint("collections", __name__, url_prefix="/api/collections")
items = Blueprint("items", __name__, url_prefix="/api/collections/<collection>")


def refuse_taken(item_id: str) -> str:
    """Raise ValueError for what is an address of its own."""
    if item_id in Item.TAKEN:
        raise ValueError(f"must not be {item_id}")
    return item_id


ItemId = Annotated[
    str,
    Field(pattern=rf"^{Item.KEY.pattern}$", coerce_numbers_to_str=True),
    AfterValidator(refuse_taken),
]


def of_any_fields(schema: dict[str, Any]) -> None:
    """Let the schema be that of what is sent."""
    schema["properties"].pop("data")
    schema["additionalProperties"] = True
    del schema["required"]


class NewItem(Input):
    """`{id?, ...}`: any fields, each a JSON value; of an id that is there, those of the item."""

    model_config = ConfigDict(json_schema_extra=of_any_fields)

    id: ItemId | None = None
    data: dict[str, Any]

    @model_validator(mode="before")
    @classmethod
    def gather(cls, fields: Any) -> Any:
        """Keep all fields but the id together."""
        if not isinstance(fields, dict):
            return fields
        data = {name: value for name, value in fields.items() if name != "id"}
        return {"id": fields.get("id"), "data": data}


class ItemChanges(NewItem):
    """`{...}`: fields that are missing stay as they are, the id too."""

    @model_validator(mode="before")
    @classmethod
    def gather(cls, fields: Any) -> Any:
        """Keep all fields together; the address says which item it is."""
        return {"data": fields} if isinstance(fields, dict) else fields


class Settings(Input):
    """`{access?, schema?, synced?}`: what is missing stays as it is.

    `synced` makes the items rows of the owner's sync channel too.
    """

    access: Literal["private", "shared", "public"] = "private"
    schema_: dict[str, Any] | None = Field(None, alias="schema")
    synced: bool = False


# Items


@items.url_value_preprocessor
def keep_word(_endpoint: str | None, values: dict[str, Any] | None) -> None:
    """Take the collection out of the address: views of a noun know of ids alone."""
    g.collection = (values or {}).pop("collection", "")


class ItemNoun(Noun):
    """The views of the items of one collection."""

    def rows(self, user: User | None) -> Any:
        """The collection of the address, as `user` may see it; raises 400, 401 and 404."""
        return Items.named(g.collection, user)

    def store(self, user: User | None, forms: Any) -> list[Any]:
        """Add items; of ids that are there, change the items."""
        shelf = self.rows(user)
        synced.hold_channel(shelf.owner_id)
        collection = shelf.hold()
        ids = {form.id for form in forms if form.id}
        known = {
            item.key: item for item in rows_of(shelf.visible_to(user).where(shelf.identified(ids)))
        }
        new: dict[str, Any] = {}
        again = []
        for place, form in enumerate(forms):
            key = form.id or f"new {place}"
            if key in known or key in new:
                again.append(form)
            else:
                new[key] = {"collection": collection, **form.model_dump()}
        known |= zip(new, create(Item, user, list(new.values())), strict=True)
        for form in again:
            change(known[form.id], form.model_dump())
        return [known[form.id or f"new {place}"] for place, form in enumerate(forms)]

    def answers(self) -> dict[str, Answers]:
        """As of other nouns, and 400 for a wrong name."""
        views = super().answers().items()
        return {name: replace(known, statuses=(*known.statuses, 400)) for name, known in views}


ItemNoun(Item, NewItem, ItemChanges).add_to(items)


# Collections


@bp.get("")
@answers(shapes.Collection, lists=Collection)
def list_collections() -> Response:
    """The caller's own, and those that others share."""
    return answer_list(Collection.visible_to(current_user()), Collection)


@items.get("/settings")
@answers(shapes.Collection, 400)
@signed_in
def show_settings() -> Response:
    """A collection of the caller's own."""
    return answer(load_own().to_dict())


@items.put("/settings")
@items.patch("/settings")
@answers(shapes.Collection, 409, 412, body=Settings)
@signed_in
def change_settings() -> Response:
    """Say who may use it, and what its items are like; makes it, if there is none.

    Items that are there stay as they are. Who may not read them any longer is told that they are
    gone.
    """
    form, shelf = parse_body(Settings), own_items()
    synced.hold_channel(shelf.owner_id)
    if not shelf.is_made():
        require_match(None)
    collection = shelf.hold()
    require_match(collection.to_dict())
    if form.access != collection.access and "access" in form.model_fields_set:
        record_withdrawal(collection, collection.topics[1:])
        collection.access = form.access
    if "schema_" in form.model_fields_set:
        if form.schema_ is not None:
            check_schema(form.schema_)
        collection.schema = form.schema_
    if "synced" in form.model_fields_set and form.synced != collection.is_synced:
        collection.is_synced = form.synced
        synced.turn(collection)
    db.session.flush()
    return saved(collection.to_dict())


@items.delete("/settings")
@answers(shapes.Deleted, 200, 204, 400, 412)
@signed_in
def delete_collection() -> Response:
    """Delete it with all its items."""
    collection = load_own()
    synced.hold_channel(collection.owner_id)
    if not collection.lock():
        raise not_found("collection")
    require_match(collection.to_dict())
    record_withdrawal(collection, collection.topics)
    synced.drop_items(collection)
    collection.delete()
    return deleted(collection.id)


def own_items() -> Items:
    """The caller's own, there or not; raises 400, and 404 for what another shares."""
    shelf = Items.named(g.collection, g.user)
    if shelf.access:
        raise not_found("collection")
    return shelf


def load_own() -> Collection:
    """The caller's own collection of this name; raises 400 and 404."""
    collection = Collection.find(g.user, own_items().name)
    if collection is None:
        raise not_found("collection")
    return collection
