"""Whole visits of real frontends, spoken exactly as they speak (docs/frontends/)."""

import base64
import io
import json
from collections.abc import Callable
from typing import Any

import pytest
from flask.testing import FlaskClient

from tests.accounts import make_admin
from tests.conftest import PASSWORD, Account, Server

JSON = {"Content-Type": "application/json"}
PNG = b"\x89PNG\r\n\x1a\n"


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def payload(token: str) -> dict[str, Any]:
    """What pan-jwt reads of a token: three parts, the second JSON in base64url."""
    _, middle, _ = token.split(".")
    return json.loads(base64.urlsafe_b64decode(middle + "=="))


@pytest.fixture
def browser(client: FlaskClient, register: Callable[..., Account]) -> FlaskClient:
    """A browser, signed out; `ann` has an account."""
    register("ann", username="ann")
    return client


def test_pan_auth_signs_in_refreshes_and_signs_out(browser: FlaskClient) -> None:
    assert browser.get("/api/auth/check").json["authenticated"] is False
    body = {"email": "ann@example.com", "password": PASSWORD}
    reply = browser.post("/api/auth/login", json=body).json
    assert reply["token"]
    assert payload(reply["token"])["exp"]
    body = {"refreshToken": reply["refreshToken"]}
    again = browser.post("/api/auth/refresh", json=body, headers=bearer(reply["refreshToken"]))
    assert again.status_code == 200
    assert again.json["token"]
    # After a reload it holds no token: the cookie tells.
    check = browser.get("/api/auth/check").json
    assert (check["authenticated"], check["user"]) == (True, reply["user"])
    browser.post("/api/auth/logout", headers=bearer(again.json["token"]))
    assert browser.get("/api/auth/check").json["authenticated"] is False


def test_pan_auth_shows_why_login_failed(browser: FlaskClient) -> None:
    response = browser.post("/api/auth/login", json={"email": "ann@example.com", "password": "x"})
    assert response.status_code == 401
    assert response.json["error"] == "Invalid credentials"
    assert "token" not in response.json


@pytest.mark.parametrize("api", ["", "/api"])
def test_pan_jwt_refreshes_twice_with_the_same_token(browser: FlaskClient, api: str) -> None:
    browser = browser.application.test_client(use_cookies=False)
    reply = browser.post(f"{api}/auth/login", json={"username": "ann", "password": PASSWORD}).json
    claims = payload(reply["access_token"])
    assert claims["exp"] > claims["iat"]
    headers = {**bearer(reply["refresh_token"]), **JSON}
    for _ in range(2):  # it ignores the new refresh token
        response = browser.post(f"{api}/auth/refresh", headers=headers)
        assert response.status_code == 200
        token = response.json["access_token"]
        assert browser.get("/api/auth/me", headers=bearer(token)).status_code == 200
    assert browser.post(f"{api}/auth/logout", headers=bearer(token)).status_code == 200
    assert browser.post(f"{api}/auth/refresh", headers=headers).status_code == 401


def test_pan_data_connector_edits_a_table_by_cookie(browser: FlaskClient) -> None:
    def send(method: str, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body)
        return browser.open(f"/api/todos{path}", method=method, data=data, headers=JSON)

    assert send("GET", "").json == []  # on connect, before any login
    browser.post("/api/auth/login", json={"email": "ann@example.com", "password": PASSWORD})
    item = send("POST", "", {"title": "Milk", "completed": "false"})
    assert (item.status_code, item.json["completed"]) == (201, False)
    form = {key: str(value) for key, value in item.json.items()} | {"completed": "true"}
    item = send("PUT", f"/{item.json['id']}", form).json
    assert (item["title"], item["completed"]) == ("Milk", True)
    assert "ok" not in item  # the reply is merged over the item
    assert send("GET", f"/{item['id']}").json == item
    page = send("GET", "?q=milk&sort=title:asc&page=1&size=5&tags=a&tags=b&where=[object Object]")
    assert page.json["items"] == [item]
    for _ in range(2):
        gone = send("DELETE", f"/{item['id']}")
        assert (gone.status_code, gone.json["ok"]) == (200, True)
    assert send("GET", "").json == []
    missing = send("GET", f"/{item['id']}")
    assert (missing.status_code, missing.json["error"]) == (404, "Todo not found")


