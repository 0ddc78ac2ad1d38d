"""What must be so at the end of a run of tests/sync_soak.py."""

import time
from collections import Counter
from collections.abc import Callable, Sequence

from tests.crdt_client import Rows
from tests.sync_peer import Ledger, Peer
from tests.sync_peers import SocketPeer
from tests.sync_writer import Writer, shown

SETTLE_SECONDS = 60.0  # until all is acknowledged
QUIET_SECONDS = 15.0  # until all have the same


class Verdict:
    """All must have what a new replica gets, and so must the todos; tells the ledger otherwise."""

    def __init__(
        self,
        fresh: SocketPeer,
        peers: Sequence[Peer],
        writer: Writer,
        ledger: Ledger,
        stir: Callable[[], object],
    ) -> None:
        self.fresh, self.peers, self.writer, self.ledger = fresh, peers, writer, ledger
        self.stir = stir  # lets everybody take what has come, and come back

    def give(self) -> None:
        """Look, once all are quiet."""
        todos = self.read_todos()
        agreed = becomes_true(QUIET_SECONDS, self.agree) and self.agree()
        rows = self.fresh.rows()
        self.ledger.wrong += [] if agreed else self.differences(rows)
        if shown(rows) != Counter(todos.values()):
            self.ledger.wrong.append(f"by HTTP {todos} but in the channel {rows}")
        self.check_kept()

    def agree(self) -> bool:
        """Whether everybody has the same now.

        Who was idle when its process died may notice that only here: it comes back, as clients do.
        """
        self.stir()
        rows, journal = self.fresh.rows(), self.fresh.journal()
        return all(peer.rows() == rows and peer.journal() in (None, journal) for peer in self.peers)

    def check_kept(self) -> None:
        """Everything acknowledged that nobody changes must be there."""
        titles = {row.get("title", "").strip('"') for row in self.fresh.rows().values()}
        entries = self.fresh.journal() or set()
        lost = (self.ledger.entries - entries) | (self.ledger.titles - titles)
        if lost:
            self.ledger.wrong.append(f"acknowledged and lost: {sorted(lost)}")

    def differences(self, rows: Rows) -> list[str]:
        """Who has other rows, and which."""
        return [words for peer in self.peers for words in self.differences_of(peer, rows)]

    def differences_of(self, peer: Peer, rows: Rows) -> list[str]:
        """Which rows of a replica are not those of the new one."""
        name = f"{peer.site} ({getattr(peer, 'replica', peer).__class__.__name__})"
        held, journal = peer.rows(), peer.journal()
        wrong = [
            f"{name} {pk}: {held.get(pk)} but a new replica {rows.get(pk)}"
            for pk in sorted({*rows, *held})
            if held.get(pk) != rows.get(pk)
        ]
        if journal is not None and (entries := journal ^ (self.fresh.journal() or set())):
            wrong.append(f"{name} or a new replica lacks the entries {sorted(entries)}")
        return wrong

    def read_todos(self) -> dict[int, tuple[str, bool]]:
        """What is listed by HTTP: titles and whether they are done, by id."""
        assert becomes_true(SETTLE_SECONDS, lambda: self.writer.rows() is not None)
        return {row["id"]: (row["title"], row["completed"]) for row in self.writer.rows() or []}


def becomes_true(seconds: float, done: Callable[[], bool]) -> bool:
    """Whether it was so in time."""
    deadline = time.monotonic() + seconds
    while not done():
        if time.monotonic() > deadline:
            return False
    return True
