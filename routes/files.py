"""Files: list, read, rename, move and delete (docs/files.md)."""

import unicodedata
from typing import Annotated

from flask import Blueprint, Response, current_app
from pydantic import AfterValidator, AliasChoices, Field, StringConstraints

import shapes
from auth import require_user
from errors import bad_request, not_found
from file_types import NAME, check_name, clean_name
from files import delete_files
from models import File, User, db, rows_of
from openapi import answers
from routes.nouns import Ids, Noun, change
from routes.rest import parse_body, require_match, saved
from validation import Input

bp = Blueprint("files", __name__, url_prefix="/api/files")


def refuse_paths(name: str) -> str:
    """A file name as uploads have it; raises ValueError for what is no clean one."""
    name = unicodedata.normalize("NFC", name)
    if clean_name(name) != name:
        raise ValueError("must be a file name, without slashes")
    return name


FileName = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=NAME),
    AfterValidator(refuse_paths),
]


class FileChanges(Input):
    """Any of `{originalName, folderId}`; null is the top."""

    original_name: FileName = Field(
        "", validation_alias=AliasChoices("originalName", "original_name", "name")
    )
    folder_id: Annotated[int, Field(ge=1, le=2**31 - 1)] | None = Field(
        None, validation_alias=AliasChoices("folderId", "folder_id")
    )


class FileNoun(Noun):
    """Files, several of which are deleted at once: their bytes are others' too, and who deletes
    them one by one would wait for others who do so in another order."""

    def delete_rows(self) -> Response:
        """Delete up to MAX_BATCH by `{ids}`, all or none; what is not there is deleted already."""
        user, ids = require_user(), parse_body(Ids).ids
        user.hold()  # all who change a file hold its owner: these stay as they are read
        files = rows_of(File.visible_to(user).where(File.identified(ids)).order_by(File.id.desc()))
        for file in files:
            file.require_removal(user)
            require_match(file.to_dict())
        delete_files(files)
        return saved({"ok": True, "ids": [file.id for file in files]})


noun = FileNoun(File, FileChanges, FileChanges, reader=require_user)
bp.get("")(noun.list_rows)
bp.get("/<row_id>")(noun.show_row)
bp.delete("/<row_id>")(noun.delete_row)
bp.delete("/batch")(noun.delete_rows)


@bp.put("/<row_id>")
@bp.patch("/<row_id>")
@answers(shapes.File, 200, 409, 412, 415, body=FileChanges)
def update_file(row_id: str) -> Response:
    """Rename a file, which keeps its type, by who may write it; move it, by its owner."""
    user, form = require_user(), parse_body(FileChanges)
    file = File.load(row_id, user)
    hold(file)
    file.require_change(user)
    if "folder_id" in form.model_fields_set and form.folder_id != file.folder_id:
        file.require_owner(user)
    if form.original_name:
        require_type(form.original_name, file)
    change(file, form.model_dump(exclude_unset=True))
    return saved(file.to_dict())


def require_type(name: str, file: File) -> None:
    """Raise 400 for a name that says another type than the file has."""
    allowed = current_app.config["UPLOAD_TYPES"]
    if check_name(name, allowed) != file.mimetype:
        text = "OriginalName must end as files of this type do"
        raise bad_request(text, {"originalName": [text]})


def hold(file: File) -> User:
    """Let nobody else change a file until the commit: it is as it is then, and so is what one may
    do there. Returns its owner; raises 404 when it is gone."""
    if not file.lock():
        raise not_found("file")
    owner: User = db.session.get(User, file.user_id)
    return owner
