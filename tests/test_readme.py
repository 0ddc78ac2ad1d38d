"""The README's tour does what it says. (Its JavaScript is run in tests/browser.)"""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import Server

ROOT = Path(__file__).parent.parent


def blocks(language: str) -> list[str]:
    """The fenced code of one language in the README."""
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)


@pytest.mark.skipif(not shutil.which("curl"), reason="curl is not installed")
def test_the_curl_tour_works(server: Server, tmp_path: Path) -> None:
    tour = next(block for block in blocks("sh") if "curl" in block)
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/page.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    answers = []
    for line in tour.strip().splitlines():
        command = line.replace("localhost:8000", server.url).replace("curl ", "curl -sS ")
        output = subprocess.check_output(command, shell=True, cwd=tmp_path, timeout=10)
        answers.append(json.loads(output))
    account, todo, todos, message, upload = answers
    assert account["user"]["email"] == "ann@example.com"
    assert todos == [todo]
    assert todo["title"] == "Try Wharf"
    assert message["content"] == "hello"
    assert upload["originalName"] == "page.png"


def test_the_commands_named_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"make ([a-z]+)", (ROOT / "README.md").read_text()):
        assert f"\n{target}:" in makefile
