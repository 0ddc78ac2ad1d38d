"""`@username` in a chat message notifies that user, if they may read the room."""

from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import select

import notifications
from models import Member, Notification, Room, User, db, now
from tests.conftest import Account, Server

LOBBY = "/api/rooms/lobby/messages"


@pytest.fixture
def named(register: Callable[..., Account]) -> Callable[[str], Account]:
    """Registers accounts with a username: `named("bob")`."""

    def make(name: str) -> Account:
        return register(name, username=name)

    return make


def told(client: FlaskClient, account: Account) -> list[dict[str, Any]]:
    items = client.get("/api/notifications", headers=account.headers).json
    return [{name: item[name] for name in ("title", "message", "link")} for item in items]


def say(client: FlaskClient, account: Account, content: str, path: str = LOBBY) -> None:
    answer = client.post(path, json={"content": content}, headers=account.headers)
    assert answer.status_code == 201, answer.json


@pytest.mark.parametrize(
    ("content", "names"),
    [
        ("@ann", ["ann"]),
        ("hi @ann, and @bob!", ["ann", "bob"]),
        ("@Ann @ANN @ann", ["ann"]),
        ("(@ann) @bob: @cy?", ["ann", "bob", "cy"]),
        ("ends with @ann.", ["ann"]),
        ("@a.b-c_d", ["a.b-c_d"]),
        ("line\n@ann", ["ann"]),
        ("«@ann»", ["ann"]),
        ("ann@example.com", []),
        ("@ann@example.com", []),
        ("@@ann", []),
        ("@", []),
        ("@ ann", []),
        ("@-ann", []),
        ("@annä", []),
        ("ä@ann", []),
        ("@\u212aim", []),  # a Kelvin sign is no k
        ("@" + "x" * 100, ["x" * 100]),
        ("@" + "x" * 101, []),
        (" ".join(f"@u{i}" for i in range(60)), [f"u{i}" for i in range(50)]),
    ],
)
def test_names_after_an_at_sign_are_found(content: str, names: list[str]) -> None:
    assert notifications.mentioned(content) == names


@pytest.mark.parametrize("part", ["@", "@a", "@a-", "@-", "a@a.", "@a" + "-" * 99])
def test_worst_text_is_read_in_time(part: str) -> None:
    from time import perf_counter

    start = perf_counter()
    notifications.mentioned((part * 100_000)[:100_000])
    assert perf_counter() - start < 1


def test_mentioned_user_is_notified_once_per_message(
    client: FlaskClient, ann: Account, named: Callable[[str], Account]
) -> None:
    bob, cy = named("bob"), named("cy")
    say(client, ann, "@bob, @Bob and @cy: " + "x" * 300)
    expected = {
        "title": "Ann mentioned you in lobby",
        "message": "@bob, @Bob and @cy: " + "x" * 180,
        "link": "/?room=lobby",
    }
    assert told(client, bob) == told(client, cy) == [expected]
    assert told(client, ann) == []


def test_mention_by_socket_is_told_at_once_and_not_again_by_a_retry(
    server: Server, client: FlaskClient, ann: Account, named: Callable[[str], Account]
) -> None:
    bob = named("bob")
    sender, hearer = server.chat(ann), server.chat(bob)
    for _ in range(2):
        sender.ask("chat-message", "ack", roomId="lobby", content="@bob", id=1)
    frame = hearer.expect("notification")
    assert (frame["title"], frame["unread"]) == ("Ann mentioned you in lobby", 1)
    assert hearer.until_pong() == []
    assert len(told(client, bob)) == 1


def test_senders_and_unknown_names_are_not_notified(
    app: Flask, client: FlaskClient, named: Callable[[str], Account]
) -> None:
    say(client, named("ann"), "@ann @nobody @all")
    with app.app_context():
        assert db.session.scalars(select(Notification)).all() == []


@pytest.mark.parametrize(
    ("kind", "seat", "heard"),
    [
        ("public", None, True),
        ("public", {}, True),
        ("public", {"is_muted": True}, True),
        ("public", {"is_banned": True}, False),
        ("private", None, False),
        ("private", {}, True),
        ("private", {"is_banned": True}, False),
        ("direct", None, False),
        ("direct", {}, True),
    ],
)
def test_only_who_may_read_the_room_is_notified(
    app: Flask,
    client: FlaskClient,
    ann: Account,
    named: Callable[[str], Account],
    kind: str,
    seat: dict[str, bool] | None,
    heard: bool,
) -> None:
    bob = named("bob")
    elsewhere = Member(room_id="other", user_id=bob.user["id"])
    with app.app_context():
        for room_id in ("den", "other"):
            db.session.add(Room(id=room_id, kind=kind, name="Den", created_at=now()))
        db.session.flush()
        db.session.add_all([Member(room_id="den", user_id=ann.user["id"]), elsewhere])
        if seat is not None:
            db.session.add(Member(room_id="den", user_id=bob.user["id"], **seat))
        db.session.commit()
    say(client, ann, "@bob", "/api/rooms/den/messages")
    title = "Ann mentioned you" if kind == "direct" else "Ann mentioned you in Den"
    assert [item["title"] for item in told(client, bob)] == ([title] if heard else [])


def test_link_quotes_the_room(
    client: FlaskClient, ann: Account, named: Callable[[str], Account]
) -> None:
    bob = named("bob")
    say(client, ann, "@bob", "/api/rooms/a%26b%20%3F/messages")
    assert told(client, bob)[0]["link"] == "/?room=a%26b%20%3F"


def test_message_without_an_at_sign_costs_nothing(
    client: FlaskClient, ann: Account, named: Callable[[str], Account], statements: Any
) -> None:
    named("bob")
    say(client, ann, "first")
    with statements() as plain:
        say(client, ann, "nobody is named")
    with statements() as naming:
        say(client, ann, "@bob")
    assert len(naming) > len(plain)
    tables = ("notifications", User.__tablename__ + ".username IN")
    assert not [text for text in plain if any(table in text for table in tables)]
