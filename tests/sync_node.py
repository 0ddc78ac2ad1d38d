"""wharf.js as a replica of a run: tests/clients/replica_peer.mjs in Node, one JSON line a command.

To its stdin: `{"do": "connect", "url": ...}`, `cut`, `write` (`table`, `pk`, `values`), `delete`
(`table`, `pk`), `state`, `reset` (`site`). Every line is answered by one, `{"ok": true}`; `state`
by `{"rows": {pk: {column: value}}, "online": bool, "idle": bool}`.
"""

import json
import shutil
import subprocess
import time
from functools import cache
from pathlib import Path
from typing import Any

from crdt_wire import canonical
from tests.crdt_client import TABLE, Rows
from tests.sync_peer import Ledger
from tests.sync_peers import JOURNAL

SCRIPT = Path(__file__).parent / "clients" / "replica_peer.mjs"


@cache
def node_runs() -> bool:
    """Whether there are both Node and the script."""
    return SCRIPT.exists() and shutil.which("node") is not None


class NodePeer:
    """A replica in a process of its own, which sends and pulls by itself."""

    may_write = True

    def __init__(self, site: str, words: str, ledger: Ledger) -> None:
        self.site, self.words, self.ledger = site, f"{words}&kind=cl", ledger
        self.entries: list[str] = []  # not known to be acknowledged
        self.popen = subprocess.Popen(
            ["node", str(SCRIPT), site],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, command: str, **words: Any) -> dict[str, Any]:
        """The answer to a command."""
        assert self.popen.stdin and self.popen.stdout
        self.popen.stdin.write(json.dumps({"do": command, **words}) + "\n")
        self.popen.stdin.flush()
        answer: dict[str, Any] = json.loads(self.popen.stdout.readline())
        return answer

    @property
    def is_online(self) -> bool:
        return bool(self.ask("state")["online"])

    def rows(self) -> Rows:
        rows = self.ask("state")["rows"].items()
        return {pk: {cid: canonical(value) for cid, value in row.items()} for pk, row in rows}

    def come(self, port: int, late: bool = False) -> None:
        self.ask("connect", url=f"ws://127.0.0.1:{port}/sync?{self.words}")

    def cut(self, hard: bool = False) -> None:
        self.ask("cut")

    def pull(self) -> None:
        """It pulls by itself."""

    def flush(self) -> None:
        """It sends by itself."""

    def write(self, pk: str, values: dict[str, str]) -> None:
        plain = {cid: json.loads(text) for cid, text in values.items()}
        self.ask("write", table=TABLE, pk=pk, values=plain)

    def delete(self, pk: str) -> None:
        self.ask("delete", table=TABLE, pk=pk)

    def note(self, pk: str) -> None:
        self.ask("write", table=JOURNAL, pk=pk, values={"entry": True})
        self.entries.append(pk)

    def listen(self, wait: float = 0.0) -> bool:
        time.sleep(wait)
        return False

    def is_idle(self) -> bool:
        is_idle = bool(self.ask("state")["idle"])
        if is_idle:
            self.ledger.entries |= {*self.entries}
            self.entries.clear()
        return is_idle

    def may_keep_name(self) -> bool:
        return False

    def reset(self, site: str) -> None:
        self.site = site
        self.entries.clear()
        self.ask("reset", site=site)

    def close(self) -> None:
        """End the process."""
        self.popen.stdin and self.popen.stdin.close()
        self.popen.wait(5)
