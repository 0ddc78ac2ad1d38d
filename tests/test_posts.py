"""The blog: posts, drafts, owners, tags, categories, comments, search (routes/posts.py)."""

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import select

import models
from models import StoredEvent, db
from tests.accounts import path_of
from tests.conftest import Account, Server, assert_error

POSTS = "/api/posts"
Publish = Callable[..., dict[str, Any]]


@pytest.fixture
def publish(client: FlaskClient, ann: Account) -> Publish:
    """Creates posts of Ann: `publish("Title", tags=["a"])`."""

    def create(title: str = "Hello", **fields: Any) -> dict[str, Any]:
        body = {"title": title, "published": True, **fields}
        response = client.post(POSTS, json=body, headers=ann.headers)
        assert response.status_code == 201, response.json
        post: dict[str, Any] = response.json
        return post

    return create


@pytest.fixture
def file_under(client: FlaskClient, admin: Account) -> Publish:
    """Creates categories: `file_under("News", parent_id=1)`."""

    def create(name: str, **fields: Any) -> dict[str, Any]:
        body = {"name": name, **fields}
        response = client.post("/api/categories", json=body, headers=admin.headers)
        assert response.status_code == 201, response.json
        category: dict[str, Any] = response.json
        return category

    return create


def titles(response: Any) -> str:
    assert response.status_code == 200, response.json
    items = response.json if isinstance(response.json, list) else response.json["items"]
    return "".join(item["title"] for item in items)


def told(app: Flask) -> list[tuple[str, Any]]:
    """What was stored to be told of posts: (kind, title)."""
    with app.app_context():
        told = select(StoredEvent.data).where(StoredEvent.topic == "posts")
        stored = db.session.scalars(told.order_by(StoredEvent.id))
        rows = [json.loads(row) for row in stored if row != "{}"]
    return [(row["event"], row["new"] and row["new"]["title"]) for row in rows]


# The guide's contract


def test_post_has_its_author_and_the_names_of_both_variants(
    client: FlaskClient, ann: Account, publish: Publish
) -> None:
    post = publish(content="World")
    author = {"id": ann.user["id"], "name": "Ann", "email": None}
    assert post["author"] == author
    assert post["author_id"] == post["authorId"] == ann.user["id"]
    assert post["created_at"] == post["createdAt"]
    expected = {"title": "Hello", "content": "World", "published": True, "tags": []}
    assert {name: post[name] for name in expected} == expected
    assert (post["category"], post["category_id"]) == (None, None)
    assert client.get(POSTS).json == [post]
    assert client.get(f"{POSTS}/{post['id']}").json == post


def test_only_who_is_signed_in_writes(client: FlaskClient, publish: Publish) -> None:
    path = f"{POSTS}/{publish()['id']}"
    assert_error(client.post(POSTS, json={"title": "x"}), 401)
    assert_error(client.put(path, json={"title": "x"}), 401)
    assert_error(client.delete(path), 401)
    assert_error(client.post(f"{path}/comments", json={"content": "x"}), 401)


def test_only_author_and_admin_change_a_post(
    client: FlaskClient, bob: Account, admin: Account, publish: Publish
) -> None:
    post = publish()
    path = f"{POSTS}/{post['id']}"
    body = assert_error(client.put(path, json={"title": "x"}, headers=bob.headers), 403)
    assert body["error"] == "Forbidden"
    assert_error(client.delete(path, headers=bob.headers), 403)
    assert client.get(path).json == post
    assert client.put(path, json={"title": "x"}, headers=admin.headers).json["title"] == "x"
    assert client.delete(path, headers=admin.headers).status_code == 204


