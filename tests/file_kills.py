"""A server that is killed while files are uploaded to it, and what is stored in the end."""

import hashlib
import http.client
import os
import random
import signal
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

from tests.conftest import Account
from tests.processes import Deployment, Process
from tests.tus_client import TUS, VERSION, metadata
from tests.uploads import BODY, PNG

TRIES = 60  # until an upload gives up
Lost = (OSError, http.client.HTTPException)


def workers_of(process: Process) -> set[int]:
    """The processes that gunicorn has started."""
    master = process.popen.pid
    asked = ["pgrep", "--parent", str(master)]
    return {int(pid) for pid in subprocess.run(asked, capture_output=True).stdout.split()}


class Rig:
    """One server on one port, killed and started again while `uploads` are made."""

    def __init__(self, deployment: Deployment, seed: int) -> None:
        self.deployment, self.dice = deployment, random.Random(seed)
        self.process: Process = deployment.start("web")[0]
        self.port, self.up = self.process.port, threading.Event()
        self.up.set()
        self.account: Account = self.process.register()
        self.done: dict[str, str] = {}  # names that were answered 200, with their digests
        self.begun = 0
        self.lock = threading.Lock()

    def ask(self, method: str, path: str, body: bytes, headers: dict[str, Any]) -> Any:
        """Status, headers and bytes of an answer; raises what `Lost` has."""
        assert self.up.wait(60)
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request(method, path, body, {**self.account.headers, **headers})
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()
        finally:
            connection.close()

    def upload(self, number: int) -> None:
        """Upload a file of its own, by a form or in parts, until it is told that it is there."""
        dice = random.Random(number)
        data = PNG + dice.randbytes(dice.randrange(1, 120_000))
        name = f"{number}.png"
        with self.lock:
            self.begun += 1
        way = self.send_form if number % 2 else self.send_parts
        for _ in range(TRIES):
            with suppress(*Lost):
                if way(name, data, dice):
                    with self.lock:
                        self.done[name] = hashlib.sha256(data).hexdigest()
                    return
        raise AssertionError(f"{name} was never taken")

    def send_form(self, name: str, data: bytes, _dice: random.Random) -> bool:
        """Whether a form was answered 200."""
        head = f'--b\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n'
        body = f"{head}Content-Type: image/png\r\n\r\n".encode() + data + b"\r\n--b--\r\n"
        kind = {"Content-Type": "multipart/form-data; boundary=b"}
        status, _, text = self.ask("POST", "/api/upload", body, kind)
        assert status == 200, text
        return True

    def send_parts(self, name: str, data: bytes, dice: random.Random) -> bool:
        """Whether all parts were taken; goes on where the server says it is."""
        facts = {**VERSION, "Upload-Length": len(data), "Upload-Metadata": metadata(filename=name)}
        status, headers, text = self.ask("POST", TUS, b"", facts)
        assert status == 201, text
        path, offset = headers["Location"], 0
        for _ in range(TRIES):
            with suppress(*Lost):
                status, headers, _ = self.ask("HEAD", path, b"", VERSION)
                assert status == 200
                offset = int(headers["Upload-Offset"])
                while offset < len(data):
                    part = data[offset : offset + dice.randrange(1, len(data))]
                    facts = {**VERSION, "Upload-Offset": offset, "Content-Type": BODY}
                    status, headers, text = self.ask("PATCH", path, part, facts)
                    assert status == 204, text
                    offset = int(headers["Upload-Offset"])
                return True
        return False

    def run(self, uploads: int, kills: int, threads: int = 4) -> None:
        """Make them all, several at once, and kill the server as often, at times nobody knows."""
        with ThreadPoolExecutor(threads) as pool:
            work = [pool.submit(self.upload, number) for number in range(uploads)]
            for kill in range(kills):
                self.wait_for(uploads * kill // kills, work)
                time.sleep(self.dice.uniform(0, 0.1))  # the moment of the kill, not a wait
                self.kill_workers() if kill else self.kill()
            for one in work:
                one.result()

    def wait_for(self, begun: int, work: list[Any]) -> None:
        """Return once so many uploads have begun."""
        while self.begun <= begun and not all(one.done() for one in work):
            time.sleep(0.002)

    def kill_workers(self) -> None:
        """SIGKILL for all that answer; gunicorn has others in their place at once."""
        killed = workers_of(self.process)
        for pid in killed:
            os.kill(pid, signal.SIGKILL)
        while not workers_of(self.process) - killed:
            assert self.process.wait(0.002) is None, self.process.log.read_text()

    def kill(self) -> None:
        """SIGKILL, and start it again on the same port."""
        self.up.clear()
        self.process.kill()
        self.process = self.deployment.spawn("web", self.port)
        self.process.wait_until_ready()
        self.up.set()
