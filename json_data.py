"""The JSON of items: what may be in it, what a JSON Schema asks of it, and its fields in SQL."""

import json
import re
from collections.abc import Iterator
from functools import lru_cache
from itertools import islice
from typing import Any

from jsonschema_rs import Draft202012Validator, RegexOptions
from jsonschema_rs import ValidationError as SchemaError
from sqlalchemy import Float, String, case, cast, func, literal

from crdt_wire import MAX_VALUE_BYTES, TOMBSTONE, canonical, is_key
from errors import WharfError, bad_request

MOST = 2**63  # of a whole number; databases take no more
MAX_SCHEMA = 20_000  # characters
MAX_WORK = 1_000_000  # parts of a schema times parts of an item: about 0.1 s
MAX_TOLD_WORK = 5_000  # the same where each error is told, which takes longer than to find one
MAX_ERRORS = 10  # told of one item
REFERENCES = {"$ref", "$dynamicRef", "$recursiveRef"}  # a few of them can take years to follow
OF_ONE_FIELD = {"properties", "patternProperties", "additionalProperties", "propertyNames"}
MAX_NAME_BYTES = 1_000  # of a field that is a cell too: with table and key it fits an index
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")  # of a field; needs no quotes in a path


def check_json(value: Any, path: tuple[str, ...] = ()) -> None:
    """Raise 400 for what a database cannot keep: NUL in a text, a number beyond 2^63."""
    for part in (value, *path[-1:]):
        if isinstance(part, str) and "\0" in part:
            raise refused(path, "must not contain NUL")
    if isinstance(value, int) and not -MOST <= value < MOST:
        raise refused(path, "is too large a number")
    for name, part in parts_of(value):
        check_json(part, (*path, name))


def parts_of(value: Any) -> Iterator[tuple[str, Any]]:
    """The members of an object, and those of a list with their places."""
    if isinstance(value, dict):
        yield from value.items()
    elif isinstance(value, list):
        yield from ((str(place), part) for place, part in enumerate(value))


def cells_of(data: dict[str, Any]) -> dict[str, Any]:
    """The fields of an item as cells of a sync channel, null for what is no single value or too
    long; without those whose names no cell can have."""
    names = (name for name in data if name != TOMBSTONE and is_key(name))
    short = (name for name in names if len(name.encode()) <= MAX_NAME_BYTES)
    return {name: data[name] if is_single(data[name]) else None for name in short}


def is_single(value: Any) -> bool:
    """Whether a cell may hold this value."""
    if isinstance(value, str) and len(value) > MAX_VALUE_BYTES // 12:  # of one character at most
        return len(canonical(value)) <= MAX_VALUE_BYTES
    return not isinstance(value, dict | list)


def texts_of(value: Any) -> Iterator[str]:
    """The texts in it."""
    if isinstance(value, str):
        yield value
    for _, part in parts_of(value):
        yield from texts_of(part)


def refused(path: tuple[str, ...], text: str) -> WharfError:
    """400, with the name of the field."""
    name = ".".join(path).replace("\0", "")[:200] or "body"
    return bad_request(f"{name}: {text}", {name: [text]})


# JSON Schema (json-schema.org, draft 2020-12)


def check_schema(schema: Any) -> None:
    """Raise 400 for what is no JSON Schema, or one that points elsewhere."""
    check_json(schema)
    text = json.dumps(schema)
    if len(text) > MAX_SCHEMA:
        raise refused(("schema",), f"must have {MAX_SCHEMA} characters at most")
    if refers(schema):
        raise refused(("schema",), "must not contain references")
    try:
        validator(text)
    except (SchemaError, ValueError) as error:
        raise refused(("schema",), first_line(error)) from None


def refers(schema: Any) -> bool:
    """Whether a schema has a reference anywhere, also where it would be a name of the data's."""
    is_reference = isinstance(schema, dict) and REFERENCES & set(schema)
    return bool(is_reference) or any(refers(part) for _, part in parts_of(schema))


@lru_cache(maxsize=256)
def validator(text: str) -> Draft202012Validator:
    """What checks by a schema, given as JSON; its patterns take time in proportion to a text."""
    regular = RegexOptions(size_limit=1_000_000, dfa_size_limit=1_000_000)
    return Draft202012Validator(
        json.loads(text), pattern_options=regular, retriever=fetch_nothing, validate_formats=True
    )


def fetch_nothing(address: str) -> Any:
    """Schemas of other addresses are not looked for."""
    raise ValueError(f"{address} is not here")


def check_cell(schema: Any, name: str, value: Any) -> None:
    """Raise 400 for a field that is not as a schema says, whatever it asks of an object as a whole:
    cells come one by one."""
    if schema is not None:
        schema = {word: rule for word, rule in schema.items() if word in OF_ONE_FIELD}
        check_by_schema(schema, {name: value})


def check_by_schema(schema: Any, data: dict[str, Any]) -> None:
    """Raise 400 for data that is not as its schema says; None asks for nothing.

    Of large data only the first error is told, and 413 is raised for what takes too long to check.
    """
    if schema is None:
        return
    work = count_parts(schema) * count_parts(data)
    if work > MAX_WORK:
        raise WharfError(413, "This is too much to be checked by the schema of the collection")
    errors: dict[str, list[str]] = {}
    for error in find_errors(validator(json.dumps(schema)), data, work <= MAX_TOLD_WORK):
        field = ".".join(map(str, error.instance_path)) or "body"
        errors.setdefault(field, []).append(first_line(error)[:500])
    for field, texts in errors.items():
        raise bad_request(f"{field}: {texts[0]}", errors)


def find_errors(checker: Draft202012Validator, data: Any, all_of_them: bool) -> list[SchemaError]:
    """What is wrong with data: MAX_ERRORS at most, or the first alone."""
    if all_of_them:
        return list(islice(checker.iter_errors(data), MAX_ERRORS))
    try:
        checker.validate(data)
    except SchemaError as error:
        return [error]
    return []


def count_parts(value: Any) -> int:
    """How many values it holds, itself among them."""
    return 1 + sum(count_parts(part) for _, part in parts_of(value))


def first_line(error: Exception) -> str:
    """What is wrong, without the schema and the data."""
    return str(getattr(error, "message", error)).partition("\n")[0]


# Fields


class Field:
    """A field as `text`, whatever scalar it holds (`true`, `5`), and numbers also as `number`.

    Lists, objects, null and what is missing are NULL. It is compared as its text, but for sizes.
    """

    def __init__(self, text: Any, number: Any) -> None:
        self.text, self.number = text, number

    def __getattr__(self, name: str) -> Any:
        return getattr(self.text, name)


def field_of(column: Any, name: str, dialect: str) -> Field | None:
    """The field `name` of the objects in a JSON column; None for a name that no query may have."""
    if not NAME.fullmatch(name):
        return None
    if dialect == "postgresql":
        kind = func.json_typeof(column.op("->")(literal(name)))
        value = column.op("->>", return_type=String())(literal(name))
        text = case((kind.not_in(["object", "array"]), value))
        number = case((kind == "number", cast(value, Float(53))))
    else:
        path = literal(f"$.{name}")
        kind, value = func.json_type(column, path), func.json_extract(column, path)
        truths = [(kind == word, literal(word)) for word in ("true", "false")]
        text = case(*truths, (kind.not_in(["object", "array"]), cast(value, String)))
        number = case((kind.in_(["integer", "real"]), cast(value, Float)))
    return Field(text, number)
