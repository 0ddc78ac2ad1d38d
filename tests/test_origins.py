"""CORS: whose pages may call, with the cookie or without, on every kind of answer."""

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
from flask import Flask
from flask.testing import FlaskClient

ELSEWHERE = "https://elsewhere.test"
LISTED = "https://a.test"
LIST = "https://a.test, https://b.test:8443/"
WHARF = "http://wharf.test"
LOCAL = "http://localhost:8000"

HEADERS = [
    "Accept",
    "apikey",
    "Authorization",
    "Content-Type",
    "Idempotency-Key",
    "If-Match",
    "If-None-Match",
    "Last-Event-ID",
    "Prefer",
    "X-API-Key",
    "X-API-Version",
    "X-App-Version",
    "X-Client",
    "X-Client-Version",
    "X-CSRF-Token",
    "X-CSRFToken",
    "X-Environment",
    "X-File-Name",
    "X-Service",
]
EXPOSED = {
    "Accept-Ranges",
    "Content-Disposition",
    "Content-Location",
    "Content-Range",
    "ETag",
    "Link",
    "Location",
    "Retry-After",
    "Tus-Checksum-Algorithm",
    "Tus-Extension",
    "Tus-Max-Size",
    "Tus-Resumable",
    "Tus-Version",
    "Upload-Expires",
    "Upload-Length",
    "Upload-Metadata",
    "Upload-Offset",
    "X-CSRFToken",
    "X-RateLimit-Limit",
    "X-RateLimit-Remaining",
    "X-RateLimit-Reset",
    "X-Request-Id",
    "X-Total-Count",
    "X-Unread-Count",
}
# A request for each kind of answer. `/broken` is a bug, `/api/limited` was called too often.
KINDS = [
    pytest.param("GET", "/api/todos", 200, id="200"),
    pytest.param("HEAD", "/api/todos", 200, id="HEAD"),
    pytest.param("GET", "/", 200, id="page"),
    pytest.param("DELETE", "/api/todos/1", 204, id="204"),
    pytest.param("POST", "/api/auth/login", 400, id="400"),
    pytest.param("GET", "/api/auth/me", 401, id="401"),
    pytest.param("GET", "/api/nothing", 404, id="404"),
    pytest.param("BREW", "/api/todos", 405, id="405"),
    pytest.param("GET", "/sync", 426, id="426"),
    pytest.param("POST", "/api/auth/register", 429, id="429"),
    pytest.param("GET", "/broken", 500, id="500"),
    pytest.param("POST", "/api/auth/password-reset", 503, id="503"),
]


class Site(NamedTuple):
    """An app as browsers see it: at an address."""

    client: FlaskClient
    base: str


@pytest.fixture
def visit(make_app: Callable[..., Flask]) -> Callable[..., Site]:
    """An app with these CORS_ORIGINS, served at this address."""

    def make(origins: str = "", base: str = WHARF) -> Site:
        app = make_app(CORS_ORIGINS=origins, REGISTER_LIMIT="1 per day")

        def fail() -> None:
            raise RuntimeError("a bug")

        app.add_url_rule("/broken", view_func=fail)
        app.test_client().post("/api/auth/register")  # the one that is allowed
        return Site(app.test_client(), base)

    return make


def ask(site: Site, method: str, path: str, origin: str | None, **headers: str) -> Any:
    if origin is not None:
        headers["Origin"] = origin
    return site.client.open(path, method=method, headers=headers, base_url=site.base, buffered=True)


def preflight(site: Site, path: str, origin: str, method: str, *headers: str) -> Any:
    asked = {"Access-Control-Request-Method": method}
    if headers:
        asked["Access-Control-Request-Headers"] = ",".join(headers)
    return ask(site, "OPTIONS", path, origin, **asked)


def permission(response: Any) -> tuple[list[str], list[str]]:
    """Who may read this answer, and whether with the cookie."""
    headers = response.headers
    origins = headers.getlist("Access-Control-Allow-Origin")
    return origins, headers.getlist("Access-Control-Allow-Credentials")


def depends_on_origin(response: Any) -> bool:
    return "Origin" in [
        word for line in response.headers.getlist("Vary") for word in line.split(", ")
    ]


# Who may read which answers

ANYBODY, NOBODY = (["*"], []), ([], [])


@pytest.mark.parametrize(("method", "path", "status"), KINDS)
@pytest.mark.parametrize(
    ("origins", "base", "origin", "expected"),
    [
        pytest.param(LIST, WHARF, LISTED, ([LISTED], ["true"]), id="listed"),
        pytest.param("", LOCAL, "http://localhost:5173", "echo", id="localhost"),
        pytest.param("", WHARF, ELSEWHERE, ANYBODY, id="open"),
        pytest.param(LIST, WHARF, ELSEWHERE, NOBODY, id="unlisted"),
    ],
)
def test_every_kind_of_answer_says_who_may_read_it(
    visit: Any,
    origins: str,
    base: str,
    origin: str,
    expected: Any,
    method: str,
    path: str,
    status: int,
) -> None:
    response = ask(visit(origins, base), method, path, origin)
    assert response.status_code == status
    assert permission(response) == (([origin], ["true"]) if expected == "echo" else expected)
    assert depends_on_origin(response)
    exposed = response.headers.get("Access-Control-Expose-Headers", "")
    assert set(exposed.split(", ")) == ({""} if expected == NOBODY else EXPOSED)


@pytest.mark.parametrize("origin", [LISTED, "https://b.test:8443", WHARF])
def test_listed_and_own_origins_may_use_the_cookie(visit: Any, origin: str) -> None:
    site = visit(LIST)
    for response in (
        ask(site, "GET", "/api/todos", origin),
        preflight(site, "/api/todos", origin, "PUT"),
    ):
        assert permission(response) == ([origin], ["true"])


