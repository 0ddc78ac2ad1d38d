"""One per process: takes all messages that arrived since its last turn, commits them in one
transaction, and hands what was told to the hub. Knows nothing of Flask or of chat."""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

from sqlalchemy.exc import OperationalError

from bus import Event
from errors import is_cut_off, is_unavailable
from sockets.connection import Connection
from sockets.hub import Hub

log = logging.getLogger(__name__)

WEIGHT_PER_TURN = 500
DEADLOCKS = {"40P01", "40001"}
PENDING_WEIGHT = 1000  # a client further ahead waits until its messages are handled


Handle = Callable[..., None]
QUICK: set[Handle] = set()


def quick(handler: Handle) -> Handle:
    """Decorator: a handler that only replies is run at once while the flusher has nothing to do."""
    QUICK.add(handler)
    return handler


class Job(NamedTuple):
    """A message of `connection` to handle inside a transaction; a chat message weighs 1."""

    connection: Connection
    handle: Handle
    args: tuple[Any, ...] = ()
    weight: int = 1


class Flusher:
    """Runs handlers and deliveries, one turn at a time, on one thread of its own.

    A handler may run twice, since the jobs of a failed transaction are run again one by one: it
    changes rows, replies, and leaves other memory to `Connection.after_commit`.

    `transaction` opens a database session and commits it at the end, or rolls back. `report` tells
    a client that its message failed.
    """

    def __init__(
        self,
        hub: Hub,
        transaction: Callable[[], AbstractContextManager[None]],
        report: Callable[[Job, Exception], None],
    ) -> None:
        self.hub = hub
        hub.flusher = self
        self.transaction = transaction
        self.report = report
        self.jobs: deque[Job] = deque()
        self.told: deque[Event] = deque()
        self.pokes: deque[Connection] = deque()
        self.uncertain = False  # the bus may have lost something
        self.in_turn = False
        self.stopped = False
        self.wake = threading.Event()
        self.handled = threading.Condition()
        self.thread = threading.Thread(target=self.loop, name="flusher", daemon=True)

    def start(self) -> None:
        """Begin taking turns."""
        self.thread.start()

    def submit(self, job: Job) -> None:
        """Queue a message; waits while its client has too many in the queue already."""
        connection = job.connection
        if job.handle in QUICK and self.is_idle():
            self.answer(job)
            return
        if connection.pending >= PENDING_WEIGHT:
            with self.handled:
                self.handled.wait_for(lambda: connection.pending < PENDING_WEIGHT, timeout=60)
        connection.pending += job.weight
        self.jobs.append(job)
        self.wake.set()

    def is_idle(self) -> bool:
        """Whether all that was asked or told up to now is done."""
        return not (self.is_asked() or self.in_turn)  # in this order: a turn empties the queues

    def is_asked(self) -> bool:
        """Whether there is something for a turn to do."""
        return bool(self.jobs or self.told or self.pokes or self.uncertain)

    def answer(self, job: Job) -> None:
        """Run a quick handler."""
        try:
            job.handle(job.connection, *job.args)
        except Exception as error:
            job.connection.roll_back()
            self.report(job, error)
        else:
            job.connection.commit()

    def queue_events(self, events: list[Event]) -> None:
        """Queue events that were committed, here or elsewhere, for delivery."""
        self.told.extend(events)
        self.wake.set()

    def poke(self, connection: Connection) -> None:
        """Let the next turn send `connection` what waits for it in the database."""
        self.pokes.append(connection)
        self.wake.set()

    def check(self) -> None:
        """Let the next turn compare every topic with the database: the bus may have gaps."""
        self.uncertain = True
        self.wake.set()

    def stop(self) -> None:
        """Take no more turns."""
        self.stopped = True
        self.wake.set()

    def loop(self) -> None:
        """Take turns until stopped."""
        while not self.stopped:
            self.wake.wait()
            self.wake.clear()
            while self.is_asked():
                self.in_turn = True
                try:
                    self.turn()
                except Exception:  # the sweep tells later what could not be told now
                    log.exception("delivery failed")
                self.in_turn = False
                time.sleep(0)  # on gevent: let others have their turn in a long streak

    def turn(self) -> None:
        """Handle what is waiting, then tell everybody what was committed."""
        jobs = self.take_jobs()
        try:
            self.deliver()  # what was told before they came: no reply overtakes it
        finally:
            if jobs:
                self.handle(jobs)
        # The commit has filled `told`: events.publish_collected -> bus -> self.queue_events.
        self.deliver()

    def handle(self, jobs: list[Job]) -> None:
        """Run jobs, and let go on who waits for that."""
        try:
            self.run(jobs)
        finally:
            self.finish(jobs)

    def deliver(self) -> None:
        """Tell what is to be told by now."""
        told, pokes = take_all(self.told), take_all(self.pokes)
        uncertain, self.uncertain = self.uncertain, False
        if told or pokes or uncertain:
            with self.transaction():
                self.hub.deliver(told)
                for connection in pokes:
                    self.hub.replay(connection)
                    connection.dialect.pump(connection)
                if uncertain:
                    self.hub.catch_up()

    def take_jobs(self) -> list[Job]:
        """The jobs of one turn: what fits a short transaction."""
        jobs: list[Job] = []
        weight = 0
        while self.jobs and weight < WEIGHT_PER_TURN:
            jobs.append(self.jobs.popleft())
            weight += jobs[-1].weight
        return jobs

    def run(self, jobs: list[Job]) -> None:
        """Commit the jobs together; a client whose message fails has its own committed alone.

        It stays a suspect until its next ping, so that it cannot slow the others down for long.
        """
        suspects = {job.connection for job in jobs if job.connection.suspect}
        jobs = sorted(jobs, key=lambda job: job.connection.lock_order)
        while together := [job for job in jobs if job.connection not in suspects]:
            error, culprit = self.attempt(together)
            # Nobody's fault; but what a commit without answer has done, nobody knows.
            if is_unavailable(error) and (culprit or not is_cut_off(error)):
                error, culprit = self.attempt(together)
            if is_deadlock(error):
                self.run_alone(together)
            elif error and is_unavailable(error):
                for job in together:
                    self.report(job, error)
            elif error and culprit:
                culprit.connection.suspect = True
                suspects.add(culprit.connection)
                continue
            elif error:  # the commit failed, for the sake of any of them
                self.run_alone(together)
            break
        self.run_alone([job for job in jobs if job.connection in suspects])

    def run_alone(self, jobs: list[Job]) -> None:
        """Commit the jobs one by one, and report those that fail."""
        for job in jobs:
            error, _ = self.attempt([job])
            if is_deadlock(error):
                error, _ = self.attempt([job])
            if error:
                self.report(job, error)

    def attempt(self, jobs: list[Job]) -> tuple[Exception | None, Job | None]:
        """Run the jobs in one transaction; effects and replies follow its commit.

        Returns what made it fail, and the job it was; then nothing happened.
        """
        current: Job | None = None
        try:
            with self.transaction():
                for current in jobs:
                    current.handle(current.connection, *current.args)
                current = None
        except Exception as error:
            for job in jobs:
                job.connection.roll_back()
            return error, current
        for job in jobs:
            job.connection.commit()
        return None, None

    def finish(self, jobs: list[Job]) -> None:
        """Let clients go on that wait until their messages are handled."""
        crowded = False
        for job in jobs:
            connection = job.connection
            crowded = crowded or connection.pending >= PENDING_WEIGHT
            connection.pending -= job.weight
        if crowded:
            with self.handled:
                self.handled.notify_all()


def take_all(queue: "deque[Any]") -> list[Any]:
    """Empty a queue that others append to."""
    return [queue.popleft() for _ in range(len(queue))]


def is_deadlock(error: Exception | None) -> bool:
    """Whether two transactions waited for each other, and this one was given up."""
    return isinstance(error, OperationalError) and sqlstate_of(error) in DEADLOCKS


def sqlstate_of(error: OperationalError) -> str:
    """The code of SQL's standard, where the driver gives one."""
    return getattr(error.orig, "sqlstate", None) or ""
