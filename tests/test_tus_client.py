"""tus-js-client, on a line that is cut, and how much memory a server takes for large files."""

import hashlib
import http.client
import json
import os
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress
from itertools import chain
from pathlib import Path
from typing import Any

import pytest

from tests.clients.node import CLIENTS, HAS_NODE, run_node
from tests.conftest import Account
from tests.cutting import CuttingProxy
from tests.processes import Deployment, Process
from tests.tus_client import TUS, VERSION, metadata
from tests.uploads import BODY, PNG

pytestmark = pytest.mark.skipif(os.name == "nt", reason="gunicorn and signals need Unix")
HAS_TUS = pytest.mark.skipif(
    not (CLIENTS / "node_modules" / "tus-js-client").exists(),
    reason="needs `npm ci` in tests/clients",
)
MB = 1 << 20
LARGE = 200 * MB
MOST = 32 * MB  # what memory may grow by
BLOCK = bytes(range(256)) * 4096


@pytest.fixture
def web(tmp_path: Path) -> Iterator[Process]:
    """A server that takes large files."""
    limits = {"MAX_UPLOAD_BYTES": str(2 * LARGE), "QUOTA_BYTES": str(10 * LARGE)}
    with ExitStack() as stack:
        url = f"sqlite:///{tmp_path}/w.db"
        deployment = Deployment(tmp_path, stack, DATABASE_URL=url, **limits)
        deployment.migrate()
        yield deployment.start("web")[0]


# A line that is cut


@HAS_NODE
@HAS_TUS
def test_tus_js_client_gets_a_file_through(web: Process, tmp_path: Path) -> None:
    data = PNG + os.urandom(40 * MB)
    (tmp_path / "a.png").write_bytes(data)
    ann = web.register()
    cuts = [3 * MB, 20 * MB, 45 * MB]  # bytes of the client: in the first part, the next, the last
    with closing(CuttingProxy(web.port, cuts)) as proxy:
        url = f"http://127.0.0.1:{proxy.port}{TUS}"
        told = json.loads(run_node("tus.mjs", url, ann.token, str(tmp_path / "a.png")))
        assert proxy.cuts == []
    assert told["retries"] >= 3
    _, file = web.call("GET", told["location"], account=ann)
    assert (file["size"], file["sha256"]) == (len(data), hashlib.sha256(data).hexdigest())


# Memory


def peaks(process: Process) -> dict[str, int]:
    """The most memory that each process of a server has had, in bytes."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended
            if os.getpgid(int(folder.name)) == process.popen.pid:
                text = (folder / "status").read_text()
                found[folder.name] = 1024 * int(re.findall(r"VmHWM:\s+(\d+) kB", text)[0])
    assert len(found) >= 2, "gunicorn and its workers"
    return found


def ask(process: Process, account: Account, method: str, path: str, **words: Any) -> Any:
    """Headers of a good answer, and how many bytes it had."""
    headers = {**account.headers, **words.pop("headers", {})}
    with closing(http.client.HTTPConnection("127.0.0.1", process.port, timeout=120)) as line:
        line.request(method, path, headers=headers, **words)
        answer, size = line.getresponse(), 0
        while chunk := answer.read(MB):
            size += len(chunk)
        assert answer.status < 300, answer.status
        return answer.headers, size


def blocks(size: int) -> Iterator[bytes]:
    """A large picture, so far as its first bytes say, a megabyte at a time."""
    yield PNG + BLOCK[len(PNG) :]
    for _ in range(size // MB - 1):
        yield BLOCK


def send_form(process: Process, account: Account, size: int) -> None:
    """Upload so many bytes by a form."""
    head = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\n'
    head += b"Content-Type: image/png\r\n\r\n"
    tail = b"\r\n--b--\r\n"
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    headers["Content-Length"] = str(len(head) + size + len(tail))
    body = chain([head], blocks(size), [tail])
    ask(process, account, "POST", "/api/upload", body=body, headers=headers)


def send_parts(process: Process, account: Account, size: int) -> None:
    """Upload so many bytes by tus, in one request."""
    facts = {"Upload-Length": str(size), "Upload-Metadata": metadata(filename="a.png")}
    made, _ = ask(process, account, "POST", TUS, headers={**VERSION, **facts})
    facts = {"Upload-Offset": "0", "Content-Type": BODY, "Content-Length": str(size)}
    headers = {**VERSION, **facts}
    ask(process, account, "PATCH", made["Location"], body=blocks(size), headers=headers)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc")
@pytest.mark.parametrize("send", [send_form, send_parts])
def test_large_files_take_no_memory(
    web: Process, send: Callable[[Process, Account, int], None]
) -> None:
    ann = web.register()
    send(web, ann, MB)
    before = peaks(web)
    send(web, ann, LARGE)
    between = peaks(web)
    assert {pid for pid in before if between[pid] - before[pid] > MOST} == set()
    _, (file,) = web.call("GET", "/api/files", account=ann)
    assert file["size"] == LARGE
    _, size = ask(web, ann, "GET", f"/api/files/{file['id']}/download")
    assert size == LARGE
    after = peaks(web)
    assert {pid for pid in between if after[pid] - between[pid] > MOST} == set()