@pytest.mark.parametrize(
    "base", ["http://localhost:8000", "http://127.0.0.1:8000", "http://[::1]:8000"]
)
@pytest.mark.parametrize("origins", ["", "*", LIST], ids=["open", "asterisk", "list"])
@pytest.mark.parametrize(
    "origin",
    [
        "http://localhost:5173",
        "http://localhost",
        "https://localhost:8443",
        "http://127.0.0.1:3000",
        "http://[::1]:3000",
    ],
)
def test_localhost_may_use_the_cookie_of_localhost(
    visit: Any, base: str, origins: str, origin: str
) -> None:
    site = visit(origins, base)
    for response in (
        ask(site, "GET", "/api/auth/me", origin),
        preflight(site, "/api/auth/me", origin, "GET"),
    ):
        assert permission(response) == ([origin], ["true"])


@pytest.mark.parametrize("origins", ["", "*", "*, https://a.test"])
@pytest.mark.parametrize(
    "origin", [ELSEWHERE, "null", "http://localhost:5173", "http://wharf.test:81", "http://["]
)
def test_any_page_may_call_without_the_cookie(visit: Any, origins: str, origin: str) -> None:
    site = visit(origins)
    for response in (
        ask(site, "GET", "/api/todos", origin),
        preflight(site, "/api/todos", origin, "PUT", "content-type"),
    ):
        assert permission(response) == ANYBODY
        assert depends_on_origin(response)


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.test",
        "http://a.test",
        "https://a.test:1",
        "https://a.test.evil.test",
        "https://evil.test/https://a.test",
        "https://a.test@evil.test",
        "https://axtest",
        "null",
        "*",
        "",
        "http://[",
    ],
)
def test_other_origin_gets_no_permission(visit: Any, origin: str) -> None:
    site = visit(LIST)
    for response in (
        ask(site, "GET", "/api/todos", origin),
        preflight(site, "/api/todos", origin, "PUT", "content-type"),
    ):
        assert "*" not in permission(response)[0]
        assert origin not in permission(response)[0]
        assert permission(response)[1] == []
        assert depends_on_origin(response)


@pytest.mark.parametrize(
    "origin",
    ["http://localhost.evil.test", "http://127.0.0.1.evil.test", "http://localhost:1.evil"],
)
def test_name_that_begins_like_localhost_gets_no_permission(visit: Any, origin: str) -> None:
    assert permission(ask(visit(LIST), "GET", "/api/todos", origin)) == NOBODY


def test_localhost_elsewhere_never_uses_the_cookie(visit: Any) -> None:
    for origins in ("", LIST):
        response = ask(visit(origins), "GET", "/api/todos", "http://localhost:5173")
        assert permission(response)[1] == []


@pytest.mark.parametrize("origins", ["", LIST])
def test_answer_to_no_page_depends_on_the_origin_too(visit: Any, origins: str) -> None:
    response = ask(visit(origins), "GET", "/api/todos", None)
    assert permission(response)[1] == []
    assert depends_on_origin(response)  # or a cache would hand it to a page


# Preflights


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize("path", ["/api/todos", "/api/todos/1", "/api/auth/me", "/nothing", "/ws"])
@pytest.mark.parametrize("origins", ["", LIST], ids=["open", "list"])
def test_preflight_allows_every_method_and_is_kept(
    visit: Any, origins: str, path: str, method: str
) -> None:
    response = preflight(visit(origins), path, LISTED, method, "content-type")
    if path not in ("/nothing", "/ws"):  # browsers take no answer that is an error
        assert response.status_code in (200, 204)
    headers = response.headers
    allowed = set(headers["Access-Control-Allow-Methods"].split(", "))
    assert allowed == {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
    assert headers["Access-Control-Allow-Headers"] == "content-type"
    assert headers["Access-Control-Max-Age"] == "600"
    assert permission(response) == (([LISTED], ["true"]) if origins else ANYBODY)
    assert depends_on_origin(response)


@pytest.mark.parametrize("origins", ["", LIST], ids=["open", "list"])
def test_preflight_allows_the_headers_of_all_frontends(visit: Any, origins: str) -> None:
    site = visit(origins)
    for names in (HEADERS, [name.lower() for name in HEADERS]):
        response = preflight(site, "/api/todos", LISTED, "POST", *names)
        allowed = response.headers["Access-Control-Allow-Headers"].split(", ")
        assert sorted(allowed) == sorted(names)


def test_preflight_of_other_origin_allows_nothing(visit: Any) -> None:
    response = preflight(visit(LIST), "/api/todos", ELSEWHERE, "PUT", "content-type")
    assert not [name for name, _ in response.headers if name.startswith("Access-Control")]


def test_preflight_needs_no_account_and_changes_nothing(visit: Any) -> None:
    site = visit(LIST)
    site.client.set_cookie("wharf_session", "nonsense", domain="wharf.test")
    for path in ("/api/auth/logout", "/api/auth/sessions", "/api/todos/1"):
        response = preflight(site, path, ELSEWHERE, "DELETE", "authorization")
        assert response.status_code == 200
        assert "Set-Cookie" not in response.headers


# What pages read


def test_page_elsewhere_reads_how_long_to_wait(visit: Any) -> None:
    response = ask(visit(LIST), "POST", "/api/auth/register", LISTED)
    assert response.status_code == 429
    words = {"Retry-After", "X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset"}
    assert words <= set(response.headers.keys())
    assert words <= set(response.headers["Access-Control-Expose-Headers"].split(", "))
