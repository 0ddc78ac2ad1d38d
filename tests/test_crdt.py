"""The merge rules one by one. (All together: test_crdt_convergence.py.)"""

import json
from itertools import permutations

import pytest

import crdt
import crdt_wire
from crdt import MAX_LEAP, Channel, Merged, merge
from crdt_wire import TOMBSTONE, Cell, Change, canonical, parse_change

TITLE = ("todos", "[1]", "title")
DELETE = ("todos", "[1]", TOMBSTONE)


def change(val="milk", col_version=1, db_version=1, site_id="anna", *, cid="title", position=0):
    text = "null" if cid == TOMBSTONE else canonical(val)
    return Change("todos", "[1]", cid, text, col_version, db_version, site_id, 1, 0, position)


def delete(db_version, site_id="anna"):
    return change(None, 1, db_version, site_id, cid=TOMBSTONE)


def channel(*winners, version=10):
    stored = {winner[:3]: winner for winner in winners}
    tops = [cell.version for cell in winners if cell.cid != TOMBSTONE]
    return Channel(version, stored, {("todos", "[1]"): max(tops)} if tops else {})


def winner(val="milk", col_version=1, db_version=1, site_id="anna", *, version=10, cid="title"):
    val = canonical(val)
    return Cell("todos", "[1]", cid, val, col_version, 1, site_id, db_version, version, False)


def tombstone(version=10, cl=2):
    return Cell(*DELETE, "null", cl, cl, "carl", 1, version, True)


def merge_one(state, incoming, *, sender="anna", sent=0):
    """The cell that `incoming` is stored as, or None when it is ignored."""
    merge(state, [incoming], sender=sender, received=sent)
    return state.stored.get(incoming[:3])


def outcome(cell):
    return cell and (json.loads(cell.val), cell.col_version, cell.reissued)


# Order, acknowledgement, limits


def test_slices_are_in_order_and_never_cut_a_db_version():
    changes = [change(db_version=number) for number in (3, 1, 2, 2, 1, 4)]
    pieces = [[one.db_version for one in piece] for piece in crdt.slices(changes, 2)]
    assert pieces == [[1, 1], [2, 2], [3, 4]]
    assert [len(piece) for piece in crdt.slices(changes, 1)] == [2, 2, 1, 1]
    assert list(crdt.slices([], 2)) == []


def test_batch_is_merged_in_the_order_of_writing():
    writes = [change(number, number, number) for number in (1, 2, 3)]
    for batch in permutations(writes):
        state = channel()
        merge(state, batch, sender="anna", received=0)
        assert [outcome(cell) for cell in state.stored.values()] == [(3, 3, False)]


def test_seq_orders_changes_of_one_db_version():
    first, second = change("first"), change("second")
    state = channel()
    merge(state, [second._replace(seq=2), first._replace(seq=1)], sender="anna", received=0)
    assert [outcome(cell) for cell in state.stored.values()] == [("second", 2, True)]


def test_keys_name_each_cell_and_the_tombstone_of_its_row():
    assert crdt.keys([change(), change(cid="done")]) == {TITLE, ("todos", "[1]", "done"), DELETE}


def test_ack_counts_the_senders_own_changes_only():
    state = channel()
    mixed = [change(db_version=3), change(db_version=9, site_id="bert", col_version=2)]
    assert merge(state, mixed, sender="anna", received=0).acked == 3
    assert merge(state, mixed, sender="carl", received=0).acked == 0


def test_ack_covers_changes_that_were_ignored():
    state = channel(winner(col_version=9, site_id="bert"))
    assert merge(state, [change(db_version=4)], sender="anna", received=4) == Merged(4, [])


def test_leaping_col_version_is_refused_by_position_and_still_acknowledged():
    state = channel(winner(col_version=5, site_id="bert"))
    leap = change(col_version=6 + 2 * MAX_LEAP, db_version=8, position=3)
    merged = merge(state, [leap, change("tea", 5 + MAX_LEAP, 7)], sender="anna", received=0)
    assert merged == Merged(8, [(3, "col_version is too far ahead")])
    assert outcome(state.stored[TITLE]) == ("tea", 5 + MAX_LEAP, False)


