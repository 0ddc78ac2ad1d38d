"""Peers that TCP lets in: they vanish, shake hands oddly, cut a frame, or talk on after a close."""

import socket
import struct
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest

from tests.conftest import Server
from tests.waiting import wait_until
from tests.wire import (
    BINARY,
    CLOSE,
    FIN,
    GUNICORN,
    OPEN,
    PING,
    PONG,
    TEXT,
    Wire,
    build,
    goodbye,
    handshake,
    head,
    serving,
    serving_threads,
    word,
)

KEY = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
LARGE = word("*" * 100_000)
RESET = struct.pack("ii", 1, 0)  # SO_LINGER: closing says RST


@pytest.fixture(scope="module", params=["threads", GUNICORN])
def port(request: Any, tmp_path_factory: Any) -> Iterator[int]:
    """Where the server listens."""
    with serving(request.param, tmp_path_factory.mktemp("peers")) as found:
        yield found


@pytest.fixture(scope="module")
def server(tmp_path_factory: Any) -> Iterator[Server]:
    """A server that pings five times a second, and whose registry can be seen."""
    url = f"sqlite:///{tmp_path_factory.mktemp('pings')}/wharf.db"
    with serving_threads({**OPEN, "DATABASE_URL": url, "PING_SECONDS": "0.2"}) as found:
        yield found


def is_served(port: int) -> bool:
    """Whether another client is answered."""
    with Wire(port) as wire:
        return wire.ask(build(word("hello"))).texts == ["hello"]


# Half-open


def test_a_peer_that_answers_no_ping_is_dropped_after_the_first(server: Server) -> None:
    with Wire(server.server.port) as wire:
        opcodes = [opcode for opcode, _payload in wire.frames()]
    assert opcodes == [TEXT, TEXT, PING]  # two greetings, and no close for the deaf
    wait_until(lambda: not server.app.extensions["realtime"].hub.connections)


def test_a_peer_that_answers_pings_and_says_nothing_stays(server: Server) -> None:
    with Wire(server.server.port) as wire:
        pings = 0
        for opcode, payload in wire.frames():
            if opcode == PING:
                wire.send(build(payload, FIN | PONG))
                pings += 1
            if pings == 4:
                break
        assert wire.ask(build(word("hello"))).texts == ["hello"]


def test_a_frame_that_trickles_in_keeps_its_peer(server: Server) -> None:
    data = build(word("slow"))
    with Wire(server.server.port) as wire:
        pings = 0
        for opcode, _payload in wire.frames():
            if opcode == PING:
                wire.send(data[pings : pings + 1])  # instead of a pong, and in its place
                pings += 1
            if pings == 4:
                break
        assert wire.ask(data[4:]).texts == ["slow"]


@pytest.mark.parametrize(
    "begun",
    [
        pytest.param(b"", id="between frames"),
        pytest.param(build(LARGE)[:1], id="in a head"),
        pytest.param(build(LARGE)[:12], id="in a mask"),
        pytest.param(build(LARGE)[:5000], id="in a payload"),
        pytest.param(build("{", TEXT), id="in a message"),
        pytest.param(head(FIN | BINARY, 1 << 62), id="in a frame that is skipped"),
        pytest.param(build(LARGE) * 20, id="with echoes on their way"),
    ],
)
@pytest.mark.parametrize("reset", [False, True], ids=["fin", "rst"])
def test_who_vanishes_is_forgotten(server: Server, begun: bytes, reset: bool) -> None:
    hub = server.app.extensions["realtime"].hub
    with Wire(server.server.port) as wire:
        wire.read_frame()  # greeted, so it is known
        assert hub.connections
        wire.send(begun)
        if reset:
            wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    wait_until(lambda: not hub.connections)
    assert is_served(server.server.port)


# Handshakes

BAD_HANDSHAKES = [
    pytest.param(handshake(""), id="no key"),
    pytest.param(handshake(KEY, version="8"), id="version 8"),
    pytest.param(handshake(KEY, version=""), id="no version"),
    pytest.param(handshake(KEY, method="POST"), id="post"),
    pytest.param(handshake(KEY).replace(b"Upgrade: websocket\r\n", b""), id="no upgrade"),
    pytest.param(handshake(KEY).replace(b"Connection: Upgrade\r\n", b""), id="no connection"),
    pytest.param(handshake(KEY).replace(b": websocket", b": h2c"), id="upgrade to h2c"),
    pytest.param(handshake(KEY + "X: " + "x" * 70_000 + "\r\n"), id="huge header"),
    pytest.param(handshake(KEY + "X: x\r\n" * 500), id="500 headers"),
    pytest.param(handshake(KEY).replace(b"/ws", b"/" + b"w" * 70_000), id="huge address"),
    pytest.param(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", id="tls"),
    pytest.param(b"\r\n\r\n", id="nothing"),
]


@pytest.mark.parametrize("request_head", BAD_HANDSHAKES)
def test_a_bad_handshake_is_refused_and_harms_nobody(port: int, request_head: bytes) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=5) as peer:
        answer = b""
        with suppress(OSError):  # the server may hang up before it has read all of it
            peer.sendall(request_head)
            peer.shutdown(socket.SHUT_WR)
        with suppress(ConnectionError), peer.makefile("rb") as stream:
            answer = stream.readline()
    assert b" 101 " not in answer
    assert b" 500 " not in answer
    assert is_served(port)


def test_odd_but_lawful_headers_open_a_socket(port: int) -> None:
    with Wire(port, "X-Empty:\r\nSec-WebSocket-Protocol: chat, superchat\r\n") as wire:
        assert b"sec-websocket-accept: " in wire.answer.lower()
        assert wire.ask(build(word("hello"))).texts == ["hello"]


# The end


@pytest.mark.parametrize(
    ("last", "code"),
    [
        pytest.param(goodbye(1000), 1000, id="after a close"),
        pytest.param(build(b"", FIN | 3), 1002, id="after a violation"),
        pytest.param(build(b"\xff"), 1007, id="after a text that is none"),
    ],
)
def test_the_close_arrives_though_its_peer_talks_on(port: int, last: bytes, code: int) -> None:
    with Wire(port) as wire:
        wire.send(last + build(LARGE) * 20)
        assert wire.hear().code == code


def test_nothing_that_follows_a_close_is_done(port: int) -> None:
    with Wire(port) as wire:
        wire.send(goodbye(1000) + build(word("late")) + build("", FIN | PING))
        frames = list(wire.frames())
    assert [opcode for opcode, _payload in frames if opcode != TEXT] == [CLOSE]
    assert not any(b"late" in payload for _opcode, payload in frames)
