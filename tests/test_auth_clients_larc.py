"""LARC's sign-in components and the address of its own backends, each speaking to the letter.

In, a protected call, two refreshes, out (docs/frontends/larc.md).
"""

from typing import Any

import pytest
from flask import Flask
from werkzeug.test import TestResponse

from auth import COOKIE
from tests.accounts import ME, REFRESH, bearer
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
    let_expire,
    openings,
    private_app,
    read_cookie_refresh,
    read_jwt,
    status_text,
    visit,
)

__all__ = ["private_app"]


class PanAuth(Client):
    """Publishes no token, so that connectors call by cookie."""

    by_token = False

    def check(self) -> dict[str, Any]:
        state = self.page.fetch("GET", "/api/auth/check", credentials="include").json
        assert isinstance(state["authenticated"], bool)
        return state

    def sign_in(self, password: str) -> dict[str, Any]:
        assert self.check()["authenticated"] is False
        response = self.send("POST", "/api/auth/login", self.names(password))
        if response.status_code // 100 != 2 or not response.json.get("token"):
            raise Refused(response.json.get("error") or response.json.get("message"))
        return self.keep(response.json)

    def names(self, password: str) -> dict[str, str]:
        return {"email": self.login, "password": password}

    def keep(self, reply: dict[str, Any]) -> dict[str, Any]:
        self.token = reply["token"]
        new = reply.get("refreshToken") or reply.get("refresh_token")
        self.refresh_token = new or self.refresh_token
        claims = read_jwt(self.token)  # the user, where the reply names none
        user = reply.get("user") or claims
        shown = ("id", "email", "name", "role", "username")
        assert [user[key] for key in shown] == [claims[key] for key in shown]
        return user

    def refresh(self) -> None:
        body = {"refreshToken": self.refresh_token}
        response = self.send("POST", REFRESH, body, **bearer(str(self.refresh_token)))
        assert response.status_code == 200
        self.keep(response.json)
        read_jwt(str(self.token))


class PanAuthByUsername(PanAuth):
    """Its form holds a username."""

    def names(self, password: str) -> dict[str, str]:
        return {"username": "annie", "password": password}


class PanAuthReloaded(PanAuth):
    """After a reload it holds no token: `check` is all it has, the page itself signs out."""

    def sign_in(self, password: str) -> dict[str, Any]:
        super().sign_in(password)
        self.token = self.refresh_token = None
        return self.check()["user"]

    def refresh(self) -> None:
        assert self.check()["authenticated"] is True

    def sign_out(self) -> None:
        self.send("POST", "/api/auth/logout")
        assert self.check()["authenticated"] is False


class PanAuthWithHeaders(PanAuth):
    """The page hands the token to its connectors by their `headers`."""

    by_token = True

    def check(self) -> dict[str, Any]:
        return {"authenticated": False}  # not asked: the answer would be about the cookie


class PanJwt(Client):
    """Shows the status alone, never takes a second refresh token, signs out only with `api-url`."""

    refusal = "UNAUTHORIZED"
    by_token = False
    api_url = "/api"

    def sign_in(self, password: str) -> dict[str, Any]:
        body = {"username": "annie", "password": password}
        response = self.send("POST", f"{self.api_url}/auth/login", body)
        if response.status_code // 100 != 2:
            raise Refused(status_text(response))
        self.refresh_token = response.json["refresh_token"]
        self.keep(response.json)
        return response.json["user"]

    def keep(self, reply: dict[str, Any]) -> None:
        self.token = reply.get("token") or reply["access_token"]
        assert read_jwt(self.token)["name"] == "Änn Ω 😀"

    def refresh(self) -> None:
        headers = {"Content-Type": "application/json", **bearer(str(self.refresh_token))}
        response = self.send("POST", f"{self.api_url}/auth/refresh", None, **headers)
        assert response.status_code == 200
        self.keep(response.json)

    def sign_out(self) -> None:
        self.send("POST", f"{self.api_url}/auth/logout", **bearer(str(self.token)))


class PanJwtElsewhere(PanJwt):
    """`api-url` is an origin."""

    api_url = HERE


class PanJwtWithoutUrl(PanJwt):
    """Without `api-url` it sends no sign-out: the page has to."""

    api_url = ""

    def sign_out(self) -> None:
        self.send("POST", "/auth/logout")


