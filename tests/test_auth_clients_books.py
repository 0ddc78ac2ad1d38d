"""The sign-in clients of LARC's books, each speaking to the letter (docs/frontends/larc.md)."""

import json
from typing import Any

import pytest
from flask import Flask
from werkzeug.test import TestResponse

from tests.conftest import PASSWORD, assert_error
from tests.pages import (
    FRONT,
    HERE,
    LISTED,
    NEXT_DOOR,
    STRICT,
    WHARF,
    Client,
    NetworkError,
    Page,
    Refused,
    all_get,
    let_expire,
    openings,
    private_app,
    read_cookie_refresh,
    read_jwt,
    visit,
)

__all__ = ["private_app"]


class AuthService(Client):
    """The book's service: keeps the first refresh token, refreshes once on a 401, then retries."""

    def sign_in(self, password: str) -> dict[str, Any]:
        body = {"email": self.login, "password": password}
        response = self.send("POST", "/api/auth/login", body)
        if response.status_code // 100 != 2:
            raise Refused(response.json["message"])
        self.token, self.refresh_token = response.json["accessToken"], response.json["refreshToken"]
        read_jwt(self.token)
        return response.json["user"]

    def refresh(self) -> None:
        response = self.send("POST", "/api/auth/refresh", {"refreshToken": self.refresh_token})
        assert response.status_code == 200, response.json
        self.token = response.json["accessToken"]

    def call(self, method: str, path: str, data: Any = None) -> TestResponse:
        response = super().call(method, path, data)
        if response.status_code != 401 or not self.refresh_token:
            return response
        self.refresh()
        return super().call(method, path, data)

    def sign_out(self) -> None:
        super().sign_out()
        self.refresh_token = None


class TokenService(AuthService):
    """The book's other service: signs in by username and counts `expiresIn` itself."""

    def sign_in(self, password: str) -> dict[str, Any]:
        body = {"username": "annie", "password": password}
        response = self.send("POST", "/api/auth/login", body)
        if response.status_code // 100 != 2:
            raise Refused(response.json["message"])
        self.token, self.refresh_token = response.json["accessToken"], response.json["refreshToken"]
        assert response.json["expiresIn"] == 900
        claims, user = read_jwt(self.token), response.json["user"]
        assert (claims["userId"], claims["username"]) == (user["id"], "annie")
        assert claims["roles"] == ["user"]
        return response.json["user"]


class CookiePage(Client):
    """The book's pages: `/api/login`, JSON without its type, refresh by the cookie alone."""

    refusal = "Login failed"  # whatever the server said
    credentials = "include"

    def sign_in(self, password: str) -> dict[str, Any]:
        body = json.dumps({"username": "annie", "password": password})
        response = self.send("POST", "/api/login", body)
        if response.status_code // 100 != 2:
            raise Refused("Login failed")
        self.token = response.json["token"]
        assert response.json["userId"] == response.json["user"]["id"]
        assert self.call("GET", "/api/auth/verify").status_code == 200
        return response.json["user"]

    def refresh(self) -> None:
        self.token = read_cookie_refresh(self.send("POST", "/api/refresh-token"))["token"]

    def sign_out(self) -> None:
        self.send("POST", "/api/logout")


SERVICES = [AuthService, TokenService]
CLIENTS = [*SERVICES, CookiePage]


@pytest.mark.parametrize("origin", [HERE, NEXT_DOOR])
@pytest.mark.parametrize("kind", CLIENTS)
def test_visit_from_the_same_machine(private_app: Flask, kind: Any, origin: str) -> None:
    visit(kind(Page(private_app, origin)))


@LISTED
@pytest.mark.parametrize("kind", SERVICES)
def test_visit_from_another_site(private_app: Flask, kind: Any) -> None:
    visit(kind(Page(private_app, FRONT, WHARF)))


@STRICT
def test_cookie_refreshes_again_where_a_refresh_token_works_once(private_app: Flask) -> None:
    visit(CookiePage(Page(private_app)))


@STRICT
@pytest.mark.parametrize("kind", SERVICES)
def test_client_that_ignores_new_refresh_tokens_is_out(private_app: Flask, kind: Any) -> None:
    client = kind(Page(private_app))
    client.sign_in(PASSWORD)
    client.refresh()
    with pytest.raises(AssertionError):
        client.refresh()
    assert openings(client.page) == all_get(401)


@LISTED
def test_page_that_is_not_listed_cannot_even_ask(private_app: Flask) -> None:
    client = AuthService(Page(private_app, "https://evil.test", WHARF))
    with pytest.raises(NetworkError):
        client.sign_in(PASSWORD)


@pytest.mark.parametrize("kind", SERVICES)
def test_bad_access_token_is_replaced_within_one_call(private_app: Flask, kind: Any) -> None:
    client = kind(Page(private_app))
    client.sign_in(PASSWORD)
    client.token = bad = client.token[:-4] + "AAAA"
    assert client.call("GET", "/api/todos").json == []
    assert client.token != bad


def test_sign_out_is_heard_with_an_access_token_that_expired(private_app: Flask) -> None:
    client = AuthService(Page(private_app, NEXT_DOOR))
    client.sign_in(PASSWORD)
    let_expire(client)
    assert openings(client.page) == all_get(200)
    client.sign_out()
    assert openings(client.page) == all_get(401)


def test_account_page_lists_and_ends_sessions(private_app: Flask) -> None:
    phone, laptop = AuthService(Page(private_app)), CookiePage(Page(private_app))
    phone.sign_in(PASSWORD)
    laptop.sign_in(PASSWORD)
    rows = laptop.call("GET", "/api/auth/sessions").json
    assert {"id", "device", "location", "lastActive", "isCurrent"} <= set(rows[0])
    assert [row["isCurrent"] for row in rows].count(True) == 1
    assert len(rows) == 3  # with the one of the registration
    other = next(row["id"] for row in rows if not row["isCurrent"])
    assert laptop.call("DELETE", f"/api/auth/sessions/{other}").json["ok"] is True
    assert laptop.call("DELETE", "/api/auth/sessions").json["ok"] is True
    assert openings(phone.page) == all_get(401)
    assert openings(laptop.page) == all_get(200)


@pytest.mark.parametrize("path", ["/api/register", "/api/auth/signup"])
def test_registration_shows_why_it_failed(private_app: Flask, path: str) -> None:
    page = Page(private_app)
    body = {"name": "Bob", "email": "bob@example.com", "password": PASSWORD}
    assert page.fetch("POST", path, body).status_code == 201
    again = page.fetch("POST", path, body)
    assert assert_error(again, 409)["message"] == "This name is already registered"
