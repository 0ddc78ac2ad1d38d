"""The other client of the simulator: one that counts the lives of its rows.

`CountingReplica` does what cr-sqlite documents: `cl` is odd while a row lives and even once it is
deleted; the greater `cl` wins, then the greater `col_version`; its log holds its newest state only.
"""

import random
from typing import Any

from crdt import takes
from crdt_wire import TOMBSTONE, Key
from tests.crdt_client import TABLE, Message, Rows


class CountingReplica:
    """A client whose every row has a causal length."""

    push_all = missed = False

    def __init__(self, site: str, acks: bool) -> None:
        self.site = site
        self.acks = acks
        self.version = 0
        self.lives: dict[str, int] = {}  # pk -> cl
        self.best: dict[Key, list[Any]] = {}  # per cell, the change that holds in this life
        self.log: dict[Key, list[Any]] = {}  # per cell, its own newest change
        self.sent: dict[str, int] = {}
        self.server_site: str | None = None

    @property
    def rows(self) -> Rows:
        """The application's rows."""
        rows: Rows = {}
        for (table, pk, cid), change in self.best.items():
            if table == TABLE:
                rows.setdefault(pk, {})[cid] = change[3]
        return rows

    def reload(self) -> None:
        """Load the page anew: what counts is in the database."""
        self.server_site = None

    # Writes

    def insert(self, pk: str, values: dict[str, str]) -> None:
        """Create a row; one that was deleted begins another life, and says so."""
        self.version += 1
        if lives := self.lives.get(pk, 0):
            self._note(pk, TOMBSTONE, "null", lives + 1, lives + 1)
        self._begin(pk, lives + 1)
        for cid, val in values.items():
            self._write(pk, cid, val)

    def update(self, pk: str, values: dict[str, str]) -> dict[str, str]:
        """Change a row; the answer is what differs."""
        self.version += 1
        changed = {cid: val for cid, val in values.items() if self.rows[pk].get(cid) != val}
        for cid, val in changed.items():
            self._write(pk, cid, val)
        return changed

    def delete(self, pk: str) -> None:
        """End this life of a row."""
        self.version += 1
        cl = self.lives[pk] + 1
        self._begin(pk, cl)
        self._note(pk, TOMBSTONE, "null", cl, cl)

    def _write(self, pk: str, cid: str, val: str) -> None:
        known = self.best.get((TABLE, pk, cid))
        col_version = known[4] + 1 if known else 1
        self.best[TABLE, pk, cid] = self._note(pk, cid, val, col_version, self.lives[pk])

    def _note(self, pk: str, cid: str, val: str, col_version: int, cl: int) -> list[Any]:
        change = [TABLE, pk, cid, val, col_version, self.version, self.site, cl, 0]
        self.log[TABLE, pk, cid] = change
        return change

    def _begin(self, pk: str, cl: int) -> None:
        """Another life of a row: nothing of the one before counts."""
        self.lives[pk] = cl
        for held in (self.best, self.log):
            for key in [key for key in held if key[:2] == (TABLE, pk)]:
                if held is self.best or key[2] != TOMBSTONE:
                    del held[key]

    # Messages

    def push(self, rng: random.Random) -> list[Message]:
        """Its own newest changes above what this server acknowledged."""
        sent = self.sent.get(self.server_site or "", 0)
        changes = [change for change in self.log.values() if change[5] > sent]
        if rng.random() < 0.3:
            rng.shuffle(changes)
        return [self._message("update", self.version, changes=changes)] if changes else []

    def pull(self) -> Message:
        """Ask for what is missing."""
        return self._message("pull", self.version)

    def receive_update(self, message: Message) -> list[Message]:
        """Take what is newer."""
        for change in message["changes"]:
            self._take(change)
        return [self._message("ack", message["version"])] if self.acks else []

    def receive_ack(self, message: Message) -> None:
        """Raise the tracked version."""
        site, version = message["siteId"], message["version"]
        self.sent[site] = max(self.sent.get(site, 0), version)

    def _take(self, change: list[Any]) -> None:
        table, pk, cid, _, col_version, _, _, cl, _ = change
        lives = self.lives.get(pk, 0)
        known = self.best.get((table, pk, cid))
        if table != TABLE or not takes((cl, col_version), (lives, known[4] if known else 0)):
            return
        if cl > lives:
            self._begin(pk, cl)
        if cid != TOMBSTONE:
            self.best[table, pk, cid] = change

    def _message(self, kind: str, version: int, **more: Any) -> Message:
        return {"type": kind, "siteId": self.site, "version": version, **more}
