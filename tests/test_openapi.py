"""The OpenAPI document names every route, is valid, and says what is answered (conformance.py).

What it promises is also tried with what nobody would send, by schemathesis.
"""

import json
import re
from typing import Any

import jsonschema_rs
import pytest
import schemathesis
from flask import Flask
from flask.testing import FlaskClient
from hypothesis import HealthCheck, Phase, given, settings
from openapi_spec_validator import validate
from schemathesis import checks
from schemathesis.config import (
    ChecksConfig,
    NotAServerErrorConfig,
    ProjectConfig,
    ProjectsConfig,
    SchemathesisConfig,
)
from schemathesis.specs.openapi import checks as openapi_checks

import openapi
from examples import EXAMPLES
from models import Notification, db
from tests import conformance, pushes
from tests.accounts import LOGIN, make_admin
from tests.conftest import PASSWORD, Account
from tests.uploads import UPLOAD, form

DOCUMENT, PAGE = "/api/openapi.json", "/api/docs"
STREAMS = {"GET /api/events"}  # has no end; tests/test_streams.py reads it
ASKING = {  # what also takes another token, or lets strangers in by a setting
    *("/api/auth/refresh", "/auth/refresh", "/api/refresh-token"),
    "/api/events",
}
MAX_DOCUMENT = 300_000  # bytes
EXAMPLES_EACH = 3
CHECKS = [
    checks.not_a_server_error,
    openapi_checks.status_code_conformance,
    openapi_checks.content_type_conformance,
    openapi_checks.response_schema_conformance,
]
on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.fixture
def app(make_app: Any) -> Flask:
    """An app that refuses no call for being one of many, and pushes."""
    limits = dict.fromkeys(("API_LIMIT", "LOGIN_LIMIT", "REGISTER_LIMIT"), "1000000 per hour")
    built: Flask = make_app(**limits, **pushes.SETTINGS)
    return built


def missing(app: Flask) -> list[str]:
    """The routes and methods of `app` that its document does not have."""
    paths = openapi.document(app)["paths"]
    return [
        f"{method} {rule.rule} ({rule.endpoint}) needs @answers: see openapi.py"
        for rule in app.url_map.iter_rules()
        if openapi.is_operation(rule)
        for method in openapi.methods_of(rule)
        if method.lower() not in paths.get(openapi.path_of(rule), {})
    ]


# What it says


@on_sqlite
def test_every_route_is_in_the_document(app: Flask) -> None:
    assert missing(app) == []


@on_sqlite
def test_a_route_that_says_nothing_is_noticed(make_app: Any) -> None:
    app = make_app()
    app.add_url_rule("/api/new", "new", lambda: {"secret": 1})
    assert missing(app) == ["GET /api/new (new) needs @answers: see openapi.py"]


@on_sqlite
def test_every_operation_is_whole(app: Flask) -> None:
    ids = set()
    for path, methods in openapi.document(app)["paths"].items():
        for method, operation in methods.items():
            name = f"{method} {path}"
            assert operation["summary"], name
            ids.add(operation["operationId"])
            good = [one for status, one in operation["responses"].items() if status < "300"]
            assert good, name
            for response in good:
                content = response.get("content", {})
                assert content or response["description"] == "No Content", name
                for media, one in content.items():
                    assert (media == openapi.JSON) == bool(one.get("schema")), name
    assert len(ids) == len(conformance.operations())


@on_sqlite
def test_a_view_that_reads_a_body_or_a_list_says_which(app: Flask) -> None:
    for rule in filter(openapi.is_operation, app.url_map.iter_rules()):
        view = app.view_functions[rule.endpoint]
        known, names = openapi.noted(view), openapi.names_in(view)
        assert known, rule
        assert ("parse_body" in names) <= (known.body is not None), rule
        assert ("answer_list" in names) == (known.lists is not None), rule
        assert ("idempotent" in str(view)) <= ("first_answer" in names), rule


