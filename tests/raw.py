"""Frames of pages that talk to each other, as the manager of their library writes them."""

import itertools
import time
from typing import Any

from tests.conftest import Account, Peer, Server

numbers = itertools.count(1)


def envelope(target: str, type: str = "message", payload: Any = None, **more: Any) -> Any:
    """What the manager sends: these six keys, always."""
    milliseconds = int(time.time() * 1000)
    message = {"id": f"msg_{next(numbers)}_{milliseconds}", "type": type, "payload": payload}
    return {**message, "timestamp": milliseconds, "source": "client", "target": target, **more}


def raw(server: Server, path: str, account: Account | None = None) -> Peer:
    """A raw socket that listens."""
    peer = server.connect(path, account)
    assert peer.until_pong() == []
    return peer


def receive_binary(peer: Peer) -> bytes:
    """The next message, which is binary."""
    message = peer.socket.receive(timeout=5)
    assert isinstance(message, bytes)
    return message


def told(peer: Peer) -> list[dict[str, Any]]:
    """What it is told up to now: twice, since an answer leaves before what was told in its turn."""
    return peer.until_pong() + peer.until_pong()
