"""Sending topic messages over HTTP (docs/frontends/larc.md#topics); sockets/ serves their stream.

Socket processes answer this too: what forwards messages knows one address for both.
"""

from flask import Blueprint, Response, current_app, request
from pydantic import Field

import shapes
from auth import current_user, require_user
from models import User, db
from openapi import answers
from rate_limits import caller_address
from routes.rest import answer
from topics import TopicMessage, publish
from validation import Input, parse_object, validate

bp = Blueprint("events", __name__, url_prefix="/api/events")

MAX_MESSAGES = 100


class TopicMessages(Input):
    """`{messages: [{topic, data?, retain?, id?}]}`."""

    messages: list[TopicMessage] = Field(min_length=1, max_length=MAX_MESSAGES)


def speaker() -> User | None:
    """Who calls; raises 401 for nobody, unless ANONYMOUS_CHAT lets them speak."""
    return current_user() if current_app.config["ANONYMOUS_CHAT"] else require_user()


@bp.post("")
@answers(shapes.Published | shapes.PublishedAll, 401, 403, 409, body=TopicMessage | TopicMessages)
def publish_messages() -> Response:
    """`{topic, data?, retain?, id?}` -> 200 `{ok, id}`; a batch -> `{ok, ids}`, all or none.

    What repeats itself is told once and answered alike. 400 without a topic, 401, 403 for a topic
    of somebody else, 409 for an id used for something else, 413 above MAX_FRAME_BYTES.
    """
    user = speaker()
    request.max_content_length = current_app.config["MAX_FRAME_BYTES"]  # as on sockets
    data = parse_object(request.get_data())
    batched = "messages" in data
    messages = validate(TopicMessages, data).messages if batched else [validate(TopicMessage, data)]
    sender = user.topic if user else f"address:{caller_address()}"
    ids = [publish(message, user, sender) for message in messages]
    db.session.commit()
    return answer({"ok": True, "ids": ids} if batched else {"ok": True, "id": ids[0]})
