"""Where the runs of tests/sync_soak.py take place: processes on one database, which get killed."""

import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from random import Random

from sqlalchemy import create_engine, text

from tests.bus.servers import RedisServer
from tests.clients.replica_host import HAS_REPLICAS, ReplicaHost
from tests.processes import Deployment
from tests.sync_peer import JOURNAL
from tests.sync_run import Places, Run

REDIS_AWAY = (0.05, 0.5)  # seconds it stays away
HEARING = 0.5  # seconds in which replicas read the last acks, and no new process answers yet
BETWEEN = (0.0, 0.5)  # seconds that all run before the next is killed
MANY = "1000000"
SETTINGS = {
    "MAX_SOCKETS_PER_USER": MANY,
    "MAX_SOCKETS_PER_ADDRESS": MANY,
    "FRAMES_PER_SECOND": MANY,
    "API_LIMIT": f"{MANY} per minute",
    "REGISTER_LIMIT": f"{MANY} per hour",
    "ACCESS_TOKEN_MINUTES": MANY,
}


class Arena:
    """The processes, and what became of them."""

    def __init__(
        self, folder: Path, stack: ExitStack, url: str, processes: int, redis: bool, dice: Random
    ) -> None:
        self.dice, self.killed, self.redis_killed = dice, 0, 0
        self.wrong: list[str] = []
        self.redis = RedisServer() if redis else None
        settings = {**SETTINGS, "DATABASE_URL": url}
        if self.redis:
            stack.callback(self.redis.clean_up)
            self.redis.start()
            settings["REDIS_URL"] = self.redis.url
        self.deployment = Deployment(folder, stack, **settings)
        self.deployment.migrate()
        self.names = ["app"] if processes == 1 else ["web", *["socket"] * processes]
        self.processes = self.deployment.start(*self.names)
        self.host = ReplicaHost() if HAS_REPLICAS else None
        if self.host:
            stack.callback(self.host.leave)
        self.engine = create_engine(url)
        stack.callback(self.engine.dispose)

    def places(self) -> Places:
        """A new user's."""
        web, *sockets = self.processes
        account = web.register()
        return Places(sockets or [web], web, account, self.host)

    def kill_some(self, runs: Sequence[Run]) -> None:
        """Kill a process or all at a time nobody knows, look, and start them where they were."""
        time.sleep(self.dice.uniform(*BETWEEN))
        if self.redis and self.dice.random() < 0.3:
            self.redis.kill()
            time.sleep(self.dice.uniform(*REDIS_AWAY))
            self.redis.start()
            self.redis_killed += 1
            return
        numbers = range(len(self.processes))
        if self.dice.random() < 0.7:
            numbers = range(one := self.dice.choice(numbers), one + 1)
        for number in numbers:
            self.processes[number].kill()
            self.killed += 1
        for number in numbers:
            port = self.processes[number].port
            self.processes[number] = self.deployment.spawn(self.names[number], port=port)
        time.sleep(HEARING)
        self.check_stored(runs)
        for number in numbers:
            self.processes[number].wait_until_ready()

    def check_stored(self, runs: Sequence[Run]) -> None:
        """All that was acknowledged by now must be in the database."""
        told = [(run, run.ledger.version, {*run.ledger.entries}) for run in runs]
        with self.engine.connect() as connection:
            for run, version, entries in told:
                name = {"name": run.places.channel}
                stored = connection.scalar(VERSION, name) or 0
                lost = entries - {pk for (pk,) in connection.execute(ENTRIES, name)}
                if stored < version or lost:
                    words = f"version {stored} of {version}, lost {sorted(lost)}"
                    self.wrong.append(f"seed {run.seed}, after kill {self.killed}: {words}")


VERSION = text("SELECT crdt_db_version FROM crdt_channels WHERE name = :name")
ENTRIES = text(f"SELECT pk FROM crdt_changes WHERE channel = :name AND \"table\" = '{JOURNAL}'")
