"""The page at `/`, and the few facts it asks for on load."""

from typing import Any

from flask import Blueprint, Response, current_app

import shapes
from openapi import answers

bp = Blueprint("pages", __name__)


@bp.get("/")
def show_page() -> Response:
    """The console page (static/index.html)."""
    return current_app.send_static_file("index.html")


@bp.get("/api/config")
@answers(shapes.PageSettings)
def show_config() -> dict[str, Any]:
    """Where pages find the sockets: `socketUrl`, empty for the page's own origin. Files that may
    be uploaded end as one of `uploadTypes` says, and have `maxUploadBytes` at most."""
    config = current_app.config
    return {
        "socketUrl": config["SOCKET_URL"],
        "uploadTypes": list(config["UPLOAD_TYPES"]),
        "maxUploadBytes": config["MAX_UPLOAD_BYTES"],
    }
