"""Changes from the wire: which are taken, and which are refused."""

import pytest

import crdt_wire
from crdt import Channel, merge
from crdt_wire import (
    MAX_INTEGER,
    MAX_KEY_BYTES,
    MAX_KEY_LENGTH,
    MAX_VALUE_BYTES,
    BadChange,
    Change,
    parse_change,
    parse_changes,
)

GOOD = ["todos", "[1]", "title", "milk", 1, 1, "anna", 1, 0]


def test_good_change_is_parsed_with_its_value_as_json_text():
    assert parse_change(GOOD, 7) == Change(
        "todos", "[1]", "title", '"milk"', 1, 1, "anna", 1, 0, position=7
    )


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "null"),
        (True, "true"),
        (1, "1"),
        (1.0, "1"),
        (-0.0, "0"),
        (0.1, "0.1"),
        (1e-7, "1e-7"),
        (1e21, "1e+21"),
        ("1", '"1"'),
        ("é", '"\\u00e9"'),
        ("\ud800\0", '"\\ud800\\u0000"'),
        (2**60, "1152921504606847000"),
        (2**53 - 1, "9007199254740991"),
    ],
    ids=str,
)
def test_scalar_values_are_kept_as_ascii_json(value, text):
    assert parse_change([*GOOD[:3], value, *GOOD[4:]]).val == text


WORST = {
    "not a list": {},
    "text": "123456789",
    "tuple of eight": GOOD[:8],
    "ten fields": [*GOOD, 0],
    "table is null": [None, *GOOD[1:]],
    "pk is a number": ["todos", 1, *GOOD[2:]],
    "cid is a number": ["todos", "[1]", -1, *GOOD[3:]],
    "site_id is a list": [*GOOD[:6], ["anna"], 1, 0],
    "site_id is empty": [*GOOD[:6], "", 1, 0],
    "pk with NUL": ["todos", "a\0b", *GOOD[2:]],
    "table with a lone surrogate": ["to\ud800dos", *GOOD[1:]],
    "cid with a lone low surrogate": ["todos", "[1]", "\udfff", *GOOD[3:]],
    "keys too long together": [
        "\U0001f600" * 150,
        "\U0001f600" * 150,
        "\U0001f600" * 76,
        *GOOD[3:],
    ],
    "pk too long": ["todos", "x" * (MAX_KEY_LENGTH + 1), *GOOD[2:]],
    "val is an object": [*GOOD[:3], {"0": 1}, *GOOD[4:]],
    "val is a list": [*GOOD[:3], [], *GOOD[4:]],
    "val is NaN": [*GOOD[:3], float("nan"), *GOOD[4:]],
    "val is Infinity": [*GOOD[:3], float("-inf"), *GOOD[4:]],
    "val is beyond a double": [*GOOD[:3], 10**400, *GOOD[4:]],
    "val is beyond printing": [*GOOD[:3], 10**5000, *GOOD[4:]],
    "val too long": [*GOOD[:3], "x" * (MAX_VALUE_BYTES - 1), *GOOD[4:]],
    "val too long once escaped": [*GOOD[:3], "é" * (MAX_VALUE_BYTES // 6), *GOOD[4:]],
    "col_version is true": [*GOOD[:4], True, *GOOD[5:]],
    "col_version is a float": [*GOOD[:4], 1.0, *GOOD[5:]],
    "col_version is text": [*GOOD[:4], "1", *GOOD[5:]],
    "col_version is null": [*GOOD[:4], None, *GOOD[5:]],
    "db_version is negative": [*GOOD[:5], -1, *GOOD[6:]],
    "db_version is too great": [*GOOD[:5], MAX_INTEGER + 1, *GOOD[6:]],
    "cl is a float": [*GOOD[:7], 1.5, 0],
    "seq is false": [*GOOD[:8], False],
}


@pytest.mark.parametrize("raw", WORST.values(), ids=WORST)
def test_bad_change_is_refused_with_a_reason(raw):
    with pytest.raises(BadChange, match=r"must|a list of nine"):
        parse_change(raw)


@pytest.mark.parametrize("field", [4, 5, 7, 8], ids=["col_version", "db_version", "cl", "seq"])
def test_largest_integer_is_accepted(field):
    parse_change([*GOOD[:field], MAX_INTEGER, *GOOD[field + 1 :]])


def test_bad_change_does_not_spoil_its_message():
    changes, refused = parse_changes([GOOD, None, GOOD])
    assert [change.position for change in changes] == [0, 2]
    assert [(one.position, one.reason) for one in refused] == [
        (1, "a change is a list of nine fields")
    ]


def test_largest_change_fits_a_frame_of_one_megabyte():
    key, site = "\U0001f600" * (MAX_KEY_BYTES // 12), "\U0001f600" * crdt_wire.MAX_SITE_LENGTH
    largest = [key, key, key, "x" * (MAX_VALUE_BYTES - 2), 1, MAX_INTEGER, site, 1, 0]
    state = Channel(0, {}, {})
    merge(state, [parse_change(largest)], sender=site, received=0)
    (cell,) = state.stored.values()
    assert len(crdt_wire.outgoing_json(cell, "server")) < 1_000_000