def test_todo_service_of_the_guide_from_another_port(client: FlaskClient) -> None:
    page = {"Origin": "http://localhost:5173"}

    def fetch(method: str, path: str = "", body: Any = None) -> Any:
        asked = {"Access-Control-Request-Method": method} | (
            {"Access-Control-Request-Headers": "content-type"} if body is not None else {}
        )
        allowed = client.options(f"/api/todos{path}", headers={**page, **asked})
        assert allowed.status_code == 200
        assert method in allowed.headers["Access-Control-Allow-Methods"]
        headers = page if body is None else {**page, **JSON}
        data = None if body is None else json.dumps(body)
        response = client.open(f"/api/todos{path}", method=method, data=data, headers=headers)
        assert response.headers["Access-Control-Allow-Origin"] == page["Origin"]
        return response

    assert fetch("GET").json == []
    todo = fetch("POST", body={"title": "Learn LARC"})
    assert todo.status_code == 201
    path = f"/{todo.json['id']}"
    assert fetch("PUT", path, {"completed": True}).json["title"] == "Learn LARC"
    assert fetch("POST", body={"title": ""}).json["error"] == "Title is required"
    assert [item["completed"] for item in fetch("GET").json] == [True]
    for _ in range(2):
        gone = fetch("DELETE", path)
        assert (gone.status_code, gone.data) == (204, b"")
    assert fetch("GET").json == []


@pytest.mark.parametrize("way", ["bearer", "cookie"])
def test_upload_component_of_the_guide(browser: FlaskClient, way: str) -> None:
    body = {"email": "ann@example.com", "password": PASSWORD}
    token = browser.post("/api/auth/login", json=body).json["accessToken"]
    if way == "bearer":
        browser = browser.application.test_client(use_cookies=False)
    headers = bearer(token) if way == "bearer" else {"X-File-Name": "a.png"}
    data = {"file": (io.BytesIO(PNG), "Foto ä.png", "image/png")}
    result = browser.post("/api/upload", data=data, headers=headers)
    assert result.status_code == 200
    assert result.json["url"] == f"/uploads/{result.json['filename']}"
    assert browser.get(result.json["url"], buffered=True).data == PNG
    path = f"/api/files/{result.json['id']}/download"
    download = browser.get(path, headers=headers, buffered=True)
    assert "Foto%20%C3%A4.png" in download.headers["Content-Disposition"]


def test_auth_manager_keeps_a_session_alive(browser: FlaskClient) -> None:
    browser = browser.application.test_client(use_cookies=False)
    body = {"username": "ann", "password": PASSWORD, "mfaCode": None, "rememberMe": True}
    reply = browser.post("/api/auth/login", json=body).json
    assert 90 <= reply["expires_in"] < 2_147_483
    assert "scope" not in reply
    user = reply["user"]
    assert (user["username"], user["name"], user["mfa_enabled"]) == ("ann", "Ann", False)
    assert user["roles"]  # its getHighestRole throws on an empty list
    assert isinstance(user["permissions"], list)
    for _ in range(2):
        body = {"refresh_token": reply["refresh_token"]}
        reply = browser.post("/api/auth/refresh", json=body).json
        assert reply["refresh_token"]
    headers = {"Authorization": f"{reply['token_type']} {reply['access_token']}"}
    assert browser.get("/api/auth/profile", headers=headers).json == user
    assert browser.post("/api/auth/logout", headers={**headers, **JSON}).status_code == 200
    assert browser.post("/api/auth/refresh", json=body).status_code == 401


@pytest.mark.parametrize("path", ["/auth/login", "/api/auth/login", "/api/login"])
def test_backend_adapters_read_the_login_reply(browser: FlaskClient, path: str) -> None:
    headers = {"Accept": "application/json", "X-Client": "Brolostack", "X-Client-Version": "1.0.2"}
    body = {"email": "ann@example.com", "password": PASSWORD}
    reply = browser.post(path, json=body, headers=headers).json
    assert reply["access_token"] == reply["token"] == reply["session"]["token"]
    assert reply["sessionId"]
    assert reply["createdAt"] < reply["expiresAt"]
    assert reply["user"]["id"]


def test_book_pages_send_json_as_text(browser: FlaskClient) -> None:
    body = json.dumps({"username": "ann", "password": PASSWORD})
    reply = browser.post("/api/login", data=body, content_type="text/plain;charset=UTF-8")
    assert reply.json["user"]["name"] == "Ann"
    token = browser.post("/api/refresh-token").json["token"]
    assert browser.get("/api/auth/me", headers=bearer(token)).status_code == 200


