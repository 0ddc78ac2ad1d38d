"""Folders: the tree, moving, deleting with what is in them (docs/files.md#folders)."""

from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from models import Folder
from tests.conftest import Account, Server, assert_error
from tests.uploads import UPLOAD, form, left_behind, read

FOLDERS = "/api/folders"


class Tree:
    """The folders of one account."""

    def __init__(self, client: FlaskClient, account: Account) -> None:
        self.client, self.headers = client, account.headers

    def make(self, name: str, parent: dict[str, Any] | None = None) -> dict[str, Any]:
        body = {"name": name, "parentId": parent and parent["id"]}
        response = self.client.post(FOLDERS, json=body, headers=self.headers)
        assert response.status_code == 201, response.json
        made: dict[str, Any] = response.json
        return made

    def change(self, folder: dict[str, Any], **body: Any) -> Any:
        return self.client.patch(f"{FOLDERS}/{folder['id']}", json=body, headers=self.headers)

    def paths(self) -> list[str]:
        return [one["path"] for one in self.client.get(FOLDERS, headers=self.headers).json]

    def put(self, name: str, folder: dict[str, Any] | None = None) -> dict[str, Any]:
        request = form(name=name)
        request["data"]["folderId"] = str(folder["id"]) if folder else ""
        response = self.client.post(UPLOAD, headers=self.headers, **request)
        assert response.status_code == 200, response.json
        stored: dict[str, Any] = response.json
        return stored

    def names(self, **query: Any) -> list[str]:
        files = self.client.get("/api/files", query_string=query, headers=self.headers).json
        return sorted(one["originalName"] for one in files)


@pytest.fixture
def tree(client: FlaskClient, ann: Account) -> Tree:
    return Tree(client, ann)


def test_tree_is_listed_by_path(tree: Tree) -> None:
    sea = tree.make("sea")
    harbour = tree.make("harbour", sea)
    tree.make("attic")
    assert tree.paths() == ["/attic", "/sea", "/sea/harbour"]
    assert (harbour["parentId"], harbour["name"]) == (sea["id"], "harbour")


def test_moved_folder_takes_everything_along(tree: Tree) -> None:
    sea, attic = tree.make("sea"), tree.make("attic")
    quay = tree.make("quay", tree.make("harbour", sea))
    tree.make("seaside")  # begins alike, and is not below
    moved = tree.change(sea, parentId=attic["id"], name="s%a_")
    assert (moved.status_code, moved.json["path"]) == (200, "/attic/s%a_")
    paths = ["/attic", "/attic/s%a_", "/attic/s%a_/harbour", "/attic/s%a_/harbour/quay", "/seaside"]
    assert tree.paths() == paths
    assert tree.change(quay, parentId=None).json["path"] == "/quay"
    assert tree.change(quay, name="pier").json["path"] == "/pier"


def test_what_is_below_is_told_along(tree: Tree, server: Server, ann: Account) -> None:
    sea, attic = tree.make("sea"), tree.make("attic")
    quay = tree.make("quay", tree.make("harbour", sea))
    peer = server.chat(ann)
    peer.ask("subscribe", "system", payload={"table": "folders"})
    tree.change(sea, parentId=attic["id"])
    told = [peer.expect("database_change")["data"] for _ in range(3)]
    assert sorted(one["path"] for one in told) == tree.paths()[1:]
    [moved] = [one for one in told if one["id"] == quay["id"]]
    path = f"{FOLDERS}/{quay['id']}"
    assert tree.client.get(path, headers=tree.headers).json == moved
    tree.change(sea, name="sea")
    tree.change(quay, name="pier")
    paths = [peer.expect("database_change")["data"]["path"] for _ in range(2)]
    assert paths == ["/attic/sea", "/attic/sea/harbour/pier"]


@pytest.mark.parametrize("below", [0, 1, 2])
def test_folder_is_not_moved_into_itself(tree: Tree, below: int) -> None:
    folders = [tree.make("a")]
    folders += [tree.make("b", folders[0])]
    folders += [tree.make("c", folders[1])]
    before = tree.paths()
    body = assert_error(tree.change(folders[0], parentId=folders[below]["id"]), 400)
    assert list(body["errors"]) == ["parentId"]
    assert tree.paths() == before


