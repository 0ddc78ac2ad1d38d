"""A page in a browser, and the visit every sign-in client makes through it.

A client is a small class that sends what its original sends and reads what its original reads;
`Page` is the browser around it. The scenario, `visit`, is one for all.
"""

import base64
import json
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest
from flask import Flask
from flask_jwt_extended import create_access_token
from werkzeug.test import TestResponse

from auth import COOKIE
from tests.accounts import ME, REFRESH, bearer
from tests.conftest import PASSWORD, assert_error

HERE, NEXT_DOOR = "http://localhost:8000", "http://localhost:5173"
FRONT, WHARF = "https://front.test", "https://wharf.test"
KINDS = ("access", "refresh", "cookie")
SAFELISTED = {"accept", "accept-language", "content-language"}  # headers that need no preflight
FORMS = {"text/plain", "multipart/form-data", "application/x-www-form-urlencoded"}
STRICT = pytest.mark.parametrize("private_app", [{"REFRESH_ROTATION": "strict"}], indirect=True)
LISTED = pytest.mark.parametrize("private_app", [{"CORS_ORIGINS": FRONT}], indirect=True)


class NetworkError(Exception):
    """What `fetch` throws when CORS keeps the page from calling or reading."""


class Refused(Exception):
    """A sign-in failed; the text is what the person reads."""


class Page:
    """A page at `origin` that calls `server` by `fetch`, with cookies and CORS as browsers do.

    It also keeps every token that went over the wire, to try later whether it still works.
    """

    def __init__(self, app: Flask, origin: str = HERE, server: str = HERE) -> None:
        self.app = app
        self.browser, self.cookieless = app.test_client(), app.test_client(use_cookies=False)
        self.origin, self.server = origin, server
        self.across = origin != server
        same_site = urlsplit(origin).hostname == urlsplit(server).hostname
        self.site = ("same-site" if same_site else "cross-site") if self.across else "same-origin"
        self.tokens: dict[str, list[str]] = {kind: [] for kind in KINDS}

    def fetch(
        self,
        method: str,
        path: str,
        data: Any = None,
        headers: dict[str, str] | None = None,
        credentials: str = "same-origin",
    ) -> TestResponse:
        """`fetch`; `data` is sent as JSON, a text as it is."""
        headers = dict(headers or {})
        if data is not None and not isinstance(data, str):
            headers["Content-Type"], data = "application/json", json.dumps(data)
        elif data is not None:
            headers.setdefault("Content-Type", "text/plain;charset=UTF-8")
        path = path.removeprefix(self.server)
        with_cookies = not self.across or credentials == "include"
        if self.across:
            self.ask_first(method, path, headers, with_cookies)
        if self.across or method not in ("GET", "HEAD"):
            headers["Origin"] = self.origin
        headers["Sec-Fetch-Site"] = self.site
        lax = with_cookies and self.site != "cross-site"
        client = self.browser if lax else self.cookieless
        call = {"method": method, "data": data, "headers": headers, "base_url": self.server}
        response = client.open(path, **call)
        self.check_readable(response, with_cookies)
        self.keep_tokens(response)
        return response

    def ask_first(self, method: str, path: str, headers: dict[str, str], cookies: bool) -> None:
        """The preflight, when the call needs one."""
        kind = headers.get("Content-Type", "text/plain").partition(";")[0]
        names = {name.lower() for name in headers} - SAFELISTED
        names -= {"content-type"} if kind in FORMS else set()
        if not names and method in ("GET", "HEAD", "POST"):
            return
        asked = {"Origin": self.origin, "Access-Control-Request-Method": method}
        if names:
            asked["Access-Control-Request-Headers"] = ",".join(sorted(names))
        answer = self.cookieless.options(path, headers=asked, base_url=self.server)
        self.check_readable(answer, cookies)
        methods = words(answer, "Access-Control-Allow-Methods") | {"get", "head", "post"}
        allowed = words(answer, "Access-Control-Allow-Headers")
        if answer.status_code // 100 != 2 or method.lower() not in methods or names - allowed:
            raise NetworkError(f"preflight: {method} {names}")

    def check_readable(self, response: TestResponse, with_cookies: bool) -> None:
        """Whether the page may see this answer."""
        if not self.across:
            return
        origin = response.headers.get("Access-Control-Allow-Origin")
        credentialed = response.headers.get("Access-Control-Allow-Credentials") == "true"
        if origin != self.origin and (with_cookies or origin != "*"):
            raise NetworkError(f"for {origin} only")
        if with_cookies and not credentialed:
            raise NetworkError("not with credentials")

    def header(self, response: TestResponse, name: str) -> str | None:
        """A header of the answer, if the page may read it."""
        exposed = words(response, "Access-Control-Expose-Headers")
        return None if self.across and name.lower() not in exposed else response.headers.get(name)

    def keep_tokens(self, response: TestResponse) -> None:
        """Remember the tokens of this answer, which nobody else may store."""
        reply = response.get_json(silent=True)
        reply = reply if isinstance(reply, dict) else {}
        cookies = [line.partition(";")[0] for line in response.headers.getlist("Set-Cookie")]
        found = {
            "access": [reply.get("accessToken")],
            "refresh": [reply.get("refreshToken")],
            "cookie": [one.removeprefix(f"{COOKIE}=") for one in cookies],
        }
        for kind, tokens in found.items():
            self.tokens[kind] += filter(None, tokens)
        if any(found["access"] + found["refresh"]):
            assert response.headers["Cache-Control"] == "no-store"


