"""Resumable uploads by the tus protocol 1.0.0 (tus.io/protocols/resumable-upload): core, creation,
creation-with-upload, checksum, expiration and termination (docs/files.md#resumable-uploads).

What arrived before a connection was cut is kept in parts; the last part makes the file.
"""

import base64
import hashlib
import secrets
from collections.abc import Callable
from contextlib import ExitStack
from datetime import timedelta
from functools import wraps
from typing import Any

from flask import Blueprint, Response, current_app, g, request
from sqlalchemy import select
from werkzeug.exceptions import ClientDisconnected
from werkzeug.http import http_date

import rate_limits
from auth import signed_in
from errors import WharfError, bad_request, not_found
from file_types import check_name, clean_name
from files import Incoming, blob_of, delete_uploads, keeping, put, require_room
from models import Folder, Upload, User, count_rows, db, now
from routes.uploads import read_folder
from storage import CHUNK, Draft, TooLarge, get_storage

bp = Blueprint("tus", __name__, url_prefix="/api/tus")

VERSION = "1.0.0"
EXTENSIONS = "creation,creation-with-upload,checksum,expiration,termination"
ALGORITHMS = ("sha1", "sha256", "md5")
BODY = "application/offset+octet-stream"
MAX_METADATA = 10_000  # characters


def tus(view: Callable[..., Response]) -> Callable[..., Response]:
    """Decorator: the caller speaks this version, else 412; the answer says that it is."""

    @wraps(view)
    def checked(*args: Any, **kwargs: Any) -> Response:
        if request.headers.get("Tus-Resumable") != VERSION:
            text = "Tus-Resumable must be 1.0.0"
            raise WharfError(412, text, headers={"Tus-Version": VERSION})
        return view(*args, **kwargs)

    return checked


@bp.after_request
def name_version(response: Response) -> Response:
    """Every answer says which version it is of."""
    response.headers["Tus-Resumable"] = VERSION
    return response


@bp.route("", methods=["OPTIONS"])
@bp.route("/<upload_id>", methods=["OPTIONS"])
def show_options(upload_id: str = "") -> Response:
    """What this server can do."""
    headers = {
        "Tus-Version": VERSION,
        "Tus-Extension": EXTENSIONS,
        "Tus-Max-Size": str(current_app.config["MAX_UPLOAD_BYTES"]),
        "Tus-Checksum-Algorithm": ",".join(ALGORITHMS),
    }
    return Response(headers=headers)


@bp.post("")
@signed_in
@tus
def create_upload() -> Response:
    """Begin an upload of `Upload-Length` bytes; `Upload-Metadata` has `filename`, and may have
    `filetype` and `folderId`: 201 with its address as Location. A body is its first bytes."""
    rate_limits.count("UPLOAD_LIMIT", f"user {g.user.id}")
    upload = announced(g.user)
    require_place(upload, g.user)
    db.session.add(upload)
    db.session.commit()
    if request.mimetype == BODY or not upload.length:
        receive(upload, g.user)
    return describe(upload, 201, {"Location": f"{request.path}/{upload.id}"})


@bp.route("/<upload_id>", methods=["HEAD"])
@signed_in
@tus
def show_upload(upload_id: str) -> Response:
    """How much is here: `Upload-Offset` of `Upload-Length` bytes."""
    upload = load(upload_id, g.user)
    headers = {"Upload-Length": str(upload.length), "Cache-Control": "no-store"}
    if upload.metadata_header:
        headers["Upload-Metadata"] = upload.metadata_header
    return describe(upload, 200, headers)


@bp.patch("/<upload_id>")
@signed_in
@tus
def append(upload_id: str) -> Response:
    """The next bytes, from `Upload-Offset` on: 204 with the new offset. With the last of them it
    is a file, whose address is Content-Location."""
    upload = load(upload_id, g.user)
    if request.mimetype != BODY:
        raise WharfError(415, f"Content-Type must be {BODY}")
    if read_number("Upload-Offset") != upload.offset:
        raise wrong_offset(upload)
    receive(upload, g.user)
    return describe(upload, 204)


