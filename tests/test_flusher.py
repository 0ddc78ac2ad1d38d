"""The flusher with a counting transaction: together, one by one on failure, in order."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from bus import Event
from sockets.flusher import PENDING_WEIGHT, QUICK, Flusher, Job, quick


class Client:
    """A connection that notes what it is sent."""

    def __init__(self) -> None:
        self.pending = 0
        self.suspect = False
        self.lock_order = ""
        self.replies: list[Any] = []
        self.sent: list[Any] = []
        self.dialect = self
        self.pumped = 0

    def commit(self) -> None:
        self.sent += self.replies
        self.replies = []

    def roll_back(self) -> None:
        self.replies = []

    def pump(self, _connection: Any) -> None:
        self.pumped += 1


class Registry:
    """A hub that notes what it is told."""

    def __init__(self) -> None:
        self.told: list[Event] = []
        self.caught_up = 0

    def deliver(self, events: list[Event]) -> None:
        self.told += events

    def catch_up(self) -> None:
        self.caught_up += 1

    def replay(self, connection: Any) -> None:
        pass

    flusher: Flusher


class Bench:
    """A flusher whose turns are taken by hand."""

    def __init__(self) -> None:
        self.commits = 0
        self.failures: list[tuple[Job, Exception]] = []
        self.stored: list[Any] = []
        self.uncommitted: list[Any] = []
        self.hub = Registry()
        self.flusher = Flusher(
            self.hub,  # type: ignore[arg-type]
            self.transaction,
            lambda job, error: self.failures.append((job, error)),
        )

    @contextmanager
    def transaction(self) -> Iterator[None]:
        try:
            yield
        except Exception:
            self.uncommitted.clear()
            raise
        self.commits += 1
        self.stored += self.uncommitted
        self.uncommitted.clear()

    def store(self, connection: Any, word: str) -> None:
        if word == "bad":
            raise ValueError(word)
        self.uncommitted.append(word)
        connection.replies.append(f"ack {word}")

    def submit(self, client: Client, *words: str) -> None:
        for word in words:
            self.flusher.submit(Job(client, self.store, (word,)))  # type: ignore[arg-type]


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_waiting_messages_share_one_transaction(bench: Bench) -> None:
    client = Client()
    bench.submit(client, "a", "b", "c")
    bench.flusher.turn()
    assert bench.commits == 1
    assert bench.stored == ["a", "b", "c"]
    assert client.sent == ["ack a", "ack b", "ack c"]


def test_a_bad_message_fails_alone_and_the_others_are_stored_once(bench: Bench) -> None:
    ann, bob = Client(), Client()
    bench.submit(ann, "a", "b")
    bench.submit(bob, "bad")
    bench.submit(ann, "c")
    bench.flusher.turn()
    assert bench.stored == ["a", "b", "c"]
    assert ann.sent == ["ack a", "ack b", "ack c"]
    assert bob.sent == []
    assert [job.connection for job, _error in bench.failures] == [bob]


def test_the_others_share_one_transaction_though_a_client_keeps_failing(bench: Bench) -> None:
    ann, bob = Client(), Client()
    for _ in range(2):
        bench.submit(ann, "a", "b")
        bench.submit(bob, "bad", "good")
        bench.submit(ann, "c")
        bench.flusher.turn()
    assert bench.commits == 4  # ann's together, what was good of bob's alone; twice
    assert bench.stored == ["a", "b", "c", "good"] * 2
    assert bob.suspect and not ann.suspect
    assert bob.sent == ["ack good"] * 2


def test_a_committed_message_is_acknowledged_although_the_next_one_fails(bench: Bench) -> None:
    client = Client()
    bench.submit(client, "a", "bad", "b")
    bench.flusher.turn()
    assert client.sent == ["ack a", "ack b"]
    assert len(bench.failures) == 1


def test_a_database_that_is_away_fails_the_turn_after_two_attempts(bench: Bench) -> None:
    client, attempts = Client(), []

    def lock(_connection: Any) -> None:
        attempts.append(1)
        raise OperationalError("", {}, Exception())

    bench.submit(client, "a")
    bench.flusher.submit(Job(client, lock))  # type: ignore[arg-type]
    bench.flusher.turn()
    assert len(attempts) == 2
    assert len(bench.failures) == 2
    assert bench.stored == []


def test_after_a_deadlock_every_message_is_stored_alone(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Deadlock(Exception):
        sqlstate = "40P01"

    transaction, sizes = bench.flusher.transaction, []

    @contextmanager
    def crossing() -> Iterator[None]:
        with transaction():
            yield
            sizes.append(len(bench.uncommitted))
            if len(bench.uncommitted) > 1:
                raise OperationalError("UPDATE", {}, Deadlock())

    monkeypatch.setattr(bench.flusher, "transaction", crossing)
    bench.submit(Client(), "a", "b")
    bench.submit(Client(), "c")
    bench.flusher.turn()
    assert sizes == [3, 3, 1, 1, 1]
    assert bench.stored == ["a", "b", "c"]
    assert not bench.failures


def test_a_commit_whose_answer_is_lost_is_not_tried_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempts = []

    @contextmanager
    def cut_off() -> Iterator[None]:
        yield
        attempts.append(1)  # nobody knows whether it was stored
        raise OperationalError("COMMIT", {}, Exception(), connection_invalidated=True)

    monkeypatch.setattr(bench.flusher, "transaction", cut_off)
    client = Client()
    bench.submit(client, "a", "b")
    bench.flusher.turn()
    assert len(attempts) == 1
    assert client.sent == []
    assert len(bench.failures) == 2


def test_messages_are_handled_in_the_order_in_which_all_processes_lock(bench: Bench) -> None:
    late, early = Client(), Client()
    late.lock_order, early.lock_order = "sync:b", "sync:a"
    bench.submit(late, "1", "2")
    bench.submit(early, "3", "4")
    bench.flusher.turn()
    assert bench.stored == ["3", "4", "1", "2"]


@pytest.fixture
def quickly() -> Iterator[Any]:
    """A quick handler."""

    @quick
    def answer(client: Any, text: str) -> None:
        if not text:
            raise ValueError("nothing said")
        client.replies.append(text)

    yield answer
    QUICK.remove(answer)


def test_a_quick_handler_runs_at_once_while_nothing_waits(bench: Bench, quickly: Any) -> None:
    client = Client()
    bench.flusher.submit(Job(client, quickly, ("pong",)))  # type: ignore[arg-type]
    assert client.sent == ["pong"]
    bench.flusher.submit(Job(client, quickly, ("",)))  # type: ignore[arg-type]
    assert [str(error) for _, error in bench.failures] == ["nothing said"]
    assert bench.commits == 0


def test_a_quick_handler_never_overtakes_what_was_said_before(bench: Bench, quickly: Any) -> None:
    client, other = Client(), Client()
    bench.submit(other, "a")
    bench.flusher.submit(Job(client, quickly, ("pong",)))  # type: ignore[arg-type]
    assert client.sent == []
    bench.flusher.turn()
    assert client.sent == ["pong"]
    for queue, waits in (
        (bench.flusher.told, Event("room", "said", {}, 1)),
        (bench.flusher.pokes, client),
    ):
        queue.append(waits)  # type: ignore[attr-defined]
        bench.flusher.submit(Job(client, quickly, ("pong",)))  # type: ignore[arg-type]
        assert client.sent == ["pong"]
        bench.flusher.turn()
        assert client.sent.pop() == "pong"
    bench.flusher.in_turn = True
    bench.flusher.submit(Job(client, quickly, ("pong",)))  # type: ignore[arg-type]
    assert client.sent == ["pong"]


def test_nothing_is_acknowledged_before_the_commit(bench: Bench) -> None:
    client = Client()

    def look(_connection: Any) -> None:
        assert client.sent == []

    bench.submit(client, "a")
    bench.flusher.submit(Job(client, look))  # type: ignore[arg-type]
    bench.flusher.turn()
    assert not bench.failures
    assert client.sent == ["ack a"]


def test_a_commit_that_fails_acknowledges_nothing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextmanager
    def broken() -> Iterator[None]:
        yield
        raise OSError("the disk is full")

    monkeypatch.setattr(bench.flusher, "transaction", broken)
    client = Client()
    bench.submit(client, "a", "b")
    bench.flusher.turn()
    assert client.sent == []
    assert len(bench.failures) == 2


def test_told_events_and_pokes_are_delivered_after_the_jobs(bench: Bench) -> None:
    client = Client()
    event = Event("room", "said", {}, 1)

    def tell(_connection: Any) -> None:
        bench.flusher.queue_events([event])
        assert bench.hub.told == []

    bench.flusher.submit(Job(client, tell))  # type: ignore[arg-type]
    bench.flusher.poke(client)  # type: ignore[arg-type]
    bench.flusher.check()
    bench.flusher.turn()
    assert not bench.failures
    assert bench.hub.told == [event]
    assert client.pumped == 1
    assert bench.hub.caught_up == 1


def test_no_reply_overtakes_what_was_told_before(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, sent_before = Client(), []
    monkeypatch.setattr(bench.hub, "deliver", lambda events: sent_before.append([*client.sent]))
    bench.flusher.queue_events([Event("room", "said", {}, 1)])
    bench.submit(client, "a")
    bench.flusher.turn()
    assert sent_before == [[]]
    assert client.sent == ["ack a"]


def test_a_delivery_that_fails_loses_no_message(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_events: Any) -> None:
        raise OSError("the database is away")

    monkeypatch.setattr(bench.hub, "deliver", fail)
    client = Client()
    bench.flusher.queue_events([Event("room", "said", {}, 1)])
    bench.submit(client, "a")
    with pytest.raises(OSError, match="away"):
        bench.flusher.turn()
    assert bench.stored == ["a"]
    assert client.pending == 0


def test_a_turn_takes_no_more_than_its_weight(bench: Bench) -> None:
    client = Client()
    for word in "abc":
        job = Job(client, bench.store, (word,), weight=400)  # type: ignore[arg-type]
        bench.flusher.submit(job)
    bench.flusher.turn()
    assert bench.stored == ["a", "b"]
    bench.flusher.turn()
    assert bench.stored == ["a", "b", "c"]
    assert client.pending == 0


def test_a_client_far_ahead_waits_until_its_messages_are_handled(bench: Bench) -> None:
    client = Client()
    client.pending = PENDING_WEIGHT
    bench.flusher.start()

    def let_go() -> None:
        client.pending = 0
        with bench.flusher.handled:
            bench.flusher.handled.notify_all()

    import threading

    timer = threading.Timer(0.05, let_go)
    timer.start()
    bench.submit(client, "a")
    assert client.pending <= 1
    timer.join()
    bench.flusher.stop()
    bench.flusher.thread.join(2)
    assert bench.stored == ["a"]


def test_a_delivery_that_fails_does_not_stop_the_flusher(bench: Bench) -> None:
    client = Client()
    bench.hub.deliver = lambda events: 1 / 0  # type: ignore[method-assign,assignment,return-value]
    bench.flusher.start()
    bench.flusher.queue_events([Event("room", "said", {}, 1)])
    bench.submit(client, "a")
    bench.flusher.thread.join(0.2)
    assert bench.flusher.thread.is_alive()
    bench.flusher.stop()
    bench.flusher.thread.join(2)
    assert bench.stored == ["a"]
