"""One connection: the one way out, back pressure, liveness. On a socket pair, without an app."""

import os
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from sockets import framing
from sockets.connection import Limits
from sockets.dialect import Dialect
from sockets.websocket import PING_FRAME, WebSocket
from tests.test_framing import masked

LIMITS = Limits(frame_bytes=1000, frames_per_second=5, queue_bytes=100_000, ping_seconds=30)
Pair = tuple[WebSocket, socket.socket]


def pair_up(limits: Limits = LIMITS) -> Pair:
    with socket.create_server(("127.0.0.1", 0)) as listener:  # TCP: it writes frames in part
        theirs = socket.socket()
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        theirs.settimeout(5)
        theirs.connect(listener.getsockname())
        ours, _address = listener.accept()
    return WebSocket(ours, None, Dialect(), limits), theirs


@pytest.fixture
def pair() -> Iterator[Pair]:
    connection, peer = pair_up()
    yield connection, peer
    connection.shut_down()
    connection.sock.close()
    peer.close()


def read_frames(peer: socket.socket) -> Iterator[tuple[int, bytes]]:
    """(opcode, payload) of each frame until the stream ends; fails on bytes that are no frame."""
    stream = peer.makefile("rb")
    while head := stream.read(2):
        assert head[0] & 0x70 == 0
        size = head[1]
        if size >= 126:
            size = int.from_bytes(stream.read(2 if size == 126 else 8), "big")
        payload = stream.read(size)
        assert len(payload) == size
        yield head[0] & 0x0F, payload


def test_a_large_frame_arrives_whole_beside_pings_texts_and_a_close() -> None:
    limits = Limits(frame_bytes=1000, frames_per_second=5, queue_bytes=1 << 24, ping_seconds=30)
    connection, peer = pair_up(limits)
    large = os.urandom(8_000_000)
    got: list[tuple[int, bytes]] = []
    reader = threading.Thread(target=lambda: got.extend(read_frames(peer)))
    connection.send(framing.frame(large, framing.BINARY))
    senders = [
        threading.Thread(target=connection.send, args=(frame,))
        for frame in [PING_FRAME, framing.frame(b"text")] * 20
    ]
    for thread in [*senders, reader]:
        thread.start()
    for thread in senders:
        thread.join()
    connection.close(1000, "bye")
    while connection.queue:
        time.sleep(0.01)
    connection.shut_down()
    reader.join()
    connection.sock.close()
    peer.close()
    assert got[0] == (framing.BINARY, large)
    assert sorted(got[1:-1]) == [(framing.TEXT, b"text")] * 20 + [(framing.PING, b"")] * 20
    assert got[-1] == (framing.CLOSE, b"\x03\xe8bye")


def test_a_client_that_never_reads_blocks_nobody_and_is_cut_off_with_1013(pair: Pair) -> None:
    connection, peer = pair
    message = framing.frame(b"m" * 10_000)
    begun = time.monotonic()
    for _ in range(1000):
        connection.send(message)
    assert time.monotonic() - begun < 2
    assert connection.closing
    assert connection.queued <= LIMITS.queue_bytes + len(message)
    connection.tick(time.monotonic() + 60)
    assert connection.gone
    connection, peer = pair_up()
    for _ in range(1000):
        connection.send(message)
    got = []
    for opcode, payload in read_frames(peer):
        got.append((opcode, payload))
        if opcode == framing.CLOSE:
            break
    assert set(got[:-1]) == {(framing.TEXT, b"m" * 10_000)}
    assert got[-1][1][:2] == (1013).to_bytes(2, "big")
    connection.shut_down()
    connection.sock.close()
    peer.close()


def test_nothing_follows_a_close(pair: Pair) -> None:
    connection, peer = pair
    connection.close(1001)
    connection.send(framing.frame(b"late"))
    connection.shut_down()
    assert [opcode for opcode, _ in read_frames(peer)] == [framing.CLOSE]


