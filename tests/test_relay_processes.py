"""Raw sockets on two socket processes: what is passed on crosses from one to the other."""

import json
import os
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from sqlalchemy import make_url

from tests.conftest import Account, Peer
from tests.processes import Deployment, Process
from tests.raw import envelope, receive_binary, told

pytestmark = pytest.mark.skipif(os.name == "nt", reason="gunicorn and signals need Unix")
BINARY = bytes(range(256)) * 3906  # nearly a megabyte


@pytest.fixture(scope="module", params=["sqlite", "postgres", "sqlite+redis"])
def pair(request: Any, tmp_path_factory: Any) -> Iterator[list[Process]]:
    """Two `socket` processes, joined by each of the carriers."""
    folder = tmp_path_factory.mktemp("pair")
    settings = {"DATABASE_URL": f"sqlite:///{folder}/w.db"}
    if request.param == "postgres":
        url = make_url(request.getfixturevalue("postgres_url"))
        settings["DATABASE_URL"] = url.render_as_string(hide_password=False)
    if "redis" in request.param:
        settings["REDIS_URL"] = request.getfixturevalue("redis_url")
    with ExitStack() as stack:
        deployment = Deployment(folder, stack, **settings)
        deployment.migrate()
        web, *sockets = deployment.start("web", "socket", "socket")
        ann = web.register()
        for process in sockets:
            process.ann = ann  # type: ignore[attr-defined]
        yield sockets


def raw(process: Process) -> Peer:
    """A raw socket of Ann that listens."""
    account: Account = process.ann  # type: ignore[attr-defined]
    process.peers.append(Peer(f"{process.url.replace('http', 'ws')}/ws/a?token={account.token}"))
    assert process.peers[-1].until_pong() == []
    return process.peers[-1]


def test_frames_and_binary_cross_whole_and_in_order(pair: list[Process]) -> None:
    sender, beside, away = raw(pair[0]), raw(pair[0]), raw(pair[1])
    described = envelope("server", "binary-metadata", {"name": "cat.png"})
    frames = [envelope("board", f"n{n}", "\0\u2028" * n) for n in range(20)]
    for frame in frames:
        sender.socket.send(json.dumps(frame))
    sender.socket.send(json.dumps(described))
    sender.socket.send(BINARY)
    for peer in (beside, away):
        assert [peer.receive() for _ in range(21)] == [*frames, described]
        assert receive_binary(peer) == BINARY
    assert told(sender) == []


def test_a_bare_broadcast_crosses_and_is_heard_once_each(pair: list[Process]) -> None:
    peers = [raw(pair[0]), raw(pair[1])]
    for number, peer in enumerate(peers):
        peer.send("broadcast", number=number)
        assert [one.receive()["number"] for one in peers] == [number, number]
    assert [told(peer) for peer in peers] == [[], []]
