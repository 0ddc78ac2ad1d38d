"""Whether answers are what the document says: watched in every test that asks an app of conftest.

A status the operation does not have, or a body that does not fit its schema, fails the test; a key
the schema does not name fails it too.
"""

import json
import logging
from functools import cache
from typing import Any
from urllib.parse import quote

import jsonschema_rs
from flask import Flask, Response, request

import openapi
from app import create_app

ADDRESS = "urn:wharf"  # of the document, among schemas
MAX_BYTES = 50_000  # of a body that is looked at
NOT_DESCRIBED = {405, 426, 500}  # of no operation, for what is no socket, and bugs that tests make


def watch(app: Flask, problems: list[str]) -> None:
    """Note in `problems` what answers of `app` have that the document does not say."""
    views = dict(app.view_functions)  # a test may put another in a view's place

    @app.after_request
    def check(response: Response) -> Response:
        rule, method = request.url_rule, request.method.replace("HEAD", "GET")
        status = response.status_code
        if rule and not rule.websocket and method != "OPTIONS" and status not in NOT_DESCRIBED:
            if app.view_functions[rule.endpoint] is not views.get(rule.endpoint):
                return response
            at = (openapi.path_of(rule), method.lower())
            if at in operations() and (problem := find_problem(at, response)):
                problems.append(f"{method} {rule.rule} {status}: {problem}")
        return response


def find_problem(at: tuple[str, str], response: Response) -> str:
    """What is wrong with an answer; empty for nothing."""
    status = str(response.status_code)
    if status not in operations()[at]["responses"]:
        return "the operation has no such status"
    passed_on = response.is_streamed or response.direct_passthrough
    if passed_on or request.method == "HEAD" or status == "304":
        return ""
    size = response.calculate_content_length() or 0
    content = content_of(at, status)
    if not content or not size:
        return "a body where none is described" if size and not content else ""
    if response.mimetype not in content:
        return f"{response.mimetype} is not described"
    if response.mimetype != openapi.JSON or size > MAX_BYTES:
        return ""
    for error in validator(at, status).iter_errors(json.loads(response.get_data())):
        return f"{error.message} at {error.instance_path}"[:1000]
    return ""


@cache
def described() -> dict[str, Any]:
    """The document of an app that serves everything, closed."""
    level = logging.getLogger().level  # of the app that a test just made
    app = create_app({"SECRET_KEY": "x" * 40, "DATABASE_URL": "sqlite://"})
    logging.getLogger().setLevel(level)
    found: dict[str, Any] = close(json.loads(json.dumps(openapi.document(app))))
    return found


@cache
def operations() -> dict[tuple[str, str], Any]:
    """The operations by path and method."""
    paths = described()["paths"].items()
    return {(path, method): one for path, methods in paths for method, one in methods.items()}


@cache
def content_of(at: tuple[str, str], status: str) -> dict[str, Any]:
    """What a response may hold, by media type."""
    response = operations()[at]["responses"][status]
    if "$ref" in response:
        response = described()["components"]["responses"][status]
    found: dict[str, Any] = response.get("content", {})
    return found


@cache
def validator(at: tuple[str, str], status: str) -> Any:
    """What checks the JSON of a response."""
    path, method = at
    response = operations()[at]["responses"][status]
    place = f"/paths/{path.replace('/', '~1')}/{method}/responses/{status}"
    place = response.get("$ref", f"#{place}") + "/content/application~1json/schema"
    return jsonschema_rs.Draft202012Validator(
        {"$ref": f"{ADDRESS}{quote(place, safe='#/~')}"}, registry=registry()
    )


@cache
def registry() -> Any:
    """Where the schemas refer to each other: once for all that check by them."""
    return jsonschema_rs.Registry([(ADDRESS, described())], draft=jsonschema_rs.Draft202012)


def close(schema: Any) -> Any:
    """The same where objects have no keys but those named: what is not described shall show."""
    if isinstance(schema, list):
        return [close(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    found = {key: close(part) for key, part in schema.items()}
    if schema.get("type") == "object" and isinstance(schema.get("properties"), dict):
        found.setdefault("additionalProperties", False)
    return found
