"""Search by words, one interface to SQLite's FTS5 and PostgreSQL's tsvector.

A row is found when it has each word of the query, in any case; when none has them all, when words
of it begin so. A word is a run of letters and digits. The database keeps the indexes itself, so no
write goes past them: triggers fill `<table>_search` on SQLite, PostgreSQL has the generated column
`words`. The migration of a noun makes them (docs/add-a-noun.md); on SQLite, one that rebuilds a
table makes the triggers anew.
"""

import unicodedata
from typing import Any

from sqlalchemy import Integer, Select, column, false, func, literal_column, table

from models import count_rows, db

MAX_WORDS = 20  # of one query; those beyond are ignored
MAX_WORD = 100  # characters; PostgreSQL takes no word of 2 KB
MANY = 10_000  # rows


def find_words(statement: Select[Any], model: Any, query: str) -> tuple[Select[Any], Any]:
    """The rows of `statement` that `query` finds, and what to sort by in place of their id.

    Either database would else read all rows to find a few, or sort all to find the newest.
    """
    words = [word[:MAX_WORD] for word in words_of(query)[:MAX_WORDS]]
    if not words:
        return statement.where(false()), model.id
    find = find_in_postgres if db.engine.dialect.name == "postgresql" else find_in_sqlite
    return find(statement, model, words)


def words_of(text: str) -> list[str]:
    """The words of a query: letters and digits, with the marks that many scripts put on them."""
    composed = unicodedata.normalize("NFC", text)
    signs = (c if c.isalnum() or unicodedata.category(c)[0] == "M" else " " for c in composed)
    return [word for word in "".join(signs).split() if any(map(str.isalnum, word))]


def find_in_sqlite(statement: Select[Any], model: Any, words: list[str]) -> tuple[Select[Any], Any]:
    """The rows whose entry in the index matches (sqlite.org/fts5.html, section 3).

    The index gives them in order of its own rowid.
    """
    name = f"{model.__tablename__}_search"
    index = table(name, column("rowid", Integer), column(name))
    # With a plus the row is looked up for each match, never the match for each row.
    found = statement.join(index, model.id == literal_column(f"+{name}.rowid"))
    for star in ("", "*"):
        wanted = " AND ".join(f'"{word}"{star}' for word in words)
        pattern = f"{{{' '.join(model.SEARCHED)}}} : ({wanted})"
        options = statement.get_execution_options()
        if "owner" in options:  # (column, value): PostgreSQL knows itself when to ask for that
            pattern = '{} : "{}" AND {}'.format(*options["owner"], pattern)
        matching = found.where(index.c[name].op("MATCH")(pattern))
        if count_rows(matching, 1):
            break
    return matching, index.c.rowid


def find_in_postgres(
    statement: Select[Any], model: Any, words: list[str]
) -> tuple[Select[Any], Any]:
    """The rows whose words match (postgresql.org/docs/current/textsearch-controls.html).

    It thinks that it finds the newest sooner by walking back through all rows, which is right when
    there are MANY; few are better sorted, which an expression makes it do.
    """
    vector: Any = literal_column(f"{model.__tablename__}.words")
    for end in ("", ":*"):
        wanted = func.to_tsquery("simple", " & ".join(f"{word}{end}" for word in words))
        matching = statement.where(vector.op("@@")(wanted))
        if size := count_rows(matching, MANY):
            break
    return matching, model.id if size == MANY else model.id + 0
