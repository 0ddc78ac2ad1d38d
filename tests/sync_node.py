"""The replica of wharf.js for tests/sync_soak.py: pages in a Node, which do as a browser's do."""

import json
import time
from random import Random
from typing import Any

from crdt_wire import canonical
from tests.clients.replica_host import ReplicaHost
from tests.conftest import Account
from tests.crdt_client import TABLE, Rows
from tests.sync_peer import JOURNAL, RETRY, Ledger


class NodePeer:
    """A page of one user; it comes back by itself, and calls its replica as it likes."""

    def __init__(
        self, site: str, host: ReplicaHost, url: str, account: Account, ledger: Ledger, dice: Random
    ) -> None:
        self.site, self.host, self.ledger, self.dice = site, host, ledger, dice
        self.entries: dict[str, int] = {}  # those not acknowledged, with their db_version
        self.floor = 0
        words = {"url": url, "user": account.user, "token": account.token}
        self.page = host.open(channel="default", **words)
        self.ask()

    def ask(self, **line: Any) -> Any:
        """Let the page do something; its rows where they were asked for."""
        self.told = told = self.host.ask(self.page, **line)
        self.ledger.version = max(self.ledger.version, told["serverVersion"])
        acked = {pk for pk, version in self.entries.items() if version <= told["acked"]}
        self.ledger.entries |= acked
        for pk in acked:
            del self.entries[pk]
        wrong = self.ledger.wrong
        wrong += [
            f"version {one} after {self.floor}" for one in told["greetings"] if one < self.floor
        ]
        wrong += [
            f"{self.site} was told {error}"
            for error in told["errors"]
            if error["code"] not in RETRY
        ]
        return told.get("rows")

    # What it has

    @property
    def is_online(self) -> bool:
        return bool(self.told["state"] != "offline")  # it comes back by itself

    def rows(self) -> Rows:
        return self.read(TABLE)

    def journal(self) -> set[str]:
        return {*self.read(JOURNAL)}

    def read(self, table: str) -> Rows:
        """The rows of a table."""
        rows = {row.pop("pk"): row for row in self.ask(rows=table)}
        return {pk: {cid: canonical(val) for cid, val in row.items()} for pk, row in rows.items()}

    def is_idle(self) -> bool:
        self.ask()
        told = self.told
        return told["state"] == "online" and told["isAnswered"] and not told["pending"]

    # Writes

    def write(self, pk: str, values: dict[str, str]) -> None:
        self.ask(put=[TABLE, pk, {cid: json.loads(value) for cid, value in values.items()}])

    def delete(self, pk: str) -> None:
        self.ask(remove=[TABLE, pk])

    def note(self, pk: str) -> None:
        self.ask(put=[JOURNAL, pk, {"entry": True}])
        self.entries[pk] = self.told["written"]

    # Coming and going

    def come(self, port: int, late: bool = False) -> None:
        self.floor = self.ledger.version
        self.ask(online=port)

    def cut(self, hard: bool = False) -> None:
        """Go offline by the user's wish; a hard cut is the network's, or ends the page."""
        if not hard:
            self.ask(offline=True)
        elif self.dice.random() < 0.5:
            self.ask(cut=True)
        else:
            self.ask(reload=True)
            stored = self.journal()
            self.entries = {pk: at for pk, at in self.entries.items() if pk in stored}

    def reset(self, site: str) -> None:
        self.site = site
        self.entries = {}
        self.ask(reset=True)

    def close(self) -> None:
        self.ask(close=True)

    # Messages, which the page sends and takes when it likes

    def become_calm(self) -> None:
        pass

    def pull(self) -> None:
        pass

    def flush(self) -> None:
        pass

    def listen(self, wait: float = 0.0) -> bool:
        before = self.heard()
        self.ask()
        if wait and self.heard() == before:
            time.sleep(wait)
            self.ask()
        return self.heard() != before

    def heard(self) -> tuple[Any, ...]:
        """What frames change."""
        told = self.told
        return told["state"], told["version"], told["acked"], told["isAnswered"]
