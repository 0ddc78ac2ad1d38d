"""What every carrier does."""

import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from bus import MAX_NOTIFY, Event
from tests.bus.conftest import BETWEEN_PROCESSES, SECRET, WAIT, Carrier, Ear, durable, place, signal

ROOT = Path(__file__).parent.parent.parent


def test_own_subscriber_hears_at_once_and_whole(carrier: Carrier) -> None:
    bus = carrier.bus()
    ear = Ear(bus)
    events = [durable(1), signal("a"), durable(2)]
    carrier.tell(bus, *events)
    assert [one for one in ear.heard if not one.is_reference] == events


def test_other_process_hears_stored_events(carrier: Carrier) -> None:
    speaker, ear = carrier.bus(), Ear(carrier.bus())
    carrier.tell(speaker, durable(1), durable(1, "room:2"))
    carrier.tell(speaker, durable(2))
    ear.wait_for(durable(1), durable(1, "room:2"), durable(2))
    for one in ear.heard:
        assert one.is_reference or one == durable(one.seq, one.topic)


@pytest.mark.parametrize(
    "data",
    [None, "é\u0000", {"deep": [1, 2.5, True, None, "\ud83d"]}, "x" * 20_000, "é" * 20_000],
    ids=["null", "text", "nested", "20 kB", "20,000 accents"],
)
def test_other_process_hears_signals_whole(carrier: Carrier, data: Any) -> None:
    speaker, ear = carrier.bus(), Ear(carrier.bus())
    events = [signal("before"), signal(data, skip="connection-7"), signal("after")]
    carrier.tell(speaker, *events)
    ear.wait(lambda ear: len(ear.heard) >= 3)
    assert ear.heard == events


@BETWEEN_PROCESSES
def test_signals_around_the_limit_of_notify_arrive(carrier: Carrier) -> None:
    speaker, ear = carrier.bus(), Ear(carrier.bus())
    signals = [signal("x" * length) for length in range(MAX_NOTIFY - 150, MAX_NOTIFY + 50, 5)]
    for one in signals:
        carrier.tell(speaker, one)
    ear.wait(lambda ear: len(ear.heard) == len(signals))
    assert ear.heard == signals


def test_late_subscriber_hears_nothing_old(carrier: Carrier) -> None:
    speaker, first = carrier.bus(), Ear(carrier.bus())
    carrier.tell(speaker, signal("old"), durable(1))
    first.wait_for(signal("old"), durable(1))
    late = Ear(carrier.bus())
    carrier.tell(speaker, signal("new"), durable(2))
    late.wait_for(signal("new"), durable(2))
    assert {place(one) for one in late.heard} == {place(signal("new")), place(durable(2))}


@BETWEEN_PROCESSES
def test_third_process_hears_two_others(carrier: Carrier) -> None:
    first, second, ear = carrier.bus(), carrier.bus(), Ear(carrier.bus())
    carrier.tell(first, durable(1))
    carrier.tell(second, durable(2))
    ear.wait_for(durable(1), durable(2))


def test_equal_signals_all_arrive(carrier: Carrier) -> None:
    speaker, ear = carrier.bus(), Ear(carrier.bus())
    carrier.tell(speaker, *[signal("x" * 5_000)] * 6)
    ear.wait(lambda ear: len(ear.heard) == 6)


def test_order_is_kept_within_a_topic(carrier: Carrier) -> None:
    speaker, ear = carrier.bus(), Ear(carrier.bus())
    for seq in range(1, 201):
        carrier.tell(speaker, durable(seq), signal(seq))
    ear.wait(lambda ear: len(ear.heard) == 400)
    assert [one.seq for one in ear.heard if one.seq] == list(range(1, 201))
    assert [one.data for one in ear.heard if not one.seq] == list(range(1, 201))


@BETWEEN_PROCESSES
def test_own_events_are_not_heard_again(carrier: Carrier) -> None:
    speaker, other = carrier.bus(), carrier.bus()
    ear, other_ear = Ear(speaker), Ear(other)
    events = [signal(1), *map(durable, range(1, 21)), signal(2)]
    for one in events:
        carrier.tell(speaker, one)
    other_ear.wait_for(*events)
    carrier.tell(other, durable(21))
    ear.wait_for(durable(21))
    for one in events:  # SQLite may show a row before it is told, but never after
        mine = [heard for heard in ear.heard if place(heard) == place(one)]
        assert mine.count(one) == 1
        assert mine[-1] == one


