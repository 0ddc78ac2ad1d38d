"""Messages over HTTP: paging both ways, editing, deleting."""

from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from models import User, db
from tests.conftest import Account, Server, assert_error
from tests.test_room_list import ROOMS, make, say, told
from tests.test_rooms import texts

MESSAGES = f"{ROOMS}/club/messages"


@pytest.fixture
def message(client: FlaskClient, ann: Account, bob: Account) -> Any:
    """Said by bob in the room of ann."""
    make(client, ann, id="club", members=[bob.user["id"]])
    return say(client, "club", bob, "first")


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("before={2}", "ab"),
        ("before={4}&limit=2", "cd"),
        ("after={1}", "cde"),
        ("after={1}&limit=2", "cd"),
        ("after={1}&limit=2&page=2", "e"),
        ("after={0}&before={4}", "bcd"),
        ("after={1}&sort=-id", "edc"),
        ("after={4}", ""),
        ("before={0}", ""),
        ("before=&after=null", "abcde"),
        ("before=999999999999999", "abcde"),
    ],
)
def test_history_is_paged_both_ways(
    client: FlaskClient, ann: Account, query: str, expected: str
) -> None:
    ids = [say(client, "club", ann, text)["id"] for text in "abcde"]
    assert "".join(texts(client, f"{MESSAGES}?{query.format(*ids)}", ann)) == expected


@pytest.mark.parametrize("query", ["before=0", "after=-1", "before=x", "after=1.5"])
def test_bad_bound_is_400(client: FlaskClient, ann: Account, query: str) -> None:
    body = assert_error(client.get(f"{MESSAGES}?{query}", headers=ann.headers), 400)
    assert query.partition("=")[0] in body["errors"]


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
def test_own_message_is_edited_and_told(
    app: Flask, client: FlaskClient, bob: Account, message: Any, method: str
) -> None:
    path = f"{MESSAGES}/{message['id']}"
    answer = client.open(path, method=method, json={"content": "second"}, headers=bob.headers)
    assert answer.json.pop("editedAt").endswith("Z")
    edited = client.get(MESSAGES, headers=bob.headers).json[0]
    assert edited["editedAt"] >= edited["createdAt"]
    assert edited == {**message, "content": "second", "editedAt": edited["editedAt"]}
    assert told(app, "room:club")[-1] == ("message-edited", {"roomId": "club", "message": edited})


@pytest.mark.parametrize("content", ["", None, "a\0b", 1])
def test_bad_edit_changes_nothing(
    client: FlaskClient, bob: Account, message: Any, content: Any
) -> None:
    path = f"{MESSAGES}/{message['id']}"
    assert_error(client.patch(path, json={"content": content}, headers=bob.headers), 400)
    assert texts(client, MESSAGES, bob) == ["first"]


@pytest.mark.parametrize("role", ["owner", "member", "admin"])
def test_nobody_edits_for_others_and_moderators_delete(
    app: Flask, client: FlaskClient, ann: Account, message: Any, register: Any, role: str
) -> None:
    account = ann if role == "owner" else register("cid")
    if role == "admin":
        with app.app_context():
            db.session.get(User, account.user["id"]).role = "admin"
            db.session.commit()
    path = f"{MESSAGES}/{message['id']}"
    assert_error(client.patch(path, json={"content": "x"}, headers=account.headers), 403)
    status = client.delete(path, headers=account.headers).status_code
    assert status == (403 if role == "member" else 204)
    assert texts(client, MESSAGES, ann) == (["first"] if role == "member" else [])


def test_deleted_message_is_gone_from_what_is_replayed_too(
    app: Flask, client: FlaskClient, server: Server, ann: Account, bob: Account, message: Any
) -> None:
    other = say(client, "club", bob, "other")
    path = f"{MESSAGES}/{message['id']}"
    client.patch(path, json={"content": "first, again"}, headers=bob.headers)
    assert client.delete(path, headers=bob.headers).status_code == 204
    assert_error(client.delete(path, headers=bob.headers), 404, "message_not_found")
    gone = {"roomId": "club", "messageId": message["id"]}
    events = told(app, "room:club")
    assert [data for type, data in events if type == "message-deleted"] == [gone] * 3
    assert [data["message"] for type, data in events if type == "chat-message"] == [other]
    peer = server.chat(ann)
    peer.send("join-room", roomId="club", since=0)
    frames = peer.until_pong()
    seqs = [frame["seq"] for frame in frames if frame["type"] != "user-joined"]
    assert seqs == list(range(1, len(events) + 1))
    assert "first" not in str(frames)


@pytest.mark.parametrize("method", ["PATCH", "DELETE"])
@pytest.mark.parametrize("message_id", ["0", "x", "%00", "9" * 30, "1e3"])
def test_unknown_message_is_404(
    client: FlaskClient, bob: Account, message: Any, method: str, message_id: str
) -> None:
    path = f"{MESSAGES}/{message_id}"
    answer = client.open(path, method=method, json={"content": "x"}, headers=bob.headers)
    assert_error(answer, 404, "message_not_found")


@pytest.mark.parametrize("method", ["PATCH", "DELETE"])
def test_message_of_another_room_is_404(
    client: FlaskClient, bob: Account, message: Any, method: str
) -> None:
    make(client, bob, id="other")
    path = f"{ROOMS}/other/messages/{message['id']}"
    answer = client.open(path, method=method, json={"content": "x"}, headers=bob.headers)
    assert_error(answer, 404, "message_not_found")
