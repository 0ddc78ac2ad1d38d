"""What is in a sync channel, over HTTP (routes/changes.py)."""

from typing import Any

import pytest
from flask.testing import FlaskClient

from tests.conftest import Account, Server, assert_error
from tests.replicas import Talker, rows_of

LIST = "/api/channels/list"


def change(pk: str, val: Any, number: int = 1, version: int = 1, cid: str = "text") -> list[Any]:
    return ["notes", pk, cid, val, version, number, "http", 1, 0]


def push(client: FlaskClient, account: Account, *changes: Any, **more: Any) -> Any:
    version = max((one[5] for one in changes if len(one) == 9), default=0)
    body = {"siteId": "http", "version": version, "changes": list(changes), **more}
    return client.post(f"{LIST}/changes", json=body, headers=account.headers)


def changes(client: FlaskClient, account: Account, words: str = "") -> Any:
    return client.get(f"{LIST}/changes?{words}", headers=account.headers).json


# Changes


def test_pushed_changes_are_merged_told_and_listed(
    client: FlaskClient, server: Server, ann: Account
) -> None:
    phone = Talker(server, ann, "phone", "list")
    phone.pull()
    told = push(client, ann, change("a", "x"), change("b", "y", 2)).json
    assert told == {
        "siteId": phone.greeting["siteId"], "version": 2, "serverVersion": 2, "refused": []
    }  # fmt: skip
    assert phone.next() == [change("a", "x"), change("b", "y", 2)]
    listed = changes(client, ann)
    assert listed["changes"] == [change("a", "x"), change("b", "y", 2)]
    assert (listed["version"], listed["hasMore"]) == (2, False)
    assert changes(client, ann, "since=1")["changes"] == [change("b", "y", 2)]
    assert changes(client, ann, "since=2")["changes"] == []
    assert changes(client, ann, "siteId=http")["changes"] == []


def test_a_repeat_does_no_harm(client: FlaskClient, ann: Account) -> None:
    push(client, ann, change("a", "x"))
    assert push(client, ann, change("a", "x")).json["serverVersion"] == 1


def test_a_repeat_that_comes_late_undoes_nothing(client: FlaskClient, ann: Account) -> None:
    push(client, ann, change("a", "x"))
    gone = change("a", None, 2, cid="-1")
    push(client, ann, gone)
    push(client, ann, change("a", "again", 3, 2))
    push(client, ann, gone)
    assert rows_of(changes(client, ann)["changes"], "notes") == {"a": {"text": "again"}}


def test_who_is_named_as_author_by_another_hears_of_it(
    client: FlaskClient, server: Server, ann: Account
) -> None:
    phone = Talker(server, ann, "phone", "list")
    phone.write("notes", "a", "text", "mine")
    phone.pull()
    push(client, ann, ["notes", "a", "text", "theirs", 2, 1, "phone", 1, 0])
    assert phone.next()[0][:5] == ["notes", "a", "text", "theirs", 2]


def test_a_tie_is_reissued(client: FlaskClient, server: Server, ann: Account) -> None:
    Talker(server, ann, "phone", "list").write("notes", "a", "text", "tea")
    push(client, ann, change("a", "coffee"))
    [cell] = changes(client, ann)["changes"]
    assert (cell[3], cell[4], cell[5] < 0) == ("coffee", 2, True)


def test_lives_are_counted_for_who_says_so(client: FlaskClient, ann: Account) -> None:
    body = {"siteId": "http", "version": 1}
    address = f"{LIST}/changes?kind=cl"
    later = ["notes", "a", "text", "x", 1, 1, "http", 3, 0]
    client.post(address, json={**body, "changes": [later]}, headers=ann.headers)
    assert [one[2:8:5] for one in changes(client, ann)["changes"]] == [["-1", 2], ["text", 3]]
    wrong = client.post(f"{LIST}/changes?kind=x", json={**body, "changes": []}, headers=ann.headers)
    assert "kind" in assert_error(wrong, 400)["errors"]


