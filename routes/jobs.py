"""Jobs: work that takes a while, and how far it is (docs/frontends/reactive.md)."""

from typing import Annotated, Any, Literal

from flask import Blueprint, Response, g
from pydantic import Field

import shapes
from auth import signed_in
from errors import not_found
from events import record, record_job
from models import Job, db, lock_row
from openapi import answers
from routes.lists import answer_list
from routes.rest import answer, deleted, idempotent, parse_body, require_match, saved
from validation import Input, RequiredLine, Text

bp = Blueprint("jobs", __name__, url_prefix="/api/jobs")
Count = Annotated[int, Field(ge=0, le=2**31 - 1)]


class NewJob(Input):
    """`{type?, items? or totalItems?}`: items are counted, not kept."""

    type: RequiredLine = "job"
    items: list[Any] | None = None
    totalItems: Count = 0


class Report(Input):
    """Any of `{processedItems, status, error}`; what is missing stays as it is."""

    processedItems: Count | None = None
    status: Literal["pending", "running", "completed", "failed"] | None = None
    error: Text | None = None


@bp.get("")
@answers(shapes.Job, lists=Job)
@signed_in
def list_jobs() -> Response:
    """The caller's jobs, newest first."""
    return answer_list(Job.owned_by(g.user), Job)


@bp.post("")
@answers(shapes.Job, 202, body=NewJob)
@signed_in
@idempotent
def create_job() -> Response:
    """Announce a job: 202 with its state."""
    form = parse_body(NewJob)
    total = form.totalItems if form.items is None else len(form.items)
    job = Job(user_id=g.user.id, type=form.type, total_items=total)
    db.session.add(job)
    db.session.flush()
    record_job(job)
    return saved(job.to_dict(), 202)


@bp.get("/<job_id>")
@answers(shapes.Job)
@signed_in
def show_job(job_id: str) -> Response:
    """One job."""
    return answer(Job.load(job_id, g.user).to_dict())


@bp.put("/<job_id>")
@bp.patch("/<job_id>")
@answers(shapes.Job, 409, 412, body=Report)
@signed_in
def report_job(job_id: str) -> Response:
    """Say how far it is, as who does the work does; a finished job stays as it is: 409."""
    form, job = parse_body(Report), hold_job(job_id)
    if job.advance(form.processedItems, form.status, form.error):
        record_job(job)
    return saved(job.to_dict())


@bp.delete("/<job_id>")
@answers(shapes.Deleted, 200, 204, 412)
@signed_in
def delete_job(job_id: str) -> Response:
    """Forget a job, done or not."""
    job = hold_job(job_id)
    db.session.delete(job)
    record(g.user.topic, "job:deleted", {"jobId": job.id})
    return deleted(job.id)


def hold_job(job_id: str) -> Job:
    """The job, held to be changed; raises 404, and 412."""
    job = Job.load(job_id, g.user)
    if not lock_row(job):
        raise not_found("job")
    require_match(job.to_dict())
    return job
