"""What is particular to one carrier."""

import os
import threading

import pytest
from sqlalchemy import create_engine
from sqlalchemy.engine import make_url

import bus as bus_module
from bus import Bus, Event, PostgresBus, RedisBus, SqliteBus, make_bus
from tests.bus.conftest import SECRET, WAIT, Carrier, Ear, durable, signal
from tests.bus.proxy import Proxy


@pytest.mark.parametrize(
    ("url", "redis_url", "kind"),
    [
        ("sqlite://", "", Bus),
        ("sqlite:///:memory:", "", Bus),
        ("sqlite:///file::memory:?cache=shared&uri=true", "", Bus),
        ("sqlite:///wharf.db", "", SqliteBus),
        ("sqlite:////srv/wharf.db", "", SqliteBus),
        ("postgresql+psycopg://localhost/wharf", "", PostgresBus),
        ("postgresql+psycopg://localhost/wharf", "redis://localhost", RedisBus),
        ("sqlite://", "redis://localhost", RedisBus),
    ],
)
def test_bus_is_chosen_by_what_is_there(url: str, redis_url: str, kind: type[Bus]) -> None:
    assert type(make_bus(create_engine(url), redis_url, SECRET)) is kind


@pytest.mark.parametrize(
    ("one", "expected"),
    [
        (Event("room:1", "", None, 1), True),
        (durable(1), False),
        (signal(1), False),
        (Event("room:1", "", None), False),
    ],
)
def test_reference_has_a_place_and_no_type(one: Event, expected: bool) -> None:
    assert one.is_reference is expected


def test_fork_has_an_origin_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    bus = Bus()
    before = bus.origin
    assert bus.origin == before
    monkeypatch.setattr(os, "getpid", lambda: 1)
    assert bus.origin != before


@pytest.mark.parametrize("carrier", ["sqlite", "postgres"], indirect=True)
def test_old_signal_rows_are_removed_by_the_publisher(carrier: Carrier) -> None:
    insert = "INSERT INTO signals (origin, payload, created_at) VALUES ('old', '[]', :at)"
    carrier.run(insert, {"at": "2020-01-01 00:00:00"})
    speaker, ear = carrier.bus(), Ear(carrier.bus())
    for number in range(2):
        large = signal(str(number) * 20_000)
        carrier.tell(speaker, large)
        ear.wait_for(large)
    rows = carrier.rows("SELECT origin FROM signals")
    assert [row.origin for row in rows] == [speaker.origin] * 2


def test_redis_deployments_with_other_secrets_are_not_heard(redis_url: str) -> None:
    engine = create_engine("sqlite://")
    ours, other, foreign = (make_bus(engine, redis_url, name) for name in (SECRET, SECRET, "other"))
    ear = Ear(ours)
    foreign.publish([signal("foreign")])
    foreign.close()
    other.publish([signal("ours")])
    ear.wait_for(signal("ours"))
    assert ear.heard == [signal("ours")]
    ours.close()
    other.close()
    engine.dispose()


def test_silent_redis_is_noticed(
    redis_url: str, warned: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bus_module, "TICK", 0.02)
    server = make_url(redis_url)
    proxy = Proxy(server.host or "127.0.0.1", server.port or 6379)
    bus = RedisBus(
        server.set(host="127.0.0.1", port=proxy.port).render_as_string(hide_password=False), SECRET
    )
    ear = Ear(bus)
    proxy.stall()
    assert warned.wait(WAIT)
    proxy.heal()
    ear.wait(lambda ear: ear.gaps == 1)
    bus.close()
    proxy.close()
