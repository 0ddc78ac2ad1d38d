"""The messages of the CRDT guide, spelled as it spells them, to a server in a process of its own.

Each answer is compared whole: no field more or less than docs/sync.md names.
"""

import json
import os
import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest

from tests.clients.node import CLIENTS, HAS_NODE, run_node
from tests.conftest import Peer
from tests.processes import Deployment, Process

pytestmark = pytest.mark.skipif(os.name == "nt", reason="gunicorn and signals need Unix")
HAS_WS = pytest.mark.skipif(
    not (CLIENTS / "node_modules" / "ws").exists(), reason="needs `npm ci` in tests/clients"
)

CHANNEL = "test-channel"
MILK = ["todos", "1", "title", "Buy milk", 1, 1, "client-a", 1, 0]
DONE = ["todos", "1", "completed", False, 1, 2, "client-a", 1, 0]
Spell = Callable[[Any], str | bytes]


def compact(message: Any) -> str:
    """As `JSON.stringify(message)` has it."""
    return json.dumps(message, separators=(",", ":"), ensure_ascii=False)


def pretty(message: Any) -> str:
    """As `JSON.stringify(message, null, 2)` has it."""
    return json.dumps(message, indent=2, ensure_ascii=False)


SPELLINGS: dict[str, Spell] = {
    "compact": compact,
    "spaced": json.dumps,
    "pretty": pretty,
    "windows lines": lambda message: pretty(message).replace("\n", "\r\n"),
    "binary": lambda message: compact(message).encode(),
    "pretty binary": lambda message: pretty(message).encode(),
}


class Client:
    """Who types messages into a socket, and reads what comes."""

    def __init__(self, process: Process, path: str = f"/?channel={CHANNEL}") -> None:
        self.peer = Peer(f"ws://127.0.0.1:{process.port}{path}")
        process.peers.append(self.peer)
        self.greeting = self.read()
        self.server: str = self.greeting["siteId"]

    def read(self) -> dict[str, Any]:
        """The next message."""
        return self.peer.receive()

    def say(self, message: Any, spell: Spell = compact) -> dict[str, Any]:
        """Send one message; the next that comes."""
        self.peer.socket.send(spell(message))
        return self.read()

    def update_of(self, version: int, *changes: Any, channel: str = CHANNEL) -> dict[str, Any]:
        """The `update` that the guide has its server send."""
        head = {"type": "update", "changes": list(changes), "version": version}
        return {**head, "siteId": self.server, "channel": channel}

    def pull(self, site: str = "client-b", spell: Spell = compact) -> dict[str, Any]:
        """What answers the pull of a client that has written nothing, after the primer."""
        primer = self.say(update_fields("pull", 0, site), spell)
        [[table, nonce, *more]] = primer["changes"]
        assert (table, more) == ("wharf_primer", ["primer", None, 1, -1, self.server, 1, 0])
        assert primer == self.update_of(0, ["wharf_primer", nonce, *more])
        return self.read()


def update_fields(type: str, version: int, site: str, *changes: Any) -> dict[str, Any]:
    """A client's message, its fields in the guide's order."""
    pushed = {"changes": list(changes)} if changes else {}
    return {"type": type, **pushed, "version": version, "siteId": site, "channel": CHANNEL}


def ack_of(server: str, version: int, server_version: int) -> dict[str, Any]:
    """The guide's `ack`; `serverVersion` is Wharf's own."""
    head = {"type": "ack", "siteId": server, "version": version, "channel": CHANNEL}
    return {**head, "serverVersion": server_version}


@pytest.fixture(scope="module")
def house(tmp_path_factory: Any) -> Iterator[Deployment]:
    """What the guide starts: no account is asked for."""
    folder = tmp_path_factory.mktemp("guide")
    with ExitStack() as stack:
        url = f"sqlite:///{folder}/w.db"
        yield Deployment(folder, stack, DATABASE_URL=url, ANONYMOUS_SYNC="true")


@pytest.fixture(scope="module")
def server(house: Deployment) -> Process:
    """One process for the tests that stop none."""
    (process,) = house.start("app")
    return process


@pytest.fixture(autouse=True)
def clear(house: Deployment) -> Iterator[None]:
    """No test finds what another wrote."""
    yield
    with closing(sqlite3.connect(house.folder / "w.db", timeout=5)) as database, database:
        for table in ("crdt_changes", "crdt_tracked_peers", "crdt_channels"):
            database.execute(f"DELETE FROM {table}")


# The guide's message flow


@pytest.mark.parametrize("spell", SPELLINGS.values(), ids=SPELLINGS)
def test_two_clients_connect_update_and_pull(server: Process, spell: Spell) -> None:
    one, two = Client(server), Client(server)
    assert re.fullmatch("[0-9a-f]{32}", one.server)
    connected = {"type": "connected", "siteId": one.server, "version": 0, "channel": CHANNEL}
    assert one.greeting == two.greeting == connected
    assert two.pull(spell=spell) == two.update_of(0)
    update = update_fields("update", 2, "client-a", MILK, DONE)
    assert one.say(update, spell) == ack_of(one.server, 2, 2)
    assert two.read() == two.update_of(2, MILK, DONE)
    assert one.say(update_fields("pull", 2, "client-a"), spell) == one.update_of(2)


