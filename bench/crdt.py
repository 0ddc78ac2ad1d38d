"""Measures CRDT sync against the server of the guide that its clients come from, in one run.

Usage: python bench/crdt.py [--repeat 2] [--seconds 2] [--only WORD]

Real WebSockets on loopback, fresh servers and a fresh database for every case. The servers take
turns, so that whatever else the machine does hits them alike, and the tables show medians. It ends
by itself, after a quarter of an hour at the latest.
"""

import argparse
import os
import signal
import sys
import tempfile
import time
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import channel_pulls
import servers
from channel_pulls import LAST, READER, READERS
from databases import Postgres, Sqlite
from fanout import print_head
from idle import resident_kb
from records import wait_until_idle
from replicas import Pulled, Rate, Replica, push, updates

LIMIT_SECONDS = 900
STORED = 100_000  # cells that a new replica pulls
FEW, MANY = 10_000, 1_000_000
JOINS = 40
WRITES = 30
PAUSE_SECONDS = 0.03  # until the server has forgotten who left
FIRST_MS, LARGEST, GROWTH = 50, 1_000_000, 1.5  # targets: less than these
GUIDE, STRONGER = "guide", "guide, WAL and transactions"

# How each contender starts, and whether on PostgreSQL.
STARTS: dict[str, tuple[Any, bool]] = {
    "wharf": (channel_pulls.wharf, False),
    "wharf, PostgreSQL": (channel_pulls.wharf, True),
    GUIDE: (channel_pulls.guide, False),
    STRONGER: (partial(channel_pulls.guide, mode="transaction"), False),
}
TARGET = ">= 20 times the guide, >= 20,000/s on SQLite"


class Case(NamedTuple):
    """Replicas that push: messages of `size` changes, `window` unanswered; and what we want."""

    name: str
    size: int
    messages: int  # as many as the fastest may take
    window: int = 1
    replicas: int = 1
    target: str = ""


CASES = [
    Case("1", 1, 40_000),
    Case("1, window of 32", 1, 60_000, window=32),
    Case("10", 10, 15_000),
    Case("100", 100, 4_000, target=TARGET),
    Case("100, window of 32", 100, 6_000, window=32, target=TARGET),
    Case("1,000", 1_000, 500),
    Case("1, from 64 replicas", 1, 1_000, replicas=64),
]


class Runs:
    """Runs cases, and keeps what was found."""

    def __init__(self, sqlite: Sqlite, postgres: Postgres, seconds: float) -> None:
        self.sqlite = sqlite
        self.folder = sqlite.folder
        self.postgres = postgres
        self.seconds = seconds
        self.rates: dict[tuple[str, str], list[Rate]] = {}
        self.disks: dict[tuple[str, str], list[float]] = {}
        self.pulls: dict[str, tuple[Pulled, float]] = {}
        self.joins: dict[str, dict[int, list[float]]] = {}

    def start(self, name: str, count: int = 0) -> Any:
        """A contender, with so many cells."""
        start, on_postgres = STARTS[name]
        return start(self.postgres if on_postgres else self.sqlite, count)

    def push(self, case: Case, repeat: int) -> None:
        """One case, its contenders in turn."""
        messages = [updates(n, case.size, case.messages) for n in range(case.replicas)]
        for _ in range(repeat):
            for name in STARTS:
                with self.start(name) as server:
                    wait_until_idle(server.pids[0])
                    disk = self.disk_ms()
                    rate = push(server, messages, case.size, case.window, self.seconds)
                self.disks.setdefault((case.name, name), []).append(disk)
                note(f"{case.name}, {name}: {rate}")
                self.rates.setdefault((case.name, name), []).append(rate)

    def disk_ms(self) -> float:
        """What the disk, which others use too, takes for a write of 4 KB just now: the median."""
        took = []
        with (self.folder / "disk").open("wb", buffering=0) as file:
            for _ in range(WRITES):
                begun = time.perf_counter()
                file.write(bytes(4096))
                os.fdatasync(file.fileno())
                took.append((time.perf_counter() - begun) * 1e3)
        return median(took)

    def pull(self, name: str) -> None:
        """New replicas pull everything; memory grows most with the first."""
        with self.start(name, STORED) as server:
            wait_until_idle(server.pids[0])
            before = resident_kb(server.pids[0])
            Path(f"/proc/{server.pids[0]}/clear_refs").write_text("5")  # forget the peak
            found = [pull_new(server, number) for number in range(1, 1 + READERS)]
            grown = peak_kb(server.pids[0]) - before
        middle = (median(one[index] for one in found) for index in range(3))
        self.pulls[name] = Pulled(*middle), grown / 1024  # type: ignore[arg-type]
        note(f"pull, {name}: {self.pulls[name]}")

    def join(self, name: str) -> None:
        """A replica that acknowledges comes back, to a short and to a long channel in turns."""
        with ExitStack() as stack:
            both = {size: stack.enter_context(self.start(name, size)) for size in (FEW, MANY)}
            for server in both.values():
                wait_until_idle(server.pids[0])
            took: dict[int, list[tuple[float, ...]]] = {size: [] for size in both}
            for index in range(JOINS + 2):
                for size in sorted(both, reverse=index % 2 == 1):
                    took[size].append(come_back(both[size], index))
                    time.sleep(PAUSE_SECONDS)
        self.joins[name] = {  # the first visits warm up
            size: [median(times) for times in zip(*visits[2:], strict=True)]
            for size, visits in took.items()
        }
        note(f"join, {name}: {self.joins[name]}")

    def rate(self, case: Case, name: str) -> Rate:
        """The medians."""
        return Rate(*map(median, zip(*self.rates[case.name, name], strict=True)))


