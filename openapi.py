"""The OpenAPI 3.1 document of all HTTP routes, made of the routes themselves.

`answers` notes on a view what it answers and reads; the rest follows from its rule, its docstring
and the names it uses. Nothing here runs with a request but to answer the document.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, NotRequired, TypeVar, get_type_hints

from flask import Flask
from pydantic import BaseModel, TypeAdapter
from pydantic.json_schema import GenerateJsonSchema
from sqlalchemy import Boolean, DateTime, Integer
from typing_extensions import TypedDict, is_typeddict
from werkzeug.routing import Rule

import shapes
from auth import COOKIE
from config import VERSION
from examples import EXAMPLES
from models import public_column
from rate_limits import LIMITED, UNLIMITED

View = TypeVar("View", bound=Callable[..., Any])
JSON = "application/json"
FORM = "application/x-www-form-urlencoded"
RULE_PART = re.compile(r"<(?:(\w+):)?(\w+)>")
SHAPES = {name: one for name, one in vars(shapes).items() if is_typeddict(one)}
TOTAL = {"$ref": "#/components/headers/X-Total-Count"}
LINK = {"$ref": "#/components/headers/Link"}
# Pages, their files, and what has a document of its own: Socket.IO, and resumable uploads by tus.
LEFT_OUT = {"static", "pages.show_page", "api_docs.show_page", "api_docs.show_asset"}
LEFT_OUT_BLUEPRINTS = {"socketio", "tus"}
UNSAFE = {"POST", "PUT", "PATCH", "DELETE"}
MAY_CALL = {"current_caller", "current_user", "current_session", "leaving_session", "speaker"}
SECURITY: list[dict[str, list[str]]] = [{"bearer": []}, {"cookie": []}]
FAILURES = (400, 401, 403, 404, 409, 410, 412, 413, 415, 416, 429, 503, 507)
LIST_WORDS = {
    "page": "Which page, from 1; with this, a size, a cursor or `start` the answer is a page",
    "limit": "How many items a page has",
    "size": "The same as limit",
    "page_size": "The same as limit",
    "cursor": "`next` of the page before, or how many rows to skip",
    "next": "The same as cursor",
    "start": "How many rows to skip",
    "sort": "A column: `name`, `-name`, `name:desc` or `name-desc`",
    "orderBy": 'The same, or JSON such as `{"name": "desc"}`',
    "where": 'JSON such as `{"name": {"contains": "x"}}`, with AND and OR',
    "filters": "The same as where",
    "q": "Words to look for",
}
NUMBERS = ("page", "limit", "size", "page_size")
HEADERS = {
    "Idempotency-Key": "A retry with the same key, within a day, gets the first answer",
    "If-Match": "The ETag that was read: 412 when the item has changed since",
}


@dataclass(frozen=True)
class Answers:
    """What a view answers and reads.

    `shape` is that of the statuses below 400, None for nothing or bytes; `others` has those of
    some statuses alone. `body` is sent as the media type `reads`, `lists` the model of the rows of
    a list. `caller` finds out who calls, where the view's own code does not say so.
    """

    shape: Any
    statuses: tuple[int, ...] = (200,)
    body: Any = None
    query: Mapping[str, Any] = field(default_factory=dict)
    lists: Any = None
    media: tuple[str, ...] = (JSON,)
    reads: str = JSON
    others: Mapping[int, Any] = field(default_factory=dict)
    caller: Callable[..., Any] | None = None


def answers(shape: Any, *statuses: int, **more: Any) -> Callable[[View], View]:
    """Decorator: note on a view what it answers, `Answers(shape, statuses, **more)`.

    Statuses are all that do not follow from what it reads and from who may call; 200 when none of
    them is a success.
    """
    if not any(status < 300 for status in statuses):
        statuses = (200, *statuses)

    def note(view: View) -> View:
        view.answers = Answers(shape, statuses, **more)  # type: ignore[attr-defined]
        return view

    return note


class Generator(GenerateJsonSchema):
    """Schemas without titles, and without defaults, which changes do not have."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        """Never."""
        return False

    def default_schema(self, schema: Any) -> dict[str, Any]:
        """As without a default."""
        return self.generate_inner(schema["schema"])


class Schemas:
    """Collects the types that operations speak of; each `at` is filled in at the end, by `fill`."""

    def __init__(self) -> None:
        self.found: list[tuple[Any, dict[str, Any]]] = []

    def of(self, type: Any) -> dict[str, Any]:
        """What will be the schema of this type."""
        at: dict[str, Any] = {}
        self.found.append((type, at))
        return at

    def fill(self) -> dict[str, Any]:
        """Fill in all schemas; gives the named ones they refer to."""
        asked: list[tuple[int, Any, TypeAdapter[Any]]] = [
            (number, "validation", TypeAdapter(type)) for number, (type, _) in enumerate(self.found)
        ]
        made, more = TypeAdapter.json_schemas(
            asked,
            schema_generator=Generator,
            ref_template="#/components/schemas/{model}",
        )
        for number, (_, at) in enumerate(self.found):
            at.update(made[number, "validation"])
        named: dict[str, Any] = more.get("$defs", {})
        for name, schema in named.items():
            schema.pop("title", None)
            if example := EXAMPLES.get(name):
                schema["examples"] = [example]
        return named


def document(app: Flask) -> dict[str, Any]:
    """The document of all routes of `app` that say what they answer; a test names the others."""
    schemas, sockets = Schemas(), set()
    paths: dict[str, dict[str, Any]] = {}
    for rule in sorted(app.url_map.iter_rules(), key=lambda rule: rule.rule):
        if rule.websocket:
            sockets.add(f"`{rule.rule}`")
        view = app.view_functions[rule.endpoint]
        if not is_operation(rule) or (known := noted(view)) is None:
            continue
        path = paths.setdefault(path_of(rule), {})
        for method in methods_of(rule):
            path[method.lower()] = Operation(rule, method, view, known, schemas).describe()
    failures = {str(status): failure(status, schemas.of(shapes.Error)) for status in FAILURES}
    text = "Sockets are no HTTP operations; they are at " + ", ".join(sorted(sockets)) + "."
    return {
        "openapi": "3.1.0",
        "info": {"title": "Wharf", "version": VERSION, "description": text if sockets else ""},
        "paths": paths,
        "components": {
            "schemas": schemas.fill(),
            "responses": failures,
            "parameters": {
                name: described(name, place, text)
                for place, words in (("query", LIST_WORDS), ("header", HEADERS))
                for name, text in words.items()
            },
            "headers": {
                "X-Total-Count": {"schema": {"type": "integer"}},
                "Link": {"schema": {"type": "string"}, "description": "The next page"},
            },
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
                "cookie": {"type": "apiKey", "in": "cookie", "name": COOKIE},
            },
        },
    }


def is_operation(rule: Rule) -> bool:
    """Whether a rule is an HTTP operation: no socket, and no page."""
    if rule.websocket or rule.endpoint in LEFT_OUT:
        return False
    return rule.endpoint.partition(".")[0] not in LEFT_OUT_BLUEPRINTS


def path_of(rule: Rule) -> str:
    """The address of a rule as the document has it."""
    return RULE_PART.sub(r"{\2}", rule.rule)


def methods_of(rule: Rule) -> list[str]:
    """The methods of a rule, without those that Flask adds to every one."""
    return sorted((rule.methods or set()) - {"HEAD", "OPTIONS"})


def names_in(view: Any) -> set[str]:
    """What the code of a view and of its decorators speaks of."""
    found = set()
    while view is not None:
        found |= set(view.__code__.co_names)
        view = getattr(view, "__wrapped__", None)
    return found


def noted(view: Any) -> Answers | None:
    """What a view answers; a noun says it of its own views."""
    noun: Any = getattr(view, "__self__", None)
    if noun is not None and hasattr(noun, "answers"):
        known: Answers = noun.answers()[view.__name__]
        return known
    return getattr(view, "answers", None)


class Operation:
    """One method of one rule."""

    def __init__(
        self, rule: Rule, method: str, view: Any, known: Answers, schemas: Schemas
    ) -> None:
        self.rule, self.method, self.view, self.schemas = rule, method, view, schemas
        self.known, self.names = known, names_in(view)
        caller = known.caller
        who = names_in(caller) | {caller.__name__} if caller else self.names
        strict = caller.__name__ == "require_user" if caller else "require_user" in who
        self.security = SECURITY if strict else [*SECURITY, {}] if who & MAY_CALL else []
        self.has_body = known.body is not None and method in UNSAFE
        self.refuses = strict or bool({"current_caller", "current_user"} & who)  # a bad token

    def describe(self) -> dict[str, Any]:
        """The operation as the document has it."""
        summary, _, more = (self.view.__doc__ or "").partition("\n\n")
        facts: dict[str, Any] = {
            "tags": [self.rule.endpoint.partition(".")[0]],
            "operationId": f"{self.method} {self.rule.rule}",
            "summary": " ".join(summary.split()),
            "description": " ".join(more.split()),
            "parameters": self.parameters(),
            "responses": {str(status): self.response(status) for status in self.statuses()},
            "security": self.security,
        }
        if self.has_body:
            content = {self.known.reads: {"schema": self.schemas.of(self.known.body)}}
            facts["requestBody"] = {"required": is_required(self.known.body), "content": content}
        return {name: value for name, value in facts.items() if value not in ("", [])}

    def parameters(self) -> list[dict[str, Any]]:
        """What stands in the address and in headers."""
        known = self.known
        found = [
            word(name, "path", {"type": "integer" if kind == "int" else "string"})
            for kind, name in RULE_PART.findall(self.rule.rule)
        ]
        if known.lists is not None:
            found += [shared(name) for name in LIST_WORDS]
            listed = {
                name: column_schema(known.lists, name)
                for name in sorted(known.lists.LISTED - set(LIST_WORDS))
            }
            related = dict.fromkeys(getattr(known.lists, "RELATED", ()), {"type": "string"})
            found += [word(name, "query", one) for name, one in (listed | related).items()]
        found += [word(name, "query", self.schemas.of(one)) for name, one in known.query.items()]
        found += [shared("Idempotency-Key")] if "first_answer" in self.names else []
        return found + ([shared("If-Match")] if 412 in known.statuses else [])

    def statuses(self) -> list[int]:
        """All it may answer: what is noted, and what follows."""
        known, path = self.known, self.rule.rule
        reads_words = self.has_body or known.lists is not None or known.query
        follow = {
            304: self.method == "GET" and bool(self.names & {"answer", "answer_list", "send"}),
            400: reads_words,
            401: self.refuses,
            403: bool(self.security) and self.method in UNSAFE,  # the cookie, of another origin
            404: self.rule.arguments,
            409: "first_answer" in self.names,
            413: self.has_body,
            429: path.startswith(LIMITED) and path not in UNLIMITED,
            503: True,
        }
        found = {status for status, does in follow.items() if does}
        return sorted({*known.statuses, *known.others, *found})

    def response(self, status: int) -> dict[str, Any]:
        """What is answered with this status."""
        known = self.known
        shape: Any = known.others.get(status, known.shape)
        if status >= 400 and status not in known.others:
            return {"$ref": f"#/components/responses/{status}"}
        found: dict[str, Any] = {"description": HTTPStatus(status).phrase}
        if status in (204, 303, 304):
            return found
        if known.lists is not None:
            page: Any = shapes.Page
            shape = list[shape] | page[shape]
            found["headers"] = {"X-Total-Count": TOTAL, "Link": LINK}
        found["content"] = {
            media: {"schema": self.schemas.of(shape)} if media == JSON else {}
            for media in known.media
        }
        return found


def shape_of(model: Any, new: type[BaseModel]) -> Any:
    """The shape of the rows of a noun: that of its name, else that of its base with more.

    More is what may be sent; other keys may be there too.
    """
    base: Any = next(SHAPES[one.__name__] for one in model.__mro__ if one.__name__ in SHAPES)
    if base.__name__ == model.__name__:
        return base
    make: Any = TypedDict  # made at run time, which is nothing for mypy
    optional: Any = NotRequired
    sent = {name: optional[one.annotation] for name, one in new.model_fields.items()}
    made = make(model.__name__, {**sent, **get_type_hints(base)})
    made.__pydantic_config__ = {"extra": "allow"}
    return made


def is_required(body: Any) -> bool:
    """Whether a request needs a body: without one it is read as `{}`."""
    fields = getattr(body, "model_fields", None)
    return fields is None or any(one.is_required() for one in fields.values())


def column_schema(model: Any, name: str) -> dict[str, Any]:
    """What a column is compared with."""
    column = public_column(model, name)
    if isinstance(column.type, DateTime):
        return {"type": "string", "format": "date-time"}
    kinds = {Boolean: "boolean", Integer: "integer"}
    kind = (kind for base, kind in kinds.items() if isinstance(column.type, base))
    return {"type": next(kind, "string")}


def word(name: str, place: str, schema: dict[str, Any]) -> dict[str, Any]:
    """A parameter."""
    found: dict[str, Any] = {"name": name, "in": place, "schema": schema}
    if place == "path":
        found["required"] = True
    return found


def shared(name: str) -> dict[str, str]:
    """A parameter that many operations have."""
    return {"$ref": f"#/components/parameters/{name}"}


def described(name: str, place: str, text: str) -> dict[str, Any]:
    """One of those."""
    number = {"type": "integer", "minimum": 1}
    schema = number if name in NUMBERS else {"type": "string"}
    return {**word(name, place, schema), "description": text}


def failure(status: int, schema: dict[str, Any]) -> dict[str, Any]:
    """A response in the one error shape."""
    return {"description": HTTPStatus(status).phrase, "content": {JSON: {"schema": schema}}}