def words(response: TestResponse, name: str) -> set[str]:
    """A header that lists words, in lower case."""
    return {word.strip().lower() for word in response.headers.get(name, "").split(",")}


def status_text(response: TestResponse) -> str:
    """`response.statusText`."""
    return response.status.partition(" ")[2]


def read_jwt(token: str) -> dict[str, Any]:
    """A token as `atob` reads it: three parts, the payload as Latin-1, with `exp`."""
    _, payload, _ = token.split(".")
    text = base64.b64decode(payload.replace("-", "+").replace("_", "/") + "==").decode("latin-1")
    claims: dict[str, Any] = json.loads(text)
    assert 300 < claims["exp"] - time.time() < 2_147_483  # or its timer never or always fires
    return claims


class Client:
    """What sign-in clients have in common; the differences are in the classes below."""

    login = "ann@example.com"
    refusal = "Invalid credentials"  # what the person reads after a wrong password
    by_token = True  # later calls carry the access token; else the cookie does
    credentials = "same-origin"  # the mode of every fetch

    def __init__(self, page: Page) -> None:
        self.page = page
        self.token: str | None = None
        self.refresh_token: str | None = None

    def send(self, method: str, path: str, data: Any = None, **headers: str) -> TestResponse:
        return self.page.fetch(method, path, data, headers, self.credentials)

    def call(self, method: str, path: str, data: Any = None) -> TestResponse:
        """A call of the page after sign-in."""
        headers = bearer(self.token) if self.by_token and self.token else {}
        return self.send(method, path, data, **headers)

    def sign_out(self) -> None:
        self.send("POST", "/api/auth/logout", **bearer(str(self.token)))


def visit(client: Any, kinds: tuple[str, ...] = KINDS) -> None:
    """Wrong password, sign in, work, refresh twice, sign out; then nothing opens any more."""
    page = client.page
    with pytest.raises(Refused) as refused:
        client.sign_in("wrong horse")
    assert str(refused.value) == client.refusal
    assert not any(page.tokens.values())
    user = client.sign_in(PASSWORD)
    assert (user["email"], user["username"]) == ("ann@example.com", "annie")
    titles = ["at first", "after one refresh", "after two"]
    for title in titles:
        if title != titles[0]:
            client.refresh()
        assert client.call("POST", "/api/todos", {"title": title}).status_code == 201
    listed = client.call("GET", "/api/todos").json
    assert [todo["title"] for todo in listed] == titles[::-1]
    assert openings(page) == all_get(200, kinds)
    client.sign_out()
    assert openings(page) == all_get(401, kinds)
    assert page.browser.get_cookie(COOKIE) is None
    assert_error(client.call("GET", ME), 401)


def openings(page: Page) -> dict[str, set[int]]:
    """What the tokens of this visit get at the door of their kind; the other doors stay shut.

    Where refresh tokens work once only the last is tried: an older one would end the session.
    """
    doors: dict[str, Callable[[str], TestResponse]] = {
        "access": lambda token: page.cookieless.get(ME, headers=bearer(token)),
        "refresh": lambda token: page.cookieless.post(REFRESH, json={"refreshToken": token}),
        "cookie": lambda token: page.cookieless.get(ME, headers={"Cookie": f"{COOKIE}={token}"}),
    }
    once = page.app.config["REFRESH_ROTATION"] == "strict"
    got: dict[str, set[int]] = {}
    for kind, tokens in page.tokens.items():
        for token in tokens[-1:] if once and kind == "refresh" else tokens:
            answers = {door: knock(token).status_code for door, knock in doors.items()}
            got.setdefault(kind, set()).add(answers.pop(kind))
            assert set(answers.values()) == {401}, (kind, answers)
    return got


def all_get(status: int, kinds: tuple[str, ...] = KINDS) -> dict[str, set[int]]:
    """`openings` where all tokens, which are of these kinds, get the same."""
    return {kind: {status} for kind in kinds}


def read_cookie_refresh(response: TestResponse) -> dict[str, Any]:
    """The reply to who showed the cookie alone: a new cookie, and no refresh token."""
    assert response.status_code == 200, response.json
    assert not {"refreshToken", "refresh_token"} & set(response.json)
    assert response.headers["Set-Cookie"].startswith(f"{COOKIE}=ey")
    return response.json


def let_expire(client: Any) -> None:
    """The client's access token is one of the same session, a day too old."""
    claims = read_jwt(client.token)
    with client.page.app.app_context():
        more = {"additional_claims": {"sid": claims["sid"]}, "expires_delta": timedelta(-1)}
        client.token = create_access_token(claims["sub"], **more)
    assert_error(client.page.cookieless.get(ME, headers=bearer(client.token)), 401)


@pytest.fixture
def private_app(make_app: Any, request: Any) -> Flask:
    """An app where todos need an account, and `ann` has one."""
    settings = {"PUBLIC_TODOS": False, **getattr(request, "param", {})}
    app = make_app(**settings)
    body = {"email": "ann@example.com", "username": "annie", "name": "Änn Ω 😀"}
    response = app.test_client().post("/api/auth/signup", json={**body, "password": PASSWORD})
    assert response.status_code == 201
    return app
