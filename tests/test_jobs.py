"""Jobs: announced, brought forward by who does the work, told to their owner (routes/jobs.py)."""

import threading
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import func, select

from models import Job, StoredEvent, db
from tests.conftest import Account, Server, assert_error

JOBS = "/api/jobs"
STATE = {"type": "job", "status": "pending", "progress": 0, "processedItems": 0, "error": None}


@pytest.fixture
def start(client: FlaskClient, ann: Account) -> Any:
    """Announces a job of Ann: `start(totalItems=4)` gives its address."""

    def post(**fields: Any) -> str:
        response = client.post(JOBS, json=fields, headers=ann.headers)
        assert response.status_code == 202, response.json
        return f"{JOBS}/{response.json['id']}"

    return post


@pytest.fixture
def report(client: FlaskClient, ann: Account) -> Any:
    """Reports on a job: `report(path, processedItems=2)` gives the answer."""

    def patch(path: str, **fields: Any) -> Any:
        return client.patch(path, json=fields, headers=ann.headers)

    return patch


# Announce


@pytest.mark.parametrize(
    ("body", "facts"),
    [
        ({}, {"totalItems": 0}),
        ({"type": "sync", "totalItems": 7}, {"type": "sync", "totalItems": 7}),
        ({"items": ["a", {"b": 1}, None]}, {"totalItems": 3}),
        ({"items": []}, {"totalItems": 0}),
        ({"status": "completed", "processedItems": 9, "user_id": 1}, {"totalItems": 0}),
    ],
)
def test_job_is_announced_pending(
    client: FlaskClient, ann: Account, body: dict[str, Any], facts: dict[str, Any]
) -> None:
    response = client.post(JOBS, json=body, headers=ann.headers)
    assert response.status_code == 202
    job = response.json
    assert job["jobId"] == job["id"]
    assert {key: job[key] for key in (*STATE, "totalItems")} == {**STATE, **facts}
    assert client.get(f"{JOBS}/{job['id']}", headers=ann.headers).json == job


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"type": ""}, "type"),
        ({"type": 5}, "type"),
        ({"items": 5}, "items"),
        ({"totalItems": -1}, "totalItems"),
        ({"totalItems": 2**31}, "totalItems"),
        ({"totalItems": "many"}, "totalItems"),
    ],
)
def test_wrong_field_of_a_job_is_400(
    client: FlaskClient, ann: Account, body: dict[str, Any], field: str
) -> None:
    answer = client.post(JOBS, json=body, headers=ann.headers)
    assert list(assert_error(answer, 400)["errors"]) == [field]


def test_retry_announces_one_job(app: Flask, client: FlaskClient, ann: Account) -> None:
    headers = {**ann.headers, "Idempotency-Key": "k"}
    answers = [client.post(JOBS, json={"totalItems": 2}, headers=headers) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [202, 202]
    assert answers[0].json == answers[1].json
    with app.app_context():
        assert db.session.scalar(select(func.count()).select_from(Job)) == 1


def test_jobs_are_listed_newest_first_and_filtered(
    client: FlaskClient, ann: Account, start: Any, report: Any
) -> None:
    paths = [start(type=kind, totalItems=2) for kind in ("sync", "mail", "sync")]
    report(paths[0], status="running")

    def types(query: str = "") -> list[str]:
        found = client.get(JOBS + query, headers=ann.headers).json
        return [job["type"] for job in (found if isinstance(found, list) else found["items"])]

    assert types() == ["sync", "mail", "sync"]
    assert types("?type=mail") == ["mail"]
    assert types("?status=running&limit=5") == ["sync"]
    assert types('?where={"status":{"in":["pending"]},"type":{"not":"mail"}}') == ["sync"]


def test_jobs_are_their_owners_alone(
    client: FlaskClient, bob: Account, start: Any, report: Any
) -> None:
    path = start(totalItems=2)
    assert client.get(JOBS, headers=bob.headers).json == []
    for method in ("GET", "PATCH", "PUT", "DELETE"):
        answer = client.open(path, method=method, json={"status": "failed"}, headers=bob.headers)
        assert_error(answer, 404, "job_not_found")
    assert report(path).json["status"] == "pending"


# Bring forward


def test_progress_is_what_is_processed_of_all(start: Any, report: Any) -> None:
    path = start(totalItems=3)
    for processed, progress in ((0, 0), (1, 33.33), (2, 66.67), (3, 100)):
        job = report(path, processedItems=processed).json
        assert (job["processedItems"], job["progress"]) == (processed, progress)
        assert job["status"] == ("running" if processed else "pending")


def test_progress_without_items_is_0(start: Any, report: Any) -> None:
    job = report(start(), status="completed").json
    assert (job["status"], job["progress"]) == ("completed", 0)


def test_an_error_fails_the_job(start: Any, report: Any) -> None:
    job = report(start(totalItems=2), processedItems=1, error="no route").json
    assert (job["status"], job["error"], job["progress"]) == ("failed", "no route", 50)


@pytest.mark.parametrize("end", [{"status": "completed"}, {"error": "no"}, {"status": "failed"}])
def test_a_finished_job_does_not_change(start: Any, report: Any, end: dict[str, str]) -> None:
    path = start(totalItems=2)
    finished = report(path, **end).json
    others = ({"processedItems": 2}, {"status": "running"}, {"error": "late"})
    for late in (*others, {"status": "pending"}):
        assert_error(report(path, **late), 409, "job_settled")
    assert report(path, **finished).json == finished  # the same again is no change


def test_a_running_job_is_not_pending_again(start: Any, report: Any) -> None:
    path = start(totalItems=2)
    report(path, status="running")
    assert_error(report(path, status="pending"), 409, "job_settled")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"processedItems": 3}, "processedItems"),
        ({"processedItems": -1}, "processedItems"),
        ({"status": "done"}, "status"),
        ({"error": {}}, "error"),
    ],
)
def test_wrong_report_is_400_and_changes_nothing(
    start: Any, report: Any, body: dict[str, Any], field: str
) -> None:
    path = start(totalItems=2)
    before = report(path).json
    assert list(assert_error(report(path, **body), 400)["errors"]) == [field]
    assert report(path).json == before