def test_first_col_version_of_a_cell_may_not_leap_either():
    merged = merge(channel(), [change(col_version=MAX_LEAP + 1)], sender="anna", received=0)
    assert len(merged.refused) == 1


def test_each_stored_cell_counts_up_the_version_and_only_its_last_state_remains():
    state = channel(version=10)
    batch = [change("a", 1, 1), change("b", 1, 2, cid="done"), change("c", 2, 3)]
    merge(state, batch, sender="anna", received=0)
    assert state.version == 13
    assert [(key[2], cell.version) for key, cell in state.stored.items()] == [
        ("done", 12),
        ("title", 13),
    ]


def test_messages_merged_together_end_as_if_merged_apart():
    messages = [
        ("anna", [change("a", 1, 1), delete(2)]),
        ("bert", [change("b", 1, 1, "bert")]),
        ("anna", [change("c", 1, 3)]),
    ]
    together = channel()
    cells = {}
    version = 10
    for sender, changes in messages:
        merge(together, changes, sender=sender, received=changes[0].db_version - 1)
        tops = [cell.version for key, cell in cells.items() if key != DELETE]
        apart = Channel(version, dict(cells), {("todos", "[1]"): max(tops)} if tops else {})
        merge(apart, changes, sender=sender, received=changes[0].db_version - 1)
        cells.update(apart.stored)
        version = apart.version
    assert (together.stored, together.version) == (cells, version)
    assert list(together.stored) == sorted(cells, key=lambda key: cells[key].version)


# Rule 2: a row that was never deleted


def test_first_write_of_a_cell_is_stored_as_it_came():
    cell = merge_one(channel(), change("tea", 4, 7))
    assert cell == Cell(*TITLE, '"tea"', 4, 1, "anna", 7, 11, False)


@pytest.mark.parametrize("sender", ["anna", "bert"], ids=["own", "not own"])
def test_higher_version_is_stored_and_reissued_when_another_pushed_it(sender):
    state = channel(winner(col_version=1, site_id="carl"))
    stored = outcome(merge_one(state, change("tea", 2), sender=sender, sent=99))
    assert stored == ("tea", 2, sender != "anna")


def test_later_write_of_the_same_site_is_reissued_above_its_earlier_one():
    state = channel(winner("milk", 5, db_version=3))
    assert outcome(merge_one(state, change("tea", 2, 4), sent=9)) == ("tea", 6, True)


def test_later_write_pushed_by_somebody_else_is_ignored():
    assert merge_one(channel(winner("milk", 5)), change("tea", 2, 4), sender="bert") is None


def test_repeat_of_a_write_that_was_reissued_is_ignored():
    assert merge_one(channel(winner("tea", 3, db_version=5)), change("tea", 2, 5), sent=5) is None


def test_equal_version_with_other_value_is_reissued():
    state = channel(winner("milk", 2, site_id="bert"))
    assert outcome(merge_one(state, change("tea", 2, 5))) == ("tea", 3, True)


def test_equal_version_with_the_same_value_is_ignored():
    assert merge_one(channel(winner("milk", 2, site_id="bert")), change("milk", 2, 5)) is None


@pytest.mark.parametrize(("old", "arriving"), [(1, True), (0, False), ("1", 1), (None, "null")])
def test_values_are_the_same_only_as_json_text(old, arriving):
    state = channel(winner(old, 2, site_id="bert"))
    cell = merge_one(state, change(arriving, 2, 5))
    assert (cell.val, cell.reissued) == (canonical(arriving), True)


def test_repeated_tie_is_ignored():
    state = channel(winner("milk", 2, site_id="bert"))
    assert merge_one(state, change("tea", 2, 5), sent=5) is None


