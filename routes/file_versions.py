"""What a file was before (docs/files.md#versions)."""

from contextlib import ExitStack

from flask import Blueprint, Response, g

import rate_limits
import shapes
from auth import signed_in
from errors import WharfError
from files import add_version, blob_of, keeping, require_room
from models import File, FileVersion, db
from openapi import answers
from routes.files import hold
from routes.lists import answer_list
from routes.rest import answer, saved
from routes.uploads import MULTIPART, UploadForm, read_form

bp = Blueprint("file_versions", __name__, url_prefix="/api/files/<file_id>/versions")


@bp.get("")
@answers(shapes.FileVersion, lists=FileVersion)
@signed_in
def list_versions(file_id: str) -> Response:
    """All versions, the newest first, the present one too."""
    return answer_list(File.load(file_id, g.user).versions(), FileVersion)


@bp.post("")
@answers(shapes.File, 201, 403, 404, 415, 507, body=UploadForm, reads=MULTIPART)
@signed_in
def create_version(file_id: str) -> Response:
    """Have the file be the part `file` from now on: 201; by its owner, or who may write it.

    Whatever that is called there, the file keeps its name, and so its type.
    """
    rate_limits.count("UPLOAD_LIMIT", f"user {g.user.id}")
    File.load(file_id, g.user).require_change(g.user)
    db.session.commit()  # a body may take long: until it is here, no connection is held
    with ExitStack() as drafts:
        parts, _ = read_form(drafts)
        if len(parts) > 1:
            raise WharfError(400, "One file is enough for a version", "too_many_files")
        with keeping(parts) as [name]:
            file = File.load(file_id, g.user)
            owner = hold(file)
            file.require_change(g.user)
            if parts[0].mimetype != file.mimetype:
                raise WharfError(415, f"This file is {file.mimetype}")
            require_room(owner, parts[0].draft.size)
            add_version(file, blob_of(name, parts[0]), parts[0].mimetype, g.user)
            response = answer(file.to_dict(), 201)
            db.session.commit()
    return response


@bp.post("/<number>/restore")
@answers(shapes.File, 403, 404, 507)
@signed_in
def restore_version(file_id: str, number: str) -> Response:
    """Have the file be again what it was, as a version more."""
    file = File.load(file_id, g.user)
    owner = hold(file)
    file.require_change(g.user)
    was = file.load_version(number)
    require_room(owner, was.blob.size)
    add_version(file, was.blob, was.mimetype, g.user)
    return saved(file.to_dict())
