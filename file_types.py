"""What may be uploaded: whether name, declared type and first bytes of a file agree.

A file is what its first bytes say, so far as puremagic knows; texts, which have none that tell,
are what decodes as UTF-8. What is served is never run: routes/downloads.py.
"""

import codecs
import mimetypes
import unicodedata
from collections.abc import Sequence
from pathlib import PurePath
from typing import IO

import puremagic
from PIL import Image

from errors import WharfError

UTF_8 = codecs.getincrementaldecoder("utf-8")
HEAD = 4096  # bytes that are looked at
NAME = 200  # characters
SHOWN = {"image/jpeg", "image/png", "image/gif", "image/webp", "image/avif"}  # in place, not saved
ALIASES = {"image/jpg": "image/jpeg", "image/pjpeg": "image/jpeg"}
OFFICE = "application/vnd.openxmlformats-officedocument"
MORE = {  # than Python 3.11 knows
    "avif": "image/avif",
    "heic": "image/heic",
    "md": "text/markdown",
    "docx": f"{OFFICE}.wordprocessingml.document",
    "xlsx": f"{OFFICE}.spreadsheetml.sheet",
    "pptx": f"{OFFICE}.presentationml.presentation",
}
FORMATS = ("JPEG", "PNG", "GIF", "WEBP")  # that are unpacked, for thumbnails
Image.MAX_IMAGE_PIXELS = None  # ours is a setting, and asked before anything is unpacked
KNOWN = mimetypes.MimeTypes()  # Python's own list: the same on every machine


def type_named(end: str) -> str | None:
    """The type of names that end so: `image/png` of `png`; None for an unknown one."""
    return MORE.get(end) or KNOWN.guess_type(f"a.{end}", strict=False)[0]


def clean_name(name: str) -> str:
    """The last part of the client's file name, printable, 200 characters at most."""
    last = unicodedata.normalize("NFC", name).replace("\\", "/").rpartition("/")[2]
    return "".join(c for c in last if c.isprintable())[-NAME:] or "file"


def end_of(name: str) -> str:
    """What a name ends with: `png` of `a.PNG`."""
    return PurePath(name).suffix.lower().removeprefix(".")


def check_name(name: str, allowed: Sequence[str], declared: str | None = None) -> str:
    """The type of a file of this name; raises 415, also when it is declared as another."""
    mimetype = type_named(end_of(name)) if end_of(name) in allowed else None
    if mimetype is None or declared not in (None, mimetype) and ALIASES.get(declared) != mimetype:
        raise wrong_type(allowed)
    return mimetype


def check_content(name: str, file: IO[bytes], allowed: Sequence[str], most_pixels: int) -> None:
    """Raise 415 when the bytes are not what the name says, 413 for a picture that is too large."""
    file.seek(0)
    head = file.read(HEAD)
    if not agrees(head, end_of(name)):
        raise WharfError(415, f"The content is not that of a {end_of(name)} file")
    if has_too_many(file, most_pixels):
        raise WharfError(413, f"A picture has {most_pixels} pixels at most", "image_too_large")
    file.seek(0)


def agrees(head: bytes, end: str) -> bool:
    """Whether these first bytes may be those of a file with such a name."""
    mimetype = type_named(end) or ""
    if mimetype.startswith("text/") or mimetype.endswith(("json", "xml")):
        return is_text(head)
    try:
        found = puremagic.magic_string(head)
    except (puremagic.PureError, ValueError):
        return False
    return f".{end}" in {match.extension for match in found}


def is_text(head: bytes) -> bool:
    """Whether this is UTF-8, which may be cut off in a letter."""
    try:
        text = UTF_8().decode(head, final=len(head) < HEAD)
    except UnicodeDecodeError:
        return False
    return bool(text) and "\0" not in text


def has_too_many(file: IO[bytes], most: int) -> bool:
    """Whether this is a picture that says it has more than `most` pixels; nothing is unpacked."""
    file.seek(0)
    try:
        with Image.open(file, formats=FORMATS) as picture:
            return picture.width * picture.height > most
    except Exception:  # no picture that Pillow reads: nobody unpacks it
        return False


def wrong_type(allowed: Sequence[str]) -> WharfError:
    """415: this is no file of a type that is taken, or not what it says."""
    listed = " and ".join(filter(None, (", ".join(allowed[:-1]), allowed[-1])))
    return WharfError(415, f"Only {listed} files are accepted")
