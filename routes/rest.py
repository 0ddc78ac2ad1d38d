"""What every noun's routes share: read a body, answer an item, answer a retry.

A writing route ends with `saved(...)`, which commits and answers. Of one that is `idempotent`, as
those that create something are, the answer is also kept for retries.
"""

import json
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

from flask import Response, g, jsonify, request
from sqlalchemy.exc import IntegrityError

from auth import current_user
from errors import WharfError
from models import Receipt, User, db
from validation import Input, parse_object, validate

AnyInput = TypeVar("AnyInput", bound=Input)
View = TypeVar("View", bound=Callable[..., Any])


# Bodies


def parse_body(model: type[AnyInput]) -> AnyInput:
    """The JSON body as `model`, whatever its Content-Type; an empty one is `{}`. Raises 400."""
    body = request.get_data(cache=True)
    return validate(model, parse_object(body) if body.strip() else {})


# Answers


def answer(data: Any, status: int = 200) -> Response:
    """JSON with an ETag; 304 when the client has this very answer."""
    response = jsonify(data)
    response.status_code = status
    response.add_etag()
    if "If-None-Match" in request.headers:
        response.make_conditional(request)
    return response


def require_match(data: Any) -> None:
    """Raise 412 when If-Match names another state of an item than `data` (RFC 9110 13.1.1).

    None is an item that is not there.
    """
    if "If-Match" not in request.headers:
        return
    tag, _ = answer(data).get_etag()
    if data is None or not request.if_match.contains(tag or ""):
        raise WharfError(412, "This was changed meanwhile: read it again")


def saved(data: Any, status: int = 200) -> Response:
    """Commit what the route did and answer; a retry with the same Idempotency-Key answers again."""
    user: User | None = g.get("retry_user")
    if user:
        Receipt.keep(user.topic, g.retry_key, request.get_data(), data, status)
    db.session.commit()
    return answer(data, status)


def deleted(item_id: Any) -> Response:
    """Commit a deletion: 204, or `{ok, id}` for clients that declare JSON and must read some."""
    db.session.commit()
    if request.mimetype == "application/json":
        return answer({"ok": True, "id": item_id})
    return Response(status=204)


# Retries (IETF draft httpapi-idempotency-key-header)


def idempotent(view: View) -> View:
    """Decorator: a retry with the same Idempotency-Key, of the same user within a day, gets the
    first answer, which `saved` keeps; 409 for another body."""

    @wraps(view)
    def once(*args: Any, **kwargs: Any) -> Any:
        key = request.headers.get("Idempotency-Key", "")
        user = current_user() if key else None
        if user is None:
            return view(*args, **kwargs)
        g.retry_user, g.retry_key = user, f"{request.method} {request.path} {key}"
        try:
            return first_answer() or view(*args, **kwargs)
        except IntegrityError:
            db.session.rollback()
            if first := first_answer():  # a twin of this request was quicker
                return first
            raise

    return once  # type: ignore[return-value]


def first_answer() -> Response | None:
    """The answer already given to this key; raises 409 for another body."""
    receipt = Receipt.find(g.retry_user.topic, g.retry_key, request.get_data())
    return answer(json.loads(receipt.answer), receipt.status) if receipt else None