def test_name_is_taken_once_in_a_folder(tree: Tree) -> None:
    sea, attic = tree.make("sea"), tree.make("attic")
    tree.make("sea", attic)
    body = {"name": "sea"}
    answer = tree.client.post(FOLDERS, json=body, headers=tree.headers)
    assert_error(answer, 409, "name_taken")
    assert_error(tree.change(attic, name="sea"), 409, "name_taken")
    assert_error(tree.change(sea, parentId=attic["id"]), 409, "name_taken")
    assert tree.change(sea, name="sea").status_code == 200


@pytest.mark.parametrize(
    "name", ["", " ", "a/b", "a\\b", "..", ".", "a\nb", "\u202eb", "x" * 101, None, 7]
)
def test_strange_name_is_400(tree: Tree, name: Any) -> None:
    answer = tree.client.post(FOLDERS, json={"name": name}, headers=tree.headers)
    assert "name" in assert_error(answer, 400)["errors"]
    assert tree.paths() == []


def test_path_has_an_end(tree: Tree) -> None:
    deepest = None
    for _ in range(9):
        deepest = tree.make("x" * 100, deepest)
    answer = tree.client.post(
        FOLDERS, json={"name": "x" * 100, "parentId": deepest["id"]}, headers=tree.headers
    )
    assert_error(answer, 400)
    other = tree.make("y" * 99)
    top = next(one for one in tree.client.get(FOLDERS, headers=tree.headers).json)
    assert_error(tree.change(top, parentId=other["id"]), 400)
    assert len(tree.paths()) == 10


def test_number_of_folders_has_an_end(tree: Tree, monkeypatch: Any) -> None:
    monkeypatch.setattr(Folder, "MOST", 2)
    tree.make("a")
    tree.make("b")
    answer = tree.client.post(FOLDERS, json={"name": "c"}, headers=tree.headers)
    assert_error(answer, 409, "too_many")


def test_files_are_listed_by_folder(tree: Tree) -> None:
    sea = tree.make("sea")
    inside = tree.put("a.png", sea)
    tree.put("b.png")
    assert inside["folderId"] == sea["id"]
    assert tree.names() == ["a.png", "b.png"]
    assert tree.names(folder=sea["id"]) == ["a.png"]
    assert tree.names(folder="root") == ["b.png"]
    assert tree.names(folder="nowhere") == []
    assert tree.names(folderId=sea["id"]) == ["a.png"]


def test_file_is_moved_and_renamed(tree: Tree) -> None:
    sea = tree.make("sea")
    file, other = tree.put("a.png"), tree.put("b.png", sea)
    path = f"/api/files/{file['id']}"

    def patch(**body: Any) -> Any:
        return tree.client.patch(path, json=body, headers=tree.headers)

    moved = patch(folderId=sea["id"], originalName="c.png").json
    assert (moved["folderId"], moved["originalName"]) == (sea["id"], "c.png")
    assert moved["url"] == file["url"]
    assert_error(patch(originalName=other["originalName"]), 409, "name_taken")
    assert "folderId" in assert_error(patch(folderId=10**6), 400)["errors"]
    assert "originalName" in assert_error(patch(originalName="a.gif"), 400)["errors"]
    assert_error(patch(originalName="a.html"), 415)
    assert "originalName" in assert_error(patch(originalName="../a.png"), 400)["errors"]
    assert tree.client.get(path, headers=tree.headers).json["originalName"] == "c.png"
    assert patch(folderId=None).json["folderId"] is None


def test_file_is_renamed_to_what_an_upload_may_be_called(tree: Tree) -> None:
    sea, name = tree.make("sea"), "x" * 196 + ".png"
    file = tree.put(name)
    path = f"/api/files/{file['id']}"
    whole = {**file, "folderId": sea["id"]}  # as it was read
    moved = tree.client.put(path, json=whole, headers=tree.headers)
    assert (moved.status_code, moved.json["folderId"]) == (200, sea["id"])
    typed = {"originalName": "e\u0301.png"}  # as some systems write an accent
    renamed = tree.client.patch(path, json=typed, headers=tree.headers)
    assert (renamed.status_code, renamed.json["originalName"]) == (200, "\u00e9.png")
    for wrong in ("x" * 197 + ".png", "a\n.png", "\u202ea.png", "a\0.png", "", " "):
        answer = tree.client.patch(path, json={"originalName": wrong}, headers=tree.headers)
        assert "originalName" in assert_error(answer, 400)["errors"]