def note(words: str) -> None:
    """Say how far it is."""
    print(words, file=sys.stderr, flush=True)


def peak_kb(pid: int) -> int:
    """The most resident memory a process had since its peak was forgotten."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


def pull_new(server: servers.Server, number: int) -> Pulled:
    """A new replica pulls everything."""
    with closing(Replica(server, READER.format(number))) as replica:
        return replica.pull(STORED)


def come_back(server: servers.Server, visit: int) -> tuple[float, float, float]:
    """Milliseconds from before the handshake to the last cells, of the pull, and of a change."""
    begun = time.perf_counter()
    with closing(Replica(server, READER.format(0))) as replica:
        pulled = replica.pull(LAST)
        joined = (time.perf_counter() - begun) * 1e3
    with closing(Replica(server, READER.format(READERS + visit))) as writer:
        return joined, pulled.all_ms, writer.push(writer.site)


def print_rates(cases: list[Case], runs: Runs) -> None:
    """Changes per second, also as multiples of the guide's."""
    print(
        "\n| changes in a message | server | changes/s | us CPU each | share of a core |", end=" "
    )
    print("a write to disk, ms | times the guide | times the stronger guide | target |")
    print("|---" * 9 + "|")
    for case in cases:
        for name in STARTS:
            one = runs.rate(case, name)
            print(f"| {case.name} | {name} | {one.changes_s:,.0f} | {one.cpu_us:.1f} ", end="")
            others = (runs.rate(case, other).changes_s for other in (GUIDE, STRONGER))
            times = (f"{one.changes_s / other:.2f}" for other in others)
            target = case.target if name == "wharf" else ""
            disk = median(runs.disks[case.name, name])
            print(f"| {one.cpu_share:.2f} | {disk:.1f} | {' | '.join(times)} | {target} |")


def print_pulls(runs: Runs) -> None:
    """What pulls of everything take."""
    print(
        f"\n| pull of {STORED:,} cells | first frame, ms | all, ms | largest frame, bytes |", end=""
    )
    print(" memory grows, MB |\n" + "|---" * 5 + "|")
    for name, (one, grown) in runs.pulls.items():
        print(f"| {name} | {one.first_ms:.0f} | {one.all_ms:,.0f} | {one.largest:,} ", end="")
        print(f"| {grown:.1f} |")
    print(f"| target | < {FIRST_MS} | | <= {LARGEST:,} | |")


def print_joins(runs: Runs) -> None:
    """What a channel's length costs who comes back."""
    print(
        f"\n| the last {LAST} cells | {FEW:,} stored, ms | {MANY:,} stored, ms | ratio | target |"
    )
    print("|---" * 5 + "|")
    for name, found in runs.joins.items():
        for index, what in enumerate(("join and pull", "pull alone", "push of one")):
            few, many = found[FEW][index], found[MANY][index]
            print(f"| {name}: {what} | {few:.1f} | {many:.1f} | {many / few:.2f} ", end="")
            print(f"| <= {GROWTH} |")


def main() -> None:
    """Run the cases and print Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--repeat", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=2)
    parser.add_argument("--only", default="", help="cases whose name contains this; pull, join")
    options = parser.parse_args()
    signal.signal(signal.SIGALRM, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    signal.alarm(LIMIT_SECONDS)
    os.environ["ACCESS_TOKEN_MINUTES"] = str(LIMIT_SECONDS // 60)  # one token for the whole run
    servers.build()
    cases = [case for case in CASES if options.only in case.name]
    with tempfile.TemporaryDirectory() as folder, closing(Postgres()) as postgres:
        runs = Runs(Sqlite(Path(folder)), postgres, options.seconds)
        for case in cases:
            runs.push(case, options.repeat)
        for name in STARTS if options.only in "pull" else ():
            if name != STRONGER:
                runs.pull(name)
        for name in STARTS if options.only in "join" else ():
            if name not in (GUIDE, STRONGER):
                runs.join(name)
    print_head()
    if cases:
        print_rates(cases, runs)
    if runs.pulls:
        print_pulls(runs)
    if runs.joins:
        print_joins(runs)


if __name__ == "__main__":
    main()
