"""What the server and the browser's replica must agree on to the letter: one file, read by both.

A `merges` script is what sites push, one after the other; `outgoing` is what a pull gets then, and
`rows` what a replica makes of that.
"""

import json
from pathlib import Path
from typing import Any

import pytest

import crdt
import crdt_wire
from crdt_wire import TOMBSTONE, canonical
from tests.clients.node import HAS_NODE, run_node
from tests.crdt_counting import CountingReplica

TEXT = (Path(__file__).parent / "crdt_vectors.json").read_text()
VECTORS: dict[str, list[dict[str, Any]]] = json.loads(TEXT)
SCRIPTS = [pytest.param(one, id=one["name"]) for one in VECTORS["merges"]]


def outgoing(channel: crdt.Channel) -> list[list[Any]]:
    """What is sent to who pulls for the first time."""
    ends = {key[:2]: one.version for key, one in channel.winners.items() if key[2] == TOMBSTONE}
    cells = sorted(channel.winners.values(), key=lambda cell: cell.version)
    visible = [cell for cell in cells if crdt.is_visible(cell, ends.get(cell[:2]))]
    return [crdt_wire.outgoing(cell, "server") for cell in visible]


@pytest.mark.parametrize("vector", VECTORS["canonical"], ids=lambda vector: vector["json"])
def test_values_have_one_text(vector: dict[str, str]) -> None:
    assert canonical(json.loads(vector["json"])) == vector["text"]


def test_the_greater_life_is_taken_then_the_greater_version() -> None:
    for vector in VECTORS["takes"]:
        assert crdt.takes(tuple(vector["change"]), tuple(vector["held"])) is vector["takes"]


@pytest.mark.parametrize("script", SCRIPTS)
def test_the_server_merges_as_written(script: dict[str, Any]) -> None:
    channel = crdt.Channel(0, {}, {})
    received: dict[str, int] = {}
    for push in script["pushes"]:
        site = push["site"]
        changes, refused = crdt_wire.parse_changes(push["changes"])
        known = received.get(site, 0)
        merged = crdt.merge(channel, changes, sender=site, received=known, kind=push["kind"])
        assert not refused + merged.refused
        received[site] = max(known, merged.acked)
    told = [[*one[:3], canonical(one[3]), *one[4:]] for one in outgoing(channel)]
    assert told == [[*one[:3], canonical(one[3]), *one[4:]] for one in script["outgoing"]]


@pytest.mark.parametrize("script", SCRIPTS)
def test_the_simulator_s_replica_merges_as_written(script: dict[str, Any]) -> None:
    replica = CountingReplica("zz", acks=False)
    replica.receive_update({"changes": script["outgoing"]})
    assert json.dumps(replica.rows, sort_keys=True) == json.dumps(script["rows"], sort_keys=True)


@HAS_NODE
def test_the_browser_s_replica_does_as_written() -> None:
    told = json.loads(run_node("vectors.mjs", stdin=TEXT))
    assert told["canonical"] == [vector["text"] for vector in VECTORS["canonical"]]
    assert told["takes"] == [vector["takes"] for vector in VECTORS["takes"]]
    rows = [vector["rows"] for vector in VECTORS["merges"]]
    assert json.dumps(told["merges"], sort_keys=True) == json.dumps(rows, sort_keys=True)
