"""Migrations: what they make is what the models say, and each can be taken back."""

from pathlib import Path
from typing import Any

import pytest
from flask_migrate import check, downgrade, upgrade
from sqlalchemy import inspect

from app import create_app
from models import db
from tests.conftest import SETTINGS


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_migrations_there_and_back(kind: str, tmp_path: Path, request: Any) -> None:
    is_sqlite = kind == "sqlite"
    url = (
        f"sqlite:///{tmp_path}/a.db" if is_sqlite else request.getfixturevalue("empty_postgres_url")
    )
    app = create_app({**SETTINGS, "DATABASE_URL": url})
    with app.app_context():
        upgrade()
        check()  # ends the process when the models say more, or less
        downgrade(revision="base")
        assert inspect(db.engine).get_table_names() == ["alembic_version"]
        upgrade()
        check()
        db.engine.dispose()
