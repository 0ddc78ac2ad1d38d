"""Files on the page: shown, refused, renamed, moved, deleted; folders and versions."""

import re
from pathlib import Path

from playwright.sync_api import Locator, Page, expect

from tests.browser.page import (
    LONG,
    MARKS,
    PHONE,
    Invite,
    assert_fits,
    file_item,
    make_folder,
    open_file,
    picture,
    tab_to,
    upload,
)

pytestmark = MARKS


def folder(window: Page, name: str) -> Locator:
    return window.get_by_test_id("folder").filter(has_text=name)


def here(window: Page) -> Locator:
    """What the open folder is called."""
    return window.get_by_test_id("folder-here")


def rename(window: Page, name: str) -> None:
    window.get_by_test_id("file-name-originalName").fill(name)
    window.get_by_test_id("file-name-submit").click()


def close(window: Page) -> None:
    window.get_by_test_id("dialog-close").click()
    expect(window.locator("dialog")).to_have_count(0)


def bytes_of(window: Page, link: Locator) -> bytes:
    """What a click on `link` downloads."""
    with window.expect_download() as download:
        link.click()
    return Path(download.value.path()).read_bytes()


# One file


def test_picture_is_previewed_small_and_downloaded_whole(person: Invite) -> None:
    window = person("Ann").enter()
    data = picture("teal", (400, 200))
    upload(window, "sea.png", "image/png", data)
    for again in (False, True):
        if again:
            window.reload()
        expect(window.get_by_test_id("file")).to_contain_text(["sea.png"])
        preview = window.get_by_test_id("file-preview")
        preview.scroll_into_view_if_needed()
        expect(preview).to_have_js_property("naturalWidth", 128)
        expect(preview).to_have_js_property("naturalHeight", 64)
        assert re.fullmatch(r"/uploads/\w+\.png/small", preview.get_attribute("src") or "")
    with window.expect_download() as download:
        window.get_by_test_id("file-download").click()
    assert download.value.suggested_filename == "sea.png"
    assert Path(download.value.path()).read_bytes() == data


def test_program_is_refused_with_a_notice(person: Invite) -> None:
    ann = person("Ann")
    ann.allow("status of 415")
    window = ann.enter()
    upload(window, "virus.exe", "application/x-msdownload", b"MZ" + bytes(100))
    notice = window.get_by_test_id("notice")
    expect(notice).to_have_text("virus.exe: Only jpeg, jpg, png, gif and pdf files are accepted")
    expect(window.get_by_test_id("upload-progress")).to_have_count(0)
    notice.get_by_role("button").click()
    expect(notice).to_have_count(0)
    upload(window, "dot.png", "image/png", b"MZ" + bytes(100))
    expect(notice).to_have_text("dot.png: The content is not that of a png file")
    expect(window.get_by_test_id("upload-progress")).to_have_count(0)
    expect(window.get_by_test_id("file")).to_have_count(0)


def test_file_is_renamed_moved_and_deleted_in_both_windows(person: Invite) -> None:
    ann = person("Ann")
    ann.allow("status of 400")
    other = ann.open()
    window = ann.enter()
    expect(other.get_by_test_id("connection")).to_have_text("Live")
    upload(window, "sea.png", "image/png", picture())
    make_folder(window, "Summer")
    dialog = open_file(window, "sea.png")
    rename(window, "sea.pdf")
    expect(window.get_by_test_id("file-name-submit")).to_be_enabled()
    expect(dialog.locator(".field-error")).to_contain_text("must end as files of this type do")
    rename(window, "Lake.png")
    expect(dialog.get_by_role("heading", level=2)).to_have_text("Lake.png")
    expect(other.get_by_test_id("file")).to_contain_text(["Lake.png"])
    window.get_by_test_id("file-folder").select_option("Summer")
    window.get_by_test_id("file-move").click()
    expect(dialog).to_have_count(0)
    for one in (window, other):
        expect(one.get_by_test_id("file")).to_have_count(0)
    folder(other, "Summer").get_by_role("button").click()
    expect(other.get_by_test_id("file")).to_contain_text(["Lake.png"])
    folder(window, "Summer").get_by_role("button").click()
    open_file(window, "Lake.png")
    open_file(other, "Lake.png")
    window.get_by_test_id("file-delete").click()
    expect(window.get_by_test_id("file-delete")).to_have_text("Delete it with all versions?")
    expect(file_item(other, "Lake.png")).to_have_count(1)
    window.get_by_test_id("file-delete").click()
    for one in (window, other):
        expect(one.get_by_test_id("file")).to_have_count(0)
        expect(one.locator("dialog")).to_have_count(0)  # it was about what is gone
        expect(here(one)).to_be_focused()


