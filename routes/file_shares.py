"""With whom a file is shared (docs/files.md#sharing)."""

from typing import Literal

from flask import Blueprint, Response, g
from sqlalchemy import select

import shapes
from auth import signed_in
from errors import WharfError, bad_request
from events import record_change
from files import end_share, tell_reader
from models import File, FileShare, User, db, parse_id
from openapi import answers
from routes.files import hold
from routes.lists import answer_list
from routes.rest import deleted, parse_body, saved
from validation import Input

bp = Blueprint("file_shares", __name__, url_prefix="/api/files/<file_id>/shares")
MOST = 100  # of one file


class ShareForm(Input):
    """`{mode?}`: `read`, or `write` to add versions and to rename it too; else what it was."""

    mode: Literal["read", "write"] | None = None


@bp.get("")
@answers(shapes.FileReader, lists=FileShare)
@signed_in
def list_shares(file_id: str) -> Response:
    """All it is shared with, for who may read it."""
    file = File.load(file_id, g.user)
    return answer_list(select(FileShare).where(FileShare.file_id == file.id), FileShare)


@bp.put("/<user_id>")
@bp.patch("/<user_id>")
@answers(shapes.FileReader, 403, 404, 409, body=ShareForm)
@signed_in
def share_file(file_id: str, user_id: str) -> Response:
    """Share it with somebody, by its owner; once more to say what they may do there."""
    file = load_own(file_id, g.user)
    form, reader = parse_body(ShareForm), User.load(user_id)
    if reader.id == g.user.id:
        raise bad_request("A file is its owner's already", code="own_file")
    old, knowing, share = file.told(), file.told_on(), file.share_of(reader.id)
    if share is None:
        if len(file.shares) >= MOST:
            raise WharfError(409, f"{MOST} people are enough for a file", "too_many")
        share = FileShare(user=reader, mode="read")
        file.shares.append(share)
    share.mode = form.mode or share.mode
    db.session.flush()
    for topic, name in knowing:
        record_change(topic, name, old, file.told())
    if (file.topic_of(reader), "files") not in knowing:
        tell_reader(file, reader)
    return saved(share.to_dict())


@bp.delete("/<user_id>")
@answers(shapes.Deleted, 200, 204, 403, 404)
@signed_in
def unshare_file(file_id: str, user_id: str) -> Response:
    """Take it back, by its owner, or by who does not want it; what is not there is gone already."""
    file = File.load(file_id, g.user)
    if parse_id(user_id) != g.user.id:
        file.require_owner(g.user)
    hold(file)
    if share := file.share_of(parse_id(user_id)):
        end_share(file, share.user)
    return deleted(user_id)


def load_own(file_id: str, user: User) -> File:
    """A file of the caller's, held until the commit; raises 403 and 404."""
    file: File = File.load(file_id, user)
    file.require_owner(user)
    hold(file)
    return file
