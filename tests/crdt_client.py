"""The client of the simulator, and what clients write.

`Replica` does what the sync-lib client does, flaws included, as its source reads; only deletes,
which that source leaves to the application, are applied.
"""

import random
from typing import Any

from crdt_wire import TOMBSTONE, Key

TABLE = "todos"
COLUMNS = ("title", "done")
VALUES = ("a", "b", 1, True)  # 1 == True in Python, but not for clients

Message = dict[str, Any]
Rows = dict[str, dict[str, str]]  # pk -> column -> value as JSON text


class Clash(Exception):
    """A plain INSERT met a row with the same primary key."""


class Replica:
    """One sync-lib client: rows, log of changes, and the tracked peer version."""

    def __init__(self, site: str, push_all: bool, acks: bool) -> None:
        self.site = site
        self.push_all = push_all
        self.acks = acks
        self.version = 0
        self.rows: Rows = {}
        self.log: dict[tuple[Any, ...], list[Any]] = {}
        self.best: dict[Key, list[Any]] = {}  # per cell, the change with the highest col_version
        self.sent: dict[str, int] = {}  # per server site
        self.reload()

    def reload(self) -> None:
        """Load the page anew: the database stays, what was in memory goes."""
        self.server_site: str | None = None
        self.has_data: bool | None = None
        self.missed = False

    # Triggers

    def insert(self, pk: str, values: dict[str, str]) -> None:
        """Create a row; the trigger writes col_version 1, also when the row existed before."""
        self.version += 1
        self.rows[pk] = dict(values)
        for cid, val in values.items():
            self._record([TABLE, pk, cid, val, 1, self.version, self.site, 1, 0])

    def update(self, pk: str, values: dict[str, str]) -> dict[str, str]:
        """Change a row; the trigger writes the columns whose value differs: the answer."""
        self.version += 1
        row = self.rows[pk]
        changed = {cid: val for cid, val in values.items() if row.get(cid) != val}
        row.update(changed)
        for cid, val in changed.items():
            col_version = self._col_version((TABLE, pk, cid)) + 1
            self._record([TABLE, pk, cid, val, col_version, self.version, self.site, 1, 0])
        return changed

    def delete(self, pk: str) -> None:
        """Delete a row; the trigger always writes col_version 1."""
        self.version += 1
        del self.rows[pk]
        self._record([TABLE, pk, TOMBSTONE, "null", 1, self.version, self.site, 1, 0])

    # Messages

    def push(self, rng: random.Random) -> list[Message]:
        """Everything above what this server acknowledged: no site filter, no order."""
        sent = self.sent.get(self.server_site or "", 0)
        changes = [
            change
            for change in self.log.values()
            if change[5] > sent and (self.push_all or change[6] == self.site)
        ]
        if rng.random() < 0.3:
            rng.shuffle(changes)
        return [self._message("update", self.version, changes=changes)] if changes else []

    def pull(self) -> Message:
        """Ask for what is missing, by a count that means nothing to the server."""
        return self._message("pull", self.version)

    def receive_update(self, message: Message) -> list[Message]:
        """Merge or bulk-load; a clash loses the rest of the message, silently."""
        changes = message["changes"]
        if not changes:
            return []
        if self.has_data is None:
            self.has_data = self.version > 0
        try:
            if self.has_data:
                self._merge(changes)
            else:
                self._bulk_load(changes)
                self.has_data = True
        except Clash:
            self.missed = True
        if not self.acks or self.missed:  # who missed something must not acknowledge what follows
            return []
        return [self._message("ack", message["version"])]

    def receive_ack(self, message: Message) -> None:
        """Raise the tracked version; it is never lowered."""
        site, version = message["siteId"], message["version"]
        self.sent[site] = max(self.sent.get(site, 0), version)

    def _merge(self, changes: list[list[Any]]) -> None:
        for change in changes:
            if change[4] > self._col_version(tuple(change[:3])):
                self._record(change)
                self._apply(change)

    def _bulk_load(self, changes: list[list[Any]]) -> None:
        identities = [self._identity(change) for change in changes]
        if len({*identities, *self.log}) < len(identities) + len(self.log):
            raise Clash
        for change in changes:
            self._record(change)
        for (table, pk, cid), change in self.best.items():
            if table == TABLE and cid != TOMBSTONE:
                self.rows.setdefault(pk, {})[cid] = change[3]

    def _apply(self, change: list[Any]) -> None:
        table, pk, cid, val = change[:4]
        if cid == TOMBSTONE:
            self.rows.pop(pk, None)
        elif table == TABLE:
            self.rows.setdefault(pk, {})[cid] = val

    def _record(self, change: list[Any]) -> None:
        if self._identity(change) in self.log:
            raise Clash
        self.log[self._identity(change)] = change
        if change[4] > self._col_version(tuple(change[:3])):
            self.best[tuple(change[:3])] = change

    def _identity(self, change: list[Any]) -> tuple[Any, ...]:
        return (*change[:3], *change[5:7])

    def _col_version(self, key: tuple[Any, ...]) -> int:
        return self.best[key][4] if key in self.best else 0

    def _message(self, kind: str, version: int, **more: Any) -> Message:
        return {"type": kind, "siteId": self.site, "version": version, **more}
