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


def test_peers_are_shown_with_their_lag(person: Invite) -> None:
    window = person("Ann").enter()
    calls: list[str] = []
    window.on("request", lambda request: calls.append(request.url))
    left, right = Panel(window, "left"), Panel(window, "right")
    left.expect_state("online")
    right.expect_state("online")
    peers = window.get_by_test_id("peer")
    left.add("Milk", 1)
    expect_in_sync(window, 1)
    expect(peers).to_have_count(2)
    expect(peers.filter(has_text="in step")).to_have_count(2)
    left.flip("offline")
    right.add("Tea", 7)
    expect(peers.filter(has_text="Left")).to_contain_text("3 behind")  # one cell each
    expect(peers.filter(has_text="Right")).to_contain_text("in step")
    left.flip("online")
    expect(peers.filter(has_text="in step")).to_have_count(2)
    expect(window.get_by_role("list", name="As the server sees them")).to_be_visible()
    window.wait_for_timeout(1000)  # nothing happens: nothing is asked
    before = len(calls)
    window.wait_for_timeout(1500)
    assert calls[before:] == []


OLD = """{
    siteId: "me", version: 2, acks: {server: 1}, server: "server", channelVersion: 3,
    cells: [["todos", "1", "title", 1], ["todos", "2", "title", 1]],
    log: [["todos", "1", "title", "Milk", 1, 1, "me", 1, 0],
          ["todos", "2", "title", "Tea", 1, 2, "me", 1, 0]],
    tables: [["todos", [["1", {title: "Milk"}], ["2", {title: "Tea"}]]]],
}"""


def test_a_replica_of_local_storage_goes_on_in_indexeddb(person: Invite) -> None:
    window = person("Ann").open()
    key = "wharf.replica:0:list:main"
    window.evaluate(f"localStorage.setItem('{key}', JSON.stringify({OLD}))")
    for again in range(2):
        told = window.evaluate(
            """async () => {
                const { Wharf } = await import("/static/wharf.js");
                window.list = await new Wharf().replica("list").ready;
                return [list.siteId, list.rows("todos").map((row) => row.title), list.pending];
            }"""
        )
        assert told == ["me", ["Milk", "Tea"], 1 + again]
        assert window.evaluate(f"localStorage.getItem('{key}')") is None
        window.evaluate("list.put('todos', '1', {title: 'Oat milk'})")
        window.evaluate("list.put('todos', '1', {title: 'Milk'})")
        window.reload()


def test_a_second_window_writes_as_another_site(person: Invite) -> None:
    ann = person("Ann")
    open_list = """async () => {
        const { Wharf } = await import("/static/wharf.js");
        window.list = await new Wharf().replica("list").ready;
        return list.siteId;
    }"""
    one, two = ann.open(), ann.open()
    sites = [one.evaluate(open_list), two.evaluate(open_list)]
    assert sites[0] != sites[1]
    two.evaluate("list.close()")
    three = ann.open()
    assert three.evaluate(open_list) == sites[1]
