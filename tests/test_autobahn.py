"""The cases of the Autobahn test suite, as far as JSON goes: framing to sizes (1 to 5, 9, 10).

Names and numbers are theirs. Where they say "echo", a text is echoed and bytes, which are no JSON,
are refused in an error frame; both show that the message arrived. Closing is in
test_autobahn_closing.py.
"""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.wire import (
    BINARY,
    CLOSE,
    FIN,
    GUNICORN,
    PING,
    PONG,
    RSV1,
    RSV2,
    RSV3,
    TEXT,
    Heard,
    Wire,
    build,
    head,
    parts,
    serving,
    word,
)

LIMIT = 1_000_000  # MAX_FRAME_BYTES
NO_JSON = "invalid_json"
HELLO = build(word("hello"))
COUNT = len(word(""))


def sized(size: int) -> tuple[str, str]:
    """A text of so many bytes, and its echo."""
    payload = "*" * (size - COUNT)
    return word(payload), payload


def echoed(number: str, size: int) -> Any:
    """A text of so many bytes arrives."""
    text, payload = sized(size)
    return pytest.param(build(text), Heard(payload), id=f"{number} text of {size}")


def refused(number: str, size: int) -> Any:
    """Bytes, so many, arrive."""
    data = build(b"\xfe" * size, FIN | BINARY)
    return pytest.param(data, Heard(NO_JSON), id=f"{number} bytes of {size}")


def pinged(number: str, *payloads: bytes) -> Any:
    """Pings that come back as pongs."""
    data = b"".join(build(payload, FIN | PING) for payload in payloads)
    return pytest.param(data, Heard(pongs=payloads), id=f"{number} ping")


def failed(name: str, data: bytes, *texts: str, code: int = 1002) -> Any:
    """A violation that ends the stream; `texts` are what was heard before it."""
    return pytest.param(data, Heard(*texts, code=code), id=name)


def fine(name: str, data: bytes, *texts: str, pongs: tuple[bytes, ...] = ()) -> Any:
    """A stream that is fine."""
    return pytest.param(data, Heard(*texts, pongs=pongs), id=name)


FRAMING = [
    fine("1.1.1 text of 0", build(""), NO_JSON),
    *[echoed(f"1.1.{n}", size) for n, size in enumerate([125, 126, 127, 128, 65_535, 65_536], 2)],
    *[
        refused(f"1.2.{n}", size)
        for n, size in enumerate([0, 125, 126, 127, 128, 65_535, 65_536], 1)
    ],
    failed("1.x length of 3 bytes for 125", build(b"x" * 125, length=3)),
    failed("1.x length of 9 bytes for 125", build(b"x" * 125, length=9)),
    failed("1.x length of 9 bytes for 65535", build(b"x" * 65_535, length=9)),
    failed("1.x not masked", head(FIN | TEXT, 2, masked=False) + b"{}"),
    failed("1.x ping not masked", head(FIN | PING, 2, masked=False) + b"hi"),
]

PINGS = [
    pinged("2.1", b""),
    pinged("2.2", b"Hello, world!"),
    pinged("2.3", b"\x00\xff\xfe\xfd\xfc\xfb\x00\xff"),
    pinged("2.4", b"\xfe" * 125),
    failed("2.5 ping of 126", build(b"\xfe" * 126, FIN | PING)),
    failed("2.5 head of a ping of 126", head(FIN | PING, 126)),
    failed("2.5 head of a ping of 2^62", head(FIN | PING, 1 << 62)),
    fine("2.7 pong nobody asked for", build(b"", FIN | PONG)),
    fine("2.8 pong with payload", build(b"unsolicited", FIN | PONG)),
    fine(
        "2.9 pong, then ping",
        build(b"unsolicited", FIN | PONG) + build(b"ours", FIN | PING),
        pongs=(b"ours",),
    ),
    pinged("2.10", *[b"payload-%d" % number for number in range(10)]),
]

RESERVED = [
    failed(
        f"3.x {name} with bits {bits >> 4}", HELLO + build(payload, first | bits) + HELLO, "hello"
    )
    for name, first, payload in [
        ("text", FIN | TEXT, b"{}"),
        ("bytes", FIN | BINARY, b"{}"),
        ("ping", FIN | PING, b""),
        ("close", FIN | CLOSE, b"\x03\xe8"),
    ]
    for bits in (RSV1, RSV2, RSV1 | RSV2, RSV3, RSV1 | RSV3, RSV2 | RSV3, RSV1 | RSV2 | RSV3)
]

OPCODES = [
    failed(
        f"4.x opcode {opcode:#x} of {len(payload)}", HELLO + build(payload, FIN | opcode), "hello"
    )
    for opcode in (3, 4, 5, 6, 7, 0xB, 0xC, 0xD, 0xE, 0xF)
    for payload in (b"", b"reserved")
]

FIRST, LAST = word("fragmented")[:20], word("fragmented")[20:]
LONE = build("", 0), build(FIRST, 0), build(FIRST, FIN)

