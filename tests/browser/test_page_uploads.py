"""Uploads on the page: many at once, dropped, paused, cut off, and gone on with after a reload."""

import os
import socket
import threading
from pathlib import Path
from typing import Any

from flask import request
from playwright.sync_api import Locator, Page, Route, expect

import routes.tus as tus
from storage import CHUNK, FolderStorage
from tests.browser.page import MARKS, Invite, file_item, make_folder, picture, upload
from tests.conftest import Server

pytestmark = MARKS

PDF = b"%PDF-1.4\n" + os.urandom(2_000_000)
DROP = """(files) => {
    const carried = new DataTransfer();
    for (const [name, text] of files) {
        carried.items.add(new File([text], name, { type: "application/pdf" }));
    }
    return carried;
}"""


def progress(window: Page) -> Locator:
    return window.get_by_test_id("upload-progress")


def state(window: Page) -> Locator:
    return window.get_by_test_id("upload-state")


def hold(window: Page) -> list[Route]:
    """Let no bytes through; the requests that were to carry them."""
    held: list[Route] = []

    def catch(route: Route) -> None:
        if route.request.method == "PATCH":
            held.append(route)
        else:
            route.fallback()

    window.route("**/api/tus/*", catch)
    return held


def note_offsets(window: Page) -> list[int]:
    """Where in the file each request began that carried bytes."""
    offsets: list[int] = []

    def note(asked: Any) -> None:
        if asked.method == "PATCH":
            offsets.append(int(asked.headers["upload-offset"]))

    window.on("request", note)
    return offsets


class Cut:
    """The server keeps the first bytes of an upload, then its connection is gone, once."""

    def __init__(self, monkeypatch: Any) -> None:
        self.is_open = True
        self.fill, self.keep_part = tus.fill, tus.keep_part
        monkeypatch.setattr(tus, "fill", self.fill_little)
        monkeypatch.setattr(tus, "keep_part", self.keep_and_close)

    def fill_little(self, draft: Any, most: int) -> bool:
        if not self.is_open:
            return self.fill(draft, most)
        draft.write(request.stream.read(CHUNK))
        return True

    def keep_and_close(self, *args: Any) -> None:
        self.keep_part(*args)
        if self.is_open:
            self.is_open = False
            request.environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)


def test_several_files_are_chosen_at_once_and_go_where_one_is(person: Invite) -> None:
    window = person("Ann").enter()
    make_folder(window, "Summer")
    window.get_by_test_id("folder-open").click()
    files = [
        {"name": f"{number}.png", "mimeType": "image/png", "buffer": picture()}
        for number in range(7)
    ]
    window.get_by_test_id("file-input").set_input_files(files)  # type: ignore[arg-type]
    expect(window.get_by_test_id("file")).to_have_count(7)
    expect(progress(window)).to_have_count(0)
    listed = window.evaluate("fetch('/api/files').then((answer) => answer.json())")
    assert sorted(file["originalName"] for file in listed) == [f"{n}.png" for n in range(7)]
    assert {file["version"] for file in listed} == {1}
    assert len({file["folderId"] for file in listed} - {None}) == 1


def test_files_are_dropped_on_the_card(person: Invite) -> None:
    window = person("Ann").enter()
    expect(window.get_by_test_id("file-rules")).to_have_text(
        "JPEG, PNG, GIF or PDF, up to 5 MB each"
    )
    files = [["one.pdf", "%PDF-1.4\n1"], ["two.pdf", "%PDF-1.4\n2"]]
    carried = {"dataTransfer": window.evaluate_handle(DROP, files)}
    card = window.locator("file-browser")
    card.dispatch_event("dragover", carried)
    expect(window.locator("file-drop.over")).to_have_count(1)
    card.dispatch_event("drop", carried)
    expect(window.locator("file-drop.over")).to_have_count(0)
    expect(file_item(window, "one.pdf")).to_be_visible()
    expect(file_item(window, "two.pdf")).to_be_visible()


def test_progress_says_how_much_is_sent(person: Invite, monkeypatch: Any) -> None:
    ashore = threading.Event()
    keep = FolderStorage.keep

    def keep_slowly(*args: Any) -> str:
        ashore.wait(20)
        return keep(*args)

    monkeypatch.setattr(FolderStorage, "keep", keep_slowly)
    window = person("Ann").enter()
    upload(window, "sea.png", "image/png", picture())
    expect(progress(window)).to_have_js_property("value", 1)  # all sent, no answer yet
    expect(window.get_by_test_id("file")).to_have_count(0)
    ashore.set()
    expect(window.get_by_test_id("file")).to_have_count(1)
    expect(progress(window)).to_have_count(0)


def test_cut_connection_goes_on_where_it_was(person: Invite, monkeypatch: Any) -> None:
    ann = person("Ann")
    ann.allow("ERR_")
    window = ann.enter()
    offsets = note_offsets(window)
    Cut(monkeypatch)
    upload(window, "sea.pdf", "application/pdf", PDF)
    expect(file_item(window, "sea.pdf")).to_be_visible()
    assert offsets[0] == 0
    assert offsets[-1] == CHUNK