@on_sqlite
def test_it_says_who_may_call(client: FlaskClient) -> None:
    """As tests/test_every_door.py tries it: a token is asked for where one is needed."""
    refusing = set()
    for (path, method), operation in conformance.operations().items():
        if operation["operationId"] in STREAMS:
            continue
        optional = {} in operation.get("security", [{}])
        address = re.sub(r"\{\w+\}", "1", path)
        refuses = client.open(address, method=method, buffered=True).status_code == 401
        assert refuses or optional, (method, path)
        if refuses and optional:
            refusing.add(path)
    assert refusing == ASKING


@on_sqlite
def test_the_document_is_served_and_valid(client: FlaskClient) -> None:
    response = client.get(DOCUMENT)
    assert response.mimetype == "application/json"
    assert len(response.data) < MAX_DOCUMENT
    assert "`/ws`" in response.json["info"]["description"]
    validate(response.json)
    again = client.get(DOCUMENT, headers={"If-None-Match": response.headers["ETag"]})
    assert (again.status_code, again.data) == (304, b"")


def test_every_example_fits() -> None:
    schemas = conformance.described()["components"]["schemas"]
    for name, example in EXAMPLES.items():
        schema = {"$ref": f"#/components/schemas/{name}", "components": {"schemas": schemas}}
        jsonschema_rs.Draft202012Validator(schema).validate(example)


@on_sqlite
def test_every_body_has_an_example_or_parts_that_have(app: Flask) -> None:
    schemas = openapi.document(app)["components"]["schemas"]
    bodies: set[str] = set()
    for operation in conformance.operations().values():
        for media in operation.get("requestBody", {}).get("content", {}).values():
            bodies |= set(re.findall(r"schemas/(\w+)", json.dumps(media)))
    wholes = {name for name in bodies if not name.startswith("Batch_")} - {"Upload", "TableCall"}
    assert {name for name in wholes if "examples" not in schemas[name]} == set()


# The page


@on_sqlite
def test_the_page_loads_what_it_needs_from_here_alone(client: FlaskClient) -> None:
    page = client.get(PAGE, buffered=True)
    assert "default-src 'self'" in page.headers["Content-Security-Policy"]
    text = page.get_data(as_text=True)
    assert "<style" not in text
    for address in re.findall(r'(?:src|href)="([^"]+)"', text):
        assert address.startswith("/")
        assert client.get(address, buffered=True).status_code == 200, address
    assert re.findall(r"<script(?![^>]* src=)", text) == []
    assert client.get("/api/docs/../openapi.py").status_code == 404
    assert client.get("/api/docs/nothing.js").status_code == 404


@on_sqlite
def test_an_answer_that_is_not_described_is_noticed(make_app: Any) -> None:
    app, problems = make_app(), []  # type: ignore[var-annotated]
    good = {"socketUrl": "", "uploadTypes": ["png"], "maxUploadBytes": 1}
    answered = iter([{**good, "socketUrl": 1}, {**good, "more": 1}, ({}, 418), good])
    app.view_functions["pages.show_config"] = lambda: next(answered)
    conformance.watch(app, problems)
    for _ in range(4):
        app.test_client().get("/api/config")
    assert len(problems) == 3
    assert problems[2] == "GET /api/config 418: the operation has no such status"


# What it promises


