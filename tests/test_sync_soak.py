"""A short time of replicas on real sockets; `make soak` makes it longer."""

import os
import secrets
import time
from contextlib import ExitStack
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests.sync_arena import Arena
from tests.sync_peers import SocketPeer
from tests.sync_run import Run
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


def test_who_notices_only_in_the_end_that_its_process_died_comes_back(tmp_path: Path) -> None:
    with ExitStack() as stack:
        arena = Arena(tmp_path, stack, f"sqlite:///{tmp_path}/soak.db", 1, False, Random(1))
        run = Run(1, arena.places())
        for peer in run.peers:
            peer.close()
        one, two = (
            SocketPeer(site, run.words, run.ledger, run.dice, counting=False, acks=True)
            for site in ("one", "two")
        )
        run.peers = [one, two]
        for peer in run.peers:
            peer.become_calm()
        assert run.drain(run.peers)
        one.note("one 1")
        time.sleep(0.5)  # it waits in the socket of `two`, and hides that this ends
        (process,) = arena.processes
        process.kill()
        one.cut()
        one.note("one 2")
        arena.processes = [arena.deployment.spawn("app", port=process.port).wait_until_ready()]
        run.settle()
        assert not run.ledger.wrong
        assert two.journal() == {"one 1", "one 2"}