class QueryAction(Client):
    """LARC's own backends: one address, `?action=`, cookies, a CSRF token on each call."""

    by_token = False
    credentials = "include"

    def act(self, method: str, action: str, data: Any = None) -> TestResponse:
        csrf = self.send("GET", "/api/auth?action=csrf").json
        assert csrf["ok"] is True
        headers = {"X-CSRF-Token": csrf["csrf_token"]}
        return self.send(method, f"/api/auth?action={action}", data, **headers)

    def sign_in(self, password: str) -> dict[str, Any]:
        assert self.act("GET", "check").json["authenticated"] is False
        response = self.act("POST", "login", {"email": self.login, "password": password})
        if not response.json.get("ok"):
            raise Refused(response.json["error"])
        assert response.json["token"] != response.json["refresh_token"]
        assert self.act("GET", "check").json["user"] == response.json["user"]
        return response.json["user"]

    def refresh(self) -> None:
        reply = read_cookie_refresh(self.act("POST", "refresh"))
        assert reply["ok"] is True
        read_jwt(reply["token"])

    def sign_out(self) -> None:
        assert self.act("POST", "logout").json == {"ok": True}
        assert self.act("GET", "check").json["authenticated"] is False


PAN_AUTH = [PanAuth, PanAuthByUsername, PanAuthReloaded, PanAuthWithHeaders]
PAN_JWT = [PanJwt, PanJwtElsewhere, PanJwtWithoutUrl]
LOGOUTS = ["/api/auth/logout", "/auth/logout", "/api/logout", "/api/auth?action=logout"]


@pytest.mark.parametrize("kind", [*PAN_AUTH, *PAN_JWT, QueryAction])
def test_visit_from_the_same_origin(private_app: Flask, kind: Any) -> None:
    visit(kind(Page(private_app)))


@pytest.mark.parametrize("kind", [PanAuthWithHeaders, QueryAction])
def test_visit_from_another_port(private_app: Flask, kind: Any) -> None:
    visit(kind(Page(private_app, NEXT_DOOR)))


@LISTED
def test_visit_from_another_site(private_app: Flask) -> None:
    visit(PanAuthWithHeaders(Page(private_app, FRONT, WHARF)))


@STRICT
@pytest.mark.parametrize("kind", [*PAN_AUTH, QueryAction])
def test_visit_where_a_refresh_token_works_once(private_app: Flask, kind: Any) -> None:
    visit(kind(Page(private_app)))


@STRICT
def test_client_that_ignores_new_refresh_tokens_is_out(private_app: Flask) -> None:
    client = PanJwt(Page(private_app))
    client.sign_in(PASSWORD)
    client.refresh()
    with pytest.raises(AssertionError):
        client.refresh()
    assert openings(client.page) == all_get(401)


def test_pan_auth_elsewhere_gets_tokens_but_no_cookie(private_app: Flask) -> None:
    client = PanAuth(Page(private_app, NEXT_DOOR))
    assert client.sign_in(PASSWORD)["username"] == "annie"
    assert client.check()["authenticated"] is False
    assert_error(client.call("GET", ME), 401)
    client.refresh()
    client.sign_out()
    assert openings(client.page) == all_get(401)


def test_sign_out_is_heard_with_an_access_token_that_expired(private_app: Flask) -> None:
    client = PanAuthWithHeaders(Page(private_app, NEXT_DOOR))
    client.sign_in(PASSWORD)
    let_expire(client)
    assert openings(client.page) == all_get(200)
    client.sign_out()
    assert openings(client.page) == all_get(401)


@pytest.mark.parametrize("path", LOGOUTS)
def test_form_of_another_site_does_not_take_the_cookie_away(private_app: Flask, path: str) -> None:
    """Its form comes without the cookie, which is Lax, but could be answered with one."""
    client = PanAuth(Page(private_app))
    client.sign_in(PASSWORD)
    headers = {"Origin": "https://evil.test", "Sec-Fetch-Site": "cross-site"}
    response = client.page.cookieless.post(path, headers=headers, base_url=HERE)
    assert (response.json, "Set-Cookie" in response.headers) == ({"ok": True}, False)
    own = client.page.fetch("POST", path)
    assert own.headers["Set-Cookie"].startswith(f"{COOKIE}=;")
    assert openings(client.page) == all_get(401)


@pytest.mark.parametrize("way", ["GET", "POST"])
@pytest.mark.parametrize("action", ["", "nonsense", "login\0", "register"])
def test_unknown_action_is_400(private_app: Flask, way: str, action: str) -> None:
    client = QueryAction(Page(private_app))
    assert assert_error(client.act(way, action), 400)["error"] == "Invalid action"


@pytest.mark.parametrize("action", ["login", "refresh", "logout"])
def test_address_alone_neither_signs_in_nor_out(private_app: Flask, action: str) -> None:
    client = QueryAction(Page(private_app))
    client.sign_in(PASSWORD)
    assert_error(client.act("GET", action), 400)
    assert openings(client.page) == all_get(200)
