"""Thumbnails: their sizes, what is left out, and what is refused (docs/files.md#thumbnails)."""

import io
import struct
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from PIL import Image

from tests.conftest import PASSWORD, Account, assert_error
from tests.uploads import PNG, UPLOAD, form, left_behind, read

WIDTH, MAKE, ORIENTATION, GPS = 0x0100, 0x010F, 0x0112, 0x8825


def picture(kind: str = "PNG", size: tuple[int, int] = (1600, 800), **options: Any) -> bytes:
    """A picture, its left half red."""
    image = Image.new("RGB", size, "blue")
    image.paste("red", (0, 0, size[0] // 2, size[1]))
    target = io.BytesIO()
    image.convert(options.pop("mode", "RGB")).save(target, kind, **options)
    return target.getvalue()


def put(client: FlaskClient, account: Account, data: bytes, end: str = "png") -> dict[str, Any]:
    mimetype = f"image/{'jpeg' if end == 'jpg' else end}"
    request = form(data, f"a.{end}", mimetype)
    response = client.post(UPLOAD, headers=account.headers, **request)
    assert response.status_code == 200, response.json
    stored: dict[str, Any] = response.json
    return stored


def opened(client: FlaskClient, url: str) -> Image.Image:
    response = read(client, url)
    assert response.status_code == 200, response.data
    assert response.headers["Content-Type"] == "image/webp"
    assert response.headers["Content-Security-Policy"] == "default-src 'none'; sandbox"
    return Image.open(io.BytesIO(response.data))


@pytest.mark.parametrize(
    ("end", "data"),
    [
        ("png", picture()),
        ("png", picture(mode="RGBA")),
        ("png", picture(mode="P")),
        ("png", picture(mode="L")),
        ("gif", picture("GIF")),
        ("jpg", picture("JPEG")),
        ("jpg", picture("JPEG", mode="CMYK")),
    ],
)
def test_three_sizes(client: FlaskClient, ann: Account, end: str, data: bytes) -> None:
    urls = put(client, ann, data, end)["thumbnails"]
    sizes = {size: opened(client, url).size for size, url in urls.items()}
    assert sizes == {"small": (128, 64), "medium": (512, 256), "large": (1024, 512)}


def test_small_picture_is_not_enlarged(client: FlaskClient, ann: Account) -> None:
    urls = put(client, ann, picture(size=(9, 3)))["thumbnails"]
    assert opened(client, urls["large"]).size == (9, 3)


def test_what_is_seen_through_stays_so(client: FlaskClient, ann: Account) -> None:
    target = io.BytesIO()
    Image.new("RGBA", (50, 50), (255, 0, 0, 0)).save(target, "PNG")
    small = opened(client, put(client, ann, target.getvalue())["thumbnails"]["small"])
    assert small.convert("RGBA").getpixel((5, 5))[3] == 0


def test_it_is_made_once_and_goes_with_the_picture(
    app: Flask, client: FlaskClient, ann: Account, monkeypatch: Any
) -> None:
    file = put(client, ann, picture())
    url = file["thumbnails"]["small"]
    first = read(client, url)
    assert len(left_behind(app)) == 2
    monkeypatch.setattr("thumbnails.shrink", lambda *_: pytest.fail("made twice"))
    assert read(client, url).data == first.data
    tag = {"If-None-Match": first.headers["ETag"]}
    assert read(client, url, **tag).status_code == 304
    client.delete(f"/api/files/{file['id']}", headers=ann.headers)
    assert left_behind(app) == []
    assert_error(client.get(url), 404)


def test_it_is_turned_and_forgets_where_it_was_taken(client: FlaskClient, ann: Account) -> None:
    notes = Image.Exif()
    notes[ORIENTATION] = 6  # held upright: left is up
    notes[MAKE] = "A camera"
    notes[GPS] = {1: "N", 2: (52.0, 31.0, 12.0)}
    data = picture("JPEG", exif=notes)
    assert b"A camera" in data
    file = put(client, ann, data, "jpg")
    small = read(client, file["thumbnails"]["medium"])
    for trace in (b"A camera", b"EXIF", b"Exif", b"XMP"):
        assert trace not in small.data
    image = Image.open(io.BytesIO(small.data))
    assert image.size == (256, 512)
    assert image.getpixel((128, 20))[0] > 200  # red is on top
    assert image.getpixel((128, 490))[2] > 200
    assert dict(image.getexif()) == {}
    assert read(client, file["url"]).data == data  # the file itself stays as it is


def test_notes_that_nobody_can_write_anew_do_no_harm(client: FlaskClient, ann: Account) -> None:
    text, number = 2, 3
    entries = struct.pack("<HHIHH", WIDTH, text, 1, ord("A"), 0)
    entries += struct.pack("<HHIHH", ORIENTATION, number, 1, 6, 0)
    notes = b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", 2) + entries + bytes(4)
    file = put(client, ann, picture("JPEG", (40, 20), exif=notes), "jpg")
    assert opened(client, file["thumbnails"]["small"]).size == (20, 40)


def test_name_of_a_picture_is_not_enough(client: FlaskClient, ann: Account) -> None:
    file = put(client, ann, PNG)
    assert_error(client.get(file["thumbnails"]["small"]), 415, "no_picture")


def test_picture_that_is_cut_off_is_415(client: FlaskClient, ann: Account) -> None:
    file = put(client, ann, picture()[:400])
    assert_error(client.get(file["thumbnails"]["small"]), 415, "no_picture")


@pytest.mark.parametrize("size", ["huge", "Small", "%00", "..", "small.webp"])
def test_other_size_is_404(client: FlaskClient, ann: Account, size: str) -> None:
    file = put(client, ann, picture())
    assert_error(client.get(f"{file['url']}/{size}"), 404)


def test_pdf_has_none(client: FlaskClient, ann: Account) -> None:
    request = form(b"%PDF-1.7", "a.pdf", "application/pdf")
    file = client.post(UPLOAD, headers=ann.headers, **request).json
    assert file["thumbnails"] == {}
    assert_error(client.get(f"{file['url']}/small"), 415)


def test_bomb_is_refused_before_it_is_unpacked(make_app: Any, monkeypatch: Any) -> None:
    app = make_app(MAX_IMAGE_PIXELS=10_000)
    client = app.test_client()
    client.post("/api/auth/register", json={"email": "ann@example.com", "password": PASSWORD})
    bomb, largest = picture(size=(101, 100)), picture(size=(100, 100))
    monkeypatch.setattr(Image.Image, "load", lambda *_: pytest.fail("unpacked"))
    assert len(bomb) < 1000
    assert_error(client.post(UPLOAD, **form(bomb)), 413, "image_too_large")
    assert left_behind(app) == []
    assert client.post(UPLOAD, **form(largest)).status_code == 200


def test_bomb_from_before_has_no_thumbnail(app: Flask, client: FlaskClient, ann: Account) -> None:
    file = put(client, ann, picture())
    app.config["MAX_IMAGE_PIXELS"] = 1000
    assert_error(client.get(file["thumbnails"]["small"]), 413, "image_too_large")
