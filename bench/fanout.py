"""Measures the chat relay against a peer on Node, in one run, as ratios.

Usage: python bench/fanout.py [--repeat 3] [--seconds 4] [--only WORD]

Every run has fresh servers and a fresh database. The servers take turns, so that whatever else the
machine does hits them alike, and the table shows medians. It ends by itself.
"""

import argparse
import platform
import signal
import subprocess
import sys
import tempfile
from contextlib import closing
from datetime import date
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import servers
from databases import Database, Postgres, Sqlite

LIMIT_SECONDS = 3600
Result = dict[str, float]
ONE_ROOM = ("peer", "wharf")
WITH_LIMIT = ("peer", "wharf", "bare")
ON_POSTGRES = ("peer, PostgreSQL", "wharf, PostgreSQL", "wharf")
PROCESSES = ("wharf, PostgreSQL", "two, NOTIFY", "two, Redis")


class Case(NamedTuple):
    """What load.c does (its letters), and the contenders; the `subject` is compared with each."""

    name: str
    mode: str
    options: dict[str, int]
    contenders: tuple[str, ...] = ONE_ROOM
    subject: str = "wharf"


def one_room(clients: int, senders: int, contenders: tuple[str, ...]) -> Case:
    """All clients in one room."""
    words = f"{clients:,} client{'s' * (clients > 1)}, {senders} sender{'s' * (senders > 1)}"
    return Case(words, "chat", {"n": clients, "s": senders}, contenders)


MANY_ROOMS = {"n": 500, "s": 100, "R": 100}
CASES = [
    one_room(1, 1, WITH_LIMIT),
    one_room(10, 1, WITH_LIMIT),
    one_room(100, 1, WITH_LIMIT),
    one_room(100, 20, ONE_ROOM),
    one_room(500, 1, ("plain", *WITH_LIMIT)),
    one_room(500, 20, ("plain", *ONE_ROOM)),
    one_room(2000, 1, WITH_LIMIT),
    one_room(2000, 20, ONE_ROOM),
    Case("100 rooms of 5, 100 senders", "chat", MANY_ROOMS),
    Case("echo on 100 sockets", "echo", {"n": 100}),
]
DATABASES = [
    one._replace(contenders=ON_POSTGRES, subject="wharf, PostgreSQL", name=f"PostgreSQL: {name}")
    for one in CASES
    if (name := one.name) in ("500 clients, 1 sender", "500 clients, 20 senders")
    or "R" in one.options
]
TWO = [
    one._replace(contenders=PROCESSES, name=one.name.replace("PostgreSQL", "two processes"))
    for one in DATABASES
]
# 100 messages of 2 KB a second; the bound is small, so that the stuck ones are cut in the run.
PACED = {"n": 500, "s": 1, "r": 100, "b": 2000}
STUCK = [
    Case("nobody stuck", "chat", PACED, ("wharf, small bound",)),
    Case("5 stuck clients", "chat", {**PACED, "k": 5}, ("wharf, small bound",)),
]

# How each contender starts, and whether on PostgreSQL.
STARTS: dict[str, tuple[Any, bool]] = {
    "peer": (servers.peer, False),
    "plain": (servers.plain, False),
    "bare": (servers.bare, False),
    "wharf": (servers.wharf, False),
    "wharf, small bound": (partial(servers.wharf, SEND_QUEUE_BYTES="100000"), False),
    "peer, PostgreSQL": (servers.peer, True),
    "wharf, PostgreSQL": (servers.wharf, True),
    "two, NOTIFY": (partial(servers.wharf, processes=2), True),
    "two, Redis": (partial(servers.wharf, processes=2, REDIS_URL=servers.REDIS_URL), True),
}


