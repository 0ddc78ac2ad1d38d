"""RFC 6455 bytes: what the reader takes, skips and refuses, however the bytes are cut."""

import struct
import tracemalloc
from itertools import pairwise

import pytest

from sockets import framing
from sockets.framing import Closing, FrameReader, Oversized, Pinged

MASK = b"\x01\x02\x03\x04"
FIN = 0x80


def masked(payload: bytes, head: int) -> bytes:
    """A frame as clients send it, written independently of the code under test."""
    size = len(payload)
    if size < 126:
        length = bytes([0x80 | size])
    elif size < 65536:
        length = bytes([0x80 | 126]) + struct.pack("!H", size)
    else:
        length = bytes([0x80 | 127]) + struct.pack("!Q", size)
    body = bytes(byte ^ MASK[index % 4] for index, byte in enumerate(payload))
    return bytes([head]) + length + MASK + body


def feed_all(reader: FrameReader, data: bytes, step: int) -> list[framing.Received]:
    received: list[framing.Received] = []
    for start in range(0, len(data), step):
        received += reader.feed(data[start : start + step])
        if received and isinstance(received[-1], Closing):
            break
    return received


STREAM = (
    masked(b"one", FIN | 1)
    + masked(b"", FIN | 1)
    + masked("zwölf".encode(), FIN | 1)
    + masked(b"\x00\xff", FIN | 2)
    + masked(b"hi", FIN | 9)
    + masked(b"first, ", 1)
    + masked(b"in between", FIN | 9)
    + masked(b"second", FIN | 0)
    + masked(b"x" * 200, FIN | 1)
    + masked(b"y" * 70_000, FIN | 1)
    + masked(struct.pack("!H", 1000), FIN | 8)
)
RECEIVED = [
    "one",
    "",
    "zwölf",
    b"\x00\xff",
    Pinged(b"hi"),
    Pinged(b"in between"),
    "first, second",
    "x" * 200,
    "y" * 70_000,
    Closing(1000),
]


@pytest.mark.parametrize("step", [1, 2, 3, 7, 100, 1_000_000])
def test_messages_are_the_same_however_the_bytes_are_cut(step: int) -> None:
    assert feed_all(FrameReader(100_000), STREAM, step) == RECEIVED


@pytest.mark.parametrize(
    ("data", "code"),
    [
        pytest.param(masked(b"\xff\xfe", FIN | 1), 1007, id="invalid utf-8"),
        pytest.param(masked(b"\xff", 1) + masked(b"", FIN), 1007, id="invalid utf-8 in a part"),
        pytest.param(b"\x81\x02hi", 1002, id="not masked"),
        pytest.param(masked(b"hi", FIN | 0x40 | 1), 1002, id="reserved bit"),
        pytest.param(masked(b"hi", FIN | 3), 1002, id="unknown opcode"),
        pytest.param(masked(b"hi", 9), 1002, id="fragmented control frame"),
        pytest.param(masked(b"x" * 126, FIN | 9), 1002, id="long control frame"),
        pytest.param(masked(b"hi", FIN | 0), 1002, id="continuation of nothing"),
        pytest.param(masked(b"a", 1) + masked(b"b", FIN | 1), 1002, id="message inside another"),
        pytest.param(masked(b"\x03", FIN | 8), 1002, id="close of one byte"),
        pytest.param(masked(struct.pack("!H", 999), FIN | 8), 1002, id="close code 999"),
        pytest.param(masked(b"a" * 80, 1) + masked(b"b" * 80, FIN), 1009, id="parts too long"),
        pytest.param(masked(b"a", 1) + masked(b"b" * 200, FIN), 1009, id="a part too long"),
        pytest.param(masked("é".encode() * 40, 1) + masked("é".encode() * 40, 0), 1009, id="bytes"),
        pytest.param(b"\x81\xfe\x00\x05" + MASK, 1002, id="length longer than needed"),
        pytest.param(b"\x81\xff" + struct.pack("!Q", 65_535), 1002, id="length much longer"),
        pytest.param(b"\x81\xff" + struct.pack("!Q", 1 << 63), 1002, id="length of 2^63"),
        pytest.param(b"\x81\x7f" + struct.pack("!Q", 1 << 62), 1002, id="not masked and huge"),
        pytest.param(b"\x89\xff" + struct.pack("!Q", 1 << 62), 1002, id="huge control frame"),
    ],
)
@pytest.mark.parametrize("step", [1, 1000])
def test_a_violation_closes_with_the_code_of_the_rfc(data: bytes, code: int, step: int) -> None:
    assert feed_all(FrameReader(130), data, step)[-1] == Closing(code)


