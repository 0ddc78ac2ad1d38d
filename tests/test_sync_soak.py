"""A short time of replicas on real sockets; `make soak` makes it longer."""

import os
import secrets
from typing import Any

import pytest

from tests.sync_soak import soak

pytestmark = pytest.mark.skipif(os.name == "nt", reason="gunicorn and signals need Unix")

RUNS, SECONDS = 26, 10.0
KILLED = {"runs": 4, "kills": True}  # one round, with three times of death


@pytest.mark.parametrize(
    ("database", "processes", "more"),
    [
        ("sqlite", 1, {"runs": RUNS}),
        ("postgres", 2, {"runs": RUNS}),
        ("sqlite", 2, KILLED),
        ("postgres", 1, KILLED),
    ],
    ids=["sqlite", "postgres, two processes", "sqlite, two get killed", "postgres, one is killed"],
)
def test_all_have_the_same_in_the_end_and_nothing_acknowledged_is_lost(
    database: str, processes: int, more: dict[str, Any]
) -> None:
    figures: list[str] = []
    words = {"database": database, "processes": processes, "tell": figures.append, **more}
    wrong = soak(seed=secrets.randbelow(10**6), seconds=SECONDS, **words)
    assert not wrong, "\n".join(figures + wrong[:20])
