"""Temporary links: expiry, downloads, passwords, revocation (docs/files.md#links)."""

import json
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

import models
from tests.conftest import Account, assert_error
from tests.uploads import PNG, UPLOAD, form, left_behind, read

SECRET = "open sesame"


class Links:
    """The links to a file of Ann's."""

    def __init__(self, app: Flask, client: FlaskClient, ann: Account) -> None:
        self.client, self.ann = client, ann
        self.stranger = app.test_client()
        file = client.post(UPLOAD, headers=ann.headers, **form(name="Grüße.png")).json
        self.file = file
        self.path = f"/api/files/{file['id']}/links"

    def make(self, **body: Any) -> dict[str, Any]:
        response = self.client.post(self.path, json=body, headers=self.ann.headers)
        assert response.status_code == 201, response.json
        made: dict[str, Any] = response.json
        return made

    def follow(self, link: dict[str, Any], **headers: str) -> Any:
        return read(self.stranger, link["url"], **headers)

    def open(self, link: dict[str, Any], **body: str) -> Any:
        return self.stranger.post(link["url"], json=body, buffered=True)


@pytest.fixture
def links(app: Flask, client: FlaskClient, ann: Account) -> Links:
    return Links(app, client, ann)


def test_link_needs_no_account(links: Links) -> None:
    link = links.make()
    answer = links.follow(link)
    assert (answer.status_code, answer.data) == (200, PNG)
    assert answer.headers["Content-Disposition"].startswith("attachment;")
    assert "Gr%C3%BC%C3%9Fe.png" in answer.headers["Content-Disposition"]
    assert "private" in answer.headers["Cache-Control"]
    [listed] = links.client.get(links.path, headers=links.ann.headers).json
    assert listed == {**link, "downloads": 1}


def test_link_ends_with_its_time(links: Links, monkeypatch: Any) -> None:
    link = links.make(expiresIn=60)
    assert links.follow(link).status_code == 200
    later = models.now() + timedelta(seconds=61)
    monkeypatch.setattr(models, "now", lambda: later)
    assert_error(links.follow(link), 404, "link_not_found")
    assert links.client.get(links.path, headers=links.ann.headers).json == []


def test_link_ends_with_its_downloads(links: Links) -> None:
    link = links.make(maxDownloads=2)
    assert links.stranger.head(link["url"]).status_code == 200  # counts nothing
    part = links.follow(link, Range="bytes=2-")
    assert (part.status_code, part.data) == (200, PNG)  # or the rest would be free
    tag = part.headers["ETag"]
    assert links.follow(link, **{"If-None-Match": tag}).status_code == 200
    assert_error(links.follow(link), 404, "link_not_found")


def test_link_is_revoked(links: Links, bob: Account) -> None:
    link, other = links.make(), links.make()
    path = f"{links.path}/{link['id']}"
    assert_error(links.client.delete(path, headers=bob.headers), 404)
    theirs = links.client.post(UPLOAD, headers=bob.headers, **form()).json
    elsewhere = f"/api/files/{theirs['id']}/links/{link['id']}"
    assert links.client.delete(elsewhere, headers=bob.headers).status_code == 204
    assert links.follow(link).status_code == 200  # it is no link of that file
    assert links.client.delete(path, headers=links.ann.headers).status_code == 204
    assert_error(links.follow(link), 404)
    assert links.follow(other).status_code == 200


def test_the_address_of_a_revoked_link_leads_nowhere_ever(links: Links) -> None:
    first = links.make()
    links.client.delete(f"{links.path}/{first['id']}", headers=links.ann.headers)
    second = links.make()
    assert second["id"] > first["id"]  # SQLite gives the highest id again, unless told not to
    assert_error(links.follow(first), 404)
    assert links.follow(second).status_code == 200


def test_browser_is_led_to_the_page_that_says_it_has_ended(links: Links) -> None:
    link = links.make(maxDownloads=1)
    assert links.follow(link).status_code == 200
    for address in (link["url"], "/links/made-up"):
        answer = links.follow({"url": address}, Accept="text/html,*/*;q=0.8")
        token = address.removeprefix("/links/")
        assert (answer.status_code, answer.headers["Location"]) == (303, f"/#link={token}")
        assert_error(links.follow({"url": address}), 404, "link_not_found")


def test_nothing_is_hashed_for_who_may_make_no_link(
    links: Links, bob: Account, monkeypatch: Any
) -> None:
    hashed: list[str] = []
    monkeypatch.setattr("routes.file_links.hash_password", lambda one: hashed.append(one) or "x")
    body = {"password": SECRET}
    assert_error(links.client.post(links.path, json=body, headers=bob.headers), 404)
    assert hashed == []
    links.make(**body)
    assert hashed == [SECRET]


