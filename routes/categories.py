"""Categories of posts, a tree that admins keep."""

from typing import Annotated, Any

from flask import Blueprint
from pydantic import AliasChoices, BeforeValidator, Field, StringConstraints

from models import Category
from routes.nouns import Noun
from validation import Input, Line, RequiredLine

bp = Blueprint("categories", __name__, url_prefix="/api/categories")
PARENT = AliasChoices("parent_id", "parentId")


def skip_empty(value: Any) -> Any:
    """Forms send what was left empty."""
    return None if value == "" else value


Slug = Annotated[Line, StringConstraints(to_lower=True, max_length=100, pattern=r"^[\w-]*$")]
Parent = Annotated[int | None, Field(ge=1, le=2**31 - 1), BeforeValidator(skip_empty)]


class NewCategory(Input):
    """`{name, slug?, parent_id?}`; the slug follows from the name."""

    name: RequiredLine
    slug: Slug = ""
    parent_id: Parent = Field(None, validation_alias=PARENT)


class CategoryChanges(NewCategory):
    """Any of these; what is missing stays as it is."""

    name: RequiredLine = ""


Noun(Category, NewCategory, CategoryChanges).add_to(bp)