def test_bad_changes_are_refused_by_position(client: FlaskClient, ann: Account) -> None:
    leap = change("c", "z", 3, 2_000_000)
    told = push(client, ann, ["short"], change("a", "x"), leap).json
    assert [one["position"] for one in told["refused"]] == [0, 2]
    assert told["version"] == 3
    assert changes(client, ann)["changes"] == [change("a", "x")]


def test_a_long_push_is_merged_whole(client: FlaskClient, ann: Account) -> None:
    told = push(client, ann, *[change(str(n), n, n) for n in range(1, 2301)]).json
    assert (told["version"], told["serverVersion"]) == (2300, 2300)
    got: list[Any] = []
    since, more = 0, True
    while more:
        page = changes(client, ann, f"since={since}")
        got += page["changes"]
        since, more = page["version"], page["hasMore"]
    assert [one[3] for one in got] == list(range(1, 2301))


@pytest.mark.parametrize(
    "fields",
    [{"siteId": ""}, {"siteId": None}, {"version": -1}, {"version": 2**53}, {"changes": {}},
     {"changes": None}, {"siteId": "a\0"}],
)  # fmt: skip
def test_a_wrong_push_is_400_and_stores_nothing(
    client: FlaskClient, ann: Account, fields: dict[str, Any]
) -> None:
    push(client, ann, change("a", "x"))
    assert_error(push(client, ann, change("b", "y", 2), **fields), 400)
    assert changes(client, ann)["version"] == 1


def test_a_site_id_is_its_user_s_and_not_the_server_s(
    client: FlaskClient, server: Server, ann: Account, bob: Account
) -> None:
    made = client.post("/api/channels", json={"name": "list"}, headers=ann.headers).json
    body = {"role": "writer"}
    client.put(f"{LIST}/members/{bob.user['id']}", json=body, headers=ann.headers)
    push(client, ann, change("a", "x"))
    assert_error(push(client, bob, change("a", "mine", 2, 2)), 403)
    assert_error(push(client, ann, change("b", "y", 2), siteId=made["siteId"]), 400, "wrong_site")


@pytest.mark.parametrize("since", ["-1", "x", "1.5", "9" * 20])
def test_since_is_a_count(client: FlaskClient, ann: Account, since: str) -> None:
    push(client, ann, change("a", "x"))
    answer = client.get(f"{LIST}/changes?since={since}", headers=ann.headers)
    assert "since" in assert_error(answer, 400)["errors"]


def test_strangers_read_and_push_nothing(client: FlaskClient, ann: Account, bob: Account) -> None:
    push(client, ann, change("a", "x"))
    for path in ("changes", "tables/notes", "snapshot", "peers"):
        assert_error(client.get(f"{LIST}/{path}", headers=bob.headers), 403)
        assert_error(client.get(f"{LIST}/{path}"), 401)
        absent = client.get(f"/api/channels/absent/{path}", headers=bob.headers)
        assert_error(absent, 404, "channel_not_found")
    assert_error(push(client, bob, change("a", "mine")), 403)
    assert_error(client.put(f"{LIST}/snapshot", json={"changes": []}, headers=bob.headers), 403)


# Tables


def test_a_table_is_listed_as_rows(client: FlaskClient, ann: Account) -> None:
    push(
        client, ann,
        change("b", "two"), change("a", "one", 2), change("a", 5, 3, cid="stars"),
        change("c", "gone", 4), change("c", None, 5, cid="-1"),
        change("b", True, 6, cid="done"), change("b", None, 7, cid="due"),
    )  # fmt: skip
    rows = client.get(f"{LIST}/tables/notes", headers=ann.headers)
    assert rows.json == [
        {"pk": "a", "text": "one", "stars": 5},
        {"pk": "b", "text": "two", "done": True, "due": None},
    ]
    assert rows.headers["X-Total-Count"] == "2"
    assert client.get(f"{LIST}/tables/other", headers=ann.headers).json == []