# Folders


def test_folders_are_made_entered_renamed_and_deleted_with_what_is_in_them(person: Invite) -> None:
    ann = person("Ann")
    ann.allow("status of 409")
    other = ann.open()
    window = ann.enter()
    expect(other.get_by_test_id("connection")).to_have_text("Live")
    make_folder(window, "Summer")
    folder(window, "Summer").get_by_role("button").click()
    expect(here(window)).to_have_text("Summer")
    expect(here(window)).to_be_focused()
    make_folder(window, "Boats")
    folder(window, "Boats").get_by_role("button").click()
    upload(window, "sloop.png", "image/png", picture())
    expect(window.get_by_test_id("crumb")).to_have_text(["All files", "Summer"])
    expect(file_item(window, "sloop.png")).to_be_visible()

    expect(other.get_by_test_id("folder")).to_have_text(["Summer"])
    expect(other.get_by_test_id("file")).to_have_count(0)
    folder(other, "Summer").get_by_role("button").click()
    folder(other, "Boats").get_by_role("button").click()
    expect(file_item(other, "sloop.png")).to_be_visible()

    window.get_by_test_id("crumb").filter(has_text="Summer").click()
    expect(here(window)).to_be_focused()
    window.get_by_test_id("folder-rename").click()
    window.get_by_test_id("folder-name").fill("Winter")
    window.get_by_test_id("folder-name").press("Enter")
    expect(here(window)).to_have_text("Winter")
    expect(other.get_by_test_id("crumb")).to_have_text(["All files", "Winter"])
    window.get_by_test_id("folder-new").click()
    window.get_by_test_id("folder-name").fill("Boats")
    window.get_by_test_id("folder-save").click()
    expect(window.get_by_test_id("notice")).to_have_text("There is one of this name already")
    expect(window.get_by_test_id("folder-name")).to_have_value("Boats")
    window.get_by_test_id("folder-name").press("Escape")
    expect(window.get_by_test_id("folder-new")).to_be_focused()

    window.get_by_test_id("folder-delete").click()
    expect(folder(window, "Boats")).to_be_visible()  # asked first
    window.get_by_test_id("folder-delete").click()
    for one in (window, other):
        expect(here(one)).to_have_text("All files")
        expect(one.get_by_test_id("folder")).to_have_count(0)
        expect(one.get_by_test_id("file")).to_have_count(0)
        expect(one.locator("file-browser .empty").first).to_be_visible()


# Versions


