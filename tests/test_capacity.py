"""How many sockets a process takes, and that every place comes back."""

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask import Flask

import sockets
from errors import WharfError
from sockets import framing
from sockets.capacity import Seats, Traffic
from sockets.connection import Limits
from sockets.dialect import Dialect
from sockets.websocket import WebSocket
from tests.conftest import Account, Server, assert_error
from tests.waiting import wait_until


def seats_of(app: Flask) -> Seats:
    return app.extensions["realtime"].seats


def together(count: int, work: Callable[[int], None]) -> None:
    """Run `work` on so many threads that begin at once."""
    barrier = threading.Barrier(count)

    def run(number: int) -> None:
        barrier.wait(10)
        work(number)

    threads = [threading.Thread(target=run, args=(n,)) for n in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()


# At the door

LIMITS = [
    pytest.param("MAX_SOCKETS", 503, "unavailable", "process", id="of the process"),
    pytest.param("MAX_SOCKETS_PER_USER", 429, "too_many_requests", "user", id="of a user"),
    pytest.param(
        "MAX_SOCKETS_PER_ADDRESS", 429, "too_many_requests", "address", id="of an address"
    ),
]


@pytest.mark.parametrize(("setting", "status", "code", "reason"), LIMITS)
@pytest.mark.parametrize("path", ["/ws", "/sync?channel=a"])
def test_one_socket_too_many_is_refused_before_the_upgrade(
    make_app: Callable[..., Flask],
    serve: Callable[[Flask], Server],
    ann: Account,
    setting: str,
    status: int,
    code: str,
    reason: str,
    path: str,
) -> None:
    server = serve(make_app(**{setting: 2}))
    peers = [server.connect(path, ann) for _ in range(2)]
    for _ in range(3):
        refusal = server.refusal(path, ann)
        assert_error(refusal, status, code)
        assert refusal.headers["Retry-After"] == "5"
    assert seats_of(server.app).refused == {reason: 3}
    peers[0].expect("connected")
    peers[1].close()
    wait_until(lambda: seats_of(server.app).taken[("process", "")] == 1)
    server.connect(path, ann).expect("connected")


def test_others_may_come_when_one_has_enough(
    make_app: Callable[..., Flask], serve: Callable[[Flask], Server], ann: Account, bob: Account
) -> None:
    server = serve(make_app(MAX_SOCKETS_PER_USER=1))
    server.chat(ann)
    assert_error(server.refusal("/ws", ann), 429)
    server.chat(bob)


def test_addresses_count_apart_and_before_anybody_is_asked_for(
    make_app: Callable[..., Flask], serve: Callable[[Flask], Server], ann: Account
) -> None:
    server = serve(make_app(MAX_SOCKETS_PER_ADDRESS=1, PROXIES=1))
    server.connect("/ws", ann, **{"X-Forwarded-For": "192.0.2.1"}).expect("connected")
    assert_error(server.refusal("/ws", **{"X-Forwarded-For": "192.0.2.1"}), 429)
    server.connect("/ws", ann, **{"X-Forwarded-For": "192.0.2.2"}).expect("connected")


def test_a_full_queue_lets_nobody_in(server: Server, ann: Account) -> None:
    traffic = server.app.extensions["realtime"].traffic
    traffic.queued_bytes = traffic.max_queued
    refusal = server.refusal("/ws", ann)
    assert_error(refusal, 503, "unavailable")
    assert refusal.headers["Retry-After"] == "5"
    traffic.queued_bytes = 0
    server.chat(ann)


# No place is lost


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({}, id="no token"),
        pytest.param({"Authorization": "Bearer nonsense"}, id="bad token"),
        pytest.param({"Origin": "https://evil.example"}, id="other site"),
    ],
)
def test_a_refused_handshake_keeps_no_place(server: Server, headers: dict[str, str]) -> None:
    for _ in range(5):
        assert server.refusal("/sync", **headers).status_code in (401, 403)
    assert not seats_of(server.app).taken


def test_a_handshake_that_breaks_keeps_no_place(server: Server, ann: Account) -> None:
    # The test client has no socket to shake hands on.
    assert_error(server.refusal("/ws", ann), 500)
    assert not seats_of(server.app).taken


@pytest.mark.parametrize("name", ["limits_of", "converse", "WebSocket"])
def test_a_crash_keeps_no_place(server: Server, ann: Account, monkeypatch: Any, name: str) -> None:
    def crash(*_args: Any) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(sockets, name, crash)
    server.connect("/ws", ann)
    wait_until(lambda: not seats_of(server.app).taken)


def test_clients_that_vanish_keep_no_place(server: Server, ann: Account) -> None:
    for _ in range(5):
        server.chat(ann).socket.sock.shutdown(socket.SHUT_RDWR)
    wait_until(lambda: not seats_of(server.app).taken)


def test_half_a_handshake_keeps_no_place(server: Server, ann: Account) -> None:
    head = f"GET /ws?token={ann.token} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n"
    bad = f"{head}Connection: Upgrade\r\nSec-WebSocket-Version: 99\r\n\r\n"
    for text in (head, bad):
        with socket.create_connection(("127.0.0.1", server.server.port), timeout=5) as client:
            client.sendall(text.encode())
    server.chat(ann)
    assert set(seats_of(server.app).taken.values()) == {1}


# Many at once


