"""GET /metrics: who may read it, and that its numbers are those of what happened."""

import re
import socket
import threading
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from sqlalchemy.exc import OperationalError

from bus import Event
from held import HeldChannel
from sockets import framing
from sockets.capacity import Traffic, count_frames
from tests.conftest import Account, Server, assert_error
from tests.waiting import wait_until

TOKEN = "a token for prometheus"
SAMPLE = re.compile(r"^(\w+)\{(.*)\} (\S+)$", re.MULTILINE)


def read(app: Flask, name: str, **labels: str) -> float:
    """The sum of the samples of a name that have these labels."""
    response = app.test_client().get("/metrics")
    assert response.status_code == 200
    assert response.content_type.startswith("text/plain; version=")
    wanted = {f'{key}="{value}"' for key, value in labels.items()}
    found = SAMPLE.findall(response.text)
    assert name in response.text
    return sum(float(v) for n, told, v in found if n == name and wanted <= set(told.split(",")))


# Who may read it


@pytest.mark.parametrize("serve", ["web", "socket", "app"])
def test_every_process_tells_a_caller_on_its_machine(
    make_app: Callable[..., Flask], serve: Any
) -> None:
    text = make_app(serve).test_client().get("/metrics").text
    assert f'process="{serve}-' in text
    assert ("wharf_topics" in text) == (serve != "web")


@pytest.mark.parametrize(
    ("address", "headers"),
    [
        pytest.param("192.0.2.1", {}, id="elsewhere"),
        pytest.param("", {}, id="a proxy on a Unix socket"),
        pytest.param("127.0.0.1", {"X-Forwarded-For": "192.0.2.1"}, id="a proxy here"),
        pytest.param("127.0.0.1", {"X-Forwarded-For": "127.0.0.1"}, id="forged"),
        pytest.param("127.0.0.1", {"Forwarded": "for=192.0.2.1"}, id="a newer proxy here"),
        pytest.param("127.0.0.1", {"Host": "wharf.example.com"}, id="a proxy that passes Host"),
        pytest.param("127.0.0.1", {"Origin": "https://evil.example"}, id="a page of elsewhere"),
        pytest.param("127.0.0.1", {"Sec-Fetch-Site": "cross-site"}, id="an image of elsewhere"),
    ],
)
@pytest.mark.parametrize("proxies", [0, 1])
def test_the_public_does_not_find_it(
    make_app: Callable[..., Flask], address: str, headers: dict[str, str], proxies: int
) -> None:
    client = make_app(PROXIES=proxies).test_client()
    environ = {"REMOTE_ADDR": address}
    assert_error(client.get("/metrics", headers=headers, environ_overrides=environ), 404)


@pytest.mark.parametrize(
    "sent", ["", "Bearer", "Bearer nonsense", f"Basic {TOKEN}", f"Bearer {TOKEN}x", "Bearer é"]
)
def test_with_a_token_nobody_reads_it_without(make_app: Callable[..., Flask], sent: str) -> None:
    client = make_app(METRICS_TOKEN=TOKEN).test_client()
    response = client.get("/metrics", headers={"Authorization": sent} if sent else {})
    assert_error(response, 401, "unauthorized")
    assert response.headers["WWW-Authenticate"] == "Bearer"
    assert TOKEN not in response.text


def test_the_token_opens_it_from_anywhere(make_app: Callable[..., Flask]) -> None:
    client = make_app(METRICS_TOKEN=TOKEN).test_client()
    headers = {"Authorization": f"Bearer {TOKEN}", "X-Forwarded-For": "192.0.2.1"}
    environ = {"REMOTE_ADDR": "192.0.2.1"}
    response = client.get("/metrics", headers=headers, environ_overrides=environ)
    assert response.status_code == 200


def test_a_user_is_not_let_in(make_app: Callable[..., Flask], ann: Account) -> None:
    client = make_app(METRICS_TOKEN=TOKEN).test_client()
    assert_error(client.get("/metrics", headers=ann.headers), 401)


# Requests