def test_tie_pushed_by_somebody_else_is_ignored():
    state = channel(winner("milk", 2, site_id="bert"))
    assert merge_one(state, change("tea", 2, 5), sender="carl") is None


def test_lower_version_of_another_site_is_ignored():
    assert merge_one(channel(winner("milk", 3, site_id="bert")), change("tea", 2, 5)) is None


def test_repeated_batch_changes_nothing():
    state = channel()
    batch = [change("a", 1, 1), change("b", 2, 2), delete(3), change("c", 1, 4)]
    merge(state, batch, sender="anna", received=0)
    before = dict(state.winners)
    merge(state, batch, sender="anna", received=4)
    assert state.winners == before


# Rule 3: deletes


@pytest.mark.parametrize(("last", "following"), [(None, 2), (2, 4), (4, 6)])
def test_delete_is_reissued_with_the_next_even_number(last, following):
    winners = [tombstone(version=8, cl=last)] if last else []
    cell = merge_one(channel(winner(version=9), *winners), delete(5))
    assert (cell.col_version, cell.cl, cell.reissued) == (following, following, True)


def test_delete_is_stored_above_its_own_version():
    cell = merge_one(channel(winner()), delete(5)._replace(col_version=5))
    assert (cell.col_version, cell.cl) == (6, 6)


def test_delete_of_a_dead_row_is_ignored():
    assert merge_one(channel(winner(version=8), tombstone(version=9)), delete(5)) is None


@pytest.mark.parametrize(("sender", "sent"), [("bert", 0), ("anna", 5)], ids=["not own", "not new"])
def test_delete_that_is_not_new_is_ignored(sender, sent):
    assert merge_one(channel(winner()), delete(5), sender=sender, sent=sent) is None


def test_second_delete_of_a_batch_is_ignored_unless_the_row_lived_between():
    state = channel(winner())
    merge(state, [delete(2), delete(3)], sender="anna", received=0)
    assert state.winners[DELETE].col_version == 2
    merge(state, [change("tea", 1, 4), delete(5)], sender="anna", received=3)
    assert state.winners[DELETE].col_version == 4
    assert not crdt.is_visible(state.winners[TITLE], state.winners[DELETE].version)


# Rule 4: rows that have a tombstone


def test_write_after_a_delete_brings_the_row_back_above_both_versions():
    state = channel(winner("milk", 7, site_id="bert", version=8), tombstone(version=9))
    cell = merge_one(state, change("tea", 1, 5))
    assert outcome(cell) == ("tea", 8, True)
    assert cell.cl == 3
    assert crdt.is_visible(cell, 9)


def test_cell_the_deleted_row_never_had_is_reissued():
    assert outcome(merge_one(channel(tombstone(9)), change("tea", 4, 5))) == ("tea", 5, True)


@pytest.mark.parametrize(
    ("incoming", "expected"),
    [
        (change("tea", 3, 5), ("tea", 4, True)),
        (change("tea", 2, 5), ("tea", 3, True)),
        (change("milk", 2, 5), ("milk", 3, True)),
        (change("tea", 1, 5), None),
    ],
    ids=["higher", "equal version", "equal version and value", "lower"],
)
def test_visible_cell_of_a_deleted_row_is_always_reissued(incoming, expected):
    state = channel(winner("milk", 2, site_id="bert", version=9), tombstone(version=8))
    assert outcome(merge_one(state, incoming)) == expected


def test_later_write_of_the_same_site_counts_on_a_deleted_row_too():
    state = channel(winner("milk", 8, db_version=3, version=9), tombstone(version=8))
    assert outcome(merge_one(state, change("tea", 1, 4))) == ("tea", 9, True)


@pytest.mark.parametrize("version", [7, 9], ids=["hidden", "visible"])
@pytest.mark.parametrize(("sender", "sent"), [("bert", 0), ("anna", 5)], ids=["not own", "not new"])
def test_cell_of_a_deleted_row_is_ignored_unless_new(version, sender, sent):
    state = channel(winner(col_version=1, version=version), tombstone(version=8))
    assert merge_one(state, change("tea", 3, 5), sender=sender, sent=sent) is None


