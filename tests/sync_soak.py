"""Replicas on real sockets: in every run all must have the same in the end, and nothing be lost.

    python -m tests.sync_soak --runs 1000 --seed 1 --seconds 600 --database postgres --processes 2

With --kills, processes are killed while the replicas write; with --redis, Redis is killed too.
Prints one line of figures; ends with 1, the seeds, and what was wrong otherwise. A seed decides
what replicas do, but not when the server does its part: the same seed may end otherwise.
"""

import argparse
import secrets
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from threading import Event, Lock
from typing import Any

from tests.conftest import make_postgres
from tests.sync_arena import Arena
from tests.sync_node import NodePeer
from tests.sync_run import Run

AT_ONCE = 4  # runs
KILLS = 3  # of one round


@dataclass
class Soak:
    """Many runs in one arena, until there are enough or the time is over."""

    arena: Arena
    runs: int
    seed: int
    until: float
    done: int = 0
    steps: int = 0
    replicas: int = 0
    browsers: int = 0
    wrong: list[str] = field(default_factory=list)
    lock: Lock = field(default_factory=Lock)

    def play_all(self, pool: ThreadPoolExecutor) -> None:
        """Several runs at once, on processes that live."""
        seeds = range(self.seed, self.seed + self.runs)
        list(pool.map(self.play_one, seeds))

    def play_one(self, seed: int) -> None:
        """One run, if there is time."""
        if time.monotonic() < self.until:
            run = Run(seed, self.arena.places())
            run.play()
            self.end(run)

    def play_rounds(self, pool: ThreadPoolExecutor) -> None:
        """Rounds of several runs, while processes are killed; all settle before the next."""
        for first in range(self.seed, self.seed + self.runs, AT_ONCE):
            if time.monotonic() > self.until:
                return
            chaos = Event()
            chaos.set()
            seeds = range(first, min(first + AT_ONCE, self.seed + self.runs))
            runs = [Run(seed, self.arena.places(), chaos) for seed in seeds]
            played = [pool.submit(run.play) for run in runs]
            try:
                for _ in range(KILLS):
                    self.arena.kill_some(runs)
            finally:
                chaos.clear()
            for one in played:
                one.result()
            list(pool.map(self.end, runs))

    def end(self, run: Run) -> None:
        """Let a run settle, and keep what was wrong."""
        run.settle()
        with self.lock:
            self.done += 1
            self.steps += run.steps
            self.replicas += len(run.peers)
            self.browsers += sum(isinstance(peer, NodePeer) for peer in run.peers)
            self.wrong += [f"seed {run.seed}: {words}" for words in run.ledger.wrong]


def soak(
    runs: int,
    seed: int,
    seconds: float,
    database: str = "sqlite",
    processes: int = 1,
    kills: bool = False,
    redis: bool = False,
    tell: Callable[[str], Any] = print,
) -> list[str]:
    """Play them; returns what was wrong, after telling the figures."""
    begin = time.monotonic()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        url = stack.enter_context(own_database(database, folder))
        arena = Arena(folder, stack, url, processes, redis, Random(seed))
        play = Soak(arena, runs, seed, begin + seconds)
        with ThreadPoolExecutor(AT_ONCE) as pool:
            (play.play_rounds if kills else play.play_all)(pool)
    wrong = arena.wrong + play.wrong
    browsers = str(play.browsers) if arena.host else "for want of Node and its `ws` none"
    bus = f" with Redis, killed {arena.redis_killed} times" if redis else ""
    tell(
        f"{database}{bus}, {processes} processes, seed {seed}: {play.done} runs, "
        f"{play.replicas} replicas, {browsers} of them the browser's, {play.steps} steps, "
        f"{arena.killed} kills, "
        f"{len(wrong)} wrong, {time.monotonic() - begin:.0f} s"
    )
    return wrong


@contextmanager
def own_database(kind: str, folder: Path) -> Iterator[str]:
    """The address of a new database."""
    if kind == "sqlite":
        yield f"sqlite:///{folder}/soak.db"
    else:
        yield from make_postgres()


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10**6))
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--database", choices=("sqlite", "postgres"), default="sqlite")
    parser.add_argument("--processes", type=int, choices=(1, 2), default=1)
    parser.add_argument("--kills", action="store_true")
    parser.add_argument("--redis", action="store_true")
    wrong = soak(**vars(parser.parse_args()))
    print("\n".join(wrong[:20]), end="\n" if wrong else "")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
