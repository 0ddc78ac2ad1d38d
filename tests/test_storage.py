"""Where bytes lie: what holds of a folder and of a bucket alike."""

import errno
import hashlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from errors import WharfError
from storage import CHUNK, DRAFT, Storage, TooLarge, make_storage

BYTES = bytes(range(256)) * 3000  # more than one chunk


@pytest.fixture
def storage(storage_url: str) -> Storage:
    """An empty storage of each kind."""
    return make_storage(storage_url, Path())


@pytest.fixture(params=["folder", "refused", "silent"])
def broken(request: Any, tmp_path: Path) -> Iterator[Any]:
    """A storage that does not do its part any longer."""
    if request.param == "folder":
        (tmp_path / "uploads").write_text("a file in its place")
        yield make_storage(f"{tmp_path}/uploads", Path())
        return
    bucket = request.getfixturevalue("bucket")
    storage = make_storage(bucket.url, Path())
    with socket.create_server(("127.0.0.1", 0)) as deaf:  # takes connections and says nothing
        silent = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        bucket.cut_off(storage, silent if request.param == "silent" else "")
        yield storage


def keep(storage: Storage, data: bytes = BYTES, name: str = "") -> str:
    """Store these bytes."""
    with storage.draft(len(data)) as draft:
        draft.write(data)
        return storage.keep(draft, name)


def names(storage: Storage) -> list[str]:
    """What lies there."""
    return sorted(one.name for one in storage.list())


def refusal(work: Any, *words: Any) -> WharfError:
    """The failure that this ends with."""
    with pytest.raises(WharfError) as caught:
        work(*words)
    return caught.value


# What comes in


def test_what_is_kept_is_there_whole(storage: Storage) -> None:
    name = keep(storage)
    with storage.open(name) as file:
        assert file.read() == BYTES
        assert file.read() == b""


def test_names_are_new_and_nobody_guesses_them(storage: Storage) -> None:
    made = {keep(storage, b"same") for _ in range(3)}
    assert len(made) == 3
    assert all(len(name) == 32 and int(name, 16) for name in made)


def test_a_name_that_is_given_is_taken(storage: Storage) -> None:
    assert keep(storage, b"old", "a.webp") == keep(storage, b"new", "a.webp") == "a.webp"
    with storage.open("a.webp") as file:
        assert file.read() == b"new"
    assert names(storage) == ["a.webp"]


def test_a_draft_counts_and_hashes(storage: Storage) -> None:
    with storage.draft(len(BYTES)) as draft:
        draft.write(BYTES[:1000])
        draft.write(BYTES[1000:])
        assert (draft.size, draft.sha256) == (len(BYTES), hashlib.sha256(BYTES).hexdigest())


def test_a_draft_copies_in_chunks(storage: Storage) -> None:
    name, asked = keep(storage), []
    with storage.open(name) as source, storage.draft(len(BYTES)) as draft:
        read = source.read
        watched: Any = type("Watched", (), {"read": lambda _, n: asked.append(n) or read(n)})()
        draft.copy(watched)
        assert draft.sha256 == hashlib.sha256(BYTES).hexdigest()
    assert set(asked) == {CHUNK}


def test_a_draft_takes_its_limit_and_no_byte_more(storage: Storage) -> None:
    with storage.draft(4) as draft:
        draft.write(b"1234")
        error = refusal(draft.write, b"5")
    assert isinstance(error, TooLarge)
    assert error.status == 413


def test_a_draft_that_is_not_kept_is_gone(storage: Storage, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), storage.draft(10) as draft:
        draft.write(b"half")
        raise RuntimeError("the client went away")
    assert not draft.path.exists()
    assert names(storage) == []
    assert not list(tmp_path.rglob(f"{DRAFT}*"))


# What is read


def test_any_part_is_read(storage: Storage) -> None:
    with storage.open(keep(storage)) as file:
        assert file.seek(0, os.SEEK_END) == len(BYTES)
        assert file.read(5) == b""
        assert file.seek(-3, os.SEEK_END) == len(BYTES) - 3
        assert file.read(10) == BYTES[-3:]
        file.seek(1000)
        assert file.read(300) == BYTES[1000:1300]
        assert file.seek(100, os.SEEK_CUR) == file.tell() == 1400
        assert file.read(7) == BYTES[1400:1407]
        file.seek(0)
        assert file.read(2) == BYTES[:2]


def test_missing_bytes_are_404(storage: Storage) -> None:
    keep(storage)
    assert refusal(storage.open, "0" * 32).status == 404


# What goes


def test_deleted_bytes_are_gone_and_others_stay(storage: Storage) -> None:
    gone, kept = keep(storage, b"gone"), keep(storage, b"kept")
    storage.delete([gone, "never-there"])
    storage.delete([])
    assert names(storage) == [kept]
    assert refusal(storage.open, gone).status == 404


def test_many_are_deleted(storage: Storage) -> None:
    kept = keep(storage, b"kept")
    some = [keep(storage, b"x", f"{number:032x}") for number in range(3)]
    storage.delete([*(f"{number:032x}" for number in range(10, 1010)), *some])
    assert names(storage) == [kept]


def test_the_list_tells_size_and_time(storage: Storage) -> None:
    name = keep(storage)
    (one,) = storage.list()
    assert (one.name, one.size) == (name, len(BYTES))
    later = keep(storage, b"x")
    times = {one.name: one.written_at for one in storage.list()}
    assert 1.7e9 < times[name] <= times[later]


def test_an_empty_storage_is_good(storage: Storage) -> None:
    assert names(storage) == []
    storage.check()


# What fails


def test_a_broken_storage_is_503(broken: Any, tmp_path: Path) -> None:
    for work, words in ((keep, (broken,)), (broken.open, ("x",)), (names, (broken,))):
        error = refusal(work, *words)
        assert (error.status, error.code) == (503, "storage_unavailable")
        assert error.headers == {"Retry-After": "5"}
    assert refusal(broken.delete, ["x"]).status == 503
    assert not list(tmp_path.rglob(f"{DRAFT}*"))


def test_a_broken_storage_says_so(broken: Any) -> None:
    with pytest.raises((WharfError, OSError)):
        broken.check()


@pytest.mark.parametrize(("number", "status"), [(errno.ENOSPC, 507), (errno.EIO, 503)])
def test_a_disk_that_fails_keeps_nothing(storage: Storage, number: int, status: int) -> None:
    with storage.draft(100) as draft:
        draft.file.close()
        draft.file = Full(number)  # type: ignore[assignment]
        assert refusal(draft.write, b"x").status == status
        assert refusal(storage.keep, draft).status == status
    assert names(storage) == []


class Full:
    """A file on a disk that takes nothing more."""

    def __init__(self, number: int) -> None:
        self.number = number

    def fail(self, *_given: Any) -> Any:
        raise OSError(self.number, "the disk does not do it")

    write = seek = flush = close = fail


@pytest.mark.parametrize("storage_url", ["folder"], indirect=True)
@pytest.mark.parametrize("good", [0, 1])
def test_bytes_that_may_not_last_are_taken_back(
    storage: Storage, monkeypatch: Any, good: int
) -> None:
    calls = []

    def fail(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) > good:
            raise OSError(errno.EIO, "the disk does not do it")

    monkeypatch.setattr("os.fsync", fail)
    assert refusal(keep, storage).status == 503
    assert names(storage) == []


@pytest.mark.parametrize("url", ["ftp://x/y", "s3:///prefix", "http://x"])
def test_other_addresses_are_refused(url: str) -> None:
    with pytest.raises(ValueError, match="STORAGE_URL"):
        make_storage(url, Path())
