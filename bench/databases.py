"""Databases of our own for what is measured: one account in each, a new copy for every run."""

import os
import secrets
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

sys.path.insert(0, str(Path(__file__).parent.parent))

SECRET = secrets.token_hex(32)  # of our own: nobody else hears our bus
POSTGRES_URL = os.environ.get("TEST_POSTGRES_URL", "postgresql://postgres@127.0.0.1:5432/postgres")


class Database(Protocol):
    """Where Wharf's account has `token`."""

    token: str

    def copies(self) -> Any:
        """A context that gives the URL of a database used by nobody else."""


class Sqlite:
    """A file, copied for each run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.token = make_account(f"sqlite:///{folder}/empty.db")

    @contextmanager
    def copies(self) -> Iterator[str]:
        """A new file; it goes with its folder."""
        path = self.folder / f"{secrets.token_hex(4)}.db"
        shutil.copy(self.folder / "empty.db", path)
        yield f"sqlite:///{path}"


class Postgres:
    """A template on the server at TEST_POSTGRES_URL, and a database made from it for each run."""

    def __init__(self) -> None:
        import psycopg

        self.server = psycopg.connect(POSTGRES_URL, autocommit=True, connect_timeout=2)
        self.name = f"wharf_bench_{secrets.token_hex(4)}"
        self.made = 0
        self.server.execute(f"CREATE DATABASE {self.name}")
        self.token = make_account(self.url_of(self.name))

    def url_of(self, name: str) -> str:
        """The address of a database on this server."""
        from sqlalchemy import make_url

        url = make_url(POSTGRES_URL).set(drivername="postgresql", database=name)
        return url.render_as_string(hide_password=False)

    @contextmanager
    def copies(self) -> Iterator[str]:
        """A new database, dropped at the end."""
        self.made += 1
        name = f"{self.name}_{self.made}"
        self.server.execute(f"CREATE DATABASE {name} TEMPLATE {self.name}")
        try:
            yield self.url_of(name)
        finally:
            self.drop(name)

    def drop(self, name: str) -> None:
        """Drop a database, whoever uses it."""
        self.server.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    def close(self) -> None:
        """Leave nothing behind."""
        with suppress(Exception):
            self.drop(self.name)
        self.server.close()


def make_account(url: str) -> str:
    """Bring the database up to date and register one account; returns its token."""
    from flask_migrate import upgrade

    from app import create_app
    from models import db

    app = create_app({"SECRET_KEY": SECRET, "DATABASE_URL": url, "BCRYPT_ROUNDS": 4})
    account = {"email": "bench@example.com", "password": "bench bench", "name": "Bench"}
    with app.app_context():
        upgrade()
        reply = app.test_client().post("/api/auth/register", json=account)
        db.session.remove()
        db.engine.dispose()
    app.extensions["bus"].close()
    return str(reply.json["token"])
