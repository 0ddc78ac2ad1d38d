"""docs/add-a-noun.md is followed to the letter, in a copy of the repository."""

import os
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs/add-a-noun.md").read_text()
STEP = re.compile(r"^   ```(\w+)\n(.*?)^   ```$", re.DOTALL | re.MULTILINE)
TRY = """
from app import create_app

app = create_app()
client = app.test_client(use_cookies=False)
ann = {"email": "ann@example.com", "password": "correct horse", "name": "Ann"}
token = client.post("/api/auth/register", json=ann).json["accessToken"]
headers = {"Authorization": f"Bearer {token}"}
note = client.post("/api/notes", json={"text": "Hello world"}, headers=headers)
assert note.status_code == 201, note.json
path = f"/api/notes/{note.json['id']}"
assert client.get(path).json["author"]["name"] == "Ann"
changed = client.put(path, json={"text": "Bye"}, headers=headers).json
assert client.get("/api/notes?q=by&sort=text&limit=5").json["items"] == [changed]
assert client.put(path, json={"text": "x"}).status_code == 401
assert client.post("/api/notes", json={"text": ""}, headers=headers).status_code == 400
with app.app_context():
    from models import StoredEvent, db
    told = db.session.query(StoredEvent.topic, StoredEvent.type).all()
    assert told == [("notes", "changed")] * 2, told
document = client.get("/api/openapi.json").json
assert set(document["paths"]["/api/notes/{row_id}"]) == {"get", "put", "patch", "delete"}
note = document["components"]["schemas"]["Note"]
assert {"id", "author", "createdAt", "text"} <= set(note["properties"])
assert client.delete(path, headers=headers).status_code == 204
assert client.get("/api/notes").json == []
"""


def steps() -> list[tuple[str, str]]:
    """The blocks of the page: (language, text)."""
    return [(language, textwrap.dedent(text)) for language, text in STEP.findall(PAGE)]


def follow(folder: Path, block: str) -> None:
    """Do what a block of Python says with the file it names."""
    first, _, text = block.partition("\n")
    file = folder / first.removeprefix("# ")
    code = file.read_text() if file.exists() else ""
    lines = text.splitlines(keepends=True)
    if not code:
        file.write_text(text)
    elif lines[0] in code:  # each line with a place is followed by what goes below it
        for place, line in zip(lines[::2], lines[1::2], strict=True):
            assert code.count(place) == 1
            code = code.replace(place, place + line)
        file.write_text(code)
    else:
        file.write_text(code + "\n\n" + text)


def test_page_has_less_than_40_lines_of_code() -> None:
    assert sum(bool(line) for _, text in steps() for line in text.splitlines()) < 40


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_page_adds_a_noun(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    folder = tmp_path / "wharf"
    left_out = shutil.ignore_patterns(".venv", ".git", "node_modules", "instance", "tests", "bench")
    shutil.copytree(ROOT, folder, ignore=left_out)
    url = f"sqlite:///{tmp_path}/wharf.db"
    if kind == "postgres":
        url = request.getfixturevalue("empty_postgres_url")
    environment = {**os.environ, "DATABASE_URL": url, "SECRET_KEY": "x" * 40, "REDIS_URL": ""}

    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"

    def run(*command: str) -> None:
        subprocess.run(command, cwd=folder, check=True, env=environment, timeout=60)

    run("flask", "db", "upgrade")
    for language, text in steps():
        if language == "python":
            follow(folder, text)
        else:
            for line in text.splitlines():
                run(*line.split())
    [migration] = (folder / "migrations/versions").glob("*_notes.py")
    changes = migration.read_text().partition("def upgrade")[2].partition("def downgrade")[0]
    assert set(re.findall(r"op\.\w+_table\(\s*'(\w+)'", changes)) == {"notes"}
    assert "drop" not in changes
    run("python", "-c", TRY)
