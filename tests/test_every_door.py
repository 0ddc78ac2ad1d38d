"""Every route and every socket address refuses who is not signed in, but for those listed here.

A new route is found by itself: guard it, or say below why it is public.
"""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from flask_jwt_extended import create_access_token
from simple_websocket import ConnectionClosed
from sqlalchemy import select

import auth
from models import File, db
from tests.accounts import ANN, LOGIN, LOGOUT, bearer, cookie_of
from tests.conftest import Account, Server, assert_error
from tests.streams import is_endless
from tests.uploads import UPLOAD, form

PUBLIC = {  # by endpoint: why whoever comes is let in, with whatever token
    "static": "files of the console, the same for everybody",
    "api_docs.show_document": "tells what there is, and nothing of anybody",
    "api_docs.show_page": "shows it",
    "api_docs.show_asset": "the files of that page",
    "pages.show_page": "the console itself, which signs in",
    "pages.show_config": "where the sockets are: asked before the sign-in",
    "health.show_health": "asked by those who watch the server",
    "health.show_metrics": "for callers on the same machine, or with METRICS_TOKEN",
    "notifications.show_key": "a public key, the same for everybody",
    "auth.register": "makes the account",
    "auth.login": "opens the session",
    "auth.logout": "signed out already is signed out",
    "auth.check": "says whether one is signed in",
    "auth.begin": "gives a CSRF token before the sign-in",
    "auth.act": "picks one of the doors of auth, which is tried below",
    "passwords.request_reset": "for who cannot sign in",
    "passwords.confirm_reset": "for who cannot sign in; needs the token of the mail",
    "downloads.show_upload": "by a name that cannot be guessed, as pages show images",
    "downloads.show_thumbnail": "by a name that cannot be guessed, as pages show images",
    "links.follow_link": "by a signed address, which is what a link is for",
    "tus.overridden": "picks one of the doors of tus, which are tried below",
}
NO_TOKEN_NEEDED = {  # open to who shows no token at all; a bad token is refused
    "search.search_posts": "posts are for everybody",
    "search.list_tags": "posts are for everybody",
    "comments.list_rows": "posts are for everybody",
    "comments.show_row": "posts are for everybody",
    "posts.list_rows": "posts are for everybody",
    "posts.show_row": "posts are for everybody",
    "posts.list_comments": "posts are for everybody",
    "categories.list_rows": "posts are for everybody",
    "categories.show_row": "posts are for everybody",
    "collections.list_collections": "those that are public are for everybody",
    "context_rules.list_rows": "widgets of visitors read them",
    "context_rules.show_row": "widgets of visitors read them",
}
PUBLIC_TODOS = {  # open as well where the setting has the shared list
    f"todos.{name}"
    for name in (
        *("list_rows", "create_row", "create_rows", "show_row", "update_row"),
        *("delete_row", "delete_rows"),
    )
}
ACTIONS = {  # of `/api/auth?action=`: what each answers to nobody
    ("POST", "login"): 400,
    ("POST", "refresh"): 401,
    ("POST", "logout"): 200,
    ("GET", "check"): 200,
    ("POST", "check"): 200,
    ("GET", "csrf"): 200,
    ("POST", "csrf"): 200,
}
SOCKETS = {
    "/": 4001,
    "/ws": 4001,
    "/ws/me": 401,
    "/?channel=default": 401,
    "/sync": 401,
    "/sync?channel=x": 401,
}
Door = tuple[str, str]  # method and address


# Bad tokens


def expired_access(app: Flask, ann: Account) -> str:
    past = timedelta(seconds=-1)
    with app.app_context():
        claims = {"sid": auth.claims_of(ann.token)["sid"]}
        return create_access_token(
            str(ann.user["id"]), expires_delta=past, additional_claims=claims
        )


def ended(app: Flask) -> Account:
    """Ann on a device that has signed out."""
    client = app.test_client(use_cookies=False)
    account = Account(client.post(LOGIN, json=ANN).json, ANN["email"])
    assert client.post(LOGOUT, headers=account.headers).json == {"ok": True}
    return account


def no_token(app: Flask, ann: Account) -> dict[str, str]:
    return {}


def expired_bearer(app: Flask, ann: Account) -> dict[str, str]:
    return bearer(expired_access(app, ann))


def ended_bearer(app: Flask, ann: Account) -> dict[str, str]:
    return bearer(ended(app).token)


def ended_cookie(app: Flask, ann: Account) -> dict[str, str]:
    return {"Cookie": f"{auth.COOKIE}={cookie_of(app, ended(app))}"}


def refresh_as_cookie(app: Flask, ann: Account) -> dict[str, str]:
    return {"Cookie": f"{auth.COOKIE}={ann.refresh_token}"}


def cookie_as_bearer(app: Flask, ann: Account) -> dict[str, str]:
    return bearer(cookie_of(app, ann))


def refresh_as_bearer(app: Flask, ann: Account) -> dict[str, str]:
    return bearer(ended(app).refresh_token)


