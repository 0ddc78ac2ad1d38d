"""Files: upload, list, download (docs/frontends/larc.md)."""

from pathlib import PurePath

from flask import Blueprint, Response, current_app, g, request, send_file
from werkzeug.datastructures import FileStorage

import rate_limits
import shapes
from auth import signed_in
from errors import WharfError, bad_request, not_found
from models import File, User, db
from openapi import answers
from routes.lists import answer_list
from routes.rest import answer
from storage import TooLarge, get_storage
from validation import Input

bp = Blueprint("files", __name__)

TYPES = {
    "jpg": ("image/jpeg", b"\xff\xd8\xff"),
    "jpeg": ("image/jpeg", b"\xff\xd8\xff"),
    "png": ("image/png", b"\x89PNG\r\n\x1a\n"),
    "gif": ("image/gif", b"GIF8"),
    "pdf": ("application/pdf", b"%PDF-"),
}
MEDIA = tuple(sorted({mimetype for mimetype, _ in TYPES.values()}))
SENT = (200, 206, 416)  # a part of a file, where one is asked for
FORM_OVERHEAD = 100_000  # bytes a multipart body may have beside the file itself


class Upload(Input):
    """The multipart part `file`."""

    file: bytes


@bp.post("/api/upload")
@answers(shapes.File, 415, body=Upload, reads="multipart/form-data")
@signed_in
def upload_file() -> Response:
    """Keep the multipart part `file`: 200 with its id and url; 400, 413 or 415."""
    rate_limits.count("UPLOAD_LIMIT", f"user {g.user.id}")
    part = uploaded_part()
    suffix, mimetype = check_type(part)
    storage = get_storage()
    name, size = storage.save(part.stream, suffix, current_app.config["MAX_UPLOAD_BYTES"])
    file = File(user_id=g.user.id, filename=name, mimetype=mimetype, size=size)
    file.original_name = clean_name(part.filename or name)
    db.session.add(file)
    try:
        db.session.commit()
    except Exception:
        storage.delete(name)
        raise
    return answer(file.to_dict())


def uploaded_part() -> FileStorage:
    """The part named `file`; raises 400 when there is none, 413 when the body is too large."""
    limit = current_app.config["MAX_UPLOAD_BYTES"]
    request.max_content_length = limit + FORM_OVERHEAD
    if (request.content_length or 0) > request.max_content_length:
        raise TooLarge(limit)
    part = request.files.get("file")
    if part is None or not part.filename:
        raise bad_request("No file uploaded", code="no_file")
    return part


def check_type(part: FileStorage) -> tuple[str, str]:
    """Suffix and type, when name, declared type and first bytes agree; raises 415."""
    suffix = PurePath(part.filename or "").suffix.lower()
    mimetype, magic = TYPES.get(suffix.removeprefix("."), ("", b""))
    head = part.stream.read(16)
    part.stream.seek(0)
    if not mimetype or part.mimetype != mimetype or not head.startswith(magic):
        raise WharfError(415, "Only jpeg, png, gif and pdf files are accepted")
    return suffix, mimetype


def clean_name(name: str) -> str:
    """The last part of the client's file name, printable, 200 characters at most."""
    last = name.replace("\\", "/").rpartition("/")[2]
    return "".join(c for c in last if c.isprintable())[-200:] or "file"


@bp.get("/api/files")
@answers(shapes.File, lists=File)
@signed_in
def list_files() -> Response:
    """The caller's files, newest first."""
    return answer_list(File.owned_by(g.user), File)


@bp.get("/api/files/<file_id>/download")
@answers(None, *SENT, media=MEDIA)
@signed_in
def download_file(file_id: str) -> Response:
    """The file as an attachment under its original name."""
    user: User = g.user
    response = send(File.load(file_id, user), as_attachment=True)
    response.cache_control.public = False  # or a shared cache would hand it to others
    response.cache_control.private = True
    return response


@bp.get("/uploads/<filename>")
@answers(None, *SENT, media=MEDIA)
def show_upload(filename: str) -> Response:
    """The file by its public, unguessable name: images in place, others as attachment."""
    file = File.load_public(filename)
    return send(file, as_attachment=not file.mimetype.startswith("image/"))


def send(file: File, as_attachment: bool) -> Response:
    """Serve bytes so that a browser neither guesses their type nor runs what is in them."""
    path = get_storage().path(file.filename)
    if not path.is_file():
        raise not_found("file")
    response = send_file(
        path,
        mimetype=file.mimetype,
        as_attachment=as_attachment,
        download_name=file.original_name,
        conditional=True,
        max_age=3600,
    )
    response.headers["Content-Security-Policy"] = "default-src 'none'; sandbox"
    return response
