"""Small pictures of pictures: made once, when they are first asked for, and kept in storage.py.

Turned as the camera was held, and without anything the camera noted, such as the place.
"""

from threading import Lock
from typing import IO, Any

from flask import current_app
from PIL import Image
from PIL.ExifTags import Base
from PIL.Image import Transpose

from errors import WharfError, not_found
from file_types import FORMATS
from models import Blob, File
from storage import get_storage

MIMETYPE = "image/webp"
QUALITY = 80
# By the note of how the camera was held. Pillow's own way writes all notes anew, and fails at some.
TURNS = {
    2: Transpose.FLIP_LEFT_RIGHT,
    3: Transpose.ROTATE_180,
    4: Transpose.FLIP_TOP_BOTTOM,
    5: Transpose.TRANSPOSE,
    6: Transpose.ROTATE_270,
    7: Transpose.TRANSVERSE,
    8: Transpose.ROTATE_90,
}
one_at_a_time = Lock()  # a large picture takes much memory while it is unpacked


def open_thumbnail(blob: Blob, size: str) -> IO[bytes]:
    """The thumbnail of a picture, `small`, `medium` or `large`.

    Raises 404 for another size, 415 for what is no picture.
    """
    if size not in File.SIZES:
        raise not_found("file")
    storage, name = get_storage(), Blob.thumbnail_of(blob.name, size)
    try:
        return storage.open(name)
    except WharfError as error:
        if error.status != 404:
            raise
    with one_at_a_time, storage.open(blob.name) as file, storage.draft(blob.size + 10**7) as draft:
        target: Any = draft
        shrink(file, File.SIZES[size]).save(target, "WEBP", quality=QUALITY)
        storage.keep(draft, name)
    return storage.open(name)


def shrink(file: IO[bytes], longest: int) -> Image.Image:
    """The first picture in a file, no side longer than `longest` pixels; raises 415 and 413."""
    most = current_app.config["MAX_IMAGE_PIXELS"]
    try:
        picture: Image.Image = Image.open(file, formats=FORMATS)
        if picture.width * picture.height > most:
            raise WharfError(413, f"A picture has {most} pixels at most", "image_too_large")
        picture.draft("RGB", (2 * longest, 2 * longest))  # of a JPEG, no more is unpacked
        picture.thumbnail((2 * longest, 2 * longest))
        turn = TURNS.get(picture.getexif().get(Base.Orientation, 1))
        picture = picture.transpose(turn) if turn is not None else picture
        has_alpha = picture.has_transparency_data
        picture = picture.convert("RGBA" if has_alpha else "RGB")
        picture.thumbnail((longest, longest))
    except (OSError, ValueError, SyntaxError, EOFError):
        raise WharfError(415, "There is no picture in this file", "no_picture") from None
    picture.info = {}  # or a profile with the camera's notes goes along
    return picture
