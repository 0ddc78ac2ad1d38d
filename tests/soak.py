"""A soak: many clients join, leave, are cut off and resume, over two processes and a dying Redis.

    python -m tests.soak --seconds 120 --clients 1000 --seed 1

At the end every client must hold exactly what is stored, and no process remember any client. Prints
one line of figures; ends with 1 and what was wrong otherwise. On PostgreSQL, if one answers.
"""

import argparse
import asyncio
import re
import secrets
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from random import Random
from typing import Any

import psycopg
from sqlalchemy import make_url, select

from app import create_app
from models import Message, StoredEvent, db
from tests.bus.servers import RedisServer
from tests.conftest import PASSWORD, POSTGRES_URL
from tests.processes import Deployment, Process
from tests.soak_guest import Guest

USERS = 50
ROOMS = 40
REACH = 5  # rooms one client ever goes to
ACTIONS_PER_SECOND = 125  # of all clients together
REDIS_DEATHS = 2
REDIS_AWAY = (0.1, 3.0)  # seconds it stays away
CONNECT_OVER = 5.0  # seconds in which all come
SETTLE_SECONDS = 180.0
MANY = "1000000"
SETTINGS = {
    "MAX_SOCKETS_PER_USER": MANY,
    "MAX_SOCKETS_PER_ADDRESS": MANY,
    "FRAMES_PER_SECOND": MANY,
    "REGISTER_LIMIT": f"{MANY} per hour",
    "ACCESS_TOKEN_MINUTES": MANY,
}


class Soak:
    """One run: `guests` on `processes`; what is wrong at the end is in `wrong`."""

    def __init__(self, processes: Sequence[Process], redis: RedisServer, app: Any, dice: Random):
        self.processes, self.redis, self.app, self.dice = processes, redis, app, dice
        self.guests: list[Guest] = []
        self.wrong: list[str] = []
        self.took: dict[str, float] = {}

    def invite(self, clients: int) -> None:
        """Make the accounts, and the clients that share them."""
        rooms = [f"room {number}" for number in range(ROOMS)]
        tokens = [self.register(f"guest-{number}") for number in range(USERS)]
        ports = [process.port for process in self.processes]
        pause = clients / ACTIONS_PER_SECOND
        for number in range(clients):
            dice = Random(self.dice.random())
            reach = dice.sample(rooms, REACH)
            token = tokens[number % USERS]
            self.guests.append(Guest(dice, f"g{number}", token, ports, reach, pause))

    def register(self, name: str) -> str:
        """The token of a new account."""
        body = {"email": f"{name}@example.com", "password": PASSWORD, "name": name}
        response = self.app.test_client().post("/api/auth/register", json=body)
        assert response.status_code == 201, response.text
        return str(response.json["accessToken"])

    async def run(self, seconds: float) -> None:
        """Chaos for so long, then quiet; then look."""
        await asyncio.gather(
            *(self.live(guest, seconds) for guest in self.guests), self.kill_redis(seconds)
        )
        settling = asyncio.gather(*(guest.settle() for guest in self.guests))
        await self.within("settling", settling)
        await self.within("catching up", self.catch_up())
        self.compare()
        for guest in self.guests:
            await guest.go()
        await self.within("forgetting", self.wait_until_forgotten())

    async def live(self, guest: Guest, seconds: float) -> None:
        """One client's part, which begins a little later than another's."""
        late = self.dice.uniform(0, min(CONNECT_OVER, seconds / 3))
        await asyncio.sleep(late)
        await guest.live(seconds - late)

    async def kill_redis(self, seconds: float) -> None:
        """Kill Redis at times nobody knows, and start it again."""
        begin = time.monotonic()
        for at in sorted(self.dice.uniform(0.2, 0.9) * seconds for _ in range(REDIS_DEATHS)):
            await asyncio.sleep(max(0.0, begin + at - time.monotonic()))
            self.redis.kill()
            await asyncio.sleep(self.dice.uniform(*REDIS_AWAY))
            await asyncio.to_thread(self.redis.start)

    async def within(self, what: str, work: Any) -> None:
        """Wait for something that must not take for ever, and note how long it took."""
        begin = time.monotonic()
        try:
            async with asyncio.timeout(SETTLE_SECONDS):
                await work
        except TimeoutError:
            self.wrong.append(f"{what} took more than {SETTLE_SECONDS:.0f} s")
        self.took[what] = time.monotonic() - begin

    # What is looked at

    async def catch_up(self) -> None:
        """Wait until every client has heard the last event of each of its rooms."""
        last = {room: events[-1][0] for room, events in (await self.read_events()).items()}
        for guest in self.guests:
            for room, log in guest.logs.items():
                while log.since is None or log.since < last.get(room, 0):
                    await asyncio.sleep(0.02)

    async def read_events(self) -> dict[str, list[tuple[int, int]]]:
        """What is stored of each room: the seqs with the ids of the messages."""
        return await asyncio.to_thread(self.read_events_now)

    def read_events_now(self) -> dict[str, list[tuple[int, int]]]:
        stored = defaultdict(list)
        id_of = re.compile(r'"(?:message":\{"id|messageId)":(\d+)')
        with self.app.app_context():
            wanted = select(StoredEvent.topic, StoredEvent.seq, StoredEvent.data)
            for topic, seq, data in db.session.execute(wanted.order_by(StoredEvent.seq)):
                kind, _, room = topic.partition(":")
                if kind == "room" and (found := id_of.search(data)):
                    stored[room].append((seq, int(found[1])))
        return stored

    def compare(self) -> None:
        """Each client against the stored events, then the messages against what was said."""
        stored = self.read_events_now()
        for room, events in stored.items():
            if [seq for seq, _ in events] != list(range(1, len(events) + 1)):
                self.wrong.append(f"{room}: the seqs have a gap")
        for guest in self.guests:
            self.wrong += guest.wrong
            for room, log in guest.logs.items():
                if log.heard != [message for _, message in stored[room][log.first or 0 :]]:
                    self.wrong.append(f"{guest.name} heard something else of {room}")
        self.compare_messages()

    def compare_messages(self) -> None:
        """Everything said was acknowledged, and is stored once unless it was deleted."""
        with self.app.app_context():
            contents = db.session.scalars(select(Message.content)).all()
        times = Counter(content.split()[0] for content in contents)
        for guest in self.guests:
            missing = [key for key in guest.acked if times[key] != 1]
            again = [key for key in guest.deleted if times[key] > 1]
            for key in missing + again:
                self.wrong.append(f"{key} is stored {times[key]} times")
        said = {key for guest in self.guests for key in (*guest.acked, *guest.deleted)}
        self.wrong += [f"{key} was never acknowledged" for key in times.keys() - said]

    async def wait_until_forgotten(self) -> None:
        """Wait until no process knows a socket, a topic, or a user in a room any more."""
        for process in self.processes:
            while await asyncio.to_thread(self.what_is_left, process):
                await asyncio.sleep(0.1)

    def what_is_left(self, process: Process) -> float:
        """The sum of the gauges that speak of clients."""
        text = process.call("GET", "/metrics")[1]
        left = [float(value) for value in LEFT.findall(text)]
        assert len(left) >= GAUGES.count("|"), text  # all but the sockets by dialect, of none
        return sum(left)

    def figures(self) -> str:
        """All that happened, in a line."""
        sums: Counter[str] = sum((guest.figures for guest in self.guests), Counter())
        facts = [f"{name} {value}" for name, value in sorted(sums.items())]
        facts += [f"{what} {seconds:.1f} s" for what, seconds in self.took.items()]
        return f"{len(self.guests)} clients: {', '.join(facts)}; wrong: {len(self.wrong)}"


