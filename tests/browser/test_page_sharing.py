"""Sharing on the page: with people, live in their windows, and by links."""

from pathlib import Path

from playwright.sync_api import Locator, Page, expect

from tests.browser.page import (
    MARKS,
    PHONE,
    Invite,
    assert_fits,
    file_item,
    open_file,
    picture,
    tab_to,
    upload,
)
from tests.conftest import PASSWORD

pytestmark = MARKS

SECRET = "tide table"


MAY_WRITE = """() => {
    const { shelf } = document.querySelector("file-list");
    return [...shelf.files.rows.values()].every((file) => shelf.mayWrite(file));
}"""


def share_with(window: Page, name: str) -> Locator:
    """Find somebody by name in the open dialog, and share with them."""
    window.get_by_test_id("share-search").fill(name)
    window.get_by_test_id("share-found").filter(has_text=name).click()
    share = window.get_by_test_id("share").filter(has_text=name)
    expect(share).to_be_visible()
    return share


def open_sharing(window: Page, name: str) -> Locator:
    file_item(window, name).get_by_test_id("file-share").click()
    dialog = window.get_by_test_id("share-dialog")
    expect(dialog).to_be_visible()
    return dialog


def shared(window: Page) -> Locator:
    return window.get_by_test_id("shared-items").get_by_test_id("file")


def make_link(window: Page, **fields: str) -> str:
    """The address of a new link."""
    for name, value in fields.items():
        window.get_by_test_id(f"link-{name}").fill(value)
    count = window.get_by_test_id("link").count()
    window.get_by_test_id("link-make").click()
    expect(window.get_by_test_id("link")).to_have_count(count + 1)
    return window.get_by_test_id("link-address").first.input_value()


# People


def test_file_is_shared_live_and_taken_back(person: Invite) -> None:
    ann, bob, eve = person("Ann"), person("Bob"), person("Eve")
    bobs, eves, window = bob.enter(), eve.enter(), ann.enter()
    upload(window, "sea.png", "image/png", picture())
    dialog = open_sharing(window, "sea.png")
    expect(dialog).to_contain_text("With nobody yet.")
    share = share_with(window, "Bob")
    expect(shared(bobs)).to_contain_text(["sea.png"])
    expect(shared(bobs).get_by_test_id("file-facts")).to_contain_text("from Ann")
    expect(shared(bobs).get_by_test_id("file-share")).to_have_count(0)
    with bobs.expect_download() as download:
        shared(bobs).get_by_test_id("file-download").click()
    assert Path(download.value.path()).read_bytes() == picture()

    theirs = open_file(bobs, "sea.png")
    expect(theirs.get_by_test_id("version")).to_have_count(1)
    for testid in ("file-name-submit", "file-move", "version-restore"):
        expect(theirs.get_by_test_id(testid)).to_have_count(0)
    expect(theirs.get_by_test_id("version-input")).to_be_hidden()
    bobs.get_by_test_id("dialog-close").click()

    share.get_by_test_id("share-mode").select_option("May change")
    expect(window.get_by_test_id("file-facts")).to_contain_text("shared with 1")
    bobs.wait_for_function(MAY_WRITE)  # an open dialog does not learn it
    theirs = open_file(bobs, "sea.png")
    expect(theirs.get_by_test_id("version-input")).to_be_attached()
    bobs.get_by_test_id("file-name-originalName").fill("Lake.png")
    bobs.get_by_test_id("file-name-submit").click()
    expect(dialog.get_by_role("heading", level=2)).to_have_text("Share Lake.png")

    share.get_by_test_id("share-end").click()
    expect(window.get_by_test_id("share")).to_have_count(0)
    expect(window.get_by_test_id("share-search")).to_be_focused()
    expect(shared(bobs)).to_have_count(0)
    expect(theirs).to_have_count(0)
    upload(eves, "mine.png", "image/png", picture())  # told after all of it, if it were told
    expect(eves.get_by_test_id("file")).to_contain_text(["mine.png"])
    expect(shared(eves)).to_have_count(0)


def test_people_are_found_by_part_of_their_name_and_nobody_twice(person: Invite) -> None:
    for name in ("Bobby", "Robert"):
        person(name).enter().close()
    window = person("Ann").enter()
    upload(window, "sea.png", "image/png", picture())
    open_sharing(window, "sea.png")
    found = window.get_by_test_id("share-found")
    window.get_by_test_id("share-search").fill("ob")
    expect(found).to_have_count(2)
    found.filter(has_text="Bobby").click()
    expect(window.get_by_test_id("share")).to_contain_text(["Bobby"])
    expect(found).to_have_count(0)
    expect(window.get_by_test_id("share-count")).to_have_text("")
    expect(window.get_by_test_id("share-search")).to_be_focused()
    window.get_by_test_id("share-search").fill("ob")
    expect(found).to_have_text(["Robert"])
    window.get_by_test_id("share-search").fill("Ann")
    expect(found).to_have_count(0)
    expect(window.get_by_test_id("share-count")).to_have_text("Nobody has this name.")


