"""What the database is asked to send is what the rules of crdt.py say."""

import random
from typing import Any

import pytest
from flask import Flask

import crdt
import crdt_store
from crdt import Channel
from crdt_wire import TOMBSTONE, Cell, Change
from models import CrdtChannel, db


@pytest.fixture
def cells(app: Flask) -> list[Cell]:
    """A stored channel with rows that lived, died and live again."""
    dice = random.Random(7)
    keys = [("todos", str(pk), cid) for pk in range(30) for cid in ("a", "b", TOMBSTONE)]
    kept = [key for key in keys if key[2] != TOMBSTONE or int(key[1]) % 3]
    dice.shuffle(kept)
    channel = Channel(0, {}, {})
    for version, key in enumerate(kept, 1):
        change = Change(*key, "1", 1, version, "aa", 1, 0)
        channel.store(change, 1, 1, reissued=False)
    with app.app_context():
        db.session.add(CrdtChannel(name="list"))
        db.session.flush()
        crdt_store.save_cells("list", channel.stored.values(), channel.version)
        db.session.commit()
    return list(channel.stored.values())


@pytest.mark.parametrize("told", [None, 0, 20, 60])
@pytest.mark.parametrize("after", [0, 33])
def test_a_page_holds_what_the_rules_let_through(
    app: Flask, cells: list[Cell], after: int, told: Any
) -> None:
    tombstones = {cell[:2]: cell.version for cell in cells if cell.cid == TOMBSTONE}

    def let_through(cell: Cell) -> bool:
        tombstone = tombstones.get(cell[:2])
        early = told is None or crdt.may_precede_pull(tombstone, told)
        return cell.version > after and crdt.is_visible(cell, tombstone) and early

    expected = [cell for cell in cells if let_through(cell)]
    assert 0 < len(expected) < len(cells)
    with app.app_context():
        assert crdt_store.read_page("list", after, told) == (expected, True)


def test_a_merge_is_given_the_winners_it_asks_for(app: Flask, cells: list[Cell]) -> None:
    wanted = {("todos", "1", "a"), ("todos", "1", TOMBSTONE), ("todos", "99", "a")}
    tops = [cell.version for cell in cells if cell.pk == "1" and cell.cid != TOMBSTONE]
    with app.app_context():
        found, row_top = crdt_store.load_cells("list", wanted)
    assert sorted(found) == sorted(cell for cell in cells if cell[:3] in wanted)
    assert row_top == {("todos", "1"): max(tops)}
