"""What of a list is let through: exact matches, `q`, and the operators of `where` and `filters`.

Columns are those a model lists (`LISTED`), by their name or its camelCase; `q` looks in those it
names in `SEARCHED`. A value counts as the type of its column; what does not fit is 400.
"""

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from flask import request
from sqlalchemy import (
    BigInteger,
    Boolean,
    DateTime,
    Float,
    Integer,
    Select,
    String,
    and_,
    false,
    func,
    not_,
    or_,
    true,
)

from errors import WharfError, bad_request
from json_data import Field
from models import public_column
from search import find_words
from validation import parse_json

OBJECT = "[object Object]"  # what connectors make of an object in a query
NO_VALUE = {"", "null", "undefined", OBJECT}
NUMBER = re.compile(r"-?[0-9]{1,300}(\.[0-9]{1,300})?([eE][+-]?[0-9]{1,3})?")
MAX_LENGTH = 4000  # of `where`: so it has no more conditions than a database takes
MAX_DEPTH = 5  # of AND and OR within each other
MAX_CONDITIONS = 50  # of one request: each is looked for in every row
MAX_FIELDS = 10  # of those on fields of JSON, which is read anew for each
MAX_SEARCHED = 10_000  # characters of `q`; SQLite takes 50,000 bytes
MAX_MOMENTS = 100  # times that one column is compared with
LISTS = {"in", "notIn"}
LIKE = {"contains": "icontains", "startsWith": "istartswith", "endsWith": "iendswith"}


def filter_by(statement: Select[Any], model: Any, words: set[str]) -> Select[Any]:
    """Let through what the query asks for, by its keys that are none of `words`; raises 400."""
    related = getattr(model, "RELATED", {})
    count = 0
    for name, values in request.args.lists():
        if name in related:
            if given := [value for value in values if value not in NO_VALUE]:
                statement = statement.where(related[name](given))
            continue
        column = None if name in words else public_column(model, name)
        if column is None:
            continue
        nothing = {OBJECT, ""} if isinstance(column.type, String) else {OBJECT}
        if values := [value for value in values if value not in nothing]:
            statement = statement.where(any_of(column, name, values))
            count += 1
    trees = [tree for name in ("where", "filters") if (tree := parse_tree(name)) is not None]
    most = MAX_FIELDS if hasattr(model, "field") else MAX_CONDITIONS
    if count + sum(map(count_conditions, trees)) > most:
        raise refused("where", f"{most} conditions are enough")
    for tree in trees:
        statement = statement.where(all_of(tree, model))
    return statement


def search(statement: Select[Any], model: Any) -> tuple[Select[Any], Any]:
    """`q=` looks in the model's text columns, in any case: for words, or any text; raises 400.

    Gives also the column that has the rows in order of id.
    """
    words = request.args.get("q", "").replace("\0", "")
    if words in ("", OBJECT):
        return statement, model.id
    if len(words) > MAX_SEARCHED:
        raise refused("q", f"q must have {MAX_SEARCHED} characters at most")
    if getattr(model, "IS_INDEXED", False):
        return find_words(statement, model, words)
    columns = [model.__table__.columns[name] for name in getattr(model, "SEARCHED", ())]
    found = or_(false(), *(one.icontains(words, autoescape=True) for one in columns))
    return statement.where(found), model.id


def parse_tree(name: str) -> Any:
    """The JSON of this key of the query; None without one. Raises 400."""
    text = request.args.get(name, "")
    if text in NO_VALUE:
        return None
    try:
        if len(text) <= MAX_LENGTH:
            return parse_json(text)
    except WharfError:
        pass
    raise refused(name, f"{name} must be JSON of {MAX_LENGTH} characters at most")


def count_conditions(tree: Any) -> int:
    """How many comparisons a tree asks for; one with a list of values counts once."""
    if isinstance(tree, dict):
        return sum(1 if key in LISTS else count_conditions(tree[key]) for key in tree)
    return sum(map(count_conditions, tree)) if isinstance(tree, list) else 1


def refused(name: str, text: str) -> WharfError:
    """400, with the name of the column or key."""
    return bad_request(text, {name: [text]})


# Operators


def all_of(tree: Any, model: Any, depth: int = 0) -> Any:
    """The condition that all of `{column: value or {operator: value}, AND: [], OR: []}` hold."""
    if not isinstance(tree, dict):
        raise refused("where", "A condition must be an object such as {column: {operator: value}}")
    if depth > MAX_DEPTH:
        raise refused("where", f"AND and OR may lie {MAX_DEPTH} deep")
    return and_(true(), *(condition(key, value, model, depth) for key, value in tree.items()))


