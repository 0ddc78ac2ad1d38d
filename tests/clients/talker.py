"""Socket.IO clients: python-socketio's own, and bare requests for what no library would send."""

import json
import secrets
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import engineio
import pytest
import requests
import socketio
from engineio import packet

from tests.conftest import Account

POLLING, WEBSOCKET = ["polling"], ["websocket"]
UPGRADE = ["polling", "websocket"]
END = "\x1e"


# Its library leaves sockets open when a server ends a connection.
UNTIDY = [
    pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning"),
    pytest.mark.usefixtures("collected"),
]


class Engine(engineio.Client):
    """Says goodbye before it hangs up; the library's may forget, and wait for the next ping.

    Takes messages as they come; the library's begins a thread for each, of which any may be first.
    """

    def _trigger_event(self, event: str, *args: Any, **more: Any) -> Any:
        return super()._trigger_event(event, *args, **{**more, "run_async": False})

    def disconnect(self, abort: bool = False, reason: str | None = None) -> None:
        if self.state == "connected" and self.current_transport == "polling":
            with suppress(requests.RequestException):
                self.http.post(self.base_url, data=packet.Packet(packet.CLOSE).encode(), timeout=5)
        super().disconnect(abort, reason)


class Client(socketio.Client):
    """The library's client, tidier."""

    def _engineio_client_class(self) -> type[Engine]:
        return Engine


def put_away(client: socketio.Client) -> None:
    """Close the sockets of a client, and let its threads end."""
    for thread in (client.eio.read_loop_task, client.eio.write_loop_task):
        if thread:
            thread.join(5)
    if client.eio.http:
        client.eio.http.close()
    if client.eio.ws:
        client.eio.ws.close()


class Talker(socketio.SimpleClient):
    """A client that never waits longer than 5 seconds and does not come back by itself."""

    client_class = Client

    def __init__(self, url: str, account: Account | None = None, **options: Any) -> None:
        super().__init__(reconnection=False)
        auth = {"token": account.token} if account else None
        options = {"auth": auth, "transports": WEBSOCKET, "wait_timeout": 5, **options}
        self.connect(url, **options)
        self.carriers = (self.client.eio.http, self.client.eio.ws)  # the library may forget them

    def expect(self, event: str) -> Any:
        """What comes with the next event of this name; others before it are dropped."""
        while (heard := self.receive(timeout=5))[0] != event:
            pass
        return heard[1] if len(heard) == 2 else heard[1:]

    def ask(self, event: str, answer: str, data: Any = None) -> Any:
        """Emit, and wait for the event `answer`."""
        self.emit(event, data)
        return self.expect(answer)

    def demand(self, event: str, data: Any = None) -> Any:
        """Emit, and wait for the ack."""
        return self.call(event, data, timeout=5)

    def until_pong(self) -> list[list[Any]]:
        """What arrives before the answer to a ping: all that was told up to now."""
        mark = secrets.token_hex(4)
        self.emit("ping", mark)
        heard = []
        while (event := self.receive(timeout=5)) != ["pong", mark]:
            heard.append(event)
        return heard

    def disconnect(self) -> None:
        """Leave, if still there, and close what the library leaves open."""
        client = self.client  # the library forgets it
        super().disconnect()
        if client:
            put_away(client)
        for carrier in self.carriers:
            if carrier:
                carrier.close()

    def wait_for_end(self) -> None:
        """Return once it is disconnected."""
        deadline = time.monotonic() + 5
        while self.client.connected:
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def vanish(self) -> None:
        """Go without a word."""
        self.client.eio.ws.sock.shutdown(socket.SHUT_RDWR)


def talking(url: str) -> Iterator[Callable[..., Talker]]:
    """For fixtures: connects clients, `talk(ann, transports=POLLING)`; they leave at the end."""
    talkers: list[Talker] = []

    def talk(account: Account | None = None, **options: Any) -> Talker:
        talkers.append(Talker(options.pop("url", url), account, **options))
        return talkers[-1]

    yield talk
    for talker in talkers:
        talker.disconnect()


class Poller:
    """A polling client by hand."""

    def __init__(self, url: str, path: str = "/socket.io/", **headers: str) -> None:
        self.url = f"{url}{path}?EIO=4&transport=polling"
        self.headers = headers
        opened = requests.get(self.url, headers=headers, timeout=5)
        self.opened = opened
        if opened.ok:
            self.url += f"&sid={json.loads(opened.text[1:])['sid']}"

    def poll(self) -> list[str]:
        """The packets of one poll."""
        response = requests.get(self.url, headers=self.headers, timeout=5)
        assert response.status_code == 200, response.text
        return response.text.split(END)

    def post(self, *packets: str) -> requests.Response:
        """Send packets."""
        body = END.join(packets).encode()
        return requests.post(self.url, data=body, headers=self.headers, timeout=5)

    def enter(self, account: Account | None = None) -> Any:
        """Connect to the default namespace; what the answer says."""
        auth = json.dumps({"token": account.token}) if account else ""
        assert self.post(f"40{auth}").ok
        [packet] = self.poll()
        return json.loads(packet[2:])
