"""Connections that are lost, and engines that are not there."""

import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine

import bus as bus_module
from bus import MAX_WAITING, Bus, make_bus
from tests.bus.conftest import (
    BETWEEN_PROCESSES,
    SECRET,
    WAIT,
    Carrier,
    Ear,
    create_tables,
    durable,
    signal,
    sqlite_engine,
)


@BETWEEN_PROCESSES
def test_lost_connection_is_a_gap_and_heals(carrier: Carrier, warned: threading.Event) -> None:
    speaker, ear = carrier.bus(), Ear(carrier.bus())
    carrier.tell(speaker, signal(1), durable(1))
    ear.wait_for(signal(1), durable(1))
    heal = carrier.cut()
    assert warned.wait(WAIT)
    heal()
    ear.wait(lambda ear: ear.gaps == 1)
    carrier.tell(speaker, signal(2), durable(2))
    ear.wait_for(signal(2), durable(2))


@BETWEEN_PROCESSES
def test_what_cannot_be_encoded_holds_up_nothing_else(
    carrier: Carrier, caplog: pytest.LogCaptureFixture
) -> None:
    speaker, ear = carrier.bus(), Ear(carrier.bus())
    carrier.tell(speaker, signal(b"bytes"), signal(1))
    ear.wait_for(signal(1))
    assert "cannot be told" in caplog.text


# An engine that is not there


@pytest.fixture(params=["sqlite", "postgres", "redis"])
def stranded(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bus]:
    """A bus whose engine does not answer."""
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))  # not listening: connections are refused
        address = f"127.0.0.1:{reserved.getsockname()[1]}"
        url = f"sqlite:///{tmp_path}/missing/bus.db"
        if request.param == "postgres":
            url = f"postgresql+psycopg://postgres@{address}/test"
        engine = create_engine(url)
        redis_url = f"redis://{address}/0" if request.param == "redis" else ""
        bus = make_bus(engine, redis_url, SECRET)
        yield bus
        bus.close()
        engine.dispose()


def test_publish_to_nowhere_is_quick_and_warns_once(
    stranded: Bus, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect, attempts, tried = stranded._connect, [], threading.Event()  # type: ignore[attr-defined]

    def count_and_connect() -> Any:
        attempts.append(1)
        if len(attempts) > 3:
            tried.set()
        return connect()

    monkeypatch.setattr(stranded, "_connect", count_and_connect)
    start = time.monotonic()
    for _ in range(100):
        stranded.publish([signal("confidential")])
    assert time.monotonic() - start < 0.5
    assert tried.wait(WAIT)
    start = time.monotonic()
    stranded.close()
    assert time.monotonic() - start < 2
    assert len(caplog.records) == 1
    assert "confidential" not in caplog.text


def test_too_many_waiting_events_push_out_the_oldest(
    stranded: Bus, caplog: pytest.LogCaptureFixture
) -> None:
    stranded.publish([signal(i) for i in range(MAX_WAITING // 2)])
    stranded.publish([signal(i) for i in range(MAX_WAITING)])
    assert "the oldest are dropped" in caplog.text or "no connection" in caplog.text
    assert [one.data for one, _ in stranded._waiting] == list(range(MAX_WAITING))  # type: ignore[attr-defined]


@BETWEEN_PROCESSES
def test_what_is_told_during_a_long_send_is_sent_next(
    carrier: Carrier, monkeypatch: pytest.MonkeyPatch
) -> None:
    speaker, ear = carrier.bus(), Ear(carrier.bus())
    send, sending, go = speaker._send, threading.Event(), threading.Event()  # type: ignore[attr-defined]

    def send_slowly(*args: Any) -> None:
        sending.set()
        assert go.wait(WAIT)
        send(*args)

    monkeypatch.setattr(speaker, "_send", send_slowly)
    speaker.publish([signal("first")])
    assert sending.wait(WAIT)
    speaker.publish([signal(number) for number in range(MAX_WAITING)])  # pushes out the first
    go.set()
    ear.wait(lambda ear: len(ear.heard) == MAX_WAITING + 1)
    assert [one.data for one in ear.heard] == ["first", *range(MAX_WAITING)]


def test_subscribing_to_nowhere_returns_and_own_events_are_heard(stranded: Bus) -> None:
    start = time.monotonic()
    ear = Ear(stranded)
    assert time.monotonic() - start < 3
    stranded.publish([signal(1), durable(1)])
    assert ear.heard == [signal(1), durable(1)]


def test_engine_that_comes_late_is_a_gap(tmp_path: Path) -> None:
    engine = sqlite_engine(tmp_path / "late.db")
    bus, other = make_bus(engine, "", SECRET), make_bus(engine, "", SECRET)
    ear = Ear(bus)
    create_tables(engine)
    ear.wait(lambda ear: ear.gaps == 1)
    other.publish([signal(1)])
    ear.wait_for(signal(1))
    bus.close()
    other.close()
    engine.dispose()


@BETWEEN_PROCESSES
def test_old_hints_are_not_sent(carrier: Carrier, monkeypatch: pytest.MonkeyPatch) -> None:
    speaker, ear = carrier.bus(), Ear(carrier.bus())
    with monkeypatch.context() as patched:
        patched.setattr(bus_module, "MAX_AGE", 0)
        carrier.tell(speaker, signal("old"))
    carrier.tell(speaker, signal("new"))
    ear.wait_for(signal("new"))
    assert signal("old") not in ear.heard