GAUGES = "sockets|topics|places|seats|queued_bytes|slow_clients|waiting_jobs"
LEFT = re.compile(rf"^wharf_(?:{GAUGES})\{{.*\}} (\S+)$", re.MULTILINE)


@contextmanager
def own_database(folder: Path) -> Iterator[str]:
    """A new database, on PostgreSQL if one answers, else a SQLite file."""
    try:
        server = psycopg.connect(POSTGRES_URL, autocommit=True, connect_timeout=2)
    except psycopg.OperationalError:
        yield f"sqlite:///{folder}/soak.db"
        return
    name = f"wharf_soak_{secrets.token_hex(4)}"
    with server:
        server.execute(f"CREATE DATABASE {name}")
        url = make_url(POSTGRES_URL).set(drivername="postgresql+psycopg", database=name)
        yield url.render_as_string(hide_password=False)
        server.execute(f"DROP DATABASE {name} WITH (FORCE)")


def soak(seconds: float, clients: int, seed: int, tell: Callable[[str], Any] = print) -> list[str]:
    """Run it; returns what was wrong, after telling the figures."""
    allow_many_files()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        url = stack.enter_context(own_database(folder))
        redis = RedisServer()
        stack.callback(redis.clean_up)
        redis.start()
        deployment = Deployment(folder, stack, DATABASE_URL=url, REDIS_URL=redis.url, **SETTINGS)
        deployment.migrate()
        processes = deployment.start("socket", "socket")
        app = create_app({**deployment.env, "REDIS_URL": ""}, serve="web")
        run = Soak(processes, redis, app, Random(seed))
        run.invite(clients)
        asyncio.run(run.run(seconds))
        with app.app_context():
            db.engine.dispose()
        for process in processes:
            process.stop()
        tell(f"{url.partition(':')[0]}, seed {seed}, {seconds:g} s, {run.figures()}")
        return run.wrong


def allow_many_files() -> None:
    """A socket is a file: as many as this user may have, for the servers too."""
    import resource  # Unix alone has it

    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--clients", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10**6))
    options = parser.parse_args()
    wrong = soak(options.seconds, options.clients, options.seed)
    print("\n".join(wrong[:20]), end="\n" if wrong else "")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
