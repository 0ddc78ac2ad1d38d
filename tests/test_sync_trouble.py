"""Sync while the database fails now and then: nobody misses what others wrote."""

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy.exc import IntegrityError, OperationalError

import channels
import crdt_store
from tests.conftest import Account, Peer, Server
from tests.test_sync import change, pull, push

LOCKED = OperationalError("any", {}, Exception("database is locked"))
CLASH = IntegrityError("any", {}, Exception("UNIQUE constraint failed"))


def failing(function: Callable[..., Any], error: Exception, times: int) -> Callable[..., Any]:
    """A function that raises `error` so many times before it does its work."""
    left = [error] * times

    def call(*args: Any, **more: Any) -> Any:
        if left:
            raise left.pop()
        return function(*args, **more)

    return call


@pytest.fixture
def sync(server: Server, ann: Account) -> Callable[[], Peer]:
    return lambda: server.connect("/sync?channel=list", ann)


@pytest.mark.parametrize(("error", "status"), [(LOCKED, 503), (CLASH, 409)])
@pytest.mark.parametrize("type", ["pull", "update"])
def test_who_is_not_heard_must_come_back_and_is_not_served_live(
    sync: Callable[[], Peer], monkeypatch: Any, type: str, error: Exception, status: int
) -> None:
    push(sync(), change("1", "milk"))
    one = sync()
    one.expect("connected")
    monkeypatch.setattr(channels, "meet", failing(channels.meet, error, 2))
    more = {"changes": [change("2", "eggs", site="bb")]} if type == "update" else {}
    one.send(type, siteId="bb", version=1, **more)
    assert one.expect("error")["status"] == status
    assert one.close_code() == 1013
    assert pull(sync(), "bb") == [change("1", "milk")]


def test_a_pull_that_is_refused_for_good_closes_nothing(sync: Callable[[], Peer]) -> None:
    one = sync()
    one.send("pull", siteId="bb", version=1, channel="another")
    assert one.expect("error")["code"] == "wrong_channel"
    assert pull(one, "bb") == []


def test_all_get_a_change_though_the_first_page_cannot_be_read(
    sync: Callable[[], Peer], monkeypatch: Any
) -> None:
    one, two, three = sync(), sync(), sync()
    pull(two, "bb")
    pull(three, "cc")
    monkeypatch.setattr(crdt_store, "read_page", failing(crdt_store.read_page, LOCKED, 1))
    push(one, change("1", "milk"))
    for peer in (two, three):
        assert peer.expect("update")["changes"] == [change("1", "milk")]
