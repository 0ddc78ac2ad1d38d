"""The sync dialect over real sockets: the contract of docs/sync.md."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from sqlalchemy.exc import OperationalError

import channels
import crdt_store
from models import CrdtChange, CrdtPeer, db
from sockets.flusher import Flusher, Job
from tests.conftest import Account, Peer, Server, assert_error


def change(pk: str, val: Any, version: int = 1, site: str = "aa", cid: str = "title") -> list[Any]:
    return ["todos", pk, cid, val, version, version, site, 1, 0]


def push(peer: Peer, *changes: list[Any], site: str = "aa") -> dict[str, Any]:
    version = max((one[5] for one in changes), default=0)
    return peer.ask("update", "ack", siteId=site, version=version, changes=list(changes))


def pull(peer: Peer, site: str, version: int = 1) -> list[list[Any]]:
    peer.send("pull", siteId=site, version=version)
    return peer.expect("update")["changes"]


@pytest.fixture
def sync(server: Server, ann: Account) -> Callable[..., Peer]:
    def connect(path: str = "/sync", account: Account = ann) -> Peer:
        return server.connect(path, account)

    return connect


def test_a_replica_is_told_the_server_site_and_version(sync: Callable[..., Peer]) -> None:
    first = sync("/sync?channel=list").receive()
    assert first["type"] == "connected"
    assert (first["version"], first["channel"]) == (0, "list")
    assert sync("/?channel=list").receive()["siteId"] == first["siteId"]
    assert sync().receive()["siteId"] != first["siteId"]


def test_an_update_is_acknowledged_in_the_sender_s_own_space(sync: Callable[..., Peer]) -> None:
    one = sync()
    ack = push(one, change("1", "milk", 7), change("2", "eggs", 9))
    assert (ack["version"], ack["serverVersion"]) == (9, 2)
    assert push(one)["version"] == 0


def test_a_change_reaches_the_others_as_its_author_wrote_it(sync: Callable[..., Peer]) -> None:
    one, two = sync(), sync()
    pull(two, "bb")
    push(one, change("1", "milk"))
    update = two.expect("update")
    assert update["changes"] == [change("1", "milk")]
    assert update["version"] == 1


def test_a_pull_gets_what_was_merged_before(sync: Callable[..., Peer]) -> None:
    push(sync(), change("1", "milk"), change("2", "eggs", 2))
    assert pull(sync(), "bb") == [change("1", "milk"), change("2", "eggs", 2)]


def test_an_empty_pull_is_answered(sync: Callable[..., Peer]) -> None:
    assert pull(sync(), "bb") == []


def test_a_first_pull_is_primed_with_a_change_of_a_table_no_one_uses(
    sync: Callable[..., Peer],
) -> None:
    push(sync(), change("1", "milk"))
    two = sync()
    assert [one[0] for one in pull(two, "bb", version=0)] == ["wharf_primer"]
    assert two.expect("update")["changes"] == [change("1", "milk")]


def test_a_tie_is_reissued_to_both(sync: Callable[..., Peer]) -> None:
    one, two = sync(), sync()
    pull(one, "aa")
    pull(two, "bb")
    push(one, change("1", "tea"))
    two.expect("update")
    push(two, change("1", "coffee", site="bb"), site="bb")
    for peer in (one, two):
        table, pk, cid, val, col_version, *_ = peer.expect("update")["changes"][0]
        assert (table, pk, cid, val, col_version) == ("todos", "1", "title", "coffee", 2)


def test_a_binary_frame_is_read_as_text(sync: Callable[..., Peer]) -> None:
    one = sync()
    message = {"type": "update", "siteId": "aa", "version": 1, "changes": [change("1", "x")]}
    one.socket.send(json.dumps(message).encode())
    assert one.expect("ack")["version"] == 1


def test_a_bad_change_is_refused_by_position_and_the_rest_merged(
    sync: Callable[..., Peer],
) -> None:
    one = sync()
    changes = [change("1", "a"), ["short"], change("2", {"no": "object"}), change("3", "b", 3)]
    one.send("update", siteId="aa", version=3, changes=changes)
    assert [one.expect("error")["position"] for _ in range(2)] == [1, 2]
    assert one.expect("ack")["version"] == 3
    assert len(pull(sync(), "bb")) == 2


def test_a_long_update_is_merged_in_slices_and_acknowledged_once(
    sync: Callable[..., Peer], server: Server
) -> None:
    one, two = (sync("/sync?channel=list") for _ in range(2))
    pull(two, "bb")
    ack = push(one, *[change(str(n), str(n), n) for n in range(1, 3501)])
    assert (ack["version"], ack["serverVersion"]) == (3500, 3500)
    got: list[Any] = []
    while len(got) < 3500:
        frame = two.expect("update")
        assert len(frame["changes"]) <= 1000
        got += [one[3] for one in frame["changes"]]
    assert got == [str(n) for n in range(1, 3501)]


def test_a_client_that_acks_pulls_only_the_difference(sync: Callable[..., Peer]) -> None:
    one, two = sync(), sync()
    push(one, change("1", "milk"))
    assert len(pull(two, "bb")) == 1
    two.send("ack", siteId="bb", version=1)
    push(two, site="bb")  # its answer says that the one before was heard
    two.close()
    push(one, change("2", "eggs", 2))
    assert pull(sync(), "bb") == [change("2", "eggs", 2)]


def test_an_ack_before_any_pull_is_not_believed(sync: Callable[..., Peer]) -> None:
    push(sync(), change("1", "milk"))
    two = sync()
    two.send("ack", siteId="bb", version=1)
    assert len(pull(two, "bb")) == 1


def test_a_replica_that_never_pulls_is_served_live(sync: Callable[..., Peer]) -> None:
    one, two = sync(), sync()
    two.expect("connected")
    push(one, change("1", "milk"))
    assert two.expect("update")["changes"] == [change("1", "milk")]


def test_a_delete_hides_the_row_and_writing_it_again_revives_it(sync: Callable[..., Peer]) -> None:
    one = sync()
    push(one, change("1", "milk"))
    push(one, ["todos", "1", "-1", None, 1, 2, "aa", 1, 0])
    assert [cell[2] for cell in pull(sync(), "bb")] == ["-1"]
    push(one, change("1", "oat milk", 3)[:4] + [1, 3, "aa", 1, 0])
    cells = pull(sync(), "cc")
    assert [(cell[2], cell[3]) for cell in cells] == [("-1", None), ("title", "oat milk")]


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        pytest.param({"channel": "other"}, "wrong_channel", id="another channel"),
        pytest.param({"siteId": ""}, "invalid_input", id="empty site"),
        pytest.param({"siteId": None}, "invalid_input", id="no site"),
        pytest.param({"version": -1}, "invalid_input", id="negative version"),
        pytest.param({"version": 2**53}, "invalid_input", id="version too large"),
        pytest.param({"changes": {}}, "invalid_input", id="changes no list"),
        pytest.param({"changes": None}, "invalid_input", id="changes null"),
    ],
)
def test_a_wrong_update_is_refused_and_nothing_stored(
    sync: Callable[..., Peer], server: Server, fields: dict[str, Any], code: str
) -> None:
    one = sync()
    update = {"siteId": "aa", "version": 1, "changes": [change("1", "x")], **fields}
    assert one.ask("update", "error", **update)["code"] == code
    with server.app.app_context():
        assert db.session.scalars(db.select(CrdtChange)).all() == []


def test_a_site_id_cannot_be_the_server_s_nor_change(sync: Callable[..., Peer]) -> None:
    one = sync()
    site = one.receive()["siteId"]
    update = {"version": 1, "changes": [change("1", "x")]}
    assert one.ask("update", "error", siteId=site, **update)["code"] == "wrong_site"
    push(one, change("1", "x"))
    assert one.ask("update", "error", siteId="zz", **update)["code"] == "wrong_site"


def test_a_channel_belongs_to_who_opened_it_first(
    server: Server, sync: Callable[..., Peer], bob: Account
) -> None:
    sync("/sync?channel=list").receive()
    assert_error(server.refusal("/sync?channel=list", bob), 403)


def test_default_is_private_and_nobody_else_s_can_be_named(
    server: Server, sync: Callable[..., Peer], ann: Account, bob: Account
) -> None:
    push(sync(), change("1", "secret"))
    assert pull(server.connect("/sync", bob), "bb") == []
    assert_error(server.refusal(f"/sync?channel=user:{ann.user['id']}", bob), 403)


@pytest.mark.parametrize("name", ["%00", "a" * 201, "%0a"], ids=["NUL", "long", "newline"])
def test_a_channel_name_that_cannot_be_one_is_refused(
    server: Server, ann: Account, name: str
) -> None:
    assert_error(server.refusal(f"/sync?channel={name}", ann), 400, "bad_channel")


def test_the_guide_s_own_test_works_where_anonymous_sync_is_on(
    make_app: Callable[..., Flask], serve: Callable[[Flask], Server]
) -> None:
    server = serve(make_app(ANONYMOUS_SYNC=True))
    one, two = (server.connect("/?channel=test-channel") for _ in range(2))
    assert one.receive()["channel"] == "test-channel"
    pull(two, "bb")
    push(one, change("1", "hello"))
    assert two.expect("update")["changes"] == [change("1", "hello")]


def test_a_replica_that_lost_its_data_is_heard_again(
    sync: Callable[..., Peer], server: Server
) -> None:
    one = sync()
    push(one, change("1", "milk", 5))
    one.close()
    again = sync()
    again.send("pull", siteId="aa", version=1)
    assert again.expect("update")["changes"] == [change("1", "milk", 5)]
    with server.app.app_context():
        assert db.session.scalars(db.select(CrdtPeer.received)).all() == [0]


def test_the_longest_keys_are_stored(sync: Callable[..., Peer]) -> None:
    key = "".join(chr(0x1F600 + n % 60) for n in range(125))
    longest = [key, key, key, "x", 1, 1, key, 1, 0]
    channel = "%F0%9F%98%80" * 200
    assert push(sync(f"/sync?channel={channel}"), longest, site=key)["version"] == 1
    assert pull(sync(f"/sync?channel={channel}"), "bb") == [longest]


def test_nothing_is_merged_or_acknowledged_after_a_slice_that_was_lost(
    sync: Callable[..., Peer], server: Server, monkeypatch: Any
) -> None:
    merge, failures = channels.merge, [1, 2]

    def fail_twice(*args: Any) -> Any:
        if failures:
            failures.pop()
            raise OperationalError("merge", {}, Exception("database is locked"))
        return merge(*args)

    monkeypatch.setattr(channels, "merge", fail_twice)
    one = sync("/sync?channel=list")
    one.expect("connected")
    changes = [change(str(number), number, number) for number in range(1, 1501)]
    one.send("update", siteId="aa", version=1500, changes=changes)
    assert one.expect("error")["status"] == 503
    assert one.close_code() == 1013
    again = sync("/sync?channel=list")  # its greeting comes after all that was queued
    again.expect("connected")
    with server.app.app_context():
        assert db.session.scalars(db.select(CrdtPeer.received)).all() in ([], [0])
        assert db.session.scalars(db.select(CrdtChange)).all() == []
    assert push(again, *changes)["version"] == 1500


def test_a_replica_that_lost_its_data_is_heard_when_its_transaction_is_run_again(
    sync: Callable[..., Peer], monkeypatch: Any
) -> None:
    one = sync()
    push(one, change("1", "milk", 5))
    pull(one, "aa", 5)
    one.send("ack", siteId="aa", version=1)
    push(one)
    one.close()
    attempt, left = Flusher.attempt, [1]

    def fail_once(flusher: Flusher, jobs: list[Job]) -> Exception | None:
        pulls = [job for job in jobs if job.args and job.args[0].type == "pull"]
        if left[0] and pulls:
            left[0] -= 1
            jobs = [*jobs, Job(jobs[0].connection, lambda _connection: 1 / 0)]
        return attempt(flusher, jobs)

    monkeypatch.setattr(Flusher, "attempt", fail_once)
    assert pull(sync(), "aa", 1) == [change("1", "milk", 5)]
    assert left == [0]


def test_a_pull_of_more_than_may_wait_for_a_client_arrives_whole(
    sync: Callable[..., Peer],
) -> None:
    one = sync()
    for number in range(1, 13):
        push(one, change(str(number), "v" * 600_000, number))
    two = sync()
    two.send("pull", siteId="bb", version=1)
    got: list[str] = []
    while len(got) < 12:
        frame = two.expect("update")
        assert len(json.dumps(frame)) < 1_000_000
        got += [cell[1] for cell in frame["changes"]]
    assert got == [str(number) for number in range(1, 13)]


def test_refusals_are_bounded_and_the_rest_is_acknowledged(sync: Callable[..., Peer]) -> None:
    one = sync()
    one.send("update", siteId="aa", version=1, changes=[*[0] * 300, change("1", "x")])
    errors = [one.expect("error")["position"] for _ in range(100)]
    assert errors == list(range(100))
    assert one.receive()["type"] == "ack"


def test_the_first_update_of_a_replica_that_lost_its_data_counts_as_new(
    sync: Callable[..., Peer],
) -> None:
    push(sync(), change("1", "milk", 5))
    tie = ["todos", "1", "title", "tea", 5, 1, "aa", 1, 0]
    assert push(sync(), tie)["version"] == 1
    assert [cell[3] for cell in pull(sync(), "bb")] == ["tea"]


def test_nothing_is_read_for_a_replica_that_has_all_but_what_it_wrote(
    sync: Callable[..., Peer], monkeypatch: Any
) -> None:
    one, other = sync("/sync?channel=list"), sync("/sync?channel=list")
    pull(one, "aa")
    pages: list[int] = []
    read = crdt_store.read_page

    def count(channel: str, after: int, told: int | None = None) -> Any:
        pages.append(after)
        return read(channel, after, told)

    monkeypatch.setattr(crdt_store, "read_page", count)
    push(one, change("1", "milk", 1))
    push(one, change("2", "eggs", 2))
    pull(other, "bb")
    assert pages == [0]  # for the other
    push(other, change("1", "bread", 1, "bb"), site="bb")  # a tie: re-issued, also for its author
    assert one.expect("update")["changes"][0][:4] == ["todos", "1", "title", "bread"]
    assert other.expect("update")["changes"][0][:4] == ["todos", "1", "title", "bread"]
    assert pages == [0, 2]  # once for both
    assert pull(one, "aa", version=1)[-1][:3] == ["todos", "1", "title"]
