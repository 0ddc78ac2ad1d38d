"""Comments on posts, under an address of their own and under that of their post."""

from flask import Blueprint, Response
from pydantic import AliasChoices, Field

import shapes
from auth import current_user, require_user
from models import Comment, Post
from openapi import answers
from routes.lists import answer_list
from routes.nouns import Noun, create
from routes.posts import bp as posts
from routes.rest import idempotent, parse_body, saved
from validation import Input, RequiredText

bp = Blueprint("comments", __name__, url_prefix="/api/comments")


class CommentText(Input):
    """`{content}`."""

    content: RequiredText


class NewComment(CommentText):
    """`{post_id, content}`."""

    post_id: int = Field(ge=1, le=2**31 - 1, validation_alias=AliasChoices("post_id", "postId"))


class CommentChanges(CommentText):
    """`{content?}`."""

    content: RequiredText = ""


Noun(Comment, NewComment, CommentChanges).add_to(bp)


@posts.get("/<post_id>/comments")
@answers(shapes.Comment, lists=Comment)
def list_comments(post_id: str) -> Response:
    """The comments on a post."""
    user = current_user()
    post = Post.load(post_id, user)
    return answer_list(Comment.visible_to(user).where(Comment.post_id == post.id), Comment)


@posts.post("/<post_id>/comments")
@answers(shapes.Comment, 201, body=CommentText)
@idempotent
def create_comment(post_id: str) -> Response:
    """Comment on a post: 201."""
    user = require_user()
    post = Post.load(post_id, user)
    fields = {"post_id": post.id, "content": parse_body(CommentText).content}
    [comment] = create(Comment, user, [fields])
    return saved(comment.to_dict(), 201)