@pytest.mark.parametrize("step", [1, 50, 100_000])
def test_a_message_above_the_limit_is_skipped_and_the_next_one_read(step: int) -> None:
    reader = FrameReader(1000)
    received = feed_all(reader, masked(b"x" * 50_000, FIN | 1) + masked(b"hi", FIN | 1), step)
    assert received == [Oversized(50_000), "hi"]


def test_a_frame_that_claims_2_to_the_63_bytes_holds_no_memory() -> None:
    reader = FrameReader(1000)
    received = reader.feed(b"\x81\xff" + struct.pack("!Q", 2**63 - 1) + MASK)
    assert received == [Oversized(2**63 - 1)]
    for _ in range(100):
        assert reader.feed(b"x" * 10_000) == []
    assert len(reader.buffer) == 0


@pytest.mark.parametrize(
    "head",
    [b"\x83\x80", b"\xc1\x80", b"\x81\x05", b"\x09\x80", b"\x89\xfe\x00\x7e", b"\x80\xfe\x00\x7e"],
    ids=["opcode", "reserved bit", "no mask", "part of a ping", "long ping", "continuation"],
)
def test_a_wrong_head_is_refused_before_its_payload_comes(head: bytes) -> None:
    assert FrameReader(1000).feed(head + MASK + b"p") == [Closing(1002)]


def test_a_part_is_refused_before_its_payload_comes() -> None:
    reader = FrameReader(1000)
    assert reader.feed(masked(b"a" * 900, 1)) == []
    assert reader.feed(b"\x80\xe5" + MASK) == [Closing(1009)]


def test_parts_may_add_up_to_the_limit_with_pings_between() -> None:
    data = masked(b"a" * 500, 1) + masked(b"p" * 125, FIN | 9) + masked(b"b" * 500, 0)
    received = FrameReader(1000).feed(data + masked(b"", FIN) + masked(b"c", 1) + masked(b"d", FIN))
    assert received == [Pinged(b"p" * 125), "a" * 500 + "b" * 500, "cd"]


@pytest.mark.parametrize("part", ["", "é"], ids=["empty", "small"])
def test_many_parts_weigh_no_more_than_their_bytes(part: str) -> None:
    reader = FrameReader(1_000_000)
    reader.feed(masked(b"", 1))
    data = masked(part.encode(), 0) * 100
    tracemalloc.start()
    for _ in range(30):
        reader.feed(data)
    held, _peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 20_000
    assert reader.feed(masked(b"", FIN)) == [part * 3000]


def test_floods_of_what_is_no_message_are_read_slowly(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(framing.time, "sleep", pauses.append)
    reader = FrameReader(1000)
    reader.feed(masked(b"a", FIN | 1) * 1000)
    assert pauses == []
    reader.feed(masked(b"", FIN | 9) * 1000)
    assert len(pauses) == 10
    reader.feed(masked(b"", 1) + masked(b"", 0) * 999)
    assert len(pauses) == 20
    assert reader.feed(masked(b"whole", FIN)) == ["whole"]


def test_nothing_is_read_after_a_close() -> None:
    data = masked(struct.pack("!H", 1001), FIN | 8) + masked(b"late", FIN | 1)
    assert FrameReader(1000).feed(data) == [Closing(1001)]


@pytest.mark.parametrize("size", [0, 125, 126, 65_535, 65_536])
def test_server_frames_carry_their_length_unmasked(size: int) -> None:
    frame = framing.frame(b"z" * size)
    head = {0: 2, 125: 2, 126: 4, 65_535: 4, 65_536: 10}[size]
    assert frame[0] == 0x81
    assert not frame[1] & 0x80
    assert len(frame) == head + size


def test_a_close_reason_is_cut_to_fit_a_control_frame() -> None:
    assert len(framing.close_frame(1011, "r" * 500)) == 2 + 125


def test_a_close_reason_is_cut_between_characters() -> None:
    assert framing.close_frame(1011, "é" * 70)[4:].decode() == "é" * 61


def test_reader_takes_every_split_of_two_messages() -> None:
    data = masked(b"ab", FIN | 1) + masked(b"cd", FIN | 2)
    for cut, _ in pairwise(range(len(data) + 1)):
        reader = FrameReader(10)
        assert reader.feed(data[:cut]) + reader.feed(data[cut:]) == ["ab", b"cd"]