def test_item_comes_back_whole_from_a_form(
    client: FlaskClient, ann: Account, publish: Publish, file_under: Publish
) -> None:
    file_under("News")
    post = publish(tags=["a", "b"], category="news")
    sent = {
        **post,
        "id": str(post["id"]),
        "published": "true",
        "author": "Mallory",
        "author_id": "999",
        "category_id": "",
        "tags": "b, c ,,C",
        "title": "Changed",
    }
    changed = client.put(f"{POSTS}/{post['id']}", json=sent, headers=ann.headers).json
    assert {name for name in post if changed[name] != post[name]} == {
        *("title", "tags", "updated_at", "updatedAt")
    }
    assert changed["tags"] == ["b", "c"]


def test_change_of_tags_is_a_change_of_the_post(
    client: FlaskClient, ann: Account, publish: Publish, monkeypatch: pytest.MonkeyPatch
) -> None:
    post = publish()
    assert post["created_at"] == post["updated_at"]
    later = models.now() + timedelta(hours=1)
    monkeypatch.setattr(models, "now", lambda: later)
    path = f"{POSTS}/{post['id']}"
    changed = client.patch(path, json={"tags": ["x"]}, headers=ann.headers).json
    assert changed["updated_at"] == models.iso(later)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "title"),
        ({"title": " "}, "title"),
        ({"title": "x" * 501}, "title"),
        ({"title": "x", "content": "y" * 100_001}, "content"),
        ({"title": "x", "content": 5}, "content"),
        ({"title": "x", "published": "maybe"}, "published"),
        ({"title": "x", "category": "nowhere"}, "category"),
        ({"title": "x", "category": 99}, "category"),
        ({"title": "x", "category": {"id": 1}}, "category"),
        ({"title": "x", "tags": 5}, "tags"),
        ({"title": "x", "tags": ["y" * 51]}, "tags.0"),
        ({"title": "x", "tags": ["\u0130" * 50]}, "tags.0"),  # two characters in lower case
        ({"title": "x", "tags": ["a\nb"]}, "tags.0"),
        ({"title": "x", "tags": ["\u202etxt"]}, "tags.0"),
        ({"title": "x", "tags": ["a", 5]}, "tags.1"),
        ({"title": "x", "tags": ["a\0"]}, "tags.0"),
        ({"title": "x", "tags": [str(n) for n in range(21)]}, "tags"),
    ],
)
def test_wrong_field_is_400_and_named(
    app: Flask, client: FlaskClient, ann: Account, body: Any, field: str
) -> None:
    response = client.post(POSTS, json=body, headers=ann.headers)
    assert list(assert_error(response, 400, "invalid_input")["errors"]) == [field]
    assert client.get(POSTS, headers=ann.headers).json == []


# Drafts


def test_draft_is_for_its_author_and_admins(
    app: Flask, client: FlaskClient, ann: Account, bob: Account, admin: Account, publish: Publish
) -> None:
    draft = publish("draft", published=False, tags=["secret"])
    path = f"{POSTS}/{draft['id']}"
    for reader in (bob.headers, {}):
        assert client.get(POSTS, headers=reader).json == []
        assert client.get("/api/search?q=draft", headers=reader).json == []
        assert client.get("/api/tags", headers=reader).json == []
        assert_error(client.get(path, headers=reader), 404, "post_not_found")
        assert_error(client.get(f"{path}/comments", headers=reader), 404, "post_not_found")
    assert_error(client.put(path, json={"title": "x"}, headers=bob.headers), 404)
    assert client.delete(path, headers=bob.headers).status_code == 204
    for account in (ann, admin):
        assert client.get(path, headers=account.headers).json == draft
        assert client.get(POSTS, headers=account.headers).json == [draft]
    assert told(app) == []


def test_post_is_told_as_long_as_it_is_published(
    app: Flask, client: FlaskClient, ann: Account, publish: Publish
) -> None:
    path = f"{POSTS}/{publish('a', published=False)['id']}"
    news: list[Any] = []
    for body in (
        {"title": "b"},
        {"published": True},
        {"title": "c"},
        {"published": False},
        {"title": "d"},
        {"published": "1", "title": "e"},
    ):
        before = len(told(app))
        assert client.patch(path, json=body, headers=ann.headers).status_code == 200
        news.append(told(app)[before:] if len(told(app)) > before else told(app)[-1:])
    client.delete(path, headers=ann.headers)
    assert news == [
        [],
        [("INSERT", "b")],
        [("UPDATE", "c")],
        [("DELETE", None)],
        [("DELETE", None)],
        [("INSERT", "e")],
    ]
    assert told(app) == [("DELETE", None), ("DELETE", None)]


