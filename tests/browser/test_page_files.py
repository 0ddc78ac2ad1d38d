"""Files on the page: uploaded, shown, downloaded and refused."""

import threading
from pathlib import Path
from typing import Any

from playwright.sync_api import expect

from storage import FolderStorage
from tests.browser.page import MARKS, PNG, Invite, upload

pytestmark = MARKS


def test_picture_is_uploaded_shown_and_downloaded(person: Invite, monkeypatch: Any) -> None:
    ashore = threading.Event()
    save = FolderStorage.save

    def save_slowly(*args: Any) -> tuple[str, int]:
        ashore.wait(20)
        return save(*args)

    monkeypatch.setattr(FolderStorage, "save", save_slowly)
    window = person("Ann").enter()
    upload(window, "dot.png", "image/png", PNG)
    progress = window.get_by_test_id("upload-progress")
    expect(progress).to_be_visible()
    expect(progress).to_have_js_property("value", 1)  # all sent, no answer yet
    expect(window.get_by_test_id("file")).to_have_count(0)
    ashore.set()
    expect(window.get_by_test_id("file")).to_have_count(1)
    expect(progress).to_have_count(0)
    for again in (False, True):
        if again:
            window.reload()
        expect(window.get_by_test_id("file")).to_contain_text(["dot.png"])
        window.get_by_test_id("file").scroll_into_view_if_needed()
        expect(window.get_by_test_id("file-preview")).to_have_js_property("naturalWidth", 1)
    with window.expect_download() as download:
        window.get_by_test_id("file-download").click()
    assert download.value.suggested_filename == "dot.png"
    assert Path(download.value.path()).read_bytes() == PNG


def test_program_is_refused_with_a_notice(person: Invite) -> None:
    ann = person("Ann")
    ann.allow("status of 415")
    window = ann.enter()
    upload(window, "virus.exe", "application/x-msdownload", b"MZ" + bytes(100))
    notice = window.get_by_test_id("notice")
    expect(notice).to_be_visible()
    expect(notice).to_have_text("Only jpeg, png, gif and pdf files are accepted")
    expect(window.get_by_test_id("upload-progress")).to_have_count(0)
    notice.get_by_role("button").click()
    expect(notice).to_have_count(0)
    upload(window, "dot.png", "image/png", b"MZ" + bytes(100))
    expect(notice).to_be_visible()
    expect(window.get_by_test_id("file")).to_have_count(0)
