"""Redis and PostgreSQL servers of our own, which may be killed and started again."""

import os
import shutil
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import psycopg
import pytest

from tests.conftest import unavailable
from tests.processes import free_port

START_SECONDS = 15
DEBIAN = sorted(Path("/usr/lib/postgresql").glob("*/bin"))  # not on the PATH there


def find(name: str) -> str | None:
    """The path of a command."""
    places = os.pathsep.join([os.environ["PATH"], *map(str, DEBIAN)])
    return shutil.which(name, path=places)


class OwnServer:
    """A server on a port of its own, with its data in a folder of its own."""

    def __init__(self) -> None:
        self.port = free_port()
        self.folder = Path(tempfile.mkdtemp(prefix="wharf-"))  # pytest's is not for other users
        self.popen: subprocess.Popen[bytes] | None = None

    def command(self) -> list[str]:
        """What starts it."""
        raise NotImplementedError

    def user(self) -> str | None:
        """Who runs it, if not we."""
        return None

    def answers(self) -> bool:
        """Whether it takes commands."""
        raise NotImplementedError

    def run(self, command: list[str]) -> "subprocess.Popen[bytes]":
        """Run a command of this server as its user."""
        return subprocess.Popen(
            command,
            cwd=self.folder,
            user=self.user(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def start(self) -> None:
        """Start it, and return once it takes connections."""
        self.popen = self.run(self.command())
        deadline = time.monotonic() + START_SECONDS
        while not self.answers():
            assert self.popen.poll() is None, "it ended"
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def kill(self) -> None:
        """SIGKILL: it can say goodbye to nobody."""
        if self.popen:
            self.popen.kill()
            self.popen.wait()

    def clean_up(self) -> None:
        """Leave nothing behind."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)


class RedisServer(OwnServer):
    """A Redis that stores nothing."""

    @property
    def url(self) -> str:
        """Its REDIS_URL."""
        return f"redis://127.0.0.1:{self.port}/0"

    def answers(self) -> bool:
        import redis

        with suppress(redis.RedisError), redis.Redis.from_url(self.url) as connection:
            return bool(connection.ping())
        return False

    def command(self) -> list[str]:
        path = find("redis-server") or unavailable("there is no redis-server")
        save = ["--save", "", "--appendonly", "no", "--bind", "127.0.0.1"]
        return [str(path), "--port", str(self.port), "--dir", str(self.folder), *save]


class PostgresServer(OwnServer):
    """A PostgreSQL with an empty cluster."""

    def __init__(self) -> None:
        initdb = self.binary("initdb")
        super().__init__()
        if os.getuid() == 0:  # which PostgreSQL refuses
            shutil.chown(self.folder, self.user())
        command = [initdb, "-D", "data", "-A", "trust", "-U", "postgres", "-N"]
        assert self.run(command).wait() == 0

    @property
    def url(self) -> str:
        """Its DATABASE_URL."""
        return f"postgresql+psycopg://postgres@127.0.0.1:{self.port}/postgres"

    def answers(self) -> bool:
        address = {"host": "127.0.0.1", "port": self.port, "user": "postgres"}
        with suppress(psycopg.OperationalError), psycopg.connect(**address, connect_timeout=2):
            return True
        return False

    def user(self) -> str | None:
        return "postgres" if os.getuid() == 0 else None

    def binary(self, name: str) -> str:
        """The path of a command of PostgreSQL; skips where a client alone is installed."""
        return find(name) or pytest.skip(f"there is no {name}")

    def command(self) -> list[str]:
        options = ["-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="]
        return [self.binary("postgres"), "-D", "data", "-p", str(self.port), *options]

    def kill(self) -> None:
        """SIGQUIT: all its processes end at once, and the next start has to recover."""
        if self.popen:
            self.popen.send_signal(3)
            self.popen.wait()