def test_what_is_taken_back_is_not_told_again(
    client: FlaskClient, ann: Account, bob: Account, publish: Publish
) -> None:
    back, gone, stays = (publish(title, content="secret") for title in ("one", "two", "three"))
    for post in (back, gone):
        body = {"content": "my secret", "post_id": post["id"]}
        assert client.post("/api/comments", json=body, headers=bob.headers).status_code == 201
    path = f"{POSTS}/{gone['id']}"
    client.patch(f"{POSTS}/{back['id']}", json={"published": False}, headers=ann.headers)
    client.delete(path, headers=ann.headers)
    body = {"content": "my secret"}
    comments = f"{POSTS}/{stays['id']}/comments"
    comment = client.post(comments, json=body, headers=bob.headers).json
    client.delete(f"/api/comments/{comment['id']}", headers=bob.headers)
    client.post(comments, json={"content": "heard"}, headers=bob.headers)
    client.patch(f"{POSTS}/{stays['id']}", json={"content": "open"}, headers=ann.headers)
    told_later = client.get("/api/events?since=0").get_data(as_text=True)
    assert told_later.count("open") == told_later.count("heard") == 1
    assert "my secret" not in told_later
    assert "two" not in told_later
    assert "one" not in told_later


def test_comment_on_a_draft_is_told_to_nobody(
    app: Flask, client: FlaskClient, ann: Account, bob: Account, publish: Publish
) -> None:
    draft = publish("draft", published=False)
    body = {"content": "note to self", "post_id": draft["id"]}
    assert_error(client.post("/api/comments", json=body, headers=bob.headers), 404)
    assert client.post("/api/comments", json=body, headers=ann.headers).status_code == 201
    with app.app_context():
        assert db.session.scalars(select(StoredEvent.data)).all() == []


def test_socket_hears_of_posts_and_of_no_draft(
    server: Server, client: FlaskClient, ann: Account, bob: Account, publish: Publish
) -> None:
    peer = server.connect("/", bob)
    peer.ask("subscribe", "system", payload={"table": "posts"})
    http = server.app.test_client()
    for title, published in (("draft", False), ("post", True)):
        http.post(POSTS, json={"title": title, "published": published}, headers=ann.headers)
    change = peer.expect("database_change")
    assert (change["table"], change["event"], change["new"]["title"]) == ("posts", "INSERT", "post")


# Finding


def test_tags_and_categories_filter(
    client: FlaskClient, publish: Publish, file_under: Publish
) -> None:
    news = file_under("News")
    local = file_under("Local News", parent_id=news["id"])
    assert (news["slug"], local["slug"]) == ("news", "local-news")
    publish("a", tags=["x"])
    publish("b", tags=["X", "y"], category="news")
    publish("c", tags="y, z", category=local["id"])
    for query, expected in {
        "tag=x": "ba",
        "tag=X": "ba",
        "tags=x&tags=z": "cba",
        "tag=y&category=local-news": "c",
        "category=news": "cb",
        f"category={news['id']}": "cb",
        f"category_id={news['id']}": "b",
        "category=local-news": "c",
        "category=nowhere": "",
        "category=": "cba",
        "tag=[object Object]": "cba",
        "tag=' OR 1=1": "",
        "tag=%20X%20": "ba",
        "tag=x%00": "ba",
        "published=false": "",
        "sort=title": "abc",
        "sort=title:desc&limit=2": "cb",
        "q=b": "b",
        "author_id=0": "",
    }.items():
        assert titles(client.get(f"{POSTS}?{query}")) == expected, query
    assert [tag["name"] for tag in client.get("/api/tags?sort=name").json] == ["x", "y", "z"]
    assert [tag["name"] for tag in client.get("/api/tags?q=Y").json] == ["y"]