@pytest.mark.parametrize(
    ("words", "pks"),
    [
        ("sort=-pk", ["c", "b", "a"]),
        ("sort=stars", ["b", "c", "a"]),
        ("sort=stars:desc", ["a", "c", "b"]),
        ("text=two", ["b"]),
        ('where={"stars":{"gt":1}}', ["a", "c"]),
        ("pk=a", ["a"]),
        ("q=B", ["b"]),
    ],
)
def test_rows_follow_the_list_rule(
    client: FlaskClient, ann: Account, words: str, pks: list[str]
) -> None:
    for number, (pk, text, stars) in enumerate([("a", "one", 9), ("b", "two", 1), ("c", "x", 2)]):
        push(
            client,
            ann,
            change(pk, text, 2 * number + 1),
            change(pk, stars, 2 * number + 2, cid="stars"),
        )
    rows = client.get(f"{LIST}/tables/notes?{words}", headers=ann.headers).json
    assert [row["pk"] for row in rows] == pks


def test_rows_come_in_pages(client: FlaskClient, ann: Account) -> None:
    push(client, ann, *[change(f"{n:03}", n, n) for n in range(1, 26)])
    page = client.get(f"{LIST}/tables/notes?limit=10", headers=ann.headers).json
    got = [row["pk"] for row in page["items"]]
    assert (page["total"], page["hasMore"]) == (25, True)
    while page["next"]:
        words = f"limit=10&next={page['next']}"
        page = client.get(f"{LIST}/tables/notes?{words}", headers=ann.headers).json
        got += [row["pk"] for row in page["items"]]
    assert got == [f"{n:03}" for n in range(1, 26)]


def test_odd_texts_and_keys_are_listed(client: FlaskClient, ann: Account) -> None:
    odd = 'é"\\\u2028\ud83d\ude00\0'
    push(client, ann, change('k"y', odd, 1, cid='c"d'))
    assert client.get(f"{LIST}/tables/notes", headers=ann.headers).json == [
        {"pk": 'k"y', 'c"d': odd.encode("utf-16", "surrogatepass").decode("utf-16")}
    ]


@pytest.mark.parametrize("words", ["text=two", "sort=text", 'where={"text":{"contains":"w"}}'])
def test_a_text_with_nul_does_not_keep_others_from_being_found(
    client: FlaskClient, ann: Account, words: str
) -> None:
    push(client, ann, change("a", "x\0\\u0000"), change("b", "two", 2))
    rows = client.get(f"{LIST}/tables/notes?{words}", headers=ann.headers).json
    assert rows[0] == {"pk": "b", "text": "two"}
    shown = client.get(f"{LIST}/tables/notes", headers=ann.headers).json
    assert shown[0] == {"pk": "a", "text": "x\0\\u0000"}


def test_rows_come_in_pages_by_a_cell_that_is_called_id(client: FlaskClient, ann: Account) -> None:
    cells = [change(str(n), n % 2, n, cid="id") for n in range(1, 4)]
    push(client, ann, *cells, *[change(str(n), n, n) for n in range(4, 6)])
    page, got = {"next": ""}, []
    while page["next"] is not None:
        words = f"sort=id&limit=1&next={page['next']}"
        page = client.get(f"{LIST}/tables/notes?{words}", headers=ann.headers).json
        got += [row["pk"] for row in page["items"]]
    assert got == ["2", "3", "1", "5", "4"]


@pytest.mark.parametrize("table", ["%00", "a%00b", "a" * 1025])
def test_what_cannot_be_a_table_is_400(client: FlaskClient, ann: Account, table: str) -> None:
    push(client, ann, change("a", "x"))
    answer = client.get(f"{LIST}/tables/{table}", headers=ann.headers)
    assert_error(answer, 400, "bad_table")


# Snapshots