# Rule 5: clients that count lives


def counted(val="milk", col_version=1, db_version=1, site_id="anna", *, cl=1, cid="title"):
    return change(val, col_version, db_version, site_id, cid=cid)._replace(cl=cl)


def merge_counted(state, *changes, sender="anna"):
    """What is stored, in order: (cid, col_version, cl, reissued)."""
    merge(state, changes, sender=sender, received=0, kind="cl")
    return [(one.cid, one.col_version, one.cl, one.reissued) for one in state.stored.values()]


def test_counted_delete_is_stored_at_its_own_cl():
    assert merge_counted(channel(winner()), counted(cid=TOMBSTONE, cl=2)) == [("-1", 2, 2, True)]


@pytest.mark.parametrize(
    ("cl", "sender"), [(2, "anna"), (4, "bert"), (0, "anna")], ids=["known", "not own", "zero"]
)
def test_counted_delete_that_ends_no_life_is_ignored(cl, sender):
    state = channel(tombstone(cl=2))
    assert merge_counted(state, counted(cid=TOMBSTONE, cl=cl), sender=sender) == []


def test_counted_delete_of_a_dead_row_ends_the_later_life():
    state = channel(winner(version=8), tombstone(version=9, cl=2))
    assert merge_counted(state, counted(cid=TOMBSTONE, cl=4)) == [("-1", 4, 4, True)]


def test_cell_of_a_later_life_first_ends_the_one_before():
    state = channel(winner("old", 7, site_id="bert"))
    changes = [counted(cid=TOMBSTONE, col_version=3, cl=3), counted("new", cl=3)._replace(seq=1)]
    assert merge_counted(state, *changes) == [("-1", 2, 2, True), ("title", 8, 3, True)]
    assert state.version == 12


def test_cell_of_an_earlier_life_is_dropped():
    assert merge_counted(channel(tombstone(cl=2)), counted(db_version=5, cl=1)) == []


def test_cell_of_this_life_is_merged_by_its_version():
    state = channel(winner("milk", 4, site_id="bert", version=11), tombstone(cl=2))
    assert merge_counted(state, counted("tea", 4, 5, cl=3)) == [("title", 5, 3, True)]


def test_counted_cell_of_a_row_never_deleted_is_stored_as_it_came():
    assert merge_counted(channel(), counted("tea", 4)) == [("title", 4, 1, False)]


def test_counted_tie_is_reissued_once():
    state = channel(winner("milk", 2, site_id="bert"))
    assert merge_counted(state, counted("tea", 2, 5)) == [("title", 3, 1, True)]
    assert merge_counted(state, counted("tea", 2, 5)) == [("title", 3, 1, True)]
    assert state.version == 11


@pytest.mark.parametrize(
    "later",
    [counted(cl=3, db_version=5), counted(cid=TOMBSTONE, cl=3)],
    ids=["pushed by another", "a mark alone"],
)
def test_what_begins_no_life_stores_no_cell(later):
    state = channel()
    merge_counted(state, later, sender="bert" if later.cid != TOMBSTONE else "anna")
    assert [one.cid for one in state.stored.values() if one.cid != TOMBSTONE] == []


def test_even_cl_of_a_cell_is_refused_by_position():
    odd = counted(cl=2)._replace(position=4)
    merged = merge(channel(), [odd], sender="anna", received=0, kind="cl")
    assert merged == Merged(1, [(4, "the cl of a cell must be odd")])


@pytest.mark.parametrize("kind", ["log", "cl"])
def test_leaping_cl_is_refused(kind):
    far = counted(cl=MAX_LEAP + 1)
    merged = merge(channel(), [far], sender="anna", received=0, kind=kind)
    assert merged.refused == [(0, "cl is too far ahead")]


def test_what_a_client_says_of_lives_it_does_not_count_is_not_believed():
    assert merge_one(channel(), counted(cl=7)).cl == 1