def test_burst_arrives_or_is_reported_as_a_gap(carrier: Carrier) -> None:
    speaker, ear = carrier.bus(), Ear(carrier.bus())
    for start in range(1, 10_001, 100):
        carrier.tell(speaker, *map(durable, range(start, start + 100)))
    ear.wait(lambda ear: ear.gaps > 0 or len({one.seq for one in ear.heard}) == 10_000)


def test_failing_subscriber_does_not_stop_the_carrier(
    carrier: Carrier, caplog: pytest.LogCaptureFixture
) -> None:
    speaker, listener = carrier.bus(), carrier.bus()
    ear, failed = Ear(listener), threading.Event()

    def fail_once(events: list[Event]) -> None:
        if not failed.is_set():
            failed.set()
            raise RuntimeError("a bug")
        ear.on_events(events)

    listener.subscribe(fail_once, ear.on_gap)
    carrier.tell(speaker, signal(1))
    assert failed.wait(WAIT)
    carrier.tell(speaker, signal(2), durable(1))
    ear.wait_for(signal(2), durable(1))
    assert "a callback failed" in caplog.text


def test_one_publisher_serves_many_threads(carrier: Carrier) -> None:
    speaker, ear = carrier.bus(), Ear(carrier.bus())

    def speak(n: int) -> None:
        for i in range(50):
            speaker.publish([signal([n, i])])

    threads = [threading.Thread(target=speak, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    ear.wait(lambda ear: len(ear.heard) == 400)
    for n in range(8):
        assert [one.data[1] for one in ear.heard if one.data[0] == n] == list(range(50))


def test_close_is_quick_final_and_repeatable(carrier: Carrier) -> None:
    before = set(threading.enumerate())
    bus = carrier.bus()
    ear = Ear(bus)
    carrier.tell(bus, signal(1))
    start = time.monotonic()
    bus.close()
    bus.close()
    assert time.monotonic() - start < 2
    assert set(threading.enumerate()) <= before
    bus.publish([signal(2)])
    assert ear.heard == [signal(1)]


@BETWEEN_PROCESSES
def test_closing_sends_what_is_waiting(carrier: Carrier) -> None:
    speaker, ear = carrier.bus(), Ear(carrier.bus())
    carrier.tell(speaker, *map(signal, range(100)))
    speaker.close()
    ear.wait(lambda ear: len(ear.heard) == 100)


@BETWEEN_PROCESSES
def test_publisher_alone_has_no_listener(carrier: Carrier) -> None:
    before = set(threading.enumerate())
    bus = carrier.bus()
    assert set(threading.enumerate()) == before
    carrier.tell(bus, signal(1), durable(1))
    assert len(set(threading.enumerate()) - before) == 1


# Under gevent

GEVENT = """
from gevent import monkey
monkey.patch_all()
import sys, threading, time, gevent
from sqlalchemy import create_engine, text
from bus import Event, make_bus

url, redis_url, secret = sys.argv[1:]
engine = create_engine(url)
listener = make_bus(engine, redis_url, secret)
speaker = listener if url == "sqlite://" else make_bus(engine, redis_url, secret)
heard, done, ticks = set(), threading.Event(), []

def on_events(events):
    heard.update((event.topic, event.seq) for event in events)
    if heard >= {("signals", 0), ("large", 0), ("stored", 1)}:
        done.set()

def tick():
    while True:
        ticks.append(time.monotonic())
        gevent.sleep(0.005)

ticker = gevent.spawn(tick)
listener.subscribe(on_events, lambda: None)
with engine.begin() as connection:
    if not redis_url and url != "sqlite://":
        insert = "INSERT INTO events (topic, seq, type, data) VALUES ('stored', 1, 't', '{}')"
        connection.execute(text(insert))
large = Event("large", "typing", "x" * 20_000)
speaker.publish([Event("signals", "typing", 1), large, Event("stored", "t", {}, 1)])
assert done.wait(10), heard
before = len(ticks)
gevent.sleep(1)
assert len(ticks) - before > 20, "somebody blocks the others"
start = time.monotonic()
speaker.close()
listener.close()
assert time.monotonic() - start < 2
ticker.kill()
print("heard all")
"""


def test_works_under_gevent_without_blocking_it(carrier: Carrier) -> None:
    url = carrier.engine.url.render_as_string(hide_password=False)
    done = subprocess.run(
        [sys.executable, "-c", GEVENT, url, carrier.redis_url, SECRET],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout == "heard all\n", done.stderr
