"""Alembic's entry: runs migrations on the database of the current app.

Logging is the app's; Alembic's own fileConfig would silence its loggers.
"""

from alembic import context
from flask import current_app
from sqlalchemy import Engine

from models import db


def is_mapped(name, kind, _parents):
    """Leave alone what search.py keeps beside the models."""
    index_of_words = kind == "table" and "_search" in name
    column_of_words = kind == "column" and name == "words"
    return not (index_of_words or column_of_words or str(name).endswith("_words"))


def run_migrations(engine: Engine) -> None:
    """Run in one transaction; the options are those of Migrate() in app.py."""
    with engine.connect() as connection:
        context.configure(
            connection=connection,
            target_metadata=db.metadata,
            include_name=is_mapped,
            **current_app.extensions["migrate"].configure_args,
        )
        with context.begin_transaction():
            context.run_migrations()


run_migrations(db.engine)