def test_the_fields_may_come_in_any_order_and_the_channel_be_left_out(server: Process) -> None:
    one, two = Client(server), Client(server)
    spelled = {"type": "update", "siteId": "client-a", "version": 1, "channel": CHANNEL}
    assert one.say({**spelled, "changes": [MILK]}) == ack_of(one.server, 1, 1)
    assert two.say({"version": 1, "siteId": "client-b", "type": "pull"}) == two.update_of(1, MILK)
    assert one.say({"changes": [DONE], "siteId": "client-a", "version": 2, "type": "update"}) == (
        ack_of(one.server, 2, 2)
    )
    assert two.read() == two.update_of(2, DONE)


def test_an_update_is_forwarded_to_all_but_its_sender(server: Process) -> None:
    clients = {f"client-{name}": Client(server) for name in "abcd"}
    for site, client in clients.items():
        client.pull(site)
    tea = ["todos", "2", "title", "Tea", 1, 1, "client-b", 1, 0]
    for site, version, changes in (("client-a", 2, [MILK, DONE]), ("client-b", 3, [tea])):
        sender, own = clients[site], changes[-1][5]
        update = update_fields("update", own, site, *changes)
        assert sender.say(update) == ack_of(sender.server, own, version)
        for other in clients.values():
            if other is not sender:
                assert other.read() == other.update_of(version, *changes)
    for site, client in clients.items():  # nothing else came
        assert client.say(update_fields("pull", 9, site))["type"] == "update"


def test_a_channel_hears_nothing_of_another(server: Process) -> None:
    one, two = Client(server), Client(server, "/?channel=other")
    assert two.greeting["channel"] == "other" and two.server != one.server
    one.say(update_fields("update", 1, "client-a", MILK))
    pull = {"type": "pull", "version": 1, "siteId": "client-b", "channel": "other"}
    assert two.say(pull) == two.update_of(0, channel="other")
    wrong = two.say({**pull, "channel": CHANNEL})
    assert (wrong["type"], wrong["code"]) == ("error", "wrong_channel")


def test_an_address_without_channel_means_default(server: Process) -> None:
    assert Client(server, "/sync").greeting["channel"] == "default"
    assert Client(server, "/sync?channel=").greeting["channel"] == "default"


@pytest.mark.parametrize("val", ["", "Grüße 😀", 0, -1.5, 1e21, True, False, None], ids=repr)
def test_a_value_arrives_as_it_was_sent(server: Process, val: Any) -> None:
    one, two = Client(server), Client(server)
    two.pull()
    change = ["todos", "1", "title", val, 1, 1, "client-a", 1, 0]
    one.say(update_fields("update", 1, "client-a", change))
    assert two.read() == two.update_of(1, change)


def test_a_bad_change_is_an_error_to_its_sender_alone(server: Process) -> None:
    one = Client(server)
    error = one.say(update_fields("update", 1, "client-a", MILK[:8], MILK))
    text = "a change is a list of nine fields"
    words = {"error": text, "message": text, "detail": text, "code": "bad_change", "status": 400}
    assert error == {"type": "error", **words, "position": 0}
    assert one.read() == ack_of(one.server, 1, 1)


@pytest.mark.parametrize("text", ["", "hello", "[]", '{"type":"sing"}', '{"type":"update"}'])
def test_what_is_no_message_is_an_error_and_ends_nothing(server: Process, text: str) -> None:
    one = Client(server)
    assert one.say(text, str)["type"] == "error"
    assert one.say(update_fields("update", 1, "client-a", MILK)) == ack_of(one.server, 1, 1)


def test_the_session_of_the_documentation(server: Process) -> None:
    page = (Path(__file__).parent.parent / "docs/sync.md").read_text()
    session = page.partition("A session, frame by frame")[2].partition("### ")[0]
    texts = re.findall(r"```json\n(.*?)```", session, re.DOTALL)
    printed = json.loads(texts[0])["siteId"]
    client = Client(server, "/sync?channel=list")  # somebody else, who was here before
    milk = ["todos", "1", "title", "Buy milk", 1, 1, "aa", 1, 0]
    client.say({"type": "update", "siteId": "aa", "version": 1, "changes": [milk]})
    client = Client(server, "/sync?channel=list")
    texts = [text.replace(printed, client.server) for text in texts]
    connected, push, ack, pull, update, held = texts
    assert client.greeting == json.loads(connected)
    assert client.say(push, str) == json.loads(ack)
    assert client.say(pull, str) == json.loads(update)
    client.peer.socket.send(held)
    pull_again = {"type": "pull", "siteId": "bb", "version": 1, "channel": "list"}
    assert client.say(pull_again) == client.update_of(2, channel="list")