@pytest.mark.parametrize("kind", [None, "application/x-www-form-urlencoded", "text/plain"])
def test_password_is_read_from_json_of_any_type(links: Links, kind: str | None) -> None:
    link = links.make(password=SECRET)
    body = json.dumps({"password": SECRET})
    answer = links.stranger.post(link["url"], data=body, content_type=kind, buffered=True)
    assert answer.data == PNG


def test_password_is_asked_for(links: Links) -> None:
    link = links.make(password=SECRET)
    assert link["hasPassword"] is True
    assert SECRET not in str(link)
    assert_error(links.follow(link), 401, "password_needed")
    assert_error(links.open(link), 401, "password_needed")
    assert_error(links.open(link, password="wrong horse"), 401, "password_needed")
    assert links.open(link, password=SECRET).data == PNG
    by_form = links.stranger.post(link["url"], data={"password": SECRET}, buffered=True)
    assert by_form.data == PNG
    [listed] = links.client.get(links.path, headers=links.ann.headers).json
    assert listed["downloads"] == 2


def test_browser_is_led_to_the_page_that_asks(links: Links) -> None:
    link = links.make(password=SECRET)
    answer = links.stranger.get(link["url"], headers={"Accept": "text/html,*/*;q=0.8"})
    assert answer.status_code == 303
    assert answer.headers["Location"] == "/#link=" + link["url"].removeprefix("/links/")


def test_guesses_are_limited(make_app: Any, register: Any) -> None:
    app = make_app(LOGIN_LIMIT="3 per hour")
    client = app.test_client()
    body = {"email": "ann@example.com", "password": "correct horse"}
    client.post("/api/auth/register", json=body)
    file = client.post(UPLOAD, **form()).json
    link = client.post(f"/api/files/{file['id']}/links", json={"password": SECRET}).json
    for _ in range(3):
        assert_error(client.post(link["url"], json={"password": "wrong"}), 401)
    assert_error(client.post(link["url"], json={"password": SECRET}), 429)


@pytest.mark.parametrize(
    "body",
    [
        {"expiresIn": 0},
        {"expiresIn": -5},
        {"expiresIn": 10**9},
        {"expiresIn": "soon"},
        {"maxDownloads": 0},
        {"maxDownloads": 2**31},
        {"password": ""},
        {"password": "short"},
        {"password": "x" * 100},
        {"password": 7},
    ],
)
def test_strange_wish_is_400(links: Links, body: dict[str, Any]) -> None:
    answer = links.client.post(links.path, json=body, headers=links.ann.headers)
    assert next(iter(body)) in assert_error(answer, 400)["errors"]
    assert links.client.get(links.path, headers=links.ann.headers).json == []


def test_token_is_not_guessed(links: Links) -> None:
    token = links.make()["url"].removeprefix("/links/")
    number, _, signature = token.partition(".")
    other = "Mg" if number == "MQ" else "MQ"
    for wrong in ("1", number, f"{other}.{signature}", token[:-2], token + "x", "x" * 5000, "%00"):
        assert_error(links.stranger.get(f"/links/{wrong}"), 404, "link_not_found")


def test_link_leads_to_what_the_file_is_now(links: Links) -> None:
    link = links.make()
    newer = form(PNG + b"2", "Grüße.png")
    links.client.post(UPLOAD, headers=links.ann.headers, **newer)
    assert links.follow(link).data == PNG + b"2"


def test_link_goes_with_its_file(app: Flask, links: Links) -> None:
    link = links.make()
    path = f"/api/files/{links.file['id']}"
    assert links.client.delete(path, headers=links.ann.headers).status_code == 204
    assert_error(links.follow(link), 404)
    assert left_behind(app) == []


def test_number_of_links_has_an_end(links: Links, monkeypatch: Any) -> None:
    monkeypatch.setattr(models.FileLink, "MOST", 1)
    links.make()
    answer = links.client.post(links.path, json={}, headers=links.ann.headers)
    assert_error(answer, 409, "too_many")


def test_missing_bytes_count_no_download(app: Flask, links: Links) -> None:
    link = links.make(maxDownloads=1)
    app.extensions["storage"].delete(left_behind(app))
    assert_error(links.follow(link), 404)
    [listed] = links.client.get(links.path, headers=links.ann.headers).json
    assert listed["downloads"] == 0