def test_requests_are_counted_by_route_and_status(app: Flask, ann: Account) -> None:
    client = app.test_client()
    name = "wharf_http_request_seconds_count"
    for number in (1, 2, 3):
        client.get(f"/api/todos/{number}", headers=ann.headers)
    client.open("/api/todos", method="BREW")
    client.get("/nowhere/at/all")
    assert read(app, name, route="/api/todos/<row_id>", status="404", method="GET") == 3
    assert read(app, name, route="none", method="other") == 1
    assert read(app, name, route="none", status="404") == 1
    assert read(app, "wharf_http_request_seconds_sum") > 0


def test_addresses_of_callers_make_no_series(app: Flask) -> None:
    client = app.test_client()
    for n in range(20):
        client.open(f"/made-up-{n}", method=f"VERB{n}")
    text = client.get("/metrics").text
    assert "made-up" not in text and "VERB" not in text


# Sockets


def test_sockets_are_told_by_dialect_until_they_leave(server: Server, ann: Account) -> None:
    chats = [server.chat(ann), server.chat(ann)]
    server.connect("/sync?channel=a", ann).expect("connected")
    assert read(server.app, "wharf_sockets", dialect="chat") == 2
    assert read(server.app, "wharf_sockets", dialect="crdt") == 1
    assert read(server.app, "wharf_topics") >= 1
    for peer in chats:
        peer.close()
    wait_until(lambda: read(server.app, "wharf_sockets", dialect="chat") == 0)
    assert read(server.app, "wharf_http_request_seconds_count", route="/ws") == 0


def test_frames_and_bytes_are_counted_both_ways(server: Server, ann: Account) -> None:
    peer = server.chat(ann)
    traffic = server.app.extensions["realtime"].traffic
    before = (traffic.frames_in, traffic.bytes_in, traffic.frames_out, traffic.bytes_out)
    for n in range(10):
        peer.ask("ping", "pong", sentAt=str(n))
    got = read(server.app, "wharf_frames_total", direction="in") - before[0]
    sent = read(server.app, "wharf_frames_total", direction="out") - before[2]
    assert (got, sent) == (10, 10)
    assert read(server.app, "wharf_bytes_total", direction="in") - before[1] > 10 * 20
    assert read(server.app, "wharf_bytes_total", direction="out") - before[3] > 10 * 20


def test_resumes_and_deliveries_are_counted(server: Server, ann: Account) -> None:
    peer = server.chat(ann)
    peer.ask("join-room", "user-joined", roomId="lobby")
    assert read(server.app, "wharf_resumes_total") == 0
    peer.ask("chat-message", "ack", roomId="lobby", content="x", id="1")
    other = server.chat(ann)
    other.ask("join-room", "user-joined", roomId="lobby", since=0)
    assert read(server.app, "wharf_resumes_total") == 1
    assert read(server.app, "wharf_delivery_seconds_count") >= 1
    assert 0 < read(server.app, "wharf_delivery_seconds_sum") < 10


@pytest.mark.parametrize("sizes", [[0], [5, 125, 126, 3], [65_535, 65_536, 1], []])
def test_joined_frames_are_told_apart(sizes: list[int]) -> None:
    joined = b"".join(framing.frame(b"x" * size) for size in sizes)
    assert count_frames(joined) == len(sizes)
    traffic = Traffic()
    for _ in range(3):
        traffic.count_sent(joined)
        traffic.count_sent(framing.frame(b"other"))
    assert traffic.frames_out == 3 * len(sizes) + 3


def test_no_count_is_lost_between_threads() -> None:
    traffic, data = Traffic(), framing.frame(b"x")

    def count() -> None:
        for _ in range(50_000):
            traffic.count_sent(data)

    threads = [threading.Thread(target=count) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert traffic.frames_out == 400_000


# The bus


def test_what_another_process_told_has_a_lag(
    make_app: Callable[..., Flask], redis_url: str
) -> None:
    speaker, hearer = (make_app(REDIS_URL=redis_url) for _ in range(2))
    heard = threading.Event()
    hearer.extensions["bus"].subscribe(lambda _events: heard.set(), lambda: None)
    speaker.extensions["bus"].publish([Event("room:a", "typing", {})])
    assert heard.wait(10)
    assert read(hearer, "wharf_bus_lag_seconds_count") == 1
    assert 0 <= read(hearer, "wharf_bus_lag_seconds_sum") < 10
    assert read(speaker, "wharf_bus_lag_seconds_count") == 0
    assert read(hearer, "wharf_bus_connected") == 1


def test_a_lost_bus_shows(make_app: Callable[..., Flask]) -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))  # not listening
        app = make_app(REDIS_URL=f"redis://127.0.0.1:{reserved.getsockname()[1]}/0")
        app.extensions["bus"].publish([Event("room:a", "typing", {})])
        wait_until(lambda: read(app, "wharf_bus_connected") == 0)


