"""Todos: the CRUD contract of the LARC guide (docs/frontends/larc.md).

Callers without an account work on the shared public list, unless PUBLIC_TODOS is off.
"""

from typing import Any

from flask import Blueprint, current_app
from pydantic import AliasChoices, Field

from auth import current_caller, current_user, require_user
from models import Todo, User
from routes.nouns import Noun
from validation import Input, RequiredLine

bp = Blueprint("todos", __name__, url_prefix="/api/todos")
TITLE = AliasChoices("title", "text")  # some pages call it text


class NewTodo(Input):
    """`{title, completed?}`."""

    title: RequiredLine = Field(validation_alias=TITLE)
    completed: bool = False


class TodoChanges(Input):
    """Any of `{title, completed}`; what is missing stays as it is."""

    title: RequiredLine = Field("", validation_alias=TITLE)
    completed: bool = False


def list_reader() -> Any:
    """Whose list the caller reads: their own, or the public one (None); raises 401."""
    return current_caller() if current_app.config["PUBLIC_TODOS"] else require_user()


def list_owner() -> User | None:
    """Whose list the caller works on, likewise."""
    return current_user() if current_app.config["PUBLIC_TODOS"] else require_user()


Noun(Todo, NewTodo, TodoChanges, reader=list_reader, writer=list_owner).add_to(bp)
