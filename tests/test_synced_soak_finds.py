"""What replicas on real sockets have found (tests/sync_soak.py)."""

from flask.testing import FlaskClient

from tests.conftest import Account, Server
from tests.replicas import Talker, rows_of


def test_a_row_deleted_and_made_in_one_push_keeps_nothing(
    client: FlaskClient, server: Server, ann: Account
) -> None:
    phone = Talker(server, ann, "phone")
    phone.write("todos", "a", "title", "Milk")
    phone.write("todos", "a", "completed", True)
    phone.push(
        ["todos", "a", "-1", None, 1, 3, "phone", 1, 0],
        ["todos", "a", "title", "Milk", 1, 4, "phone", 1, 0],
    )
    (todo,) = client.get("/api/todos", headers=ann.headers).json
    assert todo["completed"] is False


def test_a_row_made_in_the_push_that_deletes_another_stays_the_channels(
    client: FlaskClient, server: Server, ann: Account
) -> None:
    phone = Talker(server, ann, "phone")
    phone.write("todos", "a", "title", "A")
    phone.push(
        ["todos", "a", "-1", None, 1, 2, "phone", 1, 0],
        ["todos", "b", "title", "B", 1, 3, "phone", 1, 0],
    )
    phone.delete("todos", "b")
    assert client.get("/api/todos", headers=ann.headers).json == []


def test_who_counts_lives_and_lost_its_data_is_heard_again(server: Server, ann: Account) -> None:
    phone = Talker(server, ann, "phone", kind="cl")
    phone.write("todos", "a", "title", "A")
    phone.delete("todos", "a", cl=2)
    phone.write("todos", "a", "title", "B", cl=3)
    phone.peer.close()
    phone = Talker(server, ann, "phone", kind="cl")
    phone.peer.send("pull", siteId="phone", version=0)
    phone.next()  # the primer
    (held,) = [change[4] for change in phone.next() if change[2] == "title"]
    phone.write("todos", "a", "title", "C", held + 1, cl=3)
    assert rows_of(Talker(server, ann, "fresh").pull())["a"] == {"title": "C"}