# Sync


def change(pk: str, val: str, version: int, site: str = "aa") -> list[Any]:
    return ["todos", pk, "title", val, version, version, site, 1, 0]


def push(peer: Any, *changes: list[Any], site: str = "aa") -> None:
    peer.ask("update", "ack", siteId=site, version=9, changes=list(changes))


def counted(app: Flask) -> tuple[float, ...]:
    """Changes merged, re-issued and refused."""
    names = ("merged", "reissued", "refused")
    return tuple(read(app, f"wharf_sync_{name}_total") for name in names)


def test_changes_are_counted_as_merged_reissued_and_refused(server: Server, ann: Account) -> None:
    one, two = (server.connect("/sync?channel=a", ann) for _ in range(2))
    push(one, change("1", "milk", 1), change("2", "eggs", 2))
    assert counted(server.app) == (2, 0, 0)
    push(one, change("1", "milk", 1), ["short"], change("3", "x", 2_000_000))  # a repeat, and worse
    assert counted(server.app) == (2, 0, 2)
    push(two, change("1", "tea", 1, "bb"), site="bb")  # a tie
    assert counted(server.app) == (3, 1, 2)
    body = {"siteId": "cc", "version": 1, "changes": [change("4", "salt", 1, "cc"), ["short"]]}
    client = server.app.test_client()
    answer = client.post("/api/channels/a/changes", json=body, headers=ann.headers)
    assert answer.status_code == 200
    assert counted(server.app) == (4, 1, 3)


def test_what_is_not_committed_is_not_counted(
    server: Server, ann: Account, monkeypatch: Any
) -> None:
    one = server.connect("/sync?channel=a", ann)
    save, failures = HeldChannel.save, [1]

    def fail_once(held: HeldChannel) -> None:
        save(held)
        if failures and held.channel.stored:
            failures.pop()
            raise OperationalError("save", {}, Exception("database is locked"))

    monkeypatch.setattr(HeldChannel, "save", fail_once)
    push(one, change("1", "milk", 1), ["short"])
    assert not failures
    assert counted(server.app) == (1, 0, 1)


def test_replicas_are_counted_with_their_lag(server: Server, ann: Account) -> None:
    def told() -> tuple[float, ...]:
        names = ("replicas", "channels", "lagging_replicas", "largest_lag")
        return tuple(read(server.app, f"wharf_sync_{name}") for name in names)

    one, two = (server.connect("/sync?channel=a", ann) for _ in range(2))
    one.expect("connected")
    assert told() == (0, 0, 0, 0)  # nobody has said who it is
    for peer, site in ((one, "aa"), (two, "bb")):
        peer.ask("pull", "update", siteId=site, version=1)
    for version in (1, 2, 3):
        push(one, change("1", str(version), version))
        two.expect("update")
        if version == 1:
            two.send("ack", siteId="bb", version=1)
    wait_until(lambda: told() == (2, 1, 1, 2))
    two.send("ack", siteId="bb", version=3)
    push(two, change("2", "x", 1, "bb"), site="bb")
    one.expect("update")
    assert told() == (2, 1, 0, 0)  # who never says what it holds counts as it was sent
    one.close()
    two.close()
    wait_until(lambda: told() == (0, 0, 0, 0))


def test_channels_and_replicas_make_no_series(server: Server, ann: Account) -> None:
    for number in range(5):
        push(server.connect(f"/sync?channel=made-up-{number}", ann), change("1", "x", 1), site="aa")
    text = server.app.test_client().get("/metrics").text
    assert "made-up" not in text
    assert len(re.findall(r"^wharf_sync_\w+\{", text, re.MULTILINE)) == 3 + 4


def test_the_database_is_not_asked(
    server: Server, ann: Account, statements: Callable[..., Any]
) -> None:
    push(server.connect("/sync?channel=a", ann), change("1", "x", 1))
    with statements() as asked:
        assert read(server.app, "wharf_sync_replicas") == 1
    assert asked == []