def test_of_two_ends_at_once_one_counts(app: Flask, ann: Account, start: Any) -> None:
    path, start_line, answers = start(totalItems=2), threading.Barrier(6), []

    def end(status: str) -> None:
        client = app.test_client()
        start_line.wait(5)
        answers.append(client.patch(path, json={"status": status}, headers=ann.headers))

    ends = ("completed", "failed") * 3
    threads = [threading.Thread(target=end, args=(status,)) for status in ends]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    final = app.test_client().get(path, headers=ann.headers).json["status"]
    assert {a.json["status"] for a in answers if a.status_code == 200} == {final}
    assert {a.status_code for a in answers} == {200, 409}
    with app.app_context():
        assert db.session.scalar(select(func.count()).select_from(StoredEvent)) == 2


# Tell


def test_every_change_is_told_to_all_devices_of_the_owner_alone(
    server: Server, ann: Account, bob: Account, start: Any, report: Any
) -> None:
    devices, other = [server.chat(ann), server.chat(ann)], server.chat(bob)
    path = start(type="sync", totalItems=4)
    report(path, processedItems=1)
    report(path, processedItems=1)  # again: no change
    report(path, processedItems=4, status="completed")
    assert_error(report(path, processedItems=2), 409)
    job_id = int(path.rpartition("/")[2])
    for peer in devices:
        frames = [peer.expect("job:progress") for _ in range(3)]
        assert [(f["status"], f["progress"], f["processedItems"]) for f in frames] == [
            ("pending", 0, 0),
            ("running", 25, 1),
            ("completed", 100, 4),
        ]
        assert {f["jobId"] for f in frames} == {job_id}
        assert set(frames[0]) == {"type", "seq", "jobId", "status", "progress", "totalItems"} | {
            "processedItems",
            "error",
        }
        assert peer.until_pong() == []
    assert [f for f in other.until_pong() if f["type"].startswith("job")] == []


def test_a_deleted_job_is_gone_and_told(
    client: FlaskClient, server: Server, ann: Account, start: Any
) -> None:
    path, peer = start(), server.chat(ann)
    assert client.delete(path, headers=ann.headers).status_code == 204
    assert peer.expect("job:deleted")["jobId"] == int(path.rpartition("/")[2])
    assert_error(client.get(path, headers=ann.headers), 404, "job_not_found")
    assert_error(client.delete(path, headers=ann.headers), 404, "job_not_found")


def test_job_that_has_changed_is_not_reported_on(
    client: FlaskClient, ann: Account, start: Any
) -> None:
    path = start(totalItems=4)
    match = {**ann.headers, "If-Match": client.get(path, headers=ann.headers).headers["ETag"]}
    changed = client.patch(path, json={"processedItems": 1}, headers=match)
    assert changed.status_code == 200
    assert_error(client.patch(path, json={"processedItems": 2}, headers=match), 412)
    assert_error(client.delete(path, headers=match), 412)
    assert client.get(path, headers=ann.headers).json == changed.json
    match["If-Match"] = changed.headers["ETag"]
    assert client.delete(path, headers=match).status_code == 204