def test_paused_upload_waits_until_it_is_told_to_go_on(person: Invite) -> None:
    window = person("Ann").enter()
    held = hold(window)
    upload(window, "sea.png", "image/png", picture())
    toggle = window.get_by_test_id("upload-toggle")
    expect(toggle).to_have_accessible_name("Pause sea.png")
    toggle.focus()
    window.keyboard.press("Enter")
    expect(state(window)).to_have_text("Paused")
    expect(toggle).to_have_accessible_name("Resume sea.png")
    before = len(held)
    window.unroute("**/api/tus/*")
    upload(window, "lake.png", "image/png", picture("red"))
    expect(file_item(window, "lake.png")).to_be_visible()
    expect(progress(window)).to_have_count(1)
    expect(state(window)).to_have_text("Paused")
    assert len(held) == before
    expect(file_item(window, "sea.png")).to_have_count(0)
    window.keyboard.press("Enter")
    expect(file_item(window, "sea.png")).to_be_visible()
    expect(progress(window)).to_have_count(0)


def test_server_that_is_away_is_waited_for(person: Invite) -> None:
    ann = person("Ann")
    ann.allow("ERR_")
    window = ann.enter()
    window.route(
        "**/api/tus/*",
        lambda route: route.abort() if route.request.method == "PATCH" else route.fallback(),
    )
    upload(window, "sea.png", "image/png", picture())
    expect(state(window)).to_have_text("Waiting for the server")
    expect(window.get_by_test_id("notice")).to_have_count(0)
    window.unroute("**/api/tus/*")
    window.evaluate("dispatchEvent(new Event('online'))")
    expect(file_item(window, "sea.png")).to_be_visible()


def test_upload_goes_on_after_a_reload_when_it_is_chosen_again(
    person: Invite, monkeypatch: Any, tmp_path: Path
) -> None:
    path = tmp_path / "sea.pdf"
    path.write_bytes(PDF)
    ann = person("Ann")
    ann.allow("ERR_")
    window = ann.enter()
    Cut(monkeypatch)
    held: list[Route] = []

    def stop_second(route: Route) -> None:
        if route.request.headers.get("upload-offset") in (None, "0"):
            route.fallback()
        else:
            held.append(route)

    window.route("**/api/tus/*", stop_second)
    offset = lambda asked: asked.headers.get("upload-offset") == str(CHUNK)  # noqa: E731
    with window.expect_request(offset):
        window.get_by_test_id("file-input").set_input_files(path)
    window.reload()
    expect(window.get_by_test_id("folder-new")).to_be_visible()
    expect(progress(window)).to_have_count(0)
    window.unroute("**/api/tus/*")
    offsets = note_offsets(window)
    window.get_by_test_id("file-input").set_input_files(path)
    expect(file_item(window, "sea.pdf")).to_be_visible()
    assert offsets == [CHUNK]
    with window.expect_download() as download:
        window.get_by_test_id("file-download").click()
    assert Path(download.value.path()).read_bytes() == PDF
    stored = window.evaluate("Object.keys(localStorage).filter((key) => key.includes('upload'))")
    assert stored == []


def test_upload_that_is_gone_begins_anew(server: Server, person: Invite, tmp_path: Path) -> None:
    path = tmp_path / "sea.png"
    path.write_bytes(picture())
    ann = person("Ann")
    ann.allow("status of 404")
    window = ann.enter()
    hold(window)
    with window.expect_request(lambda asked: asked.method == "PATCH"):
        window.get_by_test_id("file-input").set_input_files(path)
    window.unroute("**/api/tus/*")
    window.reload()
    expect(window.get_by_test_id("folder-new")).to_be_visible()
    address = window.evaluate("Object.entries(localStorage).find(([key]) => /upload/.test(key))[1]")
    gone = "(path) => fetch(path, {method: 'DELETE', headers: {'Tus-Resumable': '1.0.0'}})"
    window.evaluate(f"(path) => ({gone})(path).then((answer) => answer.status)", address)
    window.get_by_test_id("file-input").set_input_files(path)
    expect(file_item(window, "sea.png")).to_be_visible()


def test_cancelled_upload_is_deleted(person: Invite) -> None:
    window = person("Ann").enter()
    hold(window)
    with window.expect_request(lambda asked: asked.method == "PATCH"):
        upload(window, "sea.png", "image/png", picture())
    with window.expect_response(lambda answer: answer.request.method == "DELETE") as answer:
        window.get_by_test_id("upload-cancel").click()
    assert answer.value.status == 204
    expect(progress(window)).to_have_count(0)
    expect(window.get_by_test_id("notice")).to_have_count(0)
    expect(window.get_by_test_id("file-input")).to_be_focused()
    assert window.evaluate("Object.keys(localStorage).filter((key) => /upload/.test(key))") == []


def test_page_elsewhere_uploads_by_its_token(server: Server, person: Invite) -> None:
    window = person("Ann", bypass_csp=True).context.new_page()
    window.goto(server.url.replace("127.0.0.1", "localhost"))
    stored = window.evaluate(
        """async ([url, text]) => {
            const { Wharf } = await import("/static/wharf.js");
            const wharf = new Wharf({ url });
            await wharf.register({ email: "ann@example.com", password: "correct horse" });
            const parts = [];
            const file = new File([text], "Flut – 1.pdf", { type: "application/pdf" });
            const stored = await wharf.upload(file, (part) => parts.push(part));
            return { ...stored, last: parts.at(-1), listed: (await wharf.files()).length };
        }""",
        [server.url, "%PDF-1.4\nhigh water"],
    )
    assert (stored["originalName"], stored["size"]) == ("Flut – 1.pdf", 19)
    assert (stored["last"], stored["listed"]) == (1, 1)
