"""A replica as tests speak for it: what it pushes, and what the server then sends."""

from typing import Any

from tests.conftest import Account, Peer, Server


class Talker:
    """A site of a channel, over one socket, that counts its own writes."""

    def __init__(
        self, server: Server, account: Account | None, site: str, channel: str = "", kind: str = ""
    ) -> None:
        words = f"channel={channel or 'default'}" + (f"&kind={kind}" if kind else "")
        self.peer: Peer = server.connect(f"/sync?{words}", account)
        self.site = site
        self.version = 0
        self.greeting = self.peer.expect("connected")

    def write(self, table: str, pk: str, cid: str, val: Any, version: int = 1, cl: int = 1) -> Any:
        """Push one cell; returns the acknowledgement."""
        self.version += 1
        change = [table, pk, cid, val, version, self.version, self.site, cl, 0]
        return self.push(change)

    def delete(self, table: str, pk: str, cl: int = 1) -> Any:
        """Push a delete; returns the acknowledgement."""
        return self.write(table, pk, "-1", None, cl, cl)

    def push(self, *changes: list[Any]) -> Any:
        """Push these; returns the acknowledgement."""
        self.version = max([self.version, *(one[5] for one in changes)])
        words = {"siteId": self.site, "version": self.version}
        return self.peer.ask("update", "ack", **words, changes=list(changes))

    def pull(self) -> list[list[Any]]:
        """Ask for what is missing."""
        self.peer.send("pull", siteId=self.site, version=max(1, self.version))
        return self.next()

    def next(self) -> list[list[Any]]:
        """The changes of the next update."""
        return list(self.peer.expect("update")["changes"])


def rows_of(changes: list[list[Any]], table: str = "todos") -> dict[str, dict[str, Any]]:
    """The rows of a table that these changes make, in their order."""
    rows: dict[str, dict[str, Any]] = {}
    for name, pk, cid, val, *_ in changes:
        if name == table and cid == "-1":
            rows.pop(pk, None)
        elif name == table:
            rows.setdefault(pk, {})[cid] = val
    return rows
