"""Redis and PostgreSQL servers that are killed and started again beneath running processes."""

import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.bus.servers import OwnServer, PostgresServer, RedisServer
from tests.bus.talk import Duo, Talk
from tests.processes import Deployment

pytestmark = pytest.mark.skipif(os.name == "nt", reason="gunicorn needs Unix")


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    """What must end with the test."""
    with ExitStack() as stack:
        yield stack


def begin(server: OwnServer, stack: ExitStack) -> None:
    """Start a server until the end of the test."""
    stack.callback(server.clean_up)
    server.start()


def talk_on(folder: Path, stack: ExitStack, **settings: str) -> Talk:
    """Processes on a fresh database, and a room in which both guests have spoken."""
    deployment = Deployment(folder, stack, **settings)
    deployment.migrate()
    talk = Talk(Duo(deployment))
    talk.say(talk.near)
    talk.say(talk.far)
    talk.assert_joined()
    return talk


def test_redis_may_crash_and_come_back_twice(tmp_path: Path, stack: ExitStack) -> None:
    redis = RedisServer()
    begin(redis, stack)
    database = f"sqlite:///{tmp_path}/w.db"
    talk = talk_on(tmp_path, stack, DATABASE_URL=database, REDIS_URL=redis.url)
    for _ in range(2):
        redis.kill()
        talk.say(talk.near)
        talk.say(talk.far)
        assert talk.post() == 201
        talk.assert_all_heard_once()  # by comparing with the database
        redis.start()
        talk.assert_joined()


def test_postgres_may_crash_and_come_back_twice(tmp_path: Path, stack: ExitStack) -> None:
    postgres = PostgresServer()
    begin(postgres, stack)
    talk = talk_on(tmp_path, stack, DATABASE_URL=postgres.url)
    for number in range(2):
        postgres.kill()
        for guest in (talk.near, talk.far):
            guest.say(f"unlucky {number}")
            guest.assert_unavailable(f"unlucky {number}")
        assert talk.post() == 503
        postgres.start()
        talk.say(talk.near, f"unlucky {number}")
        talk.say(talk.far, f"late {number}")
        talk.assert_joined()