@bp.delete("/<upload_id>")
@signed_in
@tus
def terminate(upload_id: str) -> Response:
    """Give it up: what arrived is deleted. The file it has become stays."""
    load(upload_id, g.user).delete()
    db.session.commit()
    return Response(status=204)


@bp.post("/<upload_id>")
def overridden(upload_id: str) -> Response:
    """For clients that can only POST: the method is `X-HTTP-Method-Override`."""
    views = {"PATCH": append, "DELETE": terminate, "HEAD": show_upload}
    view = views.get(request.headers.get("X-HTTP-Method-Override", "").upper())
    if view is None:
        raise WharfError(405, "X-HTTP-Method-Override must be PATCH, DELETE or HEAD")
    return view(upload_id)


def announced(user: User) -> Upload:
    """The upload that the headers announce; raises 400, 413 and 415."""
    length = read_number("Upload-Length")
    if length > current_app.config["MAX_UPLOAD_BYTES"]:
        raise TooLarge(current_app.config["MAX_UPLOAD_BYTES"])
    facts = read_metadata()
    name = clean_name(facts.get("filename") or facts.get("name") or "")
    declared = facts.get("filetype") or facts.get("type") or None
    mimetype = check_name(name, current_app.config["UPLOAD_TYPES"], declared)
    upload = Upload(id=secrets.token_urlsafe(24), user_id=user.id, length=length, offset=0)
    upload.original_name, upload.mimetype, upload.parts = name, mimetype, []
    upload.folder_id = read_folder(facts)
    upload.metadata_header = request.headers.get("Upload-Metadata", "")
    upload.expires_at = now() + timedelta(hours=current_app.config["UPLOAD_HOURS"])
    return upload


def require_place(upload: Upload, user: User) -> None:
    """Raise 400 for no folder of theirs, 409 for too many uploads at once, 507 for no room."""
    delete_uploads(Upload.expired().where(Upload.user_id == user.id))
    require_room(user, upload.length)
    Folder.require(user.id, upload.folder_id)
    pending = select(Upload).where(Upload.user_id == user.id, Upload.file_id.is_(None))
    if count_rows(pending, Upload.MOST) == Upload.MOST:
        raise WharfError(409, f"{Upload.MOST} uploads at once are enough", "too_many")


def receive(upload: Upload, user: User) -> None:
    """Take the body in: as a part, as far as it came, or as the last one, which makes the file.

    Raises 409 when another was quicker, 413 for more than is missing, 460 for another checksum.
    """
    left = upload.length - upload.offset
    request.max_content_length = left + 1  # of a body of unknown length, a byte tells
    if (request.content_length or 0) > left:
        raise TooLarge(upload.length)
    algorithm, checksum = read_checksum()
    if upload.file_id:
        return
    db.session.commit()  # a body may take long: meanwhile no connection is held
    with get_storage().draft(left) as draft:
        is_cut = fill(draft, left)
        if draft.size == left and not is_cut and has_more():
            raise TooLarge(upload.length)
        if checksum and checksum_of(draft, algorithm) != checksum:
            raise WharfError(460, "The bytes are not those of Upload-Checksum", "checksum")
        if draft.size == left:
            finish(upload, user, draft)
        elif draft.size:
            keep_part(upload, draft)
        if is_cut:
            raise bad_request("The client went away")


def fill(draft: Draft, most: int) -> bool:
    """Read up to `most` bytes of the body; True when the connection was cut."""
    try:
        while draft.size < most:  # beyond, the stream takes what it is asked for as too large
            if not (chunk := request.stream.read(min(CHUNK, most - draft.size))):
                break
            draft.write(chunk)
    except (ClientDisconnected, OSError):
        return True
    return False


def has_more() -> bool:
    """Whether the body goes on, though all is there."""
    try:
        return bool(request.stream.read(1))
    except (ClientDisconnected, OSError):
        return False


