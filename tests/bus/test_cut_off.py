"""A socket process that loses its line to Redis or PostgreSQL for a while, and what it carries."""

import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, NamedTuple

import psycopg
import pytest
from sqlalchemy import make_url

from tests.bus.proxy import Proxy
from tests.bus.talk import WAIT, Duo, Talk
from tests.conftest import POSTGRES_URL
from tests.processes import Deployment

pytestmark = pytest.mark.skipif(os.name == "nt", reason="gunicorn needs Unix")

# Longer than all that gives up on its own: an event waits 5 s for its sender (MAX_AGE), a sender
# 5 s for Redis (socket_timeout), a listener 5.3 s for 21 pings. A minute has nothing to add.
OUTAGE = 6.5


@pytest.fixture(scope="module")
def database(postgres_url: str) -> Iterator[str]:
    """A PostgreSQL database that other tests do not see."""
    name = f"wharf_test_{secrets.token_hex(4)}"
    with psycopg.connect(POSTGRES_URL, autocommit=True) as server:
        server.execute(f"CREATE DATABASE {name}")
        yield make_url(postgres_url).set(database=name).render_as_string(hide_password=False)
        server.execute(f"DROP DATABASE {name} WITH (FORCE)")


def line_to(url: str, default_port: int) -> tuple[Proxy, str]:
    """A proxy before the server of `url`, and the address through it."""
    parts = make_url(url)
    proxy = Proxy(parts.host or "127.0.0.1", parts.port or default_port)
    through = parts.set(host="127.0.0.1", port=proxy.port)
    return proxy, through.render_as_string(hide_password=False)


class Lifeline(NamedTuple):
    """Two socket processes, and the line of `away` to one of its servers."""

    duo: Duo
    proxy: Proxy


@pytest.fixture(scope="module")
def redis_line(redis_url: str, tmp_path_factory: Any) -> Iterator[Lifeline]:
    """SQLite, and Redis behind a line."""
    folder: Path = tmp_path_factory.mktemp("redis")
    settings = {"DATABASE_URL": f"sqlite:///{folder}/w.db", "REDIS_URL": redis_url}
    proxy, url = line_to(redis_url, 6379)
    with closing(proxy), ExitStack() as stack:
        deployment = Deployment(folder, stack, **settings)
        deployment.migrate()
        yield Lifeline(Duo(deployment, REDIS_URL=url), proxy)


@pytest.fixture(scope="module")
def postgres_line(database: str, tmp_path_factory: Any) -> Iterator[Lifeline]:
    """PostgreSQL behind a line."""
    proxy, url = line_to(database, 5432)
    with closing(proxy), ExitStack() as stack:
        deployment = Deployment(tmp_path_factory.mktemp("postgres"), stack, DATABASE_URL=database)
        deployment.migrate()
        yield Lifeline(Duo(deployment, DATABASE_URL=url), proxy)


@pytest.fixture
def without_redis(redis_line: Lifeline) -> Iterator[Lifeline]:
    """Whole again after each test."""
    yield redis_line
    redis_line.proxy.heal()


@pytest.fixture
def without_postgres(postgres_line: Lifeline) -> Iterator[Lifeline]:
    """Whole again after each test."""
    yield postgres_line
    postgres_line.proxy.heal()


@pytest.mark.parametrize("how", [Proxy.cut, Proxy.stall])
def test_a_process_without_redis_misses_nothing_and_comes_back(
    without_redis: Lifeline, how: Callable[[Proxy], None]
) -> None:
    duo, proxy = without_redis
    talk = Talk(duo)
    talk.say(talk.near)
    talk.say(talk.far)
    talk.assert_all_heard_once()
    how(proxy)
    talk.post_for(OUTAGE)
    talk.say(talk.near)
    talk.say(talk.far)
    talk.assert_all_heard_once()  # by comparing with the database
    proxy.heal()
    talk.assert_joined()


def test_a_process_without_postgres_says_so_and_comes_back(without_postgres: Lifeline) -> None:
    duo, proxy = without_postgres
    talk = Talk(duo)
    talk.say(talk.near)
    talk.say(talk.far)
    proxy.cut()
    talk.far.say("unlucky")
    talk.far.assert_unavailable("unlucky")
    talk.post_for(OUTAGE)
    proxy.heal()
    talk.say(talk.far, "unlucky")
    talk.assert_joined()


@pytest.mark.parametrize("then", [Proxy.heal, Proxy.reset])
def test_a_process_whose_postgres_falls_silent_goes_on_where_it_was(
    without_postgres: Lifeline, then: Callable[[Proxy], None]
) -> None:
    duo, proxy = without_postgres
    talk = Talk(duo)
    proxy.stall()
    talk.far.say("patient")
    talk.post_for(OUTAGE)
    then(proxy)
    proxy.heal()
    talk.posted += 1
    assert talk.far.answer("patient")["type"] == "ack"
    talk.assert_joined()


def test_postgres_may_end_all_connections_of_all_processes(
    without_postgres: Lifeline, database: str
) -> None:
    talk = Talk(without_postgres.duo)
    plain = make_url(database).set(drivername="postgresql")
    with psycopg.connect(plain.render_as_string(hide_password=False), autocommit=True) as admin:
        for _ in range(2):
            ours = "datname = current_database() AND pid <> pg_backend_pid()"
            admin.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {ours}")
            talk.say(talk.near)  # no error: the second attempt has a new connection
            talk.say(talk.far)
            talk.assert_joined()


def test_a_message_whose_commit_got_no_answer_is_stored_once(without_postgres: Lifeline) -> None:
    duo, proxy = without_postgres
    talk = Talk(duo)
    proxy.reset_after(b'"content":"no. by chance"', b"COMMIT")  # in its event, stored last
    talk.far.say("by chance")
    assert proxy.struck.wait(WAIT)
    talk.far.answer("by chance")  # an ack, or an error: who cannot know may say so
    talk.say(talk.far, "by chance")
    talk.assert_joined()


def test_a_message_without_id_whose_commit_got_no_answer_is_stored_once(
    without_postgres: Lifeline,
) -> None:
    duo, proxy = without_postgres
    talk = Talk(duo)
    proxy.reset_after(b'"content":"nameless"', b"COMMIT")
    talk.far.peer.send("chat-message", roomId=talk.room, content="nameless")
    assert proxy.struck.wait(WAIT)
    talk.posted += 1
    assert talk.far.read_until(lambda: "error" in talk.far.types())
    talk.assert_joined()


def test_a_process_that_vanishes_in_a_transaction_does_not_hold_up_the_others(
    without_postgres: Lifeline,
) -> None:
    duo, proxy = without_postgres
    talk = Talk(duo)
    proxy.stall_after(b'"content":"no. stuck"')  # the room's row is locked by then
    talk.far.say("stuck")
    assert proxy.struck.wait(WAIT)
    talk.say(talk.near)  # once the server has given up on the other, after 10 seconds
    proxy.heal()
    talk.far.assert_unavailable("stuck")
    talk.say(talk.far, "stuck")
    talk.assert_joined()
