"""Todos: the CRUD contract of the LARC guide (docs/frontends/larc.md).

Callers without an account work on the shared public list, unless PUBLIC_TODOS is off.
"""

from flask import Blueprint, Response, current_app
from pydantic import AliasChoices, Field

from auth import current_user, require_user
from events import record_change
from models import Todo, User, db
from routes.rest import answer, answer_list, deleted, first_answer, parse_body, saved
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


def list_owner() -> User | None:
    """Whose list the caller works on: their own, or the public one (None); raises 401."""
    return current_user() if current_app.config["PUBLIC_TODOS"] else require_user()


@bp.get("")
def list_todos() -> Response:
    """The caller's list, newest first."""
    return answer_list(Todo.owned_by(list_owner()), Todo)


@bp.post("")
def create_todo() -> Response:
    """Add a todo: 201, or 400 without a title."""
    owner = list_owner()
    if first := first_answer(owner):
        return first
    form = parse_body(NewTodo)
    todo = Todo(user_id=owner and owner.id, title=form.title, completed=form.completed)
    db.session.add(todo)
    db.session.flush()
    record_change(Todo.topic_of(owner), "todos", new=todo.to_dict())
    return saved(todo.to_dict(), 201)


@bp.get("/<todo_id>")
def show_todo(todo_id: str) -> Response:
    """One todo."""
    return answer(Todo.load(todo_id, list_owner()).to_dict())


@bp.put("/<todo_id>")
@bp.patch("/<todo_id>")
def update_todo(todo_id: str) -> Response:
    """Change the fields given; the others stay."""
    owner = list_owner()
    todo = Todo.load(todo_id, owner)
    old = todo.to_dict()
    for name, value in parse_body(TodoChanges).model_dump(exclude_unset=True).items():
        setattr(todo, name, value)
    db.session.flush()
    record_change(Todo.topic_of(owner), "todos", old, todo.to_dict())
    return saved(todo.to_dict())


@bp.delete("/<todo_id>")
def delete_todo(todo_id: str) -> Response:
    """Remove a todo; one that is not there is removed already."""
    owner = list_owner()
    todo = Todo.find(todo_id, owner)
    if todo:
        db.session.delete(todo)
        record_change(Todo.topic_of(owner), "todos", old=todo.to_dict())
    return deleted(todo.id if todo else todo_id)