BAD = [
    expired_bearer,
    ended_bearer,
    ended_cookie,
    refresh_as_bearer,
    refresh_as_cookie,
    cookie_as_bearer,
]


# Routes


@pytest.fixture
def values(app: Flask, ann: Account) -> dict[str, Any]:
    """What the parts of addresses can be: all of it is there, and Ann's."""
    client = app.test_client(use_cookies=False)
    todo = client.post("/api/todos", json={"title": "milk"}, headers=ann.headers).json
    body = {"title": "x", "published": True}
    post = client.post("/api/posts", json=body, headers=ann.headers).json
    body = {"content": "x", "post_id": post["id"]}
    comment = client.post("/api/comments", json=body, headers=ann.headers).json
    client.post("/api/collections/notes", json={"id": "n"}, headers=ann.headers)
    client.post("/api/channels", json={"name": "crew"}, headers=ann.headers)
    body = {"role": "reader"}
    invite = client.post("/api/channels/crew/invites", json=body, headers=ann.headers).json
    job = client.post("/api/jobs", json={}, headers=ann.headers).json
    file = client.post(UPLOAD, headers=ann.headers, **form()).json
    path = f"/api/files/{file['id']}/links"
    link = client.post(path, json={}, headers=ann.headers).json
    folder = client.post("/api/folders", json={"name": "x"}, headers=ann.headers).json
    begin = {"Upload-Length": "9", "Upload-Metadata": "filename YS5wbmc=", "Tus-Resumable": "1.0.0"}
    upload = client.post("/api/tus", headers=ann.headers | begin)
    client.post("/api/rooms/lobby/messages", json={"content": "hi"}, headers=ann.headers)
    with app.app_context():
        stored = db.session.scalars(select(File.filename)).one()
        session_id = auth.claims_of(ann.token)["sid"]
    return {
        "filename": stored,
        "session_id": session_id,
        "user_id": ann.user["id"],
        "todos": todo["id"],
        "posts": post["id"],
        "post_id": post["id"],
        "comments": comment["id"],
        "categories": 1,
        "collection": "notes",
        "items": "n",
        "channel_id": "crew",
        "table": "notes",
        "invite_id": invite["id"],
        "context_rules": 1,
        "room_id": "lobby",
        "message_id": "1",
        "notification_id": "1",
        "file_id": file["id"],
        "job_id": job["id"],
        "files": file["id"],
        "folders": folder["id"],
        "number": 1,
        "size": "small",
        "link_id": link["id"],
        "token": link["url"].rpartition("/")[2],
        "upload_id": upload.headers["Location"].rpartition("/")[2],
    }


def doors(app: Flask, values: dict[str, Any]) -> dict[Door, str]:
    """Every method and address of the app, with its endpoint; a preflight is for everybody."""
    found = {}
    with app.test_request_context():
        adapter = app.url_map.bind("localhost")
        for rule in app.url_map.iter_rules():
            if not is_endless(rule):
                ids = {"row_id": values.get(rule.endpoint.partition(".")[0])}
                words = {name: {**values, **ids}[name] for name in rule.arguments}
                built = rule.build(words, append_unknown=False)
                assert built, rule
                for method in (rule.methods or set()) - {"OPTIONS"}:
                    found[method, built[1]] = rule.endpoint
                    assert adapter.match(built[1], method)[0] == rule.endpoint
    return found


def open_doors(app: Flask, headers: dict[str, str], all_doors: dict[Door, str]) -> set[Door]:
    """The doors that do not answer a 401 in the one error shape."""
    client = app.test_client(use_cookies=False)
    found = set()
    for method, path in all_doors:
        response = client.open(path, method=method, headers=headers, buffered=True)
        assert response.status_code < 500 or response.status_code == 503, path
        if response.status_code != 401:
            found.add((method, path))
        elif method != "HEAD":
            assert_error(response, 401, "unauthorized")
    return found


def behind(endpoints: set[str], all_doors: dict[Door, str]) -> set[Door]:
    """The doors of these endpoints, each of which there is."""
    assert endpoints <= set(all_doors.values())
    return {door for door, endpoint in all_doors.items() if endpoint in endpoints}


@pytest.mark.parametrize("make", BAD)
def test_a_bad_token_opens_only_what_is_public(
    app: Flask, ann: Account, values: dict[str, Any], make: Any
) -> None:
    all_doors = doors(app, values)
    assert open_doors(app, make(app, ann), all_doors) == behind(set(PUBLIC), all_doors)


@pytest.mark.parametrize("public_todos", [True, False])
def test_without_a_token_only_what_is_public_is_open(
    make_app: Any, values: dict[str, Any], public_todos: bool
) -> None:
    app = make_app(PUBLIC_TODOS=public_todos)
    all_doors = doors(app, values)
    expected = {*PUBLIC, *NO_TOKEN_NEEDED, *(PUBLIC_TODOS if public_todos else ())}
    assert open_doors(app, {}, all_doors) == behind(expected, all_doors)


