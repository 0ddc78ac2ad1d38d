"""Todos: the CRUD contract of the LARC guide (docs/frontends/larc.md).

Callers without an account work on the shared public list, unless PUBLIC_TODOS is off.
"""

from typing import Any

from flask import Blueprint, current_app
from pydantic import AliasChoices, Field

from auth import current_caller, require_caller
from models import Todo
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


def list_caller() -> Any:
    """Whose list the caller works on: their own, or the public one (None); raises 401.

    To write, too, asks no more of a user than the id.
    """
    return current_caller() if current_app.config["PUBLIC_TODOS"] else require_caller()


Noun(Todo, NewTodo, TodoChanges, reader=list_caller, writer=list_caller).add_to(bp)
