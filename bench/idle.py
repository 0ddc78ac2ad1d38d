"""Measures what a connected client costs when it is silent: resident memory of the socket process.

Usage: python bench/idle.py [CLIENTS]
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import servers
from databases import Sqlite

WARM_UP = 50  # clients of a run beforehand: what is loaded once does not count


def resident_kb(pid: int) -> int:
    """Resident memory of a process."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))


def with_clients(server: servers.Server, count: int) -> int:
    """Resident memory while `count` clients are connected, each in a room of its own."""
    command = servers.load_command(server, "idle", {"n": count})
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as clients:
        if not clients.stdout.readline():
            raise RuntimeError("the clients could not connect")
        return resident_kb(server.pids[0])


def main() -> None:
    """Print one line per server."""
    count = int(sys.argv[1]) if sys.argv[1:] else 2000
    with tempfile.TemporaryDirectory() as name:
        servers.build()
        database = Sqlite(Path(name))
        for start in (servers.peer, servers.wharf):
            with start(database) as server:
                before = with_clients(server, WARM_UP)
                after = with_clients(server, count)
            each = (after - before) / (count - WARM_UP)
            print(f"{start.__name__}: {count:,} idle sockets, {each:.1f} KB each")


if __name__ == "__main__":
    main()
