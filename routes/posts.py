"""Posts, and the tags they are found by: the blog of the LARC guide (docs/frontends/larc.md)."""

from typing import Annotated, Any

from flask import Blueprint, Response
from pydantic import AfterValidator, BeforeValidator, Field

import shapes
from auth import current_user
from models import Post, Tag
from openapi import answers
from routes.lists import answer_list
from routes.nouns import Noun
from validation import Input, Line, RequiredLine, Text, refuse_unseen

bp = Blueprint("posts", __name__, url_prefix="/api/posts")
search = Blueprint("search", __name__, url_prefix="/api")
MAX_TAG = 50


def split_words(value: Any) -> Any:
    """Forms send several words as one text with commas between them."""
    words = value.split(",") if isinstance(value, str) else value
    if not isinstance(words, list):
        return [] if words is None else words
    return [word for word in words if not isinstance(word, str) or word.strip()]


def id_of(value: Any) -> Any:
    """A category may be given by its id, and in a form it may be left empty."""
    return "" if value is None else str(value) if isinstance(value, int) else value


def clean_tag(text: str) -> str:
    """A tag as it is stored: the same in any case; raises ValueError."""
    name = refuse_unseen(text).strip().lower()
    if not 0 < len(name) <= MAX_TAG:
        raise ValueError(f"must have 1 to {MAX_TAG} characters")
    return name


TagName = Annotated[str, AfterValidator(clean_tag)]
Tags = Annotated[list[TagName], Field(max_length=20), BeforeValidator(split_words)]
CategoryWord = Annotated[Line, BeforeValidator(id_of)]


class NewPost(Input):
    """`{title, content?, published?, category?, tags?}`; the category by slug or id."""

    title: RequiredLine
    content: Text = ""
    published: bool = False
    category: CategoryWord = ""
    tags: Tags = []


class PostChanges(NewPost):
    """Any of these; what is missing stays as it is."""

    title: RequiredLine = ""


Noun(Post, NewPost, PostChanges).add_to(bp)


@search.get("/search")
@answers(shapes.Post, lists=Post)
def search_posts() -> Response:
    """The posts that `q` finds, for search boxes."""
    return answer_list(Post.visible_to(current_user()), Post)


@search.get("/tags")
@answers(shapes.Tag, lists=Tag)
def list_tags() -> Response:
    """The tags of posts; `q` finds those to complete."""
    return answer_list(Tag.visible_to(current_user()), Tag)