@pytest.mark.parametrize(
    ("one", "other", "newer"),
    [((1, 2), (1, 1), True), ((1, 1), (1, 1), False), ((2, 1), (1, 9), True), ((1, 9), (2, 1), 0)],
)
def test_a_replica_takes_the_greater_life_and_then_the_greater_version(one, other, newer):
    assert crdt.takes(one, other) == newer


# Corrections


def test_value_that_is_not_accepted_is_stored_corrected_above_its_author_s():
    state = channel()
    state.accept = lambda change, winner: winner.val if winner else "null"
    assert outcome(merge_one(state, change("bad", 4))) == (None, 5, True)
    state = channel(winner("good", 2, site_id="bert"))
    state.accept = lambda change, winner: winner.val if winner else "null"
    assert outcome(merge_one(state, change("bad", 2))) == ("good", 3, True)
    assert merge_one(channel(winner("good", 3, site_id="bert")), change("bad", 2)) is None


# Rule 7


@pytest.mark.parametrize(("version", "sent", "reset"), [(4, 5, True), (5, 5, False), (0, 0, False)])
def test_client_that_counts_below_what_it_sent_was_reset(version, sent, reset):
    assert crdt.was_reset(version, sent) is reset


# Sending


def test_untouched_winner_leaves_as_its_author_wrote_it():
    raw = ["todos", "[1]", "title", 'é"\ud800', 3, 7, "anna", 1, 0]
    state = channel()
    merge(state, [parse_change(raw)], sender="anna", received=0)
    assert crdt_wire.outgoing(state.stored[TITLE], "server") == raw


def test_reissued_winner_comes_from_the_server_under_a_negative_version():
    cell = winner("milk", 3, 7, version=42)._replace(reissued=True)
    assert crdt_wire.outgoing(cell, "srv") == ["todos", "[1]", "title", "milk", 3, -42, "srv", 1, 0]


def test_stored_json_is_spliced_as_it_is():
    cell = winner()._replace(pk='["é\\"]', val="1.0")
    text = crdt_wire.outgoing_json(cell, "server")
    assert text == r'["todos","[\"\u00e9\\\"]","title",1.0,1,1,"anna",1,0]'
    assert json.loads(text)[1] == cell.pk


@pytest.mark.parametrize(
    ("version", "tombstone_version", "visible"), [(5, None, True), (5, 4, True), (5, 6, False)]
)
def test_cell_is_visible_above_its_tombstone(version, tombstone_version, visible):
    assert crdt.is_visible(winner(version=version), tombstone_version) is visible


def test_tombstone_itself_is_sent():
    assert crdt.is_visible(tombstone(6), 6)


@pytest.mark.parametrize(
    ("site", "reissued", "pulled", "owed"),
    [
        ("bert", False, None, True),
        ("anna", False, None, False),
        ("anna", True, None, True),
        ("anna", True, 9, True),
        ("anna", False, 3, False),
        ("anna", False, 2, True),
    ],
    ids=["other's", "own", "own, reissued", "reissued, in a pull", "own, held", "own, lost"],
)
def test_own_untouched_cells_are_left_out(site, reissued, pulled, owed):
    cell = winner(db_version=3)._replace(reissued=reissued)
    assert crdt.is_owed(cell, site, pulled) is owed


@pytest.mark.parametrize(("deleted", "may"), [(None, True), (20, False), (21, True)])
def test_client_that_has_not_pulled_gets_no_cell_whose_tombstone_it_lacks(deleted, may):
    assert crdt.may_precede_pull(deleted, told=20) is may


def test_primer_is_a_unique_change_of_an_unused_table_that_is_never_pushed_back():
    first, second = crdt_wire.dummy_change("srv", "1"), crdt_wire.dummy_change("srv", "2")
    assert first[:3] != second[:3]
    assert first[5] < 0
    parse_change([*first[:5], 0, *first[6:]])  # a change in every other way