def test_infinite_list_ends_with_has_more_false(client: FlaskClient) -> None:
    for n in range(45):
        client.post("/api/todos", json={"title": str(n)})
    sizes, page = [], 1
    while True:
        reply = client.get(f"/api/todos?page={page}&limit=20").json
        sizes.append(len(reply["items"]))
        if not reply["hasMore"]:
            break
        page += 1
    assert sizes == [20, 20, 5]


def test_pages_of_a_blog_search_filter_and_page(browser: FlaskClient) -> None:
    """pan-query before a connector on `posts`, which repeats keys and stringifies objects."""
    browser.post("/api/login", json={"username": "ann", "password": PASSWORD})
    for title, tags in (("Boats", "sea,wood"), ("Anchors", "sea"), ("Crates", "wood")):
        body = json.dumps({"title": title, "tags": tags, "published": "on", "id": ""})
        assert browser.post("/api/posts", data=body, headers=JSON).status_code == 201

    def titles(query: str) -> list[str]:
        return [item["title"] for item in browser.get(f"/api/posts?{query}").json["items"]]

    assert titles("q=&sort=title:asc&page=1&size=2") == ["Anchors", "Boats"]
    assert titles("q=&sort=title:asc&page=2&size=2") == ["Crates"]
    assert titles("tags=sea&tags=wood&sort=title-desc&page=1") == ["Crates", "Boats", "Anchors"]
    assert titles("tag=sea&q=boa&filter=[object Object]&page=1&limit=20") == ["Boats"]
    assert [row["title"] for row in browser.get("/api/search?q=anchor").json] == ["Anchors"]


def test_widget_page_chats_and_hears_of_rules(
    make_app: Any, serve: Callable[..., Server], register: Callable[..., Account]
) -> None:
    server = serve(make_app(ANONYMOUS_CHAT=True))
    http = server.app.test_client()
    body = {"email": "sam@example.com", "password": PASSWORD}
    assert http.post("/api/auth/register", json=body).json["user"]["name"] == "sam"
    token = http.post("/api/auth/login", json=body).json["session"]["token"]
    widget, other = server.connect("/"), server.connect("/")
    for page in (widget, other):
        assert page.expect("system")["payload"]["message"]
    widget.send("auth", payload={"token": token}, clientId="client_1")
    assert widget.expect("auth_response")["payload"]["success"] is True
    said = {"content": "Ahoy", "sender": "sam", "timestamp": "2026-11-21T12:00:00Z"}
    widget.send("chat", payload=said, clientId="client_1")
    for page in (widget, other):
        assert page.expect("chat")["payload"]["content"] == "Ahoy"
    admin = make_admin(server.app, register("root"))
    rule = {"name": "Greeting", "content": "Say ahoy", "isActive": True, "priority": 3}
    stored = http.post("/api/context-rules", json=rule, headers=admin.headers).json
    for page in (widget, other):
        change = page.expect("database_change")
        assert (change["table"], change["eventType"]) == ("context_rules", "INSERT")
        assert change["new"] == stored
    assert http.get("/api/context-rules").json == [stored]


def test_reactive_page_loads_publishes_and_hears_of_jobs_and_rooms(
    client: FlaskClient, register: Callable[..., Account], talk: Callable[..., Any]
) -> None:
    ann, _ = register("ann"), register("bob")
    page = client.get("/users?limit=1", headers=ann.headers).json
    rest = client.get(f"/users?limit=1&next={page['next']}", headers=ann.headers).json
    assert [item["name"] for item in page["items"] + rest["items"]] == ["Bob", "Ann"]
    assert (page["total"], rest["next"]) == (2, None)
    assert client.get("/api/users/undefined", headers=ann.headers).status_code == 404
    item = {**client.get(f"/users/{ann.user['id']}", headers=ann.headers).json, "name": "Annie"}
    reply = client.post("/users", json=item, headers=ann.headers)
    assert (reply.status_code, reply.json["name"]) == (201, "Annie")
    socket = talk(ann)
    room = socket.demand("room:create", {"id": "deck", "name": "Deck"})
    assert room["ok"] is True
    job = client.post("/api/jobs", json={"items": [1, 2]}, headers=ann.headers).json
    client.patch(f"/api/jobs/{job['id']}", json={"processedItems": 1}, headers=ann.headers)
    while (told := socket.expect("job:progress"))["progress"] != 50:
        assert told["jobId"] == job["id"]
    socket.demand("room:lock", {"roomId": "deck", "isLocked": True})
    assert socket.expect("room:update")["isLocked"] is True
