"""Brolostack's sign-in clients, each speaking to the letter, through the same visit as LARC's.

AuthManager, the four backend adapters and the chat server's page (docs/frontends/brolostack.md).
"""

from typing import Any

import pytest
from flask import Flask
from werkzeug.test import TestResponse

from tests.accounts import bearer
from tests.conftest import PASSWORD, assert_error
from tests.pages import (
    FRONT,
    HERE,
    LISTED,
    NEXT_DOOR,
    STRICT,
    WHARF,
    Client,
    Page,
    Refused,
    all_get,
    openings,
    private_app,
    read_cookie_refresh,
    status_text,
    visit,
)

__all__ = ["private_app"]
MARK = {"Accept": "application/json", "X-Client": "Brolostack", "X-Client-Version": "1.0.2"}
WAYS = ("read", "update")


class AuthManager(Client):
    """Provider `local`: a refresh replaces all it holds; `bearer` is spelled as in the reply."""

    refusal = "UNAUTHORIZED"
    query = ""
    held: dict[str, Any] | None = None

    def sign_in(self, password: str) -> dict[str, Any]:
        body = {"username": "annie", "password": password, "rememberMe": True}
        response = self.send("POST", f"/api/auth/login{self.query}", body)
        if not response.status_code // 100 == 2:
            raise Refused(status_text(response))
        self.keep(response.json)
        return self.read_user(response.json["user"])

    def keep(self, reply: dict[str, Any]) -> None:
        seconds = reply.get("expires_in") or 3600
        assert 90 <= seconds < 2_147_483  # its timer waits for this less a minute
        self.held = {
            "access": reply.get("access_token") or reply["token"],
            "refresh": reply.get("refresh_token"),
            "type": reply.get("token_type") or "Bearer",
            "scope": (reply.get("scope") or "").split(" "),
        }

    def read_user(self, user: dict[str, Any]) -> dict[str, Any]:
        assert isinstance(user["permissions"], list)
        assert user["roles"] != []  # its getHighestRole throws
        return {
            "id": user.get("id") or user["sub"],
            "username": user.get("username") or user["preferred_username"],
            "email": user["email"],
            "name": user.get("name") or user["display_name"],
            "roles": user.get("roles", []),
            "permissions": user["permissions"],
            "mfa": user.get("mfa_enabled", False),
        }

    def refresh(self) -> None:
        body = {"refresh_token": self.held["refresh"]}
        response = self.send("POST", f"/api/auth/refresh{self.query}", body)
        assert response.status_code == 200, response.json
        self.keep(response.json)

    def headers(self) -> dict[str, str]:
        return {"Authorization": f"{self.held['type']} {self.held['access']}"}

    def call(self, method: str, path: str, data: Any = None) -> TestResponse:
        return self.send(method, path, data, **(self.headers() if self.held else {}))

    def sign_out(self) -> None:
        self.send("POST", "/api/auth/logout", **self.headers())
        self.held = None


class AuthManagerWithRoles(AuthManager):
    """Its addresses ask for roles as objects."""

    query = "?roles=objects"

    def has_role(self, user: dict[str, Any], name: str) -> bool:
        return any(role["name"] == name for role in user["roles"])

    def may(self, user: dict[str, Any], resource: str, action: str) -> bool:
        known = user["permissions"] + [p for role in user["roles"] for p in role["permissions"]]
        return any(
            one["resource"] in ("*", resource) and one["action"] in ("*", action) for one in known
        )


class Adapter(Client):
    """What backend adapters have in common: `/auth`, the marks, `credentials: include`."""

    credentials = "include"
    errors = "message"  # the key of the text it shows

    def send(self, method: str, path: str, data: Any = None, **headers: str) -> TestResponse:
        return super().send(method, path, data, **MARK, **headers)

    def sign_in(self, password: str) -> dict[str, Any]:
        assert self.send("GET", "/health").status_code == 200
        response = self.send("POST", "/auth/login", self.form(password))
        if not response.status_code // 100 == 2:
            raise Refused(response.json[self.errors])
        self.keep(response.json)
        return response.json["user"]

    def form(self, password: str) -> dict[str, Any]:
        return {"username": "annie", "password": password}

    def keep(self, reply: dict[str, Any]) -> None:
        self.token = reply["access_token"]
        self.refresh_token = reply["refresh_token"]

    def refresh(self) -> None:
        response = self.send("POST", "/auth/refresh", {"refresh_token": self.refresh_token})
        assert response.status_code == 200
        self.keep(response.json)

    def sign_out(self) -> None:
        headers = bearer(str(self.token)) if self.by_token else {}
        self.send("POST", "/auth/logout", **headers)


