"""The cases of the Autobahn test suite: UTF-8 (6), closing (7) and compression (12, 13)."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.wire import (
    CLOSE,
    FIN,
    GUNICORN,
    PING,
    RSV1,
    TEXT,
    Heard,
    Wire,
    build,
    goodbye,
    head,
    parts,
    serving,
    word,
)

VALID = [
    "hello$world",
    "hello¢world",
    "hello€world",
    "hello𤭢world",
    "κόσμε",
    "\x00",
    "\x7f",
    "\x80",
    "\u07ff",
    "\u0800",
    "\ud7ff",
    "\ue000",
    "\ufffd",
    "\ufffe",
    "\uffff",
    "\U00010000",
    "\U0010fffe",
    "\U0010ffff",
]
INVALID = [
    b"\xce\xba\xe1\xbd\xb9\xcf",
    b"\xf8\x88\x80\x80\x80",
    b"\xfc\x84\x80\x80\x80\x80",
    b"\xf7\xbf\xbf\xbf",
    b"\xf4\x90\x80\x80",
    b"\x80",
    b"\xbf",
    b"\x80\xbf\x80",
    b"\xc0 \xc1 \xc2 ",
    b"\xe0 \xe1 \xe2 ",
    b"\xf0 \xf1 \xf2 ",
    b"\xe0\x80",
    b"\xef\xbf",
    b"\xf7\xbf\xbf",
    b"\xc0\xe0\x80\xf0\x80\x80",
    b"\xfe",
    b"\xff",
    b"\xc0\xaf",
    b"\xe0\x80\xaf",
    b"\xf0\x80\x80\xaf",
    b"\xc1\xbf",
    b"\xe0\x9f\xbf",
    b"\xf0\x8f\xbf\xbf",
    b"\xc0\x80",
    b"\xed\xa0\x80",
    b"\xed\xad\xbf",
    b"\xed\xbf\xbf",
    b"\xed\xa0\x80\xed\xb0\x80",
]
NOT_UTF_8 = Heard(code=1007)
BEGUN = "κόσμε".encode() + b"\xf4\x90"  # beyond U+10FFFF, whatever follows


def octets(data: bytes) -> bytes:
    """A text in parts of one byte."""
    return parts(*[data[at : at + 1] for at in range(len(data))])


UTF_8 = [
    *[pytest.param(build(word(text)), Heard(text), id=f"6.x {text!a}") for text in VALID],
    *[
        pytest.param(octets(word(text).encode()), Heard(text), id=f"6.x parts of {text!a}")
        for text in VALID
    ],
    *[pytest.param(build(data), NOT_UTF_8, id=f"6.x bytes {data.hex()}") for data in INVALID],
    *[pytest.param(octets(data), NOT_UTF_8, id=f"6.x parts {data.hex()}") for data in INVALID],
]

FAIL_FAST = [
    pytest.param(build(BEGUN, TEXT), id="6.3.1 in a part"),
    pytest.param(build("κόσμε", TEXT) + build(b"\xf4\x90", 0), id="6.4.1 in a second part"),
    pytest.param(head(TEXT, 500) + build(BEGUN)[2:], id="6.4.3 in the middle of a part"),
    pytest.param(build("κόσμε", TEXT) + head(0, 9) + build(b"\xff")[2:], id="6.4.4 in a later one"),
]

CLOSINGS = [
    pytest.param(build(word("a")) + goodbye(1000), Heard("a", code=1000), id="7.1.1 after a text"),
    pytest.param(goodbye(1000) * 2, Heard(code=1000), id="7.1.2 twice"),
    pytest.param(goodbye(1000) + build("", FIN | PING), Heard(code=1000), id="7.1.3 then ping"),
    pytest.param(goodbye(1000) + build(word("a")), Heard(code=1000), id="7.1.4 then text"),
    pytest.param(
        build("{", TEXT) + goodbye(1000) + build("}", FIN), Heard(code=1000), id="7.1.5 inside"
    ),
    pytest.param(
        build(word("*" * 262_144)) + goodbye(1000) + build("", FIN | PING),
        Heard("*" * 262_144, code=1000),
        id="7.1.6 after a large text",
    ),
    pytest.param(build("", FIN | CLOSE), Heard(code=0), id="7.3.1 without code"),
    pytest.param(build("a", FIN | CLOSE), Heard(code=1002), id="7.3.2 of one byte"),
    pytest.param(goodbye(1000), Heard(code=1000), id="7.3.3 without reason"),
    pytest.param(goodbye(1000, b"bye"), Heard(code=1000), id="7.3.4 with reason"),
    pytest.param(goodbye(1000, b"*" * 123), Heard(code=1000), id="7.3.5 reason of 123"),
    pytest.param(goodbye(1000, b"*" * 124), Heard(code=1002), id="7.3.6 reason of 124"),
    pytest.param(goodbye(1000, BEGUN), NOT_UTF_8, id="7.5.1 reason is not UTF-8"),
    *[
        pytest.param(goodbye(code), Heard(code=code), id=f"7.7.x valid {code}")
        for code in (1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999)
    ],
    *[
        pytest.param(goodbye(code), Heard(code=1002), id=f"7.9.x invalid {code}")
        for code in (0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535)
    ],
]

OFFERS = [
    "permessage-deflate",
    "permessage-deflate; client_max_window_bits",
    "permessage-deflate; server_no_context_takeover; client_no_context_takeover",
    "permessage-deflate; server_max_window_bits=8, permessage-deflate",
    "permessage-deflate; server_max_window_bits=99",
    "x-webkit-deflate-frame, permessage-bzip2",
    ";;;",
]


@pytest.fixture(scope="module", params=["threads", GUNICORN])
def port(request: Any, tmp_path_factory: Any) -> Iterator[int]:
    """Where the server listens to all cases."""
    with serving(request.param, tmp_path_factory.mktemp("wire")) as found:
        yield found


@pytest.mark.parametrize(("data", "due"), UTF_8 + CLOSINGS)
@pytest.mark.parametrize("step", [0, 1], ids=["at once", "byte by byte"])
def test_a_case_of_autobahn_comes_out_as_the_rfc_says(
    port: int, data: bytes, due: Heard, step: int
) -> None:
    with Wire(port) as wire:
        heard = wire.ask(data, step if len(data) < 2000 else 0)
    assert heard.fits(due), heard


@pytest.mark.parametrize("data", FAIL_FAST)
def test_what_can_be_no_utf_8_ends_a_fragmented_text_before_its_end(port: int, data: bytes) -> None:
    with Wire(port) as wire:
        wire.send(data)  # and no more: who waits for the rest, waits in vain
        assert wire.hear().code == 1007


@pytest.mark.parametrize("offer", OFFERS)
def test_compression_is_declined_however_it_is_offered(port: int, offer: str) -> None:
    with Wire(port, f"Sec-WebSocket-Extensions: {offer}\r\n") as wire:
        assert b"extensions" not in wire.answer.lower()
        assert wire.ask(build(word("plain"))).texts == ["plain"]


def test_a_compressed_frame_fails_though_compression_was_offered(port: int) -> None:
    with Wire(port, "Sec-WebSocket-Extensions: permessage-deflate\r\n") as wire:
        assert wire.ask(build(b"\xaa\x56\x02\x00", FIN | RSV1 | TEXT)).code == 1002