def test_of_many_handshakes_at_once_just_as_many_as_allowed_get_in(
    make_app: Callable[..., Flask], serve: Callable[[Flask], Server], ann: Account
) -> None:
    server = serve(make_app(MAX_SOCKETS=5))
    key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13"
    head = f"GET /ws?token={ann.token} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n"
    request = f"{head}Connection: Upgrade\r\n{key}\r\n\r\n".encode()
    answers: list[bytes] = []
    with contextlib.ExitStack() as clients:
        address = ("127.0.0.1", server.server.port)
        open_ = [
            clients.enter_context(socket.create_connection(address, timeout=10)) for _ in range(20)
        ]

        def connect(number: int) -> None:
            open_[number].sendall(request)
            answers.append(open_[number].recv(12)[9:])

        together(20, connect)
        assert sorted(answers) == [b"101"] * 5 + [b"503"] * 15
        assert seats_of(server.app).taken[("process", "")] == 5
    wait_until(lambda: not seats_of(server.app).taken)


def test_places_are_neither_lost_nor_given_twice() -> None:
    seats = Seats({"process": 5, "address": 3, "user": 2}, Traffic())
    inside, most, lock = [0], [0], threading.Lock()

    def come_and_go(number: int) -> None:
        for turn in range(300):
            held: list[Any] = []
            try:
                seats.enter(f"address {(number + turn) % 3}", held)
                seats.take("user", str(number % 4), held)
                with lock:
                    inside[0] += 1
                    most[0] = max(most[0], inside[0])
                with lock:
                    inside[0] -= 1
            except WharfError as error:
                assert error.status in (429, 503)
            finally:
                seats.leave(held)
                seats.leave(held)

    together(12, come_and_go)
    assert not seats.taken
    assert 0 < most[0] <= 5


# What waits for slow clients


@pytest.fixture
def pairs() -> Iterator[Callable[..., tuple[WebSocket, socket.socket]]]:
    """Connections on real sockets that share one `Traffic`."""
    made: list[tuple[WebSocket, socket.socket]] = []

    def make(traffic: Traffic, queue_bytes: int = 1 << 30) -> tuple[WebSocket, socket.socket]:
        limits = Limits(1000, 5, queue_bytes, 30)
        with socket.create_server(("127.0.0.1", 0)) as listener:
            theirs = socket.socket()
            theirs.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            theirs.settimeout(5)
            theirs.connect(listener.getsockname())
            ours, _address = listener.accept()
        made.append((WebSocket(ours, None, Dialect(), limits, traffic=traffic), theirs))
        return made[-1]

    yield make
    for connection, peer in made:
        connection.shut_down()
        wait_until(lambda connection=connection: not connection.draining or connection.gone)
        peer.close()
        connection.sock.close()


MESSAGE = framing.frame(b"m" * 50_000)


def fill(connection: WebSocket, size: int) -> None:
    """Send until `size` bytes wait for the client."""
    while connection.queued < size and not connection.closing:
        connection.send(MESSAGE)


def test_beyond_the_bound_the_slowest_is_cut_off_first(pairs: Any) -> None:
    traffic = Traffic(max_queued=3_000_000)
    (slow, _), (slower, _), (quick, _) = (pairs(traffic) for _ in range(3))
    fill(slow, 900_000)
    fill(slower, 1_500_000)
    assert traffic.queued_bytes == slow.queued + slower.queued
    for _ in range(100):
        if traffic.slow_closes == 0:
            quick.send(MESSAGE)
    assert slower.closing
    assert traffic.slow_closes == 1
    assert not slow.closing and not quick.closing
    assert traffic.queued_bytes <= traffic.max_queued


def test_one_that_alone_is_beyond_the_bound_is_cut_off(pairs: Any) -> None:
    traffic = Traffic(max_queued=200_000)
    connection, peer = pairs(traffic)
    for _ in range(100):
        connection.send(MESSAGE)
    assert connection.closing
    assert traffic.queued_bytes <= traffic.max_queued


def test_the_bound_holds_when_all_that_waits_has_been_begun(pairs: Any) -> None:
    # Frames that are written in part cannot be dropped: then the socket goes, at once.
    traffic = Traffic(max_queued=1_000_000)
    connection, _peer = pairs(traffic)
    connection.send(framing.frame(b"m" * 8_000_000))
    assert connection.gone
    assert traffic.queued_bytes == 0


def test_what_waited_is_forgotten_however_it_ends(pairs: Any) -> None:
    traffic = Traffic()
    (read, peer), (left, gone_peer), (ended, _) = (pairs(traffic) for _ in range(3))
    for connection in (read, left, ended):
        fill(connection, 500_000)
    assert len(traffic.queued) == 3
    ended.shut_down()
    gone_peer.close()
    deadline = time.monotonic() + 10
    while traffic.queued and time.monotonic() < deadline:
        peer.settimeout(0.1)
        with contextlib.suppress(TimeoutError):
            peer.recv(1 << 16)
    assert traffic.queued == {}
    assert traffic.queued_bytes == 0
    wait_until(lambda: not ended.queue)


def test_many_senders_at_once_neither_deadlock_nor_lose_count(pairs: Any) -> None:
    traffic = Traffic(max_queued=2_000_000)
    connections = [pairs(traffic, 1_000_000)[0] for _ in range(8)]

    def send(number: int) -> None:
        for turn in range(200):
            connections[(number + turn) % 8].send(MESSAGE)
            if turn == 150:
                connections[number].shut_down()

    together(8, send)
    assert traffic.queued_bytes == 0
    assert traffic.queued == {}
