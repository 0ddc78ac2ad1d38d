"""The settings table, the secret, and what starting a process needs and leaves behind."""

import os
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from app import create_app
from config import MissingSecret, Settings, keep_secret, require_secret
from tests.conftest import SETTINGS

ROOT = Path(__file__).parent.parent


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: Any, tmp_path: Path) -> None:
    """Neither the environment nor a .env file of the developer is read."""
    for name in Settings.model_fields:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


def run(code: str, folder: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """Run `code` in a Python of its own, within `folder`."""
    base = {"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-c", code]
    return subprocess.run(
        command, cwd=folder, env={**base, **env}, capture_output=True, text=True, timeout=30
    )


# The table


@pytest.mark.parametrize("name", list(Settings.model_fields))
def test_setting_is_documented(name: str) -> None:
    assert Settings.model_fields[name].description
    word = re.compile(rf"\b{name}\b")
    for page in ("docs/settings.md", ".env.example"):
        assert word.search((ROOT / page).read_text()), f"{name} is missing in {page}"


def test_documents_name_no_setting_that_is_gone() -> None:
    lines = (ROOT / ".env.example").read_text().splitlines()
    named = {match[1] for line in lines if (match := re.match(r"#? ?([A-Z_]+)=", line))}
    assert named <= set(Settings.model_fields)


def test_settings_come_from_the_environment_and_from_dotenv(
    monkeypatch: Any, tmp_path: Path
) -> None:
    (tmp_path / ".env").write_text("PORT=1\nHOST=there\nUNKNOWN=x\n")
    monkeypatch.setenv("PORT", "2")
    monkeypatch.setenv("PING_SECONDS", "")
    settings = Settings()
    assert (settings.HOST, settings.PORT, settings.PING_SECONDS) == ("there", 2, 30)


def test_overrides_win(monkeypatch: Any) -> None:
    monkeypatch.setenv("MAX_BODY_BYTES", "5")
    app = create_app({**SETTINGS, "DATABASE_URL": "sqlite://", "MAX_BODY_BYTES": 7})
    assert app.config["MAX_BODY_BYTES"] == app.config["MAX_CONTENT_LENGTH"] == 7


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "http"),
        ("PUBLIC_TODOS", "maybe"),
        ("ACCESS_TOKEN_MINUTES", "0"),
        ("BCRYPT_ROUNDS", "3"),
        ("BCRYPT_ROUNDS", "31"),
        ("MAX_UPLOAD_BYTES", "-1"),
        ("PING_SECONDS", "0"),
        ("SQLITE_SYNCHRONOUS", "OFF"),
    ],
)
def test_setting_that_cannot_be_stops_the_start(monkeypatch: Any, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ValidationError, match=name):
        Settings()


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("postgres://u:p@h/d", "postgresql+psycopg://u:p@h/d"),
        ("postgresql://u:p@h/d?sslmode=require", "postgresql+psycopg://u:p@h/d?sslmode=require"),
        ("postgresql+psycopg://h/d", "postgresql+psycopg://h/d"),
        ("sqlite:///a.db", "sqlite:///a.db"),
        ("sqlite:////postgres://x", "sqlite:////postgres://x"),
    ],
)
def test_postgres_urls_are_read_by_psycopg(url: str, expected: str) -> None:
    assert Settings(DATABASE_URL=url).model_dump()["DATABASE_URL"] == expected


def test_origins_are_a_list_with_commas(monkeypatch: Any) -> None:
    monkeypatch.setenv("CORS_ORIGINS", " https://a.test/ ,,http://b.test:1 ")
    assert Settings().CORS_ORIGINS == ("https://a.test", "http://b.test:1")


@pytest.mark.parametrize(
    ("url", "folder"),
    [
        ("uploads", ROOT / "uploads"),
        ("/var/files", Path("/var/files")),
        ("file:///var/my%20files", Path("/var/my files")),
    ],
)
def test_storage_url_is_a_folder(url: str, folder: Path) -> None:
    app = create_app({**SETTINGS, "DATABASE_URL": "sqlite://", "STORAGE_URL": url})
    assert app.extensions["storage"].folder == folder


def test_storage_url_of_another_kind_stops_the_start() -> None:
    with pytest.raises(ValueError, match="STORAGE_URL"):
        create_app({**SETTINGS, "DATABASE_URL": "sqlite://", "STORAGE_URL": "ftp://host/folder"})


# The secret


def test_kept_secret_is_stable_and_for_its_owner_alone(tmp_path: Path) -> None:
    previous = os.umask(0)
    try:
        secret = keep_secret(tmp_path)
    finally:
        os.umask(previous)
    assert len(secret) == 64
    assert keep_secret(tmp_path) == secret
    assert [stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()] == [0o600]


def test_kept_secrets_differ(tmp_path: Path) -> None:
    folders = [tmp_path / "a", tmp_path / "b"]
    for folder in folders:
        folder.mkdir()
    assert keep_secret(folders[0]) != keep_secret(folders[1])


def test_missing_secret_says_how_to_make_one() -> None:
    with pytest.raises(MissingSecret) as caught:
        require_secret(Settings())
    command = str(caught.value).partition("make one with: python -c ")[2]
    made = run(command.strip('"'), ROOT).stdout.strip()
    require_secret(Settings(SECRET_KEY=made))
    assert len(made) == 64


def test_gunicorn_without_a_secret_does_not_start(tmp_path: Path) -> None:
    refused = run("import wsgi", tmp_path, PYTHONPATH=str(ROOT))
    assert refused.returncode != 0
    assert "Set SECRET_KEY" in refused.stderr
    assert "secrets.token_hex" in refused.stderr


# The disk


def test_building_the_app_changes_nothing_on_disk(tmp_path: Path) -> None:
    copy = tmp_path / "wharf"
    here = ("*.py", "routes", "sockets", "static", "migrations")
    copy.mkdir()
    for path in (path for pattern in here for path in ROOT.glob(pattern)):
        if path.is_dir():
            shutil.copytree(path, copy / path.name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(path, copy)
    before = sorted(copy.rglob("*"))
    built = run("import wsgi; print(wsgi.app.name)", copy, SECRET_KEY="x" * 32)
    assert built.stdout == "app\n", built.stderr
    instance = copy / "instance"  # Flask-SQLAlchemy makes the folder for a relative SQLite path
    assert [path for path in sorted(copy.rglob("*")) if path != instance] == before


@pytest.mark.parametrize(
    ("name", "value"),
    [
        pytest.param("SECRET_KEY", "hunter2", id="short secret"),
        pytest.param("SMTP_URL", "smpt://ann:hunter2@mail.test", id="unknown scheme"),
        pytest.param("SMTP_URL", "ann:hunter2@mail.test:25", id="no scheme"),
        pytest.param("SMTP_URL", "smtp://ann:hunter2@mail.test:abc", id="bad port"),
        pytest.param("LOGIN_LIMIT", "hunter2", id="no rule"),
        pytest.param("LOGIN_LIMIT", "0 per minute", id="a rule that lets nothing through"),
        pytest.param("LOGIN_LIMIT", "1 per minute; 2 per hour", id="two rules"),
    ],
)
def test_a_setting_that_cannot_be_is_named_and_not_shown(name: str, value: str) -> None:
    with pytest.raises(ValidationError) as refused:
        Settings(**{name: value})
    assert name in str(refused.value)
    assert "hunter2" not in str(refused.value)
