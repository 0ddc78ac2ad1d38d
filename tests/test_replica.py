"""The replica of wharf.js, in Node: its parts, and whole ones at a real server."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask.testing import FlaskClient

from tests.clients.node import HAS_NODE, run_node
from tests.clients.replica_host import HAS_REPLICAS, ReplicaHost
from tests.conftest import PASSWORD, Account, Peer, Server
from tests.test_channels import LIST, make, seat
from tests.test_presence import wait_until

pytestmark = HAS_NODE

TABLE = "todos"
HAS_WS = pytest.mark.skipif(not HAS_REPLICAS, reason="needs `npm ci` in tests/clients")


@pytest.mark.parametrize("part", ["ledger", "keeper", "replica"])
def test_its_parts(part: str) -> None:
    run_node("--test", f"{part}.test.mjs")


class Replica:
    """A replica of a signed-in page."""

    def __init__(self, host: ReplicaHost, url: str, account: Account, channel: str) -> None:
        self.host = host
        self.page = host.open(url=url, channel=channel, email=account.email, password=PASSWORD)

    def ask(self, **line: Any) -> dict[str, Any]:
        """Let it do something; how it is afterwards."""
        return self.host.ask(self.page, **line)

    def rows(self) -> dict[str, dict[str, Any]]:
        """Its rows by key."""
        return {row.pop("pk"): row for row in self.ask(rows=TABLE)["rows"]}

    def go_online(self) -> None:
        """Return, and push all there is."""
        self.ask(online=True)
        wait_until(lambda: self.is_settled(self.ask()))

    @staticmethod
    def is_settled(told: dict[str, Any]) -> bool:
        return told["state"] == "online" and not told["pending"]


class LogClient:
    """A client that keeps a log and knows of no lives."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self.version = 0
        self.known: dict[tuple[str, str], int] = {}
        self.held: dict[str, dict[str, Any]] = {}
        peer.send("pull", siteId="log", version=0)

    def write(self, pk: str, cid: str, val: Any) -> None:
        """Write a cell; `-1` deletes the row."""
        self.version += 1
        col_version = 1 if cid == "-1" else self.known.get((pk, cid), 0) + 1
        change = [TABLE, pk, cid, val, col_version, self.version, "log", 1, 0]
        self.peer.send("update", siteId="log", version=self.version, changes=[change])
        self.take(change)

    def rows(self) -> dict[str, dict[str, Any]]:
        """Its rows by key, with a bit more of what it has missed."""
        self.peer.send("pull", siteId="log", version=self.version)
        for change in self.peer.expect("update")["changes"]:
            self.take(change)
        return self.held

    def take(self, change: list[Any]) -> None:
        table, pk, cid, val, col_version, *_ = change
        if table != TABLE or col_version <= self.known.get((pk, cid), 0):
            return
        if cid == "-1":
            self.held.pop(pk, None)
            self.known[pk, cid] = col_version if change[6] != "log" else 0
        else:
            self.held.setdefault(pk, {})[cid] = val
            self.known[pk, cid] = col_version


@pytest.fixture
def replica(server: Server, ann: Account) -> Iterator[Callable[[], Replica]]:
    """Opens replicas of one channel, offline."""
    host = ReplicaHost()
    yield lambda: Replica(host, server.url, ann, "list")
    host.leave()


@HAS_WS
def test_two_of_them_and_a_client_with_a_log_agree(
    server: Server, ann: Account, replica: Callable[[], Replica]
) -> None:
    one, two = replica(), replica()
    three = LogClient(server.connect("/sync?channel=list&kind=log", ann))
    for item in (one, two):
        item.go_online()
    for pk in "abcd":
        one.ask(put=[TABLE, pk, {"title": pk, "done": False}])
    wait_until(lambda: two.rows() == one.rows() == three.rows() and len(two.rows()) == 4)

    for item in (one, two):
        item.ask(offline=True)
    one.ask(put=[TABLE, "a", {"title": "one's"}])  # the same cell
    two.ask(put=[TABLE, "a", {"title": "two's"}])
    one.ask(remove=[TABLE, "b"])  # deleted, and made again
    one.ask(put=[TABLE, "b", {"title": "b again"}])
    three.write("c", "-1", None)  # a delete before edits that had not seen it
    one.ask(put=[TABLE, "c", {"title": "one's"}])
    two.ask(put=[TABLE, "c", {"done": True}])
    two.ask(put=[TABLE, "d", {"done": True}])  # an edit, then a delete that had not seen it
    two.go_online()
    one.ask(remove=[TABLE, "d"])
    one.go_online()
    three.write("e", "title", 1)

    expected = {
        "a": {"title": "one's", "done": False},
        "b": {"title": "b again"},
        "c": {"title": "one's", "done": True},
        "e": {"title": 1},
    }
    for client in (one, two, three):
        wait_until(lambda client=client: client.rows() == expected)


@HAS_WS
@pytest.mark.parametrize(
    ("address", "reason"),
    [(LIST, "the channel is gone"), (f"{LIST}/members/%s", "not a member any longer")],
)
def test_who_is_shown_out_is_told_and_stays_away(
    client: FlaskClient, server: Server, ann: Account, bob: Account, address: str, reason: str
) -> None:
    make(client, ann)
    seat(client, ann, bob, "writer")
    host = ReplicaHost()
    try:
        guest = Replica(host, server.url, bob, "list")
        guest.go_online()
        path = address.replace("%s", str(bob.user["id"]))
        assert client.delete(path, headers=ann.headers).status_code == 204
        told = {"code": "shut_out", "message": reason}
        wait_until(lambda: told in guest.ask()["errors"])
        assert guest.ask()["state"] == "offline"
    finally:
        host.leave()