def test_a_channel_goes_back_to_its_snapshot(
    client: FlaskClient, server: Server, ann: Account
) -> None:
    push(client, ann, change("a", "x"), change("b", "y", 2), change("c", "z", 3))
    push(client, ann, change("c", None, 4, cid="-1"))
    saved = client.get(f"{LIST}/snapshot", headers=ann.headers)
    assert "attachment" in saved.headers["Content-Disposition"]
    body = {"changes": saved.json["changes"]}
    phone = Talker(server, ann, "phone", "list")
    assert set(rows_of(phone.pull(), "notes")) == {"a", "b"}
    push(
        client,
        ann,
        change("a", "changed", 5, 2),
        change("d", "new", 6),
        change("a", 5, 7, cid="stars"),
    )
    push(client, ann, change("b", None, 8, cid="-1"))
    told = client.put(f"{LIST}/snapshot", json=body, headers=ann.headers)
    assert told.status_code == 200
    expected = {"a": {"text": "x", "stars": None}, "b": {"text": "y"}}
    assert rows_of(changes(client, ann)["changes"], "notes") == expected
    again = client.put(f"{LIST}/snapshot", json=body, headers=ann.headers)
    assert again.json == told.json
    heard: list[Any] = []
    while ["notes", "a", "text", "x"] not in [one[:4] for one in heard]:
        heard += phone.next()
    assert rows_of(heard, "notes")["a"] == {"text": "x", "stars": None}


def test_who_reads_a_snapshot_slowly_holds_no_connection(
    client: FlaskClient, ann: Account, held: set[Any]
) -> None:
    push(client, ann, *[change(str(n), n, n) for n in range(1, 1501)])
    answer = client.get(f"{LIST}/snapshot", headers=ann.headers, buffered=False)
    assert [len(held) for _ in answer.iter_encoded()] == [0] * 4


def test_a_snapshot_goes_to_another_channel(
    client: FlaskClient, ann: Account, bob: Account
) -> None:
    push(client, ann, *[change(str(n), n, n) for n in range(1, 1501)])
    saved = client.get(f"{LIST}/snapshot", headers=ann.headers).json
    assert saved["version"] == 1500
    client.post("/api/channels", json={"name": "copy"}, headers=bob.headers)
    body = {"changes": saved["changes"]}
    address = "/api/channels/copy/snapshot"
    assert client.put(address, json=body, headers=bob.headers).json["version"] == 1500
    rows = client.get("/api/channels/copy/tables/notes?limit=1", headers=bob.headers).json
    assert rows["total"] == 1500


def test_a_snapshot_of_todos_brings_the_todos_back(
    client: FlaskClient, server: Server, ann: Account
) -> None:
    Talker(server, ann, "phone").write("todos", "a", "title", "Milk")
    address = "/api/channels/default/snapshot"
    saved = client.get(address, headers=ann.headers).json
    row = client.get("/api/todos", headers=ann.headers).json[0]
    client.delete(f"/api/todos/{row['id']}", headers=ann.headers)
    client.post("/api/todos", json={"title": "Rice"}, headers=ann.headers)
    client.put(address, json={"changes": saved["changes"]}, headers=ann.headers)
    shown = client.get("/api/todos", headers=ann.headers).json
    assert [one["title"] for one in shown] == ["Milk"]


@pytest.mark.parametrize("bad", [["short"], None, change("a", {"no": 1}), change("", "x")])
def test_a_bad_snapshot_changes_nothing(client: FlaskClient, ann: Account, bad: Any) -> None:
    push(client, ann, change("a", "x"))
    body = {"changes": [change("b", "y"), bad]}
    assert_error(client.put(f"{LIST}/snapshot", json=body, headers=ann.headers), 400, "bad_change")
    assert changes(client, ann)["changes"] == [change("a", "x")]


def test_a_snapshot_with_what_the_channel_does_not_take_changes_nothing(
    client: FlaskClient, ann: Account
) -> None:
    push(client, ann, change("a", "x"))
    schemas = {"notes": {"properties": {"text": {"maxLength": 3}}}}
    client.patch(LIST, json={"tables": ["notes"], "schemas": schemas}, headers=ann.headers)
    for bad in (change("b", "long"), ["more", *change("b", "y")[1:]]):
        body = {"changes": [change("a", "z"), bad]}
        assert_error(client.put(f"{LIST}/snapshot", json=body, headers=ann.headers), 400)
    assert changes(client, ann)["changes"] == [change("a", "x")]
