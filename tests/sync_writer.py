"""Who changes todos by HTTP while replicas do."""

import json
from collections import Counter
from http.client import HTTPConnection, HTTPException
from random import Random
from typing import Any

from tests.crdt_client import Rows
from tests.sync_peer import Ledger

TODOS = "/api/todos"
EXPECTED = (200, 201, 204, 404, 409, 503)
KEPT = "kept "  # how titles begin that nobody changes


class Writer:
    """One caller, on a connection that is kept."""

    def __init__(self, port: int, token: str, ledger: Ledger, dice: Random) -> None:
        self.ledger, self.dice = ledger, dice
        self.headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        self.connection = HTTPConnection("127.0.0.1", port, timeout=10)
        self.made = 0

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """What is answered; None when nobody does, or when it is refused for now."""
        try:
            self.connection.request(method, path, body and json.dumps(body), self.headers)
            answer = self.connection.getresponse()
            text = answer.read()
        except (OSError, HTTPException):
            self.connection.close()
            return None
        if answer.status not in EXPECTED:
            self.ledger.wrong.append(f"{method} {path}: {answer.status} {text[:200]!r}")
        return json.loads(text or b"{}") if answer.status < 300 else None

    def write(self, values: dict[str, Any]) -> None:
        """Make, change or delete one todo."""
        chance, path = self.dice.random(), f"{TODOS}/{self.pick()}"
        if chance < 0.2:
            self.keep()
        elif chance < 0.4 or path.endswith("/0"):
            self.call("POST", TODOS, {"title": "made", **values})
        elif chance < 0.75:
            self.call("PATCH", path, values)
        else:
            self.call("DELETE", path)

    def keep(self) -> None:
        """Make one that nobody changes; once acknowledged, it stays."""
        self.made += 1
        title = f"{KEPT}{self.made}"
        if self.call("POST", TODOS, {"title": title}):
            self.ledger.titles.add(title)

    def pick(self) -> int:
        """The id of one that may be changed; 0 when there is none."""
        ids = [row["id"] for row in self.rows() or [] if not row["title"].startswith(KEPT)]
        return int(self.dice.choice(ids)) if ids else 0

    def rows(self) -> list[dict[str, Any]] | None:
        """All todos, or None when nobody answers."""
        found: list[dict[str, Any]] | None = self.call("GET", TODOS)
        return found

    def close(self) -> None:
        """Leave."""
        self.connection.close()


def kept(row: dict[str, str]) -> bool:
    """Whether a row is one that nobody changes."""
    return row.get("title", "").startswith(f'"{KEPT}')


def shown(rows: Rows) -> Counter[tuple[str, bool]]:
    """What replicas' rows are as todos."""
    title, done = '"Untitled"', "false"
    return Counter(
        (row.get("title", title).strip('"'), row.get("completed", done) in ("true", "1"))
        for row in rows.values()
    )
