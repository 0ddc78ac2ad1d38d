"""Uploads by multipart forms, under the addresses of several frontends (docs/files.md)."""

from contextlib import ExitStack
from io import BufferedReader
from typing import Any

from flask import Blueprint, Response, current_app, g, request
from pydantic import Field
from werkzeug.formparser import FormDataParser

import rate_limits
import shapes
from auth import signed_in
from errors import WharfError, bad_request
from files import Incoming, blobs_of, incoming, keeping, put, require_room
from models import db, no_folder, parse_id
from openapi import answers
from routes.rest import answer
from storage import CHUNK, TooLarge, get_storage
from validation import Input, parse_object

bp = Blueprint("uploads", __name__)

PARTS = ("file", "files", "file[]", "files[]")  # what clients call them
FORM_OVERHEAD = 100_000  # bytes a multipart body may have beside the files themselves
MAX_METADATA = 10_000  # characters
MULTIPART = "multipart/form-data"


class UploadForm(Input):
    """The parts of an upload: `file` (or `files`), one or many, the folder, and any JSON."""

    file: bytes
    files: list[bytes] = []
    folderId: int | None = Field(None, ge=1, le=2**31 - 1)
    metadata: str = Field("", max_length=MAX_METADATA)


@bp.post("/api/upload")
@bp.post("/api/files/upload")
@bp.post("/upload/files")
@answers(shapes.Uploaded, 415, 507, body=UploadForm, reads=MULTIPART)
@signed_in
def upload_files() -> Response:
    """Keep the parts `file` or `files`, all or none: 200 with the first, and all as `files`.

    Raises 400, 413, 415, 503 and 507. A file of the same name in the same folder has a version
    more.
    """
    rate_limits.count("UPLOAD_LIMIT", f"user {g.user.id}")
    db.session.commit()  # a body may take long: until it is here, no connection is held
    with ExitStack() as drafts:
        parts, form = read_form(drafts)
        folder_id = read_folder(form)
        details = read_details(form.get("metadata", ""))
        with keeping(parts) as names:
            require_room(g.user, sum(one.draft.size for one in parts))
            pairs = zip(blobs_of(names, parts), parts, strict=True)
            shown = [put(g.user, *pair, folder_id, details).to_dict() for pair in pairs]
            db.session.commit()
    return answer({**shown[0], "files": shown})


def read_form(drafts: ExitStack) -> tuple[list[Incoming], dict[str, str]]:
    """The files and the fields of the request's body, its files written to drafts as they come.

    Raises 400 when there is no file or too many, 413 when one is too large, 415.
    """
    limit, most = current_app.config["MAX_UPLOAD_BYTES"], current_app.config["MAX_UPLOAD_FILES"]
    request.max_content_length = most * limit + FORM_OVERHEAD
    if (request.content_length or 0) > request.max_content_length:
        raise TooLarge(limit)
    count = 0

    def make_draft(*_given: Any, **_facts: Any) -> Any:
        nonlocal count
        if (count := count + 1) > most:
            raise WharfError(400, f"{most} files are enough for one upload", "too_many_files")
        return drafts.enter_context(get_storage().draft(limit))

    factory: Any = make_draft
    parser = FormDataParser(factory, max_form_memory_size=FORM_OVERHEAD, max_form_parts=100)
    raw: Any = request.stream
    stream = BufferedReader(raw, CHUNK)  # the parser asks for little at a time
    facts = (request.mimetype, request.content_length, request.mimetype_params)
    _, fields, files = parser.parse(stream, *facts)
    found = [part for name in PARTS for part in files.getlist(name) if part.filename]
    if not found:
        raise bad_request("No file uploaded", code="no_file")
    parts: list[Any] = [(part.filename, part.mimetype, part.stream) for part in found]
    return [incoming(*part) for part in parts], fields.to_dict()


def read_folder(fields: dict[str, str]) -> int | None:
    """The folder that a form names, None at the top; raises 400."""
    text = fields.get("folderId") or fields.get("folder") or ""
    if text in ("", "null", "root"):
        return None
    folder_id = parse_id(text)
    if folder_id is None:
        raise no_folder()
    return folder_id


def read_details(text: str) -> dict[str, Any] | None:
    """The JSON object that is kept with the files, None without one; raises 400."""
    if len(text) > MAX_METADATA:
        message = f"Metadata must have {MAX_METADATA} characters at most"
        raise bad_request(message, {"metadata": [message]})
    return parse_object(text) if text else None