# The guide's own test, and what it keeps


@HAS_NODE
@HAS_WS
def test_the_guide_s_test_client_connects(server: Process) -> None:
    told = run_node("wscat.mjs", f"ws://localhost:{server.port}?channel=test-channel", "1")
    site = Client(server).server
    connected = {"type": "connected", "siteId": site, "version": 0, "channel": CHANNEL}
    assert json.loads(told) == connected
    lines = [
        compact(update_fields("update", 1, "client-a", MILK)),
        compact(update_fields("pull", 1, "client-b"))[:-1] + ',"siteId":"client-a"}',
    ]
    address = f"ws://localhost:{server.port}?channel=test-channel"
    told = run_node("wscat.mjs", address, "3", stdin="\n".join(lines))
    _, ack, update = map(json.loads, told.splitlines())
    assert ack == ack_of(site, 1, 1)
    assert (update["version"], update["changes"]) == (1, [])


@HAS_NODE
@HAS_WS
def test_without_anonymous_sync_the_test_client_is_asked_who_it_is(house: Deployment) -> None:
    process = house.spawn("app", ANONYMOUS_SYNC="false").wait_until_ready()
    address = f"ws://localhost:{process.port}?channel=test-channel"
    assert run_node("wscat.mjs", address, "1") == "401\n"
    ann = process.register()
    told = json.loads(run_node("wscat.mjs", f"{address}&token={ann.token}", "1"))
    assert (told["type"], told["channel"]) == ("connected", CHANNEL)


@pytest.mark.parametrize("end", [Process.stop, Process.kill])
def test_all_is_there_after_a_restart(house: Deployment, end: Callable[[Process], None]) -> None:
    (process,) = house.start("app")
    one, two = Client(process), Client(process)
    two.pull()
    one.say(update_fields("update", 2, "client-a", MILK, DONE))
    assert two.read()["version"] == 2
    two.peer.send("ack", version=2, siteId="client-b", channel=CHANNEL)
    assert two.say(update_fields("pull", 1, "client-b")) == two.update_of(2)  # the ack is in
    end(process)
    (process,) = house.start("app")
    again, newcomer = Client(process), Client(process)
    connected = {"type": "connected", "siteId": one.server, "version": 2, "channel": CHANNEL}
    assert again.greeting == newcomer.greeting == connected
    assert newcomer.pull("client-c") == newcomer.update_of(2, MILK, DONE)
    assert again.say(update_fields("pull", 0, "client-b"))["changes"][0][0] == "wharf_primer"
    assert again.read() == again.update_of(2)  # it holds all
    assert tracked_peers(house) == {"client-a": (2, 2), "client-b": (0, 2), "client-c": (0, 0)}


def tracked_peers(house: Deployment) -> dict[str, tuple[int, int]]:
    """What was received from each replica, and what each is known to hold, in the guide's table."""
    with closing(sqlite3.connect(house.folder / "w.db", timeout=5)) as database:
        rows = database.execute("SELECT site_id, received, sent FROM crdt_tracked_peers")
        return {site: (received, sent) for site, received, sent in rows}


def test_the_guide_s_tables_hold_what_it_says(house: Deployment, server: Process) -> None:
    one = Client(server)
    one.say(update_fields("update", 2, "client-a", MILK, DONE))
    with closing(sqlite3.connect(house.folder / "w.db", timeout=5)) as database:
        channel = database.execute("SELECT name, crdt_site_id, crdt_db_version FROM crdt_channels")
        assert channel.fetchall() == [(CHANNEL, one.server, 2)]
        columns = '"table", pk, cid, val, col_version, db_version, site_id, cl'
        cells = database.execute(f"SELECT {columns} FROM crdt_changes ORDER BY version")
        stored = [[*cell[:3], json.loads(cell[3]), *cell[4:]] for cell in cells]
    assert stored == [MILK[:8], DONE[:8]]


def test_the_peers_are_told_with_their_lag(server: Process) -> None:
    one, two = Client(server), Client(server)
    two.pull()
    one.say(update_fields("update", 2, "client-a", MILK, DONE))
    two.read()
    ann = server.register()
    status, peers = server.call("GET", f"/api/channels/{CHANNEL}/peers?sort=site_id", account=ann)
    assert status == 200
    told = [(peer["siteId"], peer["received"], peer["sent"], peer["lag"]) for peer in peers]
    assert told == [("client-a", 2, 2, 0), ("client-b", 0, 0, 2)]


# Several servers


def test_an_update_reaches_the_clients_of_another_server(house: Deployment) -> None:
    home, away = house.start("app", "app")
    one, two = Client(home), Client(away)
    assert two.greeting == one.greeting
    two.pull()
    assert one.say(update_fields("update", 1, "client-a", MILK)) == ack_of(one.server, 1, 1)
    assert two.read() == two.update_of(1, MILK)