class FlaskAdapter(Adapter):
    """By cookie alone; a CSRF token from `/api/session/init` in a header and in each body."""

    by_token = False
    csrf = ""

    def send(self, method: str, path: str, data: Any = None, **headers: str) -> TestResponse:
        if self.csrf:
            headers["X-CSRFToken"] = self.csrf
        if self.csrf and method == "POST":
            data = {**(data or {}), "csrf_token": self.csrf}
        response = super().send(method, path, data, **headers)
        self.csrf = self.page.header(response, "X-CSRFToken") or self.csrf
        return response

    def sign_in(self, password: str) -> dict[str, Any]:
        begun = self.send("POST", "/api/session/init").json
        assert begun["session_id"]
        self.csrf = begun["csrf_token"]
        user = super().sign_in(password)
        assert self.csrf != begun["csrf_token"]  # the one of the new session
        return user

    def keep(self, reply: dict[str, Any]) -> None:
        assert reply["user"]

    def refresh(self) -> None:
        read_cookie_refresh(self.send("POST", "/auth/refresh"))


class FastAPIAdapter(Adapter):
    """Holds its tokens itself and shows `detail`."""

    credentials = "same-origin"
    errors = "detail"


class NestJSAdapter(Adapter):
    """As they all are."""


class ExpressAdapter(Adapter):
    """Mode `jwt`: reads `token` and `user.id`."""

    def keep(self, reply: dict[str, Any]) -> None:
        assert reply["user"]["id"]
        self.token, self.refresh_token = reply["token"], reply["refresh_token"]


class ExpressAdapterBySession(Adapter):
    """Mode `session`: by cookie alone, and it knows how long that lasts."""

    by_token = False

    def keep(self, reply: dict[str, Any]) -> None:
        assert reply["sessionId"] == reply["session"]["id"]
        assert reply["createdAt"] < reply["expiresAt"]

    def refresh(self) -> None:
        read_cookie_refresh(self.send("POST", "/auth/refresh"))


class ChatPage(Client):
    """The chat server's page: `session.token`, and no refresh: the token has to last."""

    def register(self, **body: str) -> TestResponse:
        return self.send("POST", "/api/auth/register", body)

    def sign_in(self, password: str) -> dict[str, Any]:
        body = {"email": self.login, "password": password}
        response = self.send("POST", "/api/auth/login", body)
        if not response.json.get("success"):
            raise Refused(response.json["error"])
        self.token = response.json["session"]["token"]
        return response.json["user"]

    def refresh(self) -> None:
        """It has none."""


BY_TOKEN = [AuthManager, AuthManagerWithRoles, FastAPIAdapter, ChatPage]
WITH_COOKIES = [FlaskAdapter, NestJSAdapter, ExpressAdapter, ExpressAdapterBySession]
CLIENTS = [*BY_TOKEN, *WITH_COOKIES]


@pytest.mark.parametrize("origin", [HERE, NEXT_DOOR])
@pytest.mark.parametrize("kind", CLIENTS)
def test_visit_from_the_same_machine(private_app: Flask, kind: Any, origin: str) -> None:
    visit(kind(Page(private_app, origin)))


@LISTED
@pytest.mark.parametrize("kind", BY_TOKEN)
def test_visit_from_another_site(private_app: Flask, kind: Any) -> None:
    visit(kind(Page(private_app, FRONT, WHARF)))


@pytest.mark.parametrize("kind", BY_TOKEN)
def test_visit_from_another_site_that_gets_no_cookie(private_app: Flask, kind: Any) -> None:
    visit(kind(Page(private_app, FRONT, WHARF)), kinds=("access", "refresh"))


@STRICT
@pytest.mark.parametrize("kind", CLIENTS)
def test_visit_where_a_refresh_token_works_once(private_app: Flask, kind: Any) -> None:
    visit(kind(Page(private_app)))


def test_auth_manager_knows_roles_and_permissions(private_app: Flask) -> None:
    client = AuthManagerWithRoles(Page(private_app))
    user = client.sign_in(PASSWORD)
    assert (client.has_role(user, "user"), client.has_role(user, "admin")) == (True, False)
    may = {(what, how): client.may(user, what, how) for what in ("todos", "users") for how in WAYS}
    assert [pair for pair, allowed in may.items() if not allowed] == [("users", "update")]


def test_flask_adapter_with_a_stale_csrf_token_goes_on_from_an_allowed_page(
    private_app: Flask,
) -> None:
    client = FlaskAdapter(Page(private_app, NEXT_DOOR))
    client.sign_in(PASSWORD)
    client.csrf = "stale"
    response = client.call("POST", "/api/todos", {"title": "x"})
    assert response.status_code == 201
    assert "csrf_token" not in response.json
    client.sign_out()
    assert openings(client.page) == all_get(401)


def test_chat_page_registers_with_a_name_or_without(private_app: Flask) -> None:
    client = ChatPage(Page(private_app))
    reply = client.register(email="bob@example.com", password=PASSWORD)
    assert (reply.status_code, reply.json["success"]) == (201, True)
    assert (reply.json["user"]["name"], reply.json["user"]["role"]) == ("bob", "user")
    reply = client.register(email="eve@example.com", password=PASSWORD, name="Eve")
    assert reply.json["user"]["name"] == "Eve"
    assert_error(client.register(email="BOB@example.com", password=PASSWORD), 409, "name_taken")
    wrong = assert_error(client.register(name="x", password=PASSWORD), 400)
    assert wrong["error"] == "Email and password are required"