FRAGMENTS = [
    failed("5.1 ping in two", build(b"a", PING) + build(b"b", FIN)),
    failed("5.2 pong in two", build(b"a", PONG) + build(b"b", FIN)),
    failed("5.x close in two", build(b"\x03", CLOSE) + build(b"\xe8", FIN)),
    fine("5.3 text in two", parts(FIRST, LAST), "fragmented"),
    fine(
        "5.6 ping between",
        build(FIRST, TEXT) + build(b"now", FIN | PING) + build(LAST, FIN),
        "fragmented",
        pongs=(b"now",),
    ),
    failed("5.9 continuation of nothing", build(b"", FIN) + HELLO),
    failed("5.10 continuation of nothing with text", LONE[2] + HELLO),
    failed("5.12 unfinished continuation of nothing", LONE[0] + HELLO),
    failed("5.13 unfinished continuation with text", LONE[1] + HELLO),
    failed("5.15 a third part of two", parts(FIRST, LAST) + build(LAST, FIN), "fragmented"),
    failed("5.16 continuation and text, again", (LONE[1] + parts(FIRST, LAST)) * 2),
    failed("5.18 text inside a text", build(FIRST, TEXT) + build(LAST, FIN | TEXT)),
    failed("5.x bytes inside a text", build(FIRST, TEXT) + build(b"", FIN | BINARY)),
    failed("5.x second start", build(FIRST, TEXT) + build(LAST, TEXT)),
    fine(
        "5.19 five parts with pings",
        build(FIRST[:5], TEXT)
        + build(FIRST[5:], 0)
        + build(b"one", FIN | PING)
        + build(LAST[:3], 0)
        + build(b"two", FIN | PING)
        + build(LAST[3:], 0)
        + build(b"", FIN),
        "fragmented",
        pongs=(b"one", b"two"),
    ),
    fine("5.x three messages", parts(FIRST, LAST) + HELLO + parts(FIRST, LAST),
          "fragmented", "hello", "fragmented"),
    fine("5.x bytes in two", parts(b"\xfe", b"\xff", opcode=BINARY), NO_JSON),
    fine("5.x only empty parts", parts("", "", ""), NO_JSON),
    fine("5.x empty parts around", parts("", *[FIRST, LAST], ""), "fragmented"),
    fine("5.x ten thousand empty parts",
          build(FIRST, TEXT) + build(b"", 0) * 10_000 + build(LAST, FIN), "fragmented"),
]  # fmt: skip


def cut(text: str, step: int) -> bytes:
    """A text as a message of fragments of so many bytes."""
    return parts(*[text[start : start + step] for start in range(0, len(text), step)])


BIG, BIG_ECHO = sized(LIMIT)
LARGER = sized(LIMIT + 1)[0]
SIZES = [
    *[echoed(f"9.1.{n}", size) for n, size in enumerate([65_536, 262_144, LIMIT], 1)],
    *[refused(f"9.2.{n}", size) for n, size in enumerate([65_536, 262_144, LIMIT], 1)],
    fine("9.3 the limit in parts of 64", cut(BIG, 64), BIG_ECHO),
    fine("9.3 the limit in parts of 65536", cut(BIG, 65_536), BIG_ECHO),
    fine("9.3 the limit and an empty part", parts(BIG, ""), BIG_ECHO),
    fine("9.7 a thousand texts", HELLO * 1000, *["hello"] * 1000),
    fine("9.x text above the limit", build(LARGER) + HELLO, "too_large", "hello"),
    fine("9.x bytes above the limit", build(b"*" * (LIMIT + 1), FIN | BINARY), "too_large"),
    failed("9.x parts above the limit", cut(LARGER, 65_536), code=1009),
    failed("9.x bytes count", parts("é" * (LIMIT // 3), "é" * (LIMIT // 3)), code=1009),
    failed("9.x part of 2^62", build("", TEXT) + head(FIN, 1 << 62), code=1009),
    failed("9.x text of 2^63", head(FIN | TEXT, 1 << 63)),
    failed("9.x text of 2^64 - 1", head(FIN | TEXT, (1 << 64) - 1)),
    failed("9.x text of 2^62, not masked", head(FIN | TEXT, 1 << 62, masked=False)),
    fine("10.1 parts of 1300 out of 65536", cut(sized(65_536)[0], 1300), sized(65_536)[1]),
]  # fmt: skip

SMALL = FRAMING + PINGS + RESERVED + OPCODES + FRAGMENTS


@pytest.fixture(scope="module", params=["threads", GUNICORN])
def port(request: Any, tmp_path_factory: Any) -> Iterator[int]:
    """Where the server listens to all cases."""
    with serving(request.param, tmp_path_factory.mktemp("wire")) as found:
        yield found


@pytest.mark.parametrize(("data", "due"), SMALL + SIZES)
def test_a_case_of_autobahn_comes_out_as_the_rfc_says(port: int, data: bytes, due: Heard) -> None:
    with Wire(port) as wire:
        heard = wire.ask(data)
    assert heard.fits(due), heard


@pytest.mark.parametrize(("data", "due"), [case for case in SMALL if len(case.values[0]) < 2000])
def test_a_case_sent_byte_by_byte_comes_out_the_same(port: int, data: bytes, due: Heard) -> None:
    with Wire(port) as wire:
        heard = wire.ask(data, step=1)
    assert heard.fits(due), heard
