"""The two replicas on the page: apart, and in agreement again."""

from playwright.sync_api import expect

from tests.browser.page import MARKS, Invite, Panel, expect_in_sync

pytestmark = MARKS


def test_replicas_agree_after_conflicting_edits_apart(person: Invite) -> None:
    window = person("Ann").enter()
    left, right = Panel(window, "left"), Panel(window, "right")
    left.expect_state("online")
    right.expect_state("online")
    left.add("Milk", 1)
    expect(right.cell(0, "name")).to_have_value("Milk")
    right.add("Bread", 2)
    expect(left.cell(1, "name")).to_have_value("Bread")
    left.add("Salt", 3)
    expect_in_sync(window, 3)

    left.flip("offline")
    right.flip("offline")
    left.write(0, "quantity", "5")  # the same cell
    right.write(0, "quantity", "9")
    left.cell(0, "done").check()  # another cell of that row
    left.write(1, "name", "Rye bread")  # an edit against a delete
    right.remove(1)
    left.remove(2)  # a delete against an edit
    right.write(1, "name", "Sea salt")
    right.add("Tea", 4)
    expect(window.get_by_test_id("replica-verdict")).to_have_text("Differs in 4 items")
    expect(left.root.get_by_test_id("replica-pending")).not_to_have_text("0")

    right.flip("online")
    right.expect_settled(3)
    left.flip("online")
    rows = expect_in_sync(window, 3)
    milk, bread, tea = (row[1:] for row in rows)
    assert milk in ([True, "Milk", "5"], [True, "Milk", "9"])
    assert bread == [False, "Rye bread", "2"]  # edited after the delete: the row is back, whole
    assert tea == [False, "Tea", "4"]  # and no salt, deleted after the edit
    window.reload()
    assert expect_in_sync(window, 3) == rows


def test_replica_keeps_what_was_written_offline_over_a_reload(person: Invite) -> None:
    window = person("Ann").enter()
    left, right = Panel(window, "left"), Panel(window, "right")
    left.expect_state("online")
    right.expect_state("online")
    left.add("Milk", 1)
    expect_in_sync(window, 1)
    sites = window.get_by_test_id("replica-site").all_text_contents()
    left.flip("offline")
    left.add("Tea", 7)
    expect(left.root.get_by_test_id("replica-row")).to_have_count(2)
    expect(right.root.get_by_test_id("replica-row")).to_have_count(1)
    window.reload()
    rows = expect_in_sync(window, 2)
    assert [row[1:] for row in rows] == [[False, "Milk", "1"], [False, "Tea", "7"]]
    assert window.get_by_test_id("replica-site").all_text_contents() == sites