def seed(app: Flask, register: Any, number: int) -> tuple[list[Account], dict[str, Any]]:
    """A user and an admin, and what the parts of addresses can be: there, and the user's."""
    user, root = register(f"user{number}"), make_admin(app, register(f"root{number}"))
    client = app.test_client(use_cookies=False)

    def post(path: str, body: Any, account: Account = user) -> Any:
        return client.post(path, json=body, headers=account.headers).json

    post_id = post("/api/posts", {"title": "x", "published": True})["id"]
    room = post("/api/rooms", {"kind": "private"})["id"]
    client.post(LOGIN, json={"email": user.email, "password": PASSWORD})
    sessions = client.get("/api/auth/sessions", headers=user.headers).json
    with app.app_context():
        notification = Notification(user_id=user.user["id"], title="x")
        db.session.add(notification)
        db.session.commit()
        notification_id = notification.id
    rows = {
        "todos": post("/api/todos", {"title": "x"})["id"],
        "posts": post_id,
        "comments": post("/api/comments", {"content": "x", "post_id": post_id})["id"],
        "categories": post("/api/categories", {"name": f"x{number}"}, root)["id"],
        "context_rules": post("/api/context-rules", {"name": "x", "content": "x"}, root)["id"],
    }
    post("/api/collections/notes", {"id": "n"})
    channel = f"channel{number}"
    client.post("/api/channels", json={"name": channel}, headers=user.headers)
    body = {"siteId": "a", "version": 1, "changes": [["t", "p", "c", "x", 1, 1, "a", 1, 0]]}
    client.post(f"/api/channels/{channel}/changes", json=body, headers=user.headers)
    words = {
        "channel_id": channel,
        "table": "t",
        "invite_id": post(f"/api/channels/{channel}/invites", {"role": "writer"})["id"],
        "collection": "notes",
        "items": "n",
        "post_id": post_id,
        "room_id": room,
        "message_id": post(f"/api/rooms/{room}/messages", {"content": "x"})["id"],
        "job_id": post("/api/jobs", {"totalItems": 3})["id"],
        "user_id": user.user["id"],
        "notification_id": notification_id,
        "session_id": next(one["id"] for one in sessions if not one["isCurrent"]),
    }
    file = client.post(UPLOAD, headers=user.headers, **form()).json
    link = post(f"/api/files/{file['id']}/links", {})
    of_files = {
        "file_id": file["id"],
        "filename": file["filename"],
        "number": 1,
        "size": "small",
        "link_id": link["id"],
        "token": link["url"].rpartition("/")[2],
        "folders": post("/api/folders", {"name": f"x{number}"})["id"],
        "files": file["id"],
    }
    return [user, root], {**words, **rows, **of_files}


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE"])
@pytest.mark.filterwarnings("ignore")  # of the library
def test_strange_calls_are_answered_as_described(app: Flask, register: Any, method: str) -> None:
    expected = NotAServerErrorConfig(expected_statuses=["2xx", "3xx", "4xx", "503", "507"])
    config = SchemathesisConfig(
        projects=ProjectsConfig(
            default=ProjectConfig(checks=ChecksConfig(not_a_server_error=expected))
        )
    )
    schema = schemathesis.openapi.from_wsgi(DOCUMENT, app, config=config)
    failures: list[str] = []
    found = (result.ok() for result in schema.get_all_operations())
    for number, operation in enumerate(found):
        name = operation.label
        if operation.method.upper() == method and name not in STREAMS:
            callers, values = seed(app, register, number)
            try:
                try_strange_calls(operation, callers, values)
            except (Exception, BaseExceptionGroup) as error:
                failures.append(f"{name}: {error!r} {reasons(error)}")
    assert not failures, "\n\n".join(failures)


def reasons(error: BaseException) -> str:
    """All that is said of a failure."""
    parts = error.exceptions if isinstance(error, BaseExceptionGroup) else ()
    return "\n".join([str(error), *map(reasons, parts), *getattr(error, "__notes__", ())])


def try_strange_calls(operation: Any, callers: list[Account], values: dict[str, Any]) -> None:
    """Call an operation as each of `callers`; two of three calls are for what there is."""
    tag = operation.definition.raw["tags"][0]
    known = {**values, "row_id": values.get(tag)}

    @settings(
        max_examples=EXAMPLES_EACH * len(callers),
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy())
    def call(case: Any) -> None:
        calls.append(case)
        if len(calls) % 3:
            for name in case.path_parameters or {}:
                case.path_parameters[name] = str(known[name])
        headers = callers[len(calls) % len(callers)].headers
        response = case.call(headers=headers)
        case.validate_response(response, checks=CHECKS)

    calls: list[Any] = []
    call()
