"""A Node with replicas of wharf.js, each as in a page of its own, driven line by line."""

import json
import subprocess
from threading import Lock
from typing import Any

from tests.clients.node import CLIENTS, NODE

HAS_REPLICAS = NODE != "None" and (CLIENTS / "node_modules" / "ws").exists()


class ReplicaHost:
    """One Node, for any number of threads; what fails there fails here."""

    def __init__(self) -> None:
        command, pipe = [NODE, "replica_host.mjs"], subprocess.PIPE
        self.node = subprocess.Popen(command, cwd=CLIENTS, stdin=pipe, stdout=pipe, text=True)
        self.lock, self.opened = Lock(), 0

    def open(self, **words: Any) -> int:
        """Open a page with a replica, offline; its number."""
        with self.lock:
            self.opened += 1
            number = self.opened
        self.ask(number, open=words)
        return number

    def ask(self, page: int, **line: Any) -> dict[str, Any]:
        """Let a page do something; how it is afterwards."""
        assert self.node.stdin and self.node.stdout
        with self.lock:
            self.node.stdin.write(json.dumps({"page": page, **line}) + "\n")
            self.node.stdin.flush()
            answer = self.node.stdout.readline()
        assert answer, "Node has ended"
        told: dict[str, Any] = json.loads(answer)
        return told

    def leave(self) -> None:
        """End it."""
        self.node.kill()
        self.node.communicate()
