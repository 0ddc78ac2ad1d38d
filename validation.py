"""Checks on what clients send, shared by routes and sockets: JSON text, shapes, plain text."""

import json
import re
import unicodedata
from functools import cache
from typing import Annotated, Any, TypeVar

from email_validator import EmailNotValidError, validate_email
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    StringConstraints,
    TypeAdapter,
    ValidationError,
)
from pydantic_core import ErrorDetails, from_json, to_json

from errors import WharfError, bad_request

VAST = re.compile(r"[0-9](?:[eE]|[0-9]{199})")  # what a number beyond every double may look like
VAST_BYTES = re.compile(VAST.pattern.encode())


def refuse_nul(text: str) -> str:
    """PostgreSQL cannot store NUL, and nobody types it."""
    if "\0" in text:
        raise ValueError("must not contain NUL")
    return text


Plain = AfterValidator(refuse_nul)  # behind the constraints, or min_length would not see the strip
Text = Annotated[str, StringConstraints(max_length=100_000), Plain]
Line = Annotated[str, StringConstraints(strip_whitespace=True, max_length=500), Plain]
RequiredText = Annotated[str, StringConstraints(min_length=1, max_length=100_000), Plain]
RequiredLine = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=500), Plain
]
UNSEEN = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
USERNAME = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,98}[a-z0-9])?")


def refuse_unseen(text: str) -> str:
    """Names are shown to others: no line breaks, no control or text direction characters."""
    if UNSEEN.search(text):
        raise ValueError("must not contain line breaks, control or text direction characters")
    return text


def clean_email(text: str) -> str:
    """An email as it is stored: lower case, its domain in ASCII, so that no look-alike passes for
    another; raises ValueError."""
    if "=?" in text:
        raise ValueError("is not an email address")  # RFC 2047: mail programs read another name
    try:
        facts = validate_email(
            text, check_deliverability=False, allow_smtputf8=False, test_environment=True
        )
    except EmailNotValidError as error:
        raise ValueError(f"is not an email address: {error}") from None
    return (facts.ascii_email or facts.normalized).lower()


def clean_username(text: str) -> str:
    """A username as it is stored, in lower case; raises ValueError. What others see is the name."""
    name = unicodedata.normalize("NFKC", text).lower()
    if not USERNAME.fullmatch(name):
        raise ValueError(
            "must be 1 to 100 letters from a to z, digits, dots, dashes or underscores"
        )
    return name


def clean_login(text: str) -> str:
    """An email or username as it is stored, or a text that nobody signs in by."""
    try:
        return clean_email(text) if "@" in text else clean_username(text)
    except ValueError:
        return text


Email = Annotated[Line, AfterValidator(clean_email)]
Username = Annotated[Line, AfterValidator(clean_username)]
Name = Annotated[
    str, StringConstraints(strip_whitespace=True, max_length=100), AfterValidator(refuse_unseen)
]
RequiredName = Annotated[Name, StringConstraints(min_length=1)]


@cache
def adapter(kind: Any) -> TypeAdapter[Any]:
    """What checks a single value; built once for each kind."""
    return TypeAdapter(kind)


class Input(BaseModel):
    """Base of request bodies and socket frames: unknown keys are ignored."""

    model_config = ConfigDict(extra="ignore")


AnyInput = TypeVar("AnyInput", bound=Input)


def parse_json(text: str | bytes) -> Any:
    """Decode JSON strictly; raises 400 for anything else, NaN and lone surrogates included."""
    try:
        value = from_json(text, allow_inf_nan=False)
        if (VAST if isinstance(text, str) else VAST_BYTES).search(text):  # type: ignore[arg-type]
            refuse_infinity(value)
    except ValueError:
        raise bad_request("This is not valid JSON", code="invalid_json") from None
    return value


def refuse_infinity(value: Any) -> None:
    """1e999 is read as Infinity, which is not JSON; raises ValueError."""
    if b"Infinity" in to_json(value, inf_nan_mode="constants"):  # a number, or within a text
        json.dumps(value, allow_nan=False)


def parse_object(text: str | bytes) -> dict[str, Any]:
    """Decode a JSON object; raises 400 for any other value."""
    value = parse_json(text)
    if not isinstance(value, dict):
        raise bad_request("A JSON object is needed", code="invalid_json")
    return value


def validate(model: type[AnyInput], data: dict[str, Any]) -> AnyInput:
    """Check `data` against `model`; raises 400 with the texts of all wrong fields."""
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise field_errors(error) from None


def field_errors(error: ValidationError) -> WharfError:
    """Turn pydantic's report into `{field: [text]}` and a first text fit for a person."""
    fields: dict[str, list[str]] = {}
    for detail in error.errors(include_url=False, include_context=False):
        field = ".".join(str(part) for part in detail["loc"]) or "body"
        fields.setdefault(field, []).append(describe(field, detail))
    return bad_request(next(iter(fields.values()))[0], fields)


def describe(field: str, detail: ErrorDetails) -> str:
    """Say what is wrong with one field, as the frontends' own servers word it."""
    text = detail["msg"].removeprefix("Value error, ")
    if not detail["loc"]:
        return text
    label = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", field.replace("_", " ")).lower()
    label = label[:1].upper() + label[1:]
    empty = detail["type"] == "missing" or detail["input"] in (None, "")
    blank = detail["type"] == "string_too_short" and not str(detail["input"]).strip()
    if empty or blank:
        return f"{label} is required"
    return f"{label}: {text}"
