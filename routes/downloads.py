"""The bytes of files, served so that a browser neither guesses their type nor runs what is in them:
with `nosniff`, a sandbox, and as attachment but for pictures.

Ranges, `If-None-Match` and `If-Range` as in RFC 9110, names as in RFC 6266.
"""

from datetime import UTC
from io import SEEK_END
from typing import IO

from flask import Blueprint, Response, g, request, send_file
from werkzeug.exceptions import RequestedRangeNotSatisfiable
from werkzeug.wsgi import FileWrapper

from auth import signed_in
from errors import WharfError
from file_types import SHOWN
from models import File, FileVersion, db
from openapi import answers
from storage import CHUNK, get_storage
from thumbnails import MIMETYPE, open_thumbnail

bp = Blueprint("downloads", __name__)

SENT = (200, 206, 304, 416)  # a part of a file, where one is asked for
BYTES = ("*/*",)
HOUR = 3600


@bp.get("/api/files/<file_id>/download")
@answers(None, *SENT, media=BYTES)
@signed_in
def download_file(file_id: str) -> Response:
    """The file as an attachment under its original name."""
    file = File.load(file_id, g.user)
    return private(send(file.load_version(file.version), file.original_name))


@bp.get("/api/files/<file_id>/versions/<number>/download")
@answers(None, *SENT, media=BYTES)
@signed_in
def download_version(file_id: str, number: str) -> Response:
    """What the file was, as an attachment."""
    file = File.load(file_id, g.user)
    return private(send(file.load_version(number), file.original_name))


@bp.get("/uploads/<filename>", merge_slashes=False)
@answers(None, *SENT, media=BYTES)
def show_upload(filename: str) -> Response:
    """The bytes of this public, unguessable name: pictures in place, others as attachment."""
    version = FileVersion.load_public(filename)
    is_shown = version.mimetype in SHOWN
    return send(version, version.file.original_name, is_attached=not is_shown, max_age=HOUR)


@bp.get("/uploads/<filename>/<size>", merge_slashes=False)
@answers(None, *SENT, 413, 415, media=(MIMETYPE,))
def show_thumbnail(filename: str, size: str) -> Response:
    """The picture of this public name, small: 128, `medium`: 512, `large`: 1024 pixels at most."""
    version = FileVersion.load_public(filename)
    db.session.commit()
    file = open_thumbnail(version.blob, size)
    tag = f"{version.filename}-{size}"
    name = f"{version.file.original_name}-{size}.webp"
    response = send_file(file, MIMETYPE, etag=tag, download_name=name, max_age=HOUR)
    return guarded(response, file)


def send(
    version: FileVersion,
    name: str,
    is_attached: bool = True,
    max_age: int | None = None,
    is_whole: bool = False,
) -> Response:
    """Serve what a file is or was under a name of its user's; raises 404, 416 and 503.

    Always `is_whole`, where each time counts.
    """
    db.session.commit()  # a bucket may take long to answer: meanwhile no connection is held
    file = get_storage().open(version.blob.name)
    response = send_file(
        file,
        mimetype=version.mimetype,
        as_attachment=is_attached,
        download_name=name,
        conditional=False,  # it knows the length of no file that is open
        etag=version.filename,
        last_modified=version.created_at.replace(tzinfo=UTC),
        max_age=max_age,
    )
    return guarded(response, file, is_whole)


def guarded(response: Response, file: IO[bytes], is_whole: bool = False) -> Response:
    """What is not run by a browser, whole or the part that is asked for; raises 416.

    Of several parts, or of other units, the whole is the answer that RFC 9110 (14.2) allows.
    """
    response.headers["Content-Security-Policy"] = "default-src 'none'; sandbox"
    response.content_length = size = file.seek(0, SEEK_END)
    file.seek(0)
    asked, part = dict(request.environ), request.range
    if part and (part.units != "bytes" or len(part.ranges) > 1):
        del asked["HTTP_RANGE"]
    if "HTTP_RANGE" in asked and not is_whole:
        response.response = FileWrapper(file, CHUNK)  # servers' own read all that is before
    try:
        if not is_whole:
            response.make_conditional(asked, accept_ranges=True, complete_length=size)
    except RequestedRangeNotSatisfiable:
        file.close()
        whole = {"Content-Range": f"bytes */{size}"}
        raise WharfError(416, "The file has no such part", headers=whole) from None
    if request.method == "HEAD" or response.status_code == 304:
        file.close()  # nobody reads it to its end
    return response


def private(response: Response) -> Response:
    """For its reader alone: a shared cache would hand it to others."""
    response.cache_control.private = True
    response.cache_control.no_cache = True
    return response