def test_search_looks_in_titles_and_contents(
    client: FlaskClient, ann: Account, publish: Publish
) -> None:
    publish("a", content="The quick brown fox")
    fox = publish("Fox", content="is lazy")
    assert titles(client.get("/api/search?q=fox")) == "Foxa"
    assert titles(client.get("/api/search?q=FO%20qui")) == "a"
    assert titles(client.get(f"{POSTS}?q=lazy&limit=5")) == "Fox"
    client.put(f"{POSTS}/{fox['id']}", json={"content": "is quick"}, headers=ann.headers)
    assert titles(client.get("/api/search?q=lazy")) == ""
    assert titles(client.get("/api/search?q=quick")) == "Foxa"
    client.delete(f"{POSTS}/{fox['id']}", headers=ann.headers)
    assert titles(client.get("/api/search?q=quick")) == "a"


def test_bare_list_of_posts_is_a_hundred_long(client: FlaskClient, ann: Account) -> None:
    items = [{"title": str(n), "published": True} for n in range(60)]
    for _ in "12":
        client.post(f"{POSTS}/batch", json={"items": items}, headers=ann.headers)
    response = client.get(POSTS)
    assert (len(response.json), response.headers["X-Total-Count"]) == (100, "120")
    assert 'rel="next"' in response.headers["Link"]
    assert client.get(f"{POSTS}?limit=1000").json["limit"] == 100


# Categories


def test_only_admins_keep_categories(
    client: FlaskClient, ann: Account, file_under: Publish
) -> None:
    path = f"/api/categories/{file_under('News')['id']}"
    for method, address in (("POST", "/api/categories"), ("PUT", path), ("DELETE", path)):
        response = client.open(address, method=method, json={"name": "x"}, headers=ann.headers)
        assert_error(response, 403)
        assert_error(client.open(address, method=method, json={"name": "x"}), 401)
    assert [one["name"] for one in client.get("/api/categories").json] == ["News"]


def test_category_cannot_lie_below_itself(
    client: FlaskClient, admin: Account, file_under: Publish
) -> None:
    one = file_under("one")
    two = file_under("two", parent_id=one["id"])
    three = file_under("three", parentId=str(two["id"]))
    path = f"/api/categories/{one['id']}"
    for parent in (one["id"], two["id"], three["id"], 10**6, 0, -1, "x", {}):
        response = client.put(path, json={"parent_id": parent}, headers=admin.headers)
        fields = assert_error(response, 400, "invalid_input")["errors"]
        assert list(fields) == ["parent_id"], parent
    assert client.get(path).json == one
    moved = {"parent_id": None}
    response = client.put(f"/api/categories/{three['id']}", json=moved, headers=admin.headers)
    assert response.json["parent_id"] is None
    response = client.put(path, json={"parent_id": three["id"]}, headers=admin.headers)
    assert response.json["parent_id"] == three["id"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"name": ""}, "name"),
        ({"name": "2026"}, "slug"),
        ({"name": "!?"}, "slug"),
        ({"name": "x", "slug": "a b"}, "slug"),
        ({"name": "x", "slug": "a/b"}, "slug"),
        ({"name": "x", "slug": "7"}, "slug"),
    ],
)
def test_category_that_no_address_can_name_is_400(
    client: FlaskClient, admin: Account, body: Any, field: str
) -> None:
    response = client.post("/api/categories", json=body, headers=admin.headers)
    assert list(assert_error(response, 400, "invalid_input")["errors"]) == [field]


def test_category_of_a_taken_slug_is_409(
    client: FlaskClient, admin: Account, file_under: Publish
) -> None:
    file_under("News")
    response = client.post("/api/categories", json={"name": "news!"}, headers=admin.headers)
    assert_error(response, 409, "conflict")


