"""Measures the chat relay against a peer on Node, in one run, as ratios.

Usage: python bench/fanout.py [--repeat 3] [--seconds 4] [--only WORD]

Every run has a fresh server and a fresh SQLite file. The servers take turns, so that whatever else
the machine does hits them alike, and the table shows medians. It ends by itself.
"""

import argparse
import platform
import signal
import subprocess
import sys
import tempfile
from datetime import date
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import servers

LIMIT_SECONDS = 1800
Result = dict[str, float]


class Case(NamedTuple):
    """What load.c does (its letters), and the contenders; one row each."""

    name: str
    mode: str
    options: dict[str, int]
    contenders: tuple[str, ...] = ("peer", "wharf")


CASES = [
    Case("500 clients, 1 sender", "chat", {"n": 500, "s": 1}, ("peer", "plain", "wharf", "bare")),
    Case("500 clients, 20 senders", "chat", {"n": 500, "s": 20}, ("peer", "plain", "wharf")),
    Case("100 clients, 1 sender", "chat", {"n": 100, "s": 1}),
    Case("echo on 100 sockets", "echo", {"n": 100}),
]
# 100 messages of 2 KB a second; the bound is small, so that the stuck ones are cut in the run.
PACED = {"n": 500, "s": 1, "r": 100, "b": 2000}
STUCK = [
    Case("nobody stuck", "chat", PACED, ("wharf",)),
    Case("5 stuck clients", "chat", {**PACED, "k": 5}, ("wharf",)),
]
STUCK_SETTINGS = {"SEND_QUEUE_BYTES": "100000"}


STARTS: dict[str, Any] = {
    "peer": servers.peer,
    "plain": servers.plain,
    "wharf": servers.wharf,
    "bare": servers.bare,
}


def measure(name: str, case: Case, folder: Path, token: str, seconds: int) -> Result:
    """One run of one case against one server."""
    start = STARTS[name]
    settings = STUCK_SETTINGS if case in STUCK else {}
    with start(folder, token, **settings) as server:
        result = servers.load(server, case.mode, {**case.options, "d": seconds})
    print(f"{case.name}, {name}: {result}", file=sys.stderr, flush=True)
    return result


def compare(cases: list[Case], repeat: int, **fixed: Any) -> dict[tuple[str, str], Result]:
    """The medians by case and server."""
    runs: dict[tuple[str, str], list[Result]] = {}
    for case in cases:
        for _ in range(repeat):
            for name in case.contenders:
                runs.setdefault((case.name, name), []).append(measure(name, case, **fixed))
    return {
        key: {unit: median(result[unit] for result in results) for unit in results[0]}
        for key, results in runs.items()
    }


def print_ratios(cases: list[Case], found: dict[tuple[str, str], Result]) -> None:
    """Every case; Wharf's deliveries as multiples of each other server's, and CPU the same way."""
    print("| case | server | deliveries/s | us CPU each | p99, ms | share of a core |", end=" ")
    print("Wharf: times as many | Wharf: CPU |\n|---|---|---|---|---|---|---|---|")
    for case in cases:
        wharf = found[case.name, "wharf"]
        for name in case.contenders:
            one = found[case.name, name]
            numbers = f"{one['deliveries_s']:,.0f} | {one['cpu_us']:.2f} | {one['p99_ms']:.1f}"
            ratio = wharf["deliveries_s"] / one["deliveries_s"]
            cost = wharf["cpu_us"] / one["cpu_us"]
            print(f"| {case.name} | {name} | {numbers} | {one['cpu_share']:.2f} ", end="")
            print("| | |" if name == "wharf" else f"| {ratio:.2f} | {cost:.2f} |")


def print_stuck(cases: list[Case], found: dict[tuple[str, str], Result]) -> None:
    """What clients that never read cost the others."""
    print("\nWharf, 500 clients, 100 messages of 2 KB a second:\n")
    print("| case | deliveries/s | p50, ms | p99, ms |\n|---|---|---|---|")
    for case in cases:
        wharf = found[case.name, "wharf"]
        numbers = f"{wharf['deliveries_s']:,.0f} | {wharf['p50_ms']:.2f} | {wharf['p99_ms']:.2f}"
        print(f"| {case.name} | {numbers} |")


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
    cases = [case for case in CASES if options.only in case.name]
    stuck = [case for case in STUCK if options.only in case.name]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        fixed = {"folder": folder, "token": servers.prepare(folder), "seconds": options.seconds}
        found = compare(cases + stuck, options.repeat, **fixed)
    node = subprocess.run(["node", "--version"], capture_output=True, text=True).stdout.strip()
    print(f"{date.today()}, Python {platform.python_version()}, Node {node}\n")
    if cases:
        print_ratios(cases, found)
    if stuck:
        print_stuck(stuck, found)


if __name__ == "__main__":
    main()