def keep_part(upload: Upload, draft: Draft) -> None:
    """Make these bytes safe; raises 409 when another was quicker."""
    name = get_storage().keep(draft)
    if not upload.advance([[name, draft.size]]):
        db.session.rollback()
        get_storage().delete([name])
        raise wrong_offset(upload)
    db.session.commit()
    db.session.refresh(upload)
    db.session.commit()


def finish(upload: Upload, user: User, last: Draft) -> None:
    """Make a file of all parts and the last bytes; what cannot be one is given up: 415."""
    with ExitStack() as drafts:
        whole = last
        if upload.parts:
            whole = drafts.enter_context(get_storage().draft(upload.length))
            join(upload, last, whole)
        one = Incoming(upload.original_name, upload.mimetype, whole)
        try:
            with keeping([one]) as [name]:
                user.hold()
                if not upload.advance([["", last.size]]):
                    raise wrong_offset(upload)
                db.session.refresh(upload)
                upload.parts = upload.parts[:-1]
                upload.release()
                file = put(user, blob_of(name, one), one, upload.folder_id)
                upload.file_id = file.id
                db.session.commit()
        except WharfError as error:
            if error.status in (413, 415):
                upload.delete()
                db.session.commit()
            raise


def join(upload: Upload, last: Draft, whole: Draft) -> None:
    """Write all parts and the last bytes into one draft."""
    for name, _ in upload.parts:
        with get_storage().open(name) as part:
            whole.copy(part)
    last.seek(0)
    whole.copy(last.file)


def load(upload_id: str, user: User) -> Upload:
    """An upload of the caller's; raises 404, 410 when it has expired."""
    upload = Upload.find(upload_id, user)
    if upload is None:
        raise not_found("upload")
    if upload.expires_at <= now():
        raise WharfError(410, "This upload has expired", "upload_expired")
    return upload


def describe(upload: Upload, status: int, headers: dict[str, str] | None = None) -> Response:
    """How far it is, and what it has become."""
    headers = {"Upload-Offset": str(upload.offset), **(headers or {})}
    headers["Upload-Expires"] = http_date(upload.expires_at)
    if upload.file_id:
        headers["Content-Location"] = f"/api/files/{upload.file_id}"
    return Response(status=status, headers=headers)


def wrong_offset(upload: Upload) -> WharfError:
    """409: the client is somewhere else than we are."""
    return WharfError(409, "Upload-Offset is not where this upload is: ask by HEAD", "wrong_offset")


def read_number(header: str) -> int:
    """A number of bytes in a header; raises 400."""
    text = request.headers.get(header, "")
    if not (text.isascii() and text.isdecimal() and len(text) < 16):
        raise bad_request(f"{header} must be a number of bytes")
    return int(text)


def read_metadata() -> dict[str, str]:
    """`Upload-Metadata`: keys, each with a value in base64; raises 400."""
    text = request.headers.get("Upload-Metadata", "")
    facts: dict[str, str] = {}
    try:
        for pair in filter(None, text.split(",")):
            key, _, value = pair.strip().partition(" ")
            facts[key] = base64.b64decode(value, validate=True).decode()
    except ValueError:
        facts = {}
    if len(text) > MAX_METADATA or (text and not facts):
        raise bad_request("Upload-Metadata must be keys with values in base64")
    return facts


def read_checksum() -> tuple[str, bytes]:
    """`Upload-Checksum`: an algorithm and the digest in base64; raises 400."""
    text = request.headers.get("Upload-Checksum", "")
    algorithm, _, value = text.partition(" ")
    try:
        digest = base64.b64decode(value, validate=True)
    except ValueError:
        digest = b""
    if text and (algorithm not in ALGORITHMS or not digest):
        raise bad_request("Upload-Checksum must be sha1, sha256 or md5, and the digest in base64")
    return algorithm, digest


def checksum_of(draft: Draft, algorithm: str) -> bytes:
    """The digest of what was written to a draft."""
    draft.seek(0)
    made = hashlib.file_digest(draft.file, algorithm)
    return made.digest()