def test_category_in_use_stays(
    client: FlaskClient, ann: Account, admin: Account, publish: Publish, file_under: Publish
) -> None:
    news = file_under("News")
    path = f"/api/categories/{news['id']}"
    post = publish(category="news")
    assert_error(client.delete(path, headers=admin.headers), 409, "in_use")
    client.put(f"{POSTS}/{post['id']}", json={"category": ""}, headers=ann.headers)
    below = file_under("Below", parent_id=news["id"])
    assert_error(client.delete(path, headers=admin.headers), 409, "in_use")
    client.delete(f"/api/categories/{below['id']}", headers=admin.headers)
    assert client.delete(path, headers=admin.headers).status_code == 204


# Comments


def test_comments_are_under_their_post(
    client: FlaskClient, ann: Account, bob: Account, publish: Publish
) -> None:
    path, other = (f"{POSTS}/{publish(title)['id']}/comments" for title in "ab")
    comment = client.post(path, json={"content": "Nice"}, headers=bob.headers)
    assert comment.status_code == 201
    assert comment.json["author"]["name"] == "Bob"
    assert client.get(path).json == [comment.json]
    assert client.get(other).json == []
    assert client.get(f"/api/comments?post_id={comment.json['post_id']}").json == [comment.json]


def test_comment_is_changed_by_its_author_and_deleted_by_that_of_the_post_too(
    client: FlaskClient, register: Any, ann: Account, bob: Account, publish: Publish
) -> None:
    cleo = register("cleo")
    path = f"{POSTS}/{publish()['id']}/comments"
    one, two = (
        f"/api/comments/{client.post(path, json={'content': 'x'}, headers=bob.headers).json['id']}"
        for _ in "12"
    )
    for account in (ann, cleo):
        assert_error(client.put(one, json={"content": "y"}, headers=account.headers), 403)
    assert client.put(one, json={"content": "y"}, headers=bob.headers).json["content"] == "y"
    assert_error(client.delete(one, headers=cleo.headers), 403)
    assert client.delete(one, headers=bob.headers).status_code == 204
    assert client.delete(two, headers=ann.headers).status_code == 204


def test_comments_go_with_their_post(
    client: FlaskClient, ann: Account, bob: Account, publish: Publish
) -> None:
    post = publish(tags=["a"])
    path = f"{POSTS}/{post['id']}"
    comment = client.post(f"{path}/comments", json={"content": "x"}, headers=bob.headers).json
    client.patch(path, json={"published": False}, headers=ann.headers)
    assert client.get("/api/comments", headers=bob.headers).json == []
    assert_error(client.get(f"/api/comments/{comment['id']}", headers=bob.headers), 404)
    assert client.get("/api/comments", headers=ann.headers).json == [comment]
    assert client.delete(path, headers=ann.headers).status_code == 204
    assert client.get("/api/comments", headers=ann.headers).json == []


@pytest.mark.parametrize("body", [{}, {"content": ""}, {"content": 5}, {"content": "a\0"}])
def test_comment_without_words_is_400(
    client: FlaskClient, ann: Account, publish: Publish, body: Any
) -> None:
    path = f"{POSTS}/{publish()['id']}/comments"
    response = client.post(path, json=body, headers=ann.headers)
    assert list(assert_error(response, 400, "invalid_input")["errors"]) == ["content"]


# Deleted accounts


def test_posts_of_a_deleted_account_stay_without_its_name(
    app: Flask, client: FlaskClient, ann: Account, publish: Publish
) -> None:
    publish("draft", published=False)
    publish("post")
    client.delete(path_of(ann), headers=ann.headers)
    [post] = client.get(POSTS).json
    assert (post["title"], post["author"]["name"]) == ("post", "Deleted user")
    with app.app_context():
        assert not [row for row in db.session.scalars(select(StoredEvent.data)) if "Ann" in row]
