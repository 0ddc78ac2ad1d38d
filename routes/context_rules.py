"""Context rules of chat assistants (docs/frontends/widget.md): admins write, everybody reads."""

from typing import Annotated, Any

from flask import Blueprint
from pydantic import AliasChoices, Field

from models import ContextRule
from routes.nouns import Noun
from validation import Input, Line, RequiredLine, RequiredText, Text

bp = Blueprint("context_rules", __name__, url_prefix="/api/context-rules")
Words = Annotated[list[Line], Field(max_length=100)]


class NewContextRule(Input):
    """`{name, content}` and whatever else a rule has."""

    name: RequiredLine
    content: RequiredText
    description: Text = ""
    is_active: bool = Field(True, validation_alias=AliasChoices("is_active", "isActive"))
    priority: int = Field(0, ge=-(2**31), lt=2**31)
    context_type: Line = ""
    keywords: Words = []
    excluded_topics: Words = []
    prompt_template: Text = ""
    response_filters: dict[str, Any] | list[Any] = {}


class ContextRuleChanges(NewContextRule):
    """Any of these; what is missing stays as it is."""

    name: RequiredLine = ""
    content: RequiredText = ""


Noun(ContextRule, NewContextRule, ContextRuleChanges).add_to(bp)
