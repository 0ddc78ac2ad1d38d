"""Measures a large file on its way in and out against nginx, in one run, as ratios.

Usage: python bench/large_files.py [--megabytes 1000] [--repeat 3]

The client is curl, which neither keeps nor makes up anything: it sends a file of random bytes that
says it is a PDF, and throws away what it gets. nginx takes it by PUT. The two take turns; the table
shows medians. Memory is what all processes of a server have in RAM at most, less what they had
before. It ends by itself; curl and nginx must be installed.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from getpass import getuser
from pathlib import Path
from statistics import median
from threading import Event, Thread
from typing import NamedTuple

from databases import Sqlite
from fanout import print_head
from servers import free_port, process, running

LIMIT_SECONDS = 1800
MEGABYTE = 10**6
SAMPLE_SECONDS = 0.02
WHARF, NGINX = "wharf", "nginx"
CONFIGURATION = """
daemon off; user {user}; worker_processes 1; pid {folder}/nginx.pid; error_log stderr error;
events {{}}
http {{
  access_log off; sendfile on; client_max_body_size 0;
  client_body_temp_path {folder}/temporary;
  server {{
    listen 127.0.0.1:{port};
    root {folder};
    location / {{ dav_methods PUT; }}
  }}
}}
"""


class Moved(NamedTuple):
    """A file on its way: megabytes in a second, and how many megabytes memory grew."""

    speed: float
    growth: float


class Task(NamedTuple):
    """What is measured, and how curl asks for it. What stands before a comma nginx does too."""

    name: str
    server: str
    words: list[str]


def curl(*words: str) -> str:
    """What curl prints; raises CalledProcessError for a status of 400 and more."""
    command = ["curl", "--silent", "--show-error", "--fail-with-body", *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def move(words: list[str]) -> float:
    """Let curl do it once; returns its seconds."""
    return float(curl("--output", "/dev/null", "--write-out", "%{time_total}", *words))


def family(pid: int) -> list[int]:
    """A process and its children."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *map(int, children)]


def memory(pid: int) -> float:
    """The megabytes that a server has in RAM."""
    pages = sum(int(Path(f"/proc/{one}/statm").read_text().split()[1]) for one in family(pid))
    return pages * os.sysconf("SC_PAGESIZE") / MEGABYTE


def watched(pid: int, work: Callable[[], float]) -> tuple[float, float]:
    """The result of `work`, and by how much the memory of a server grew while it was done."""
    before = most = memory(pid)
    done = Event()

    def look() -> None:
        nonlocal most
        while not done.wait(SAMPLE_SECONDS):
            most = max(most, memory(pid))

    thread = Thread(target=look)
    thread.start()
    try:
        result = work()
    finally:
        done.set()
        thread.join()
    return result, max(most, memory(pid)) - before


@contextmanager
def nginx(folder: Path) -> Iterator[tuple[int, int]]:
    """nginx with one worker: its port and its process."""
    port = free_port()
    path = folder / "nginx.conf"
    path.write_text(CONFIGURATION.format(folder=folder, port=port, user=getuser()))
    with running(["nginx", "-p", str(folder), "-c", str(path)], port) as pid:
        yield port, pid


def tasks_of(path: Path, ports: dict[str, int], token: str) -> list[Task]:
    """Everything that is measured, in order: what is served was uploaded before."""
    base, peer = (f"http://127.0.0.1:{ports[name]}" for name in (WHARF, NGINX))
    bearer = ["-H", f"Authorization: Bearer {token}"]
    form = [*bearer, "-F", f"file=@{path};type=application/pdf", f"{base}/api/upload"]
    stored = json.loads(curl(*form))
    size = path.stat().st_size
    begin = [*bearer, "-H", "Tus-Resumable: 1.0.0", "-H", f"Upload-Length: {size}"]
    begin += ["-H", "Upload-Metadata: filename Yi5wZGY=", "-X", "POST"]
    head = curl(*begin, "--dump-header", "-", f"{base}/api/tus")
    place = next(line.split(": ")[1] for line in head.splitlines() if line.startswith("Location"))
    patch = [*bearer, "-H", "Tus-Resumable: 1.0.0", "-H", "Upload-Offset: 0", "-X", "PATCH"]
    patch += ["-H", "Content-Type: application/offset+octet-stream", "-T", str(path)]
    return [
        Task(
            "upload",
            NGINX,
            ["-T", str(path), f"{peer}/stored"],
        ),
        Task("upload, form", WHARF, form),
        Task("upload, tus", WHARF, [*patch, base + place]),
        Task(
            "download",
            NGINX,
            [f"{peer}/stored"],
        ),
        Task("download", WHARF, [*bearer, f"{base}/api/files/{stored['id']}/download"]),
        Task("download, public", WHARF, [base + stored["url"]]),
    ]


def measure(folder: Path, megabytes: int) -> dict[tuple[str, str], Moved]:
    """One round on new servers."""
    path = folder / "file.pdf"
    with path.open("wb") as file:
        file.write(b"%PDF-1.7\n")
        for _ in range(megabytes):
            file.write(os.urandom(MEGABYTE))
    limits = {name: str(10**11) for name in ("MAX_UPLOAD_BYTES", "QUOTA_BYTES")}
    database = Sqlite(folder)
    place = folder / "nginx"
    place.mkdir()
    found: dict[tuple[str, str], Moved] = {}
    with ExitStack() as stack:
        url = stack.enter_context(database.copies())
        settings = {**limits, "STORAGE_URL": str(folder / "uploads")}
        web, master = stack.enter_context(process("web", url, settings))
        port, other = stack.enter_context(nginx(place))
        pids = {WHARF: master, NGINX: other}
        for task in tasks_of(path, {WHARF: web, NGINX: port}, database.token):
            seconds, growth = watched(pids[task.server], partial(move, task.words))
            found[task.name, task.server] = Moved(megabytes / seconds, growth)
    return found


def print_table(rounds: list[dict[tuple[str, str], Moved]]) -> None:
    """Medians, and the ratio to nginx in the same round."""
    print("| work | server | MB/s | times nginx | memory grows, MB | target |")
    print("|---|---|---|---|---|---|")
    for name, server in rounds[0]:
        speed = median(one[name, server].speed for one in rounds)
        growth = max(one[name, server].growth for one in rounds)
        peer = name.partition(",")[0], NGINX
        ratio = median(one[name, server].speed / one[peer].speed for one in rounds)
        target = ">= 0.5, < 32 MB" if server == WHARF else ""
        print(f"| {name} | {server} | {speed:,.0f} | {ratio:.2f} | {growth:.1f} | {target} |")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--megabytes", type=int, default=1000)
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args()
    for tool in ("curl", "nginx"):
        if shutil.which(tool) is None:
            sys.exit(f"{tool} is needed")
    signal.alarm(LIMIT_SECONDS)
    rounds = []
    for _ in range(options.repeat):
        with tempfile.TemporaryDirectory() as folder:
            rounds.append(measure(Path(folder), options.megabytes))
    print_head()
    print_table(rounds)


if __name__ == "__main__":
    main()
