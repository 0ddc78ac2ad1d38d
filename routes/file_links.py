"""Links to a file for whoever has them, until they end (docs/files.md#links).

What is signed is the link's number: nobody guesses one, and what is in the database leads nowhere.
"""

from datetime import timedelta
from typing import Annotated, Any

from flask import Blueprint, Response, current_app, g, request
from itsdangerous import BadData, URLSafeSerializer
from pydantic import Field
from sqlalchemy import select

import rate_limits
import shapes
from auth import signed_in
from errors import WharfError, not_found
from models import File, FileLink, count_rows, db, now, parse_id
from openapi import answers
from passwords import hash_password, matches, turn_to_hash
from routes.downloads import BYTES, private, send
from routes.file_shares import load_own
from routes.lists import answer_list
from routes.rest import deleted, idempotent, parse_body, saved
from validation import Input, parse_object, validate

bp = Blueprint("file_links", __name__, url_prefix="/api/files/<file_id>/links")
public = Blueprint("links", __name__, url_prefix="/links")

WEEK, YEAR = 7 * 86_400, 365 * 86_400


class LinkForm(Input):
    """`{expiresIn?, maxDownloads?, password?}`: in seconds, a week when missing."""

    expiresIn: Annotated[int, Field(ge=60, le=YEAR)] = WEEK
    maxDownloads: Annotated[int, Field(ge=1, le=2**31 - 1)] | None = None
    password: Annotated[str, Field(min_length=1)] | None = None


class LinkPassword(Input):
    """`{password}`, as JSON or as a form."""

    password: str = ""


@bp.get("")
@answers(shapes.FileLink, 403, 404, lists=FileLink)
@signed_in
def list_links(file_id: str) -> Response:
    """The links that still lead to it, for its owner."""
    file = File.load(file_id, g.user)
    file.require_owner(g.user)
    good = select(FileLink).where(FileLink.file_id == file.id, FileLink.good())
    return answer_list(good, FileLink, show=describe)


@bp.post("")
@answers(shapes.FileLink, 201, 403, 404, 409, body=LinkForm)
@signed_in
@idempotent
def create_link(file_id: str) -> Response:
    """Make a link, by its owner: 201, with its address as `url`."""
    form = parse_body(LinkForm)
    File.load(file_id, g.user).require_owner(g.user)
    db.session.commit()  # hashing takes long: it shall hold no connection
    hashed = hash_password(form.password) if form.password else None
    file = load_own(file_id, g.user)
    links = select(FileLink).where(FileLink.file_id == file.id, FileLink.good())
    if count_rows(links, FileLink.MOST) == FileLink.MOST:
        raise WharfError(409, f"{FileLink.MOST} links are enough for a file", "too_many")
    link = FileLink(file_id=file.id, downloads=0, created_at=now())
    link.expires_at = now() + timedelta(seconds=form.expiresIn)
    link.max_downloads, link.password_hash = form.maxDownloads, hashed
    db.session.add(link)
    db.session.flush()
    return saved(describe(link), 201)


@bp.delete("/<link_id>")
@answers(shapes.Deleted, 200, 204, 403, 404)
@signed_in
def delete_link(file_id: str, link_id: str) -> Response:
    """Revoke a link, by the owner; what is not there is gone already."""
    file = load_own(file_id, g.user)
    link = db.session.get(FileLink, parse_id(link_id) or 0)
    if link and link.file_id == file.id:
        db.session.delete(link)
    return deleted(link_id)


@public.route("/<token>", methods=["GET", "POST"])
@answers(None, 200, 303, 401, 404, 429, body=LinkPassword, media=BYTES)
def follow_link(token: str) -> Response:
    """The file as an attachment, whole: each time counts. With a password, by POST.

    Raises 401 `password_needed` without it, or with a wrong one, and 404 once the link has ended.
    A browser is led to a page that asks for the password, or says that it has ended.
    """
    link = find_link(token)
    if (link is None or link.password_hash) and is_browser():
        return private(Response(status=303, headers={"Location": f"/#link={token}"}))
    if link and link.password_hash:
        require_password(link)
        link = find_link(token)  # it may have ended meanwhile
    if link is None:
        raise not_found("link")
    version = link.file.load_version(link.file.version)
    response = send(version, link.file.original_name, is_whole=True)
    if request.method != "HEAD" and not link.use():
        response.close()
        raise not_found("link")
    db.session.commit()
    return private(response)


def is_browser() -> bool:
    """Whether a person looks: HTML is asked for by name. Programs that take anything hear JSON."""
    return request.method == "GET" and "text/html" in request.accept_mimetypes.values()


def require_password(link: FileLink) -> None:
    """Raise 401 unless the caller says the password, 429 after too many guesses."""
    body = request.get_data(cache=True).lstrip()  # JSON whatever its type says, as everywhere
    form = parse_object(body) if body.startswith(b"{") else request.form.to_dict()
    password = validate(LinkPassword, form).password
    if not password:
        raise WharfError(401, "This link needs a password", "password_needed")
    key, stored = f"link {link.id}", link.password_hash or ""
    db.session.commit()  # hashing takes long: it shall hold no connection
    with turn_to_hash():
        rate_limits.count("LOGIN_LIMIT", key)  # before, since guesses may come all at once
        if not matches(stored, password):
            raise WharfError(401, "This is not the password", "password_needed")
    rate_limits.clear("LOGIN_LIMIT", key)


def find_link(token: str) -> FileLink | None:
    """The link that a token is for; None when there is none, or it has ended."""
    try:
        link_id = parse_id(signer().loads(token))
    except BadData:
        return None
    found = select(FileLink).where(FileLink.id == link_id, FileLink.good())
    link: FileLink | None = db.session.scalar(found)
    return link


def signer() -> URLSafeSerializer:
    """Signs the numbers of links."""
    return URLSafeSerializer(current_app.config["SECRET_KEY"], salt="file-link")


def describe(link: FileLink) -> dict[str, Any]:
    """The link with its address."""
    return link.to_dict(f"/links/{signer().dumps(link.id)}")