def test_older_version_is_downloaded_and_restored(person: Invite) -> None:
    ann = person("Ann")
    ann.allow("status of 415")
    window = ann.enter()
    first, second = picture("red"), picture("blue")
    upload(window, "sea.png", "image/png", first)
    expect(file_item(window, "sea.png")).to_have_count(1)
    upload(window, "sea.png", "image/png", second)
    expect(window.get_by_test_id("upload-progress")).to_have_count(0)
    expect(file_item(window, "sea.png")).to_have_count(1)
    dialog = open_file(window, "sea.png")
    versions = dialog.get_by_test_id("version")
    expect(versions).to_contain_text(["Version 2", "Version 1"])
    assert bytes_of(window, versions.nth(1).get_by_test_id("version-download")) == first
    versions.nth(1).get_by_test_id("version-restore").click()
    expect(versions).to_contain_text(["Version 3", "Version 2", "Version 1"])
    expect(versions.nth(0)).to_contain_text("Now")
    expect(window.locator("#file-dialog-versions")).to_be_focused()
    new = {"name": "other.png", "mimeType": "image/png", "buffer": second}
    dialog.get_by_test_id("version-input").set_input_files([new])
    expect(versions).to_have_count(4)
    false = {"name": "paper.pdf", "mimeType": "application/pdf", "buffer": b"%PDF-1.4\n"}
    dialog.get_by_test_id("version-input").set_input_files([false])
    expect(dialog.get_by_test_id("dialog-error")).to_have_text("This file is image/png")
    versions.filter(has_text="Version 3").get_by_test_id("version-restore").click()
    expect(versions).to_have_count(5)
    expect(dialog.get_by_test_id("dialog-error")).to_be_hidden()
    close(window)
    assert bytes_of(window, window.get_by_test_id("file-download")) == first


# Phones and keyboards


def test_dialogs_and_folders_fit_on_a_phone(person: Invite) -> None:
    ann = person("Ann", **PHONE)
    window = ann.enter()
    make_folder(window, LONG[:100])
    upload(window, f"{LONG}.png", "image/png", picture())
    expect(window.get_by_test_id("file")).to_have_count(1)
    assert_fits(window)
    open_file(window, LONG)
    expect(window.get_by_test_id("version")).to_have_count(1)
    assert_fits(window)
    close(window)
    window.get_by_test_id("file-share").click()
    window.get_by_test_id("link-make").click()
    expect(window.get_by_test_id("link")).to_have_count(1)
    assert_fits(window)
    close(window)
    folder(window, "Unbreakable").get_by_role("button").click()
    expect(here(window)).to_be_focused()
    assert_fits(window)


def test_keyboard_alone_makes_a_folder_and_moves_a_file_there(person: Invite) -> None:
    window = person("Ann").enter()
    upload(window, "sea.png", "image/png", picture())
    expect(window.get_by_test_id("file")).to_have_count(1)
    window.get_by_test_id("file-input").focus()
    tab_to(window, "folder-new")
    window.keyboard.press("Enter")
    window.keyboard.type("Summer")
    window.keyboard.press("Enter")
    expect(window.get_by_test_id("folder-new")).to_be_focused()
    tab_to(window, "file-more")
    window.keyboard.press("Enter")
    expect(window.get_by_role("dialog")).to_have_accessible_name("sea.png")
    tab_to(window, "file-folder")
    window.keyboard.type("Summer")
    tab_to(window, "file-move")
    window.keyboard.press("Enter")
    expect(window.get_by_test_id("file")).to_have_count(0)
    tab_to(window, "folder-open")
    window.keyboard.press("Enter")
    expect(here(window)).to_be_focused()
    expect(file_item(window, "sea.png")).to_be_visible()
    tab_to(window, "file-more")
    window.keyboard.press("Enter")
    expect(window.get_by_test_id("file-dialog")).to_be_visible()
    window.keyboard.press("Escape")
    expect(window.get_by_test_id("file-dialog")).to_have_count(0)
    expect(window.get_by_test_id("file-more")).to_be_focused()


def test_every_button_of_a_file_says_which_file_it_is_about(person: Invite) -> None:
    window = person("Ann").enter()
    upload(window, "sea.png", "image/png", picture())
    item = file_item(window, "sea.png")
    for testid, name in (("download", "Download"), ("share", "Share"), ("more", "More")):
        way = item.get_by_test_id(f"file-{testid}")
        expect(way).to_have_accessible_name(f"{name} sea.png")