def test_deleted_folder_takes_its_files_with_it(app: Flask, tree: Tree) -> None:
    sea = tree.make("sea")
    inside = tree.put("a.png", tree.make("harbour", sea))
    tree.make("seaside")
    assert len(left_behind(app)) == 1
    answer = tree.client.delete(f"{FOLDERS}/{sea['id']}", headers=tree.headers)
    assert answer.status_code == 204
    assert tree.paths() == ["/seaside"]
    assert tree.names() == []
    assert_error(tree.client.get(inside["url"]), 404)
    assert left_behind(app) == []
    again = tree.client.delete(f"{FOLDERS}/{sea['id']}", json={}, headers=tree.headers)
    assert again.json == {"ok": True, "id": str(sea["id"])}


def test_no_number_is_given_again(tree: Tree) -> None:
    first = tree.make("sea")
    file = tree.put("a.png", first)
    tree.client.delete(f"{FOLDERS}/{first['id']}", headers=tree.headers)
    assert tree.make("sea")["id"] > first["id"]
    assert tree.put("a.png")["id"] > file["id"]


def test_bytes_that_another_file_has_stay(app: Flask, tree: Tree, bob: Account) -> None:
    folder = tree.make("sea")
    tree.put("a.png", folder)
    kept = Tree(tree.client, bob).put("b.png")
    assert len(left_behind(app)) == 1  # the same bytes, once
    tree.client.delete(f"{FOLDERS}/{folder['id']}", headers=tree.headers)
    assert len(left_behind(app)) == 1
    assert read(tree.client, kept["url"]).status_code == 200
    stored: Path = app.extensions["storage"].folder
    tree.client.delete(f"/api/files/{kept['id']}", headers=bob.headers)
    assert list(stored.iterdir()) == []


def test_folders_of_others_are_not_there(tree: Tree, bob: Account) -> None:
    sea = tree.make("sea")
    theirs = Tree(tree.client, bob)
    path = f"{FOLDERS}/{sea['id']}"
    assert theirs.paths() == []
    assert_error(theirs.client.get(path, headers=bob.headers), 404, "folder_not_found")
    assert_error(theirs.change(sea, name="x"), 404)
    assert theirs.client.delete(path, headers=bob.headers).status_code == 204
    assert_error(theirs.change(theirs.make("mine"), parentId=sea["id"]), 400)
    request = form()
    request["data"]["folderId"] = str(sea["id"])
    assert_error(theirs.client.post(UPLOAD, headers=bob.headers, **request), 400)
    assert tree.paths() == ["/sea"]


@pytest.mark.parametrize("word", ["x", "-1", "0", "99999999999", "1.5"])
def test_folder_of_an_upload_is_a_number(tree: Tree, word: str) -> None:
    request = form()
    request["data"]["folderId"] = word
    answer = tree.client.post(UPLOAD, headers=tree.headers, **request)
    assert "folderId" in assert_error(answer, 400)["errors"]
    assert tree.names() == []


def test_large_and_small_letters_are_two_folders(app: Flask, tree: Tree) -> None:
    sea, other = tree.make("Sea"), tree.make("sea")
    tree.put("a.png", tree.make("harbour", other))
    assert tree.change(sea, name="Ocean").status_code == 200
    assert tree.paths() == ["/Ocean", "/sea", "/sea/harbour"]
    tree.change(sea, name="SEA")
    tree.client.delete(f"{FOLDERS}/{sea['id']}", headers=tree.headers)
    assert tree.paths() == ["/sea", "/sea/harbour"]
    assert tree.names() == ["a.png"]


def test_path_of_long_letters_has_an_end(tree: Tree) -> None:
    letters = [chr(0x4E00 + 13 * n % 20_000) for n in range(1000)]
    answers, deepest = [], None
    for n in range(10):
        body = {"name": "".join(letters[99 * n : 99 * n + 99]), "parentId": deepest}
        answers.append(tree.client.post(FOLDERS, json=body, headers=tree.headers))
        deepest = (answers[-1].json or {}).get("id", deepest)
    assert answers[7].status_code == 201
    assert "name" in assert_error(answers[9], 400)["errors"]


def test_accents_are_one_letter(tree: Tree) -> None:
    assert tree.make("e\u0301te\u0301")["name"] == "\u00e9t\u00e9"
    answer = tree.client.post(FOLDERS, json={"name": "\u00e9t\u00e9"}, headers=tree.headers)
    assert_error(answer, 409, "name_taken")