def test_a_good_token_opens_every_door(app: Flask, ann: Account, values: dict[str, Any]) -> None:
    """Or the refusals above would say nothing."""
    all_doors = doors(app, values)
    refreshes = behind({"auth.refresh"}, all_doors)  # these want a refresh token
    leaving = ("auth.logout", "sessions.end_session", "users.delete_user")
    stay = {door: name for door, name in all_doors.items() if name not in leaving}
    assert open_doors(app, ann.headers, stay) == set(stay) - refreshes
    client = app.test_client(use_cookies=False)
    for method, path in refreshes:
        response = client.open(path, method=method, headers=bearer(ann.refresh_token))
        assert response.status_code == 200
        cookie = {"Cookie": f"{auth.COOKIE}={cookie_of(app, ann)}"}
        assert client.open(path, method=method, headers=cookie).status_code == 200


def test_a_new_route_without_a_guard_is_noticed(make_app: Any, values: dict[str, Any]) -> None:
    app = make_app()
    app.add_url_rule("/api/new/<job_id>", "new", lambda job_id: {"secret": job_id})
    all_doors = doors(app, values)
    path = f"/api/new/{values['job_id']}"
    new = open_doors(app, {}, all_doors) - behind(
        {*PUBLIC, *NO_TOKEN_NEEDED, *PUBLIC_TODOS}, all_doors
    )
    assert new == {("GET", path), ("HEAD", path)}


def test_a_preflight_tells_nothing(app: Flask, values: dict[str, Any]) -> None:
    client = app.test_client(use_cookies=False)
    for _, path in doors(app, values):
        response = client.options(path)
        assert (response.status_code, response.data) == (200, b""), path


@pytest.mark.parametrize("make", [no_token, *BAD])
def test_each_action_is_as_open_as_its_route(app: Flask, ann: Account, make: Any) -> None:
    headers, client = make(app, ann), app.test_client(use_cookies=False)
    answers = {
        (method, action): client.open(f"/api/auth?action={action}", method=method, headers=headers)
        for method, action in ACTIONS
    }
    assert {key: response.status_code for key, response in answers.items()} == ACTIONS
    for key in [key for key, status in ACTIONS.items() if status >= 400]:
        assert_error(answers[key], ACTIONS[key])
    for action in ("check", "csrf"):
        assert answers["GET", action].json["authenticated"] is False


def test_each_action_is_tried_here() -> None:
    from routes.auth import ACTIONS as actions

    assert set(actions) == set(ACTIONS)


# Sockets


def in_address(word: str, make: Callable[[Flask, Account], str]) -> Any:
    """Shows what `make` gives as `?word=` instead of in a header."""

    def build(app: Flask, ann: Account) -> str:
        return f"{word}={make(app, ann)}"

    return pytest.param(build, id=f"{word} {make.__name__}")


def ended_access(app: Flask, ann: Account) -> str:
    return ended(app).token


def ended_refresh(app: Flask, ann: Account) -> str:
    return ended(app).refresh_token


def live_refresh(app: Flask, ann: Account) -> str:
    return ann.refresh_token


IN_ADDRESS = [
    in_address(word, make)
    for word in ("token", "access_token", "ticket")
    for make in (expired_access, ended_access, ended_refresh, live_refresh, cookie_of)
]


def assert_refused(server: Server, path: str, headers: dict[str, str], query: str = "") -> None:
    """The socket closes with 4001 before any frame, or the answer to the handshake is 401."""
    address = f"{path}{'&' if '?' in path else '?'}{query}"
    if SOCKETS[path] == 401:
        assert_error(server.refusal(address, None, **headers), 401, "unauthorized")
        return
    with pytest.raises(ConnectionClosed) as closed:
        server.connect(address, None, **headers).receive()
    assert closed.value.reason == 4001


def test_each_socket_address_is_tried_here(app: Flask) -> None:
    rules = (rule for rule in app.url_map.iter_rules() if rule.websocket)
    # Socket.IO says who one is in a packet: test_socketio.py tries that.
    served = {rule.rule for rule in rules if not rule.endpoint.startswith("socketio.")}
    adapter = app.url_map.bind("localhost")
    paths = {path.partition("?")[0] for path in SOCKETS}
    tried = {adapter.match(path, websocket=True, return_rule=True)[0].rule for path in paths}
    assert served == tried


@pytest.mark.parametrize("make", [no_token, *BAD])
@pytest.mark.parametrize("path", SOCKETS)
def test_a_bad_token_opens_no_socket(server: Server, ann: Account, path: str, make: Any) -> None:
    assert_refused(server, path, make(server.app, ann))


@pytest.mark.parametrize("make", IN_ADDRESS)
@pytest.mark.parametrize("path", SOCKETS)
def test_a_bad_token_in_the_address_opens_no_socket(
    server: Server, ann: Account, path: str, make: Any
) -> None:
    query = make(server.app, ann)
    assert_refused(server, path, {}, query)


@pytest.mark.parametrize("path", SOCKETS)
def test_a_good_token_opens_every_socket(server: Server, ann: Account, path: str) -> None:
    peer = server.connect(path, ann)
    assert peer.ask("ping", "pong") if path == "/ws/me" else peer.expect("connected")
