"""Streams of events on the processes of the Procfile: by the hundred, and on two of them."""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Account
from tests.processes import Deployment, Process
from tests.streams import STREAM, Stream

pytestmark = pytest.mark.skipif(os.name == "nt", reason="gunicorn needs Unix")

PAGES = 50
STREAMS_OF_A_PAGE = 2  # one declared in HTML opens two
COPIES = 4  # of what a page forwards
MESSAGES = 20


@pytest.fixture
def deployment(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Deployment]:
    """A database in a file."""
    with ExitStack() as stack:
        made = Deployment(tmp_path, stack, DATABASE_URL=f"sqlite:///{tmp_path}/w.db")
        made.migrate()
        yield made


def say(web: Process, account: Account, topic: str, data: Any = None, **more: Any) -> None:
    """Tell a message over HTTP."""
    body = {"topic": topic, "data": data, **more}
    status, reply = web.call("POST", STREAM, body, account)
    assert status == 200, reply


def listen(process: Process, account: Account, topics: str, last_id: str = "") -> Stream:
    """A stream of unnamed events."""
    address = f"{STREAM}?topics={topics}&events=message"
    return Stream(process.url, address, **account.headers, **{"Last-Event-ID": last_id})


def test_a_hundred_streams_of_one_user_hear_each_message_once_and_end_cleanly(
    deployment: Deployment,
) -> None:
    web, sockets = deployment.start("web", "socket")
    ann = web.register()
    streams = [listen(sockets, ann, "click,last") for _ in range(PAGES * STREAMS_OF_A_PAGE)]
    assert {one.answer.status for one in streams} == {200}
    with ThreadPoolExecutor(COPIES) as page:
        for n in range(MESSAGES):
            for copy in [page.submit(say, web, ann, "click", n, id=str(n)) for _ in range(COPIES)]:
                copy.result()
    say(web, ann, "last")
    for one in streams:
        assert [event.data["data"] for event in one.until("last")] == list(range(MESSAGES))
    sockets.popen.terminate()
    for one in streams:
        assert list(one.events()) == []
        one.close()
    sockets.wait_until_stopped()


def test_a_stream_goes_on_in_another_process(deployment: Deployment) -> None:
    web, one, other = deployment.start("web", "socket", "socket")
    ann = web.register()
    first, second = listen(one, ann, "count,last"), listen(other, ann, "count,last")
    for n in range(3):
        say(web, ann, "count", n)
    assert [first.next()["data"] for _ in range(3)] == [0, 1, 2]
    first.close()
    for n in range(3, 6):
        say(web, ann, "count", n)
    say(web, ann, "last")
    moved = listen(other, ann, "count,last", first.last_id)
    assert [event.data["data"] for event in moved.until("last")] == [3, 4, 5]
    assert [event.data["data"] for event in second.until("last")] == list(range(6))
    moved.close()
    second.close()