def test_who_does_not_want_a_shared_file_lets_it_go(person: Invite) -> None:
    bobs, window = person("Bob").enter(), person("Ann").enter()
    upload(window, "sea.png", "image/png", picture())
    open_sharing(window, "sea.png")
    share_with(window, "Bob")
    open_file(bobs, "sea.png")
    delete = bobs.get_by_test_id("file-delete")
    expect(delete).to_have_text("Remove from my files")
    delete.click()
    delete.click()
    expect(shared(bobs)).to_have_count(0)
    expect(window.get_by_test_id("share")).to_have_count(0)
    expect(window.get_by_test_id("file")).to_have_count(1)


def test_keyboard_alone_shares_a_file(person: Invite) -> None:
    bobs, window = person("Bob").enter(), person("Ann").enter()
    upload(window, "sea.png", "image/png", picture())
    expect(window.get_by_test_id("file")).to_have_count(1)
    tab_to_file = window.get_by_test_id("folder-new")
    tab_to_file.focus()
    tab_to(window, "file-share")
    window.keyboard.press("Enter")
    expect(window.get_by_role("dialog")).to_have_accessible_name("Share sea.png")
    tab_to(window, "share-search")
    window.keyboard.type("Bo")
    expect(window.get_by_test_id("share-found")).to_have_count(1)
    tab_to(window, "share-found")
    window.keyboard.press("Enter")
    expect(shared(bobs)).to_have_count(1)
    tab_to(window, "share-end")
    window.keyboard.press("Enter")
    expect(shared(bobs)).to_have_count(0)
    window.keyboard.press("Escape")
    expect(window.get_by_test_id("file-share")).to_be_focused()


# Links


def test_link_is_made_copied_followed_and_revoked(person: Invite) -> None:
    ann, guest = person("Ann"), person("Guest")
    guest.allow("status of 404")
    ann.context.grant_permissions(["clipboard-read", "clipboard-write"])
    window = ann.enter()
    upload(window, "sea.png", "image/png", picture())
    open_sharing(window, "sea.png")
    window.get_by_test_id("link-life").select_option("An hour")
    address = make_link(window, most="2")
    link = window.get_by_test_id("link")
    expect(link).to_contain_text("0 of 2 downloads")
    link.get_by_test_id("link-copy").click()
    expect(window.get_by_test_id("link-said")).to_have_text("The link is copied.")
    assert window.evaluate("navigator.clipboard.readText()") == address
    assert guest.context.request.get(address).body() == picture()
    window.get_by_test_id("dialog-close").click()
    open_sharing(window, "sea.png")
    expect(link).to_contain_text("1 of 2 downloads")
    link.get_by_test_id("link-revoke").click()
    expect(link).to_have_count(0)
    expect(window.locator("#share-dialog-links")).to_be_focused()
    assert guest.context.request.get(address).status == 404
    theirs = guest.context.new_page()
    theirs.goto(address)
    expect(theirs.get_by_test_id("follow-words")).to_contain_text("This link has ended.")
    theirs.get_by_test_id("follow-close").click()
    expect(theirs.locator("link-password")).to_be_hidden()


def test_link_with_a_password_asks_for_it(person: Invite) -> None:
    guest = person("Guest", **PHONE)
    guest.allow("status of 40[14]")
    window = person("Ann").enter()
    upload(window, "Meer – Flut.png", "image/png", picture())
    open_sharing(window, "Meer")
    address = make_link(window, password=SECRET, most="1")
    expect(window.get_by_test_id("link")).to_contain_text("with a password")
    expect(window.get_by_test_id("link-password")).to_have_value("")

    theirs = guest.context.new_page()
    theirs.goto(address)
    field = theirs.get_by_test_id("follow-password")
    expect(field).to_be_focused()
    form = theirs.locator("link-password form")
    expect(form).to_have_attribute("method", "post")
    expect(form).to_have_attribute("action", address.removeprefix(theirs.url.split("/#")[0]))
    assert_fits(theirs)
    field.fill(PASSWORD)
    field.press("Enter")
    expect(theirs.get_by_test_id("follow-error")).to_have_text("This is not the password")
    theirs.reload()  # the address stays
    field.fill(SECRET)
    with theirs.expect_download() as download:
        theirs.get_by_test_id("follow-submit").click()
    assert download.value.suggested_filename == "Meer – Flut.png"
    assert Path(download.value.path()).read_bytes() == picture()
    expect(theirs.get_by_test_id("follow-done")).to_have_text("Meer – Flut.png is downloaded.")
    field.fill(SECRET)
    field.press("Enter")
    expect(theirs.get_by_test_id("follow-error")).to_have_text("Link not found")
    theirs.get_by_test_id("follow-close").click()
    expect(theirs.locator("link-password")).to_be_hidden()
    assert "#" not in theirs.url