class Runs:
    """Runs cases, and keeps what was found: the results by case and contender."""

    def __init__(self, sqlite: Database, postgres: Database | None, seconds: int) -> None:
        self.sqlite = sqlite
        self.postgres = postgres
        self.seconds = seconds
        self.results: dict[tuple[str, str], list[Result]] = {}

    def measure(self, case: Case, name: str) -> None:
        """One run of one case against one contender."""
        start, on_postgres = STARTS[name]
        database = self.postgres if on_postgres else self.sqlite
        with start(database) as server:
            result = servers.load(server, case.mode, {**case.options, "d": self.seconds})
        print(f"{case.name}, {name}: {result}", file=sys.stderr, flush=True)
        self.results.setdefault((case.name, name), []).append(result)

    def compare(self, cases: list[Case], repeat: int) -> None:
        """Every case, its contenders in turn."""
        for case in cases:
            for _ in range(repeat):
                for name in case.contenders:
                    self.measure(case, name)

    def found(self, case: Case, name: str) -> Result:
        """The medians."""
        results = self.results[case.name, name]
        return {unit: median(result[unit] for result in results) for unit in results[0]}


def print_ratios(cases: list[Case], runs: Runs) -> None:
    """Every case; the subject's deliveries as multiples of each other's, and CPU the same way."""
    print("\n| case | server | deliveries/s | us CPU each | p50, ms | p99, ms |", end=" ")
    print("share of a core | subject: times as many | subject: CPU |\n|" + "---|" * 9)
    for case in cases:
        subject = runs.found(case, case.subject)
        for name in case.contenders:
            one = runs.found(case, name)
            numbers = f"{one['deliveries_s']:,.0f} | {one['cpu_us']:.2f} | {one['p50_ms']:.2f}"
            ratio = subject["deliveries_s"] / one["deliveries_s"]
            cost = subject["cpu_us"] / one["cpu_us"]
            print(f"| {case.name} | {name} | {numbers} | {one['p99_ms']:.2f} ", end="")
            print(f"| {one['cpu_share']:.2f} ", end="")
            print("| subject | |" if name == case.subject else f"| {ratio:.2f} | {cost:.2f} |")


def print_stuck(cases: list[Case], runs: Runs) -> None:
    """What clients that never read cost the others."""
    print("\nWharf, 500 clients, 100 messages of 2 KB a second:\n")
    print("| case | deliveries/s | p50, ms | p99, ms |\n|---|---|---|---|")
    for case in cases:
        one = runs.found(case, case.contenders[0])
        numbers = f"{one['deliveries_s']:,.0f} | {one['p50_ms']:.2f} | {one['p99_ms']:.2f}"
        print(f"| {case.name} | {numbers} |")


def print_head() -> None:
    """When, and on what."""
    node = subprocess.run(["node", "--version"], capture_output=True, text=True).stdout.strip()
    print(f"{date.today()}, Python {platform.python_version()}, Node {node}")


def chosen(word: str) -> tuple[list[list[Case]], list[Case]]:
    """The cases whose name contains `word`: the tables of ratios, and those with stuck clients."""
    groups = (CASES, DATABASES, TWO, STUCK)
    *tables, stuck = ([case for case in group if word in case.name] for group in groups)
    return [table for table in tables if table], stuck


def main() -> None:
    """Run the cases and print Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=4)
    parser.add_argument("--only", default="", help="cases whose name contains this")
    options = parser.parse_args()
    signal.signal(signal.SIGALRM, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    signal.alarm(LIMIT_SECONDS)
    tables, stuck = chosen(options.only)
    cases = [case for table in tables for case in table] + stuck
    servers.build()
    with tempfile.TemporaryDirectory() as name:
        runs = Runs(Sqlite(Path(name)), None, options.seconds)
        if any(STARTS[contender][1] for case in cases for contender in case.contenders):
            with closing(Postgres()) as postgres:
                runs.postgres = postgres
                runs.compare(cases, options.repeat)
        else:
            runs.compare(cases, options.repeat)
    print_head()
    for table in tables:
        print_ratios(table, runs)
    if stuck:
        print_stuck(stuck, runs)


if __name__ == "__main__":
    main()