def test_a_silent_peer_is_pinged_and_dropped_after_one_missed_pong(pair: Pair) -> None:
    connection, peer = pair
    later = time.monotonic() + 31
    connection.tick(later)
    assert next(read_frames(peer)) == (framing.PING, b"")
    assert not connection.gone
    connection.tick(later + 31)
    assert connection.gone


def test_a_peer_that_answers_pings_stays(pair: Pair) -> None:
    connection, peer = pair
    later = time.monotonic()
    for _ in range(3):
        later += 31
        connection.tick(later)
        peer.sendall(masked(b"", 0x80 | framing.PONG))
        connection.receive()
    assert not connection.gone


def test_a_ping_is_answered_with_its_payload(pair: Pair) -> None:
    connection, peer = pair
    peer.sendall(masked(b"are you there", 0x80 | framing.PING) + masked(b"hello", 0x81))
    assert next(connection.messages()) == "hello"
    assert next(read_frames(peer)) == (framing.PONG, b"are you there")


@pytest.mark.parametrize(
    ("payload", "echo"),
    [(b"\x03\xe8", b"\x03\xe8"), (b"\x0f\xa1", b"\x0f\xa1"), (b"", b"")],
    ids=["1000", "4001", "no code"],
)
def test_a_close_is_echoed_and_ends_the_messages(pair: Pair, payload: bytes, echo: bytes) -> None:
    connection, peer = pair
    peer.sendall(masked(payload, 0x80 | framing.CLOSE))
    assert list(connection.messages()) == []
    assert list(read_frames(peer)) == [(framing.CLOSE, echo)]


def test_a_violation_is_answered_with_its_code(pair: Pair) -> None:
    connection, peer = pair
    peer.sendall(masked(b"\xff", 0x81))
    assert list(connection.messages()) == []
    assert list(read_frames(peer)) == [(framing.CLOSE, b"\x03\xef")]


def test_a_peer_that_does_not_answer_a_close_is_gone_a_second_later(pair: Pair) -> None:
    connection, _peer = pair
    connection.close(1001)
    connection.tick(time.monotonic() + 0.5)
    assert not connection.gone
    connection.tick(time.monotonic() + 1.5)
    assert connection.gone


def test_an_abrupt_end_ends_the_messages(pair: Pair) -> None:
    connection, peer = pair
    peer.close()
    assert list(connection.messages()) == []
    connection.send(framing.frame(b"nobody is there"))


def test_frames_per_second_are_limited_after_a_burst(pair: Pair) -> None:
    allowance = pair[0].allowance
    assert [allowance.take() for _ in range(11)] == [True] * 10 + [False]
    allowance.refilled -= 1  # a second passes
    assert [allowance.take() for _ in range(6)] == [True] * 5 + [False]


def test_replies_wait_until_they_are_flushed(pair: Pair) -> None:
    connection, peer = pair
    connection.reply(framing.frame(b"a"))
    connection.reply(framing.frame(b"b"))
    peer.settimeout(0.05)
    with pytest.raises(TimeoutError):
        peer.recv(1)
    peer.settimeout(5)
    connection.commit()
    connection.shut_down()
    assert [payload for _, payload in read_frames(peer)] == [b"a", b"b"]


def test_a_sign_in_that_was_rolled_back_did_not_happen(pair: Pair) -> None:
    connection, _peer = pair
    before = connection.user, connection.session_id
    connection.become("ann", "1")
    connection.become("ann", "2")
    connection.roll_back()
    assert (connection.user, connection.session_id) == before
    connection.become("ann", "3")
    connection.commit()
    connection.roll_back()
    assert (connection.user, connection.session_id) == ("ann", "3")


def test_what_was_rolled_back_neither_leaves_nor_happens(pair: Pair) -> None:
    connection, _peer = pair
    happened: list[str] = []
    connection.after_commit(lambda: happened.append("first"))
    connection.reply(framing.frame(b"first"))
    connection.roll_back()
    connection.after_commit(lambda: happened.append("second"))
    connection.commit()
    connection.commit()
    assert happened == ["second"]
    assert connection.replies == []
