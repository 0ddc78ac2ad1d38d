"""Measures reading and storing records against Express and a constant, in one run, as ratios.

Usage: python bench/records.py [--repeat 3] [--seconds 4] [--only WORD]

The client is wrk, with one thread and 32 connections that are kept alive. Every run has fresh
servers and a fresh database. The servers take turns, so that whatever else the machine does hits
them alike, and the table shows medians, also of the ratios of each round. It ends by itself.
"""

import argparse
import json
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from databases import SECRET, Sqlite
from fanout import Result, print_head
from flask import Flask
from servers import HERE, START_SECONDS, Server, free_port, process, running

LIMIT_SECONDS = 3600
CONNECTIONS = 32
WARM_UP_SECONDS = 1
RECORDS = 100  # on the list of the caller
EXPRESS = HERE / "peer" / "express"
SUBJECT = "wharf"
PAUSE_SECONDS = 0.5
IDLE_SECONDS = 0.02  # of CPU in a pause: two ticks of the clock in /proc
TICKS = os.sysconf("SC_CLK_TCK")

# What wrk does: counts answers of a wrong status, sends a body if there is one, and reports.
SCRIPT = """
local clients = {}
function setup(client) table.insert(clients, client) end
function init(words)
  wrong, expected = 0, tonumber(words[1])
  if words[2] then wrk.method, wrk.body = "POST", words[2] end
end
function response(status) if status ~= expected then wrong = wrong + 1 end end
function done(summary, latency)
  local failed = summary.errors
  io.stderr:write(string.format(
    '{"requests": %d, "seconds": %f, "wrong": %d, "p50_ms": %f, "p99_ms": %f}',
    summary.requests, summary.duration / 1e6,
    clients[1]:get("wrong") + failed.connect + failed.read + failed.write + failed.timeout,
    latency:percentile(50) / 1e3, latency:percentile(99) / 1e3))
end
"""


class Case(NamedTuple):
    """A request, the status of its answer, and how many times the requests/s of others we want."""

    name: str
    path: str
    targets: dict[str, float]
    status: int = 200
    body: str = ""


CASES = [
    Case("GET one", "/api/todos/1", {"Express": 2.5, "constant": 0.5}),
    Case("GET 20", "/api/todos?limit=20", {"Express": 2}),
    Case("POST one", "/api/todos", {"Express": 3}, 201, '{"title": "Buy milk and bread"}'),
]


# Servers


@contextmanager
def wharf(database: Sqlite) -> Iterator[Server]:
    """The web process as the Procfile starts it."""
    with database.copies() as url, process("web", url, {}) as (port, master):
        yield Server((port,), "", (master,))


@contextmanager
def express(database: Sqlite, workers: str = "") -> Iterator[Server]:
    """The same work on Node: one process, as the guide starts it, or one that has `workers`."""
    port = free_port()
    environment = {**os.environ, "JWT_SECRET": SECRET, "NODE_ENV": "production"}
    with database.copies() as url:
        place = url.removeprefix("sqlite:///")
        command = ["node", str(EXPRESS / "server.js"), str(port), place, workers]
        with running(command, port, env=environment) as pid:
            yield Server((port,), "", (pid,))


@contextmanager
def constant(_database: Sqlite) -> Iterator[Server]:
    """Flask that asks nothing, by the same line of the Procfile, which finds another wsgi.py."""
    with tempfile.TemporaryDirectory() as folder:
        text = "from records import make_constant\n\nweb = make_constant()\n"
        (Path(folder) / "wsgi.py").write_text(text)
        settings = {"GUNICORN_CMD_ARGS": f"--chdir {folder}", "PYTHONPATH": str(HERE)}
        with process("web", "", settings) as (port, master):
            yield Server((port,), "", (master,))


def make_constant() -> Flask:
    """The floor: what Flask costs before anybody asks who is calling or what is stored."""
    app = Flask("constant")
    words = {"title": "Buy milk and bread", "text": "Buy milk and bread", "completed": False}
    names = ("created_at", "updated_at", "createdAt", "updatedAt")
    todo = {"id": 1, **words, **dict.fromkeys(names, "2000-01-01T00:00:00.000Z")}
    app.add_url_rule("/api/todos/<todo_id>", "one", lambda todo_id: todo)
    app.add_url_rule("/api/todos", "list", lambda: {"items": [todo] * 20, "total": RECORDS})
    app.add_url_rule("/api/todos", "create", lambda: (todo, 201), methods=["POST"])
    return app


STARTS: dict[str, Any] = {
    "wharf": wharf,
    "Express": express,
    "Express, 2 workers": partial(express, workers="2"),
    "constant": constant,
}


def install() -> None:
    """Fetch what Express needs; sqlite3 is compiled where no ready one can be fetched."""
    if not (EXPRESS / "node_modules").exists():
        subprocess.run(["npm", "ci"], cwd=EXPRESS, check=True, stdout=sys.stderr)