def condition(key: str, value: Any, model: Any, depth: int) -> Any:
    """What one key of a condition asks for; raises 400 for a column that is not listed."""
    if key in ("AND", "OR"):
        parts = value if isinstance(value, list) else [value]
        inner = [all_of(part, model, depth + 1) for part in parts]
        return and_(true(), *inner) if key == "AND" else or_(false(), *inner)
    column = public_column(model, key)
    if column is None:
        raise refused(key[:40], f"Cannot filter by {key[:40]}")
    return compare(column, key, value)


def compare(column: Any, name: str, value: Any) -> Any:
    """What is asked of one column: a value, or all operators of an object."""
    if not isinstance(value, dict):
        return column.is_(None) if value is None else any_of(column, name, [value])
    return and_(true(), *(operate(column, name, word, operand) for word, operand in value.items()))


def operate(column: Any, name: str, word: str, operand: Any) -> Any:
    """One operator on one column; raises 400 for one that there is not, or not for its type."""
    text, truth = isinstance(column.type, String), isinstance(column.type, Boolean)
    if word == "equals" and not isinstance(operand, dict):
        return compare(column, name, operand)
    if word == "not" and not (isinstance(operand, dict) and "not" in operand):
        return negate(compare(column, name, operand))
    if word in LISTS and isinstance(operand, list):
        found = any_of(column, name, operand)
        return found if word == "in" else negate(found)
    if word in LIKE and text:
        return getattr(column, LIKE[word])(coerce(column, name, operand), autoescape=True)
    if word in ("gt", "gte", "lt", "lte") and not truth:
        if isinstance(column, Field):
            column = column.text if isinstance(operand, str) else column.number
        return order_by_size(column, word, coerce(column, name, operand))
    raise refused(name, f"{name} cannot be compared by {word[:40]}")


def order_by_size(column: Any, word: str, value: Any) -> Any:
    """Whether the column holds more or less than `value`."""
    if word in ("gt", "lte"):
        return column > last(value) if word == "gt" else column <= last(value)
    return column >= value if word == "gte" else column < value


def negate(wanted: Any) -> Any:
    """The opposite, also of what is unknown because there is no value."""
    return not_(func.coalesce(wanted, false()))


def any_of(column: Any, name: str, values: Sequence[Any]) -> Any:
    """Whether the column holds one of `values`; raises 400."""
    known = [coerce(column, name, value) for value in values]
    if isinstance(column, Field):
        numbers = [float(word) for word in known if NUMBER.fullmatch(word)]
        return or_(column.text.in_(known), column.number.in_(numbers))
    if not isinstance(column.type, DateTime):
        return column.in_(known)
    if len(known) > MAX_MOMENTS:
        raise refused(name, f"{name} may be compared with {MAX_MOMENTS} times at most")
    return or_(false(), *(column.between(moment, last(moment)) for moment in known))


# Values


def coerce(column: Any, name: str, value: Any) -> Any:
    """A value of a query or of JSON as the type of its column; raises 400."""
    word = value if isinstance(value, str) else str(value).lower()
    scalar = isinstance(value, str | int | float)
    if scalar and isinstance(column.type, Boolean) and word.lower() in ("true", "false", "1", "0"):
        return word.lower() in ("true", "1")
    if scalar and isinstance(column.type, Integer) and word.isascii():
        is_id = getattr(column, "primary_key", False) or getattr(column, "foreign_keys", ())
        digits = word if is_id else word.removeprefix("-")
        if digits.isdecimal():
            most = 2**62 if isinstance(column.type, BigInteger) else 2**31 - 1
            return min(int(digits[:18]), most) * (1 if digits == word else -1)
    if scalar and isinstance(column.type, String):
        return word.replace("\0", "")
    if isinstance(value, int | float) and isinstance(column.type, Float):
        return float(value)
    if scalar and isinstance(column.type, DateTime) and (moment := parse_moment(word)):
        return moment
    raise refused(name, f"{name} cannot be {word[:40]}")


def parse_moment(text: str) -> datetime | None:
    """A time in ISO-8601 as it is stored, UTC without a zone; None for anything else."""
    try:
        moment = datetime.fromisoformat(text.replace(" ", "+"))  # what a query makes of a `+`
        return moment.astimezone(UTC).replace(tzinfo=None) if moment.tzinfo else moment
    except (ValueError, OverflowError):
        return None


def last(value: Any) -> Any:
    """The last stored value that is shown as this one: of times, answers show milliseconds."""
    if isinstance(value, datetime):
        return value.replace(microsecond=value.microsecond // 1000 * 1000 + 999)
    return value
