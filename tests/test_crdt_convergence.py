"""The merge rules all together, under the simulator.

CRDT_RUNS sets how many runs each simulated scenario gets (default 300).
"""

import os
from dataclasses import replace

import pytest

from tests.crdt_faults import FAULTS, Fault
from tests.crdt_scenario import (
    COUNTED_AUTHOR,
    COUNTING,
    DELETES,
    EARLY_ACKS,
    LATE_PULLS,
    MIXED,
    NO_DELETES,
    ONE_AUTHOR,
    READERS,
    Scenario,
)
from tests.crdt_simulator import failing_seeds

RUNS = int(os.environ.get("CRDT_RUNS", "300"))

SCENARIOS = {
    "no deletes": NO_DELETES,
    "deletes": DELETES,
    "many rows": Scenario(deletes=0.25, rows=6),
    "late pulls": LATE_PULLS,
    "early acks": EARLY_ACKS,
    "readers that reload": READERS,
    "one author": ONE_AUTHOR,
    "lives counted": COUNTING,
    "both kinds": MIXED,
    "both kinds, many rows, late pulls": replace(MIXED, rows=6, late_pulls=0.5),
    "both kinds, no deletes": replace(MIXED, deletes=0.0),
    "one author, lives counted": COUNTED_AUTHOR,
    "one author, both kinds": replace(COUNTED_AUTHOR, counting=0.5),
    "one author, no deletes": Scenario(one_author=True),
}


@pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=SCENARIOS)
def test_all_replicas_converge(scenario):
    assert failing_seeds(range(RUNS), scenario) == []


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_without_the_rule_some_replica_differs(fault: Fault):
    # In blocks: most faults show within the first few runs.
    blocks = (range(start, start + 20) for start in range(0, 600, 20))
    assert any(failing_seeds(block, fault.scenario, fault) for block in blocks)