def fill(path: Path) -> None:
    """Give the account of a database its records."""
    columns = "user_id, title, completed, created_at, updated_at"
    insert = f"INSERT INTO todos ({columns}) SELECT id, ?, 0, created_at, created_at FROM users"
    with closing(sqlite3.connect(path)) as database, database:
        database.executemany(insert, [(f"Todo {number}",) for number in range(RECORDS)])


# CPU


def family(pid: int) -> list[int]:
    """A process and its children: the master and its workers."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *map(int, children)]


def cpu_seconds(pid: int) -> float:
    """User and system time of a process and its children."""
    stats = (Path(f"/proc/{one}/stat").read_text().rpartition(")")[2] for one in family(pid))
    return sum(sum(map(int, stat.split()[11:13])) for stat in stats) / TICKS


def wait_until_idle(pid: int) -> None:
    """Workers that are still importing listen already: wait until none of them does anything."""
    deadline = time.monotonic() + START_SECONDS
    before, spent = -1.0, cpu_seconds(pid)
    while spent - before > IDLE_SECONDS:
        if time.monotonic() > deadline:
            raise RuntimeError("the server never rests")
        time.sleep(PAUSE_SECONDS)
        before, spent = spent, cpu_seconds(pid)


# Runs


class Runs:
    """Runs cases, and keeps what was found: the results by case and contender, round by round."""

    def __init__(self, folder: Path, seconds: int) -> None:
        self.database = Sqlite(folder)
        fill(folder / "empty.db")
        self.script = folder / "records.lua"
        self.script.write_text(SCRIPT)
        self.seconds = seconds
        self.results: dict[tuple[str, str], list[Result]] = {}

    def load(self, server: Server, case: Case, seconds: int) -> Result:
        """Run wrk to its end; returns what it measured. Raises when an answer was wrong."""
        address = f"http://127.0.0.1:{server.ports[0]}{case.path}"
        headers = [f"Authorization: Bearer {self.database.token}", "Content-Type: application/json"]
        flags = ["-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", f"-s{self.script}"]
        flags += [f"-H{header}" for header in headers]
        words = [str(case.status), case.body] if case.body else [str(case.status)]
        command = ["wrk", *flags, address, "--", *words]
        done = subprocess.run(command, check=True, capture_output=True, timeout=seconds + 30)
        result: Result = json.loads(done.stderr)
        if result["wrong"] or not result["requests"]:
            raise RuntimeError(f"{case.name}: {result}")
        return result

    def measure(self, case: Case, name: str) -> None:
        """One run of one case against one contender."""
        with STARTS[name](self.database) as server:
            wait_until_idle(server.pids[0])
            self.load(server, case, WARM_UP_SECONDS)
            before = cpu_seconds(server.pids[0])
            result = self.load(server, case, self.seconds)
            spent = cpu_seconds(server.pids[0]) - before
        result["requests_s"] = result["requests"] / result["seconds"]
        result["cpu_ms"] = spent / result["requests"] * 1e3
        print(f"{case.name}, {name}: {result}", file=sys.stderr, flush=True)
        self.results.setdefault((case.name, name), []).append(result)

    def compare(self, cases: list[Case], repeat: int) -> None:
        """Every case, its contenders in turn."""
        for case in cases:
            for _ in range(repeat):
                for name in STARTS:
                    self.measure(case, name)

    def found(self, case: Case, name: str, unit: str) -> float:
        """The median."""
        return median(result[unit] for result in self.results[case.name, name])

    def ratio(self, case: Case, name: str, unit: str) -> float:
        """The subject's multiple of another's, the median over the rounds."""
        pairs = zip(self.results[case.name, SUBJECT], self.results[case.name, name], strict=True)
        return median(subject[unit] / other[unit] for subject, other in pairs)


def print_ratios(cases: list[Case], runs: Runs) -> None:
    """Every case; the subject's requests as multiples of each other's, and CPU the same way."""
    print("\n| request | server | requests/s | CPU s per 1,000 | p50, ms | p99, ms |", end=" ")
    print("wharf: times as many | target | wharf: CPU |\n|" + "---|" * 9)
    for case in cases:
        for name in STARTS:
            found = partial(runs.found, case, name)
            numbers = f"{found('requests_s'):,.0f} | {found('cpu_ms'):.2f} | {found('p50_ms'):.1f}"
            print(f"| {case.name} | {name} | {numbers} | {found('p99_ms'):.1f} ", end="")
            ratio = partial(runs.ratio, case, name)
            target = f">= {case.targets[name]:g}" if name in case.targets else ""
            ratios = f"{ratio('requests_s'):.2f} | {target} | {ratio('cpu_ms'):.2f}"
            print("| subject | | |" if name == SUBJECT else f"| {ratios} |")


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
    os.environ["ACCESS_TOKEN_MINUTES"] = str(LIMIT_SECONDS // 60)  # one token for the whole run
    install()
    cases = [case for case in CASES if options.only in case.name]
    with tempfile.TemporaryDirectory() as name:
        runs = Runs(Path(name), options.seconds)
        runs.compare(cases, options.repeat)
    print_head()
    print_ratios(cases, runs)


if __name__ == "__main__":
    main()
