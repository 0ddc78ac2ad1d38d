"""Folders of one's files (docs/files.md)."""

import unicodedata
from typing import Annotated

from flask import Blueprint, Response
from pydantic import AfterValidator, AliasChoices, Field

from auth import require_user
from files import delete_folder, telling_below
from models import Folder
from routes.nouns import Noun, change
from routes.rest import deleted, parse_body, require_match, saved
from validation import Input, RequiredName

bp = Blueprint("folders", __name__, url_prefix="/api/folders")


def clean(name: str) -> str:
    """A name as it is stored: what looks alike is the same. A path is names with slashes between;
    raises ValueError."""
    if "/" in name or "\\" in name or name in (".", ".."):
        raise ValueError("must not contain slashes, or be dots alone")
    return unicodedata.normalize("NFC", name)


Named = Annotated[RequiredName, AfterValidator(clean)]
Parent = Annotated[int, Field(ge=1, le=2**31 - 1)] | None
PARENT = AliasChoices("parentId", "parent_id")


class NewFolder(Input):
    """`{name, parentId?}`; without one it lies at the top."""

    name: Named
    parent_id: Parent = Field(None, validation_alias=PARENT)


class FolderChanges(Input):
    """Any of `{name, parentId}`: to rename it, and to move it with all that is in it."""

    name: Named = ""
    parent_id: Parent = Field(None, validation_alias=PARENT)


class FolderNoun(Noun):
    """Folders, whose user is held first: paths are a matter of all of them."""

    def update_row(self, row_id: str) -> Response:
        """Rename it, or move it with all that is in it."""
        user, form = require_user(), parse_body(FolderChanges)
        user.hold()
        folder = Folder.load(row_id, user)
        with telling_below(folder):
            change(folder, form.model_dump(exclude_unset=True))
        return saved(folder.to_dict())

    def delete_row(self, row_id: str) -> Response:
        """Delete it with all that is in it; what is not there is deleted already."""
        user = require_user()
        user.hold()
        folder = Folder.find(row_id, user)
        require_match(folder and folder.to_dict())
        if folder:
            delete_folder(folder)
        return deleted(folder.id if folder else row_id)


noun = FolderNoun(Folder, NewFolder, FolderChanges, reader=require_user)
bp.get("")(noun.list_rows)
bp.post("")(noun.create_row)
bp.get("/<row_id>")(noun.show_row)
bp.put("/<row_id>")(noun.update_row)
bp.patch("/<row_id>")(noun.update_row)
bp.delete("/<row_id>")(noun.delete_row)
