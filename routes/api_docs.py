"""The OpenAPI document of this server, and a page to read and try it with (openapi.py)."""

import json
from importlib.resources import files

from flask import Blueprint, Response, current_app, request, send_from_directory

import openapi
import shapes
from openapi import answers

bp = Blueprint("api_docs", __name__, url_prefix="/api")
ASSETS = str(files("flask_swagger_ui") / "dist")  # of the package only these files are used


@bp.get("/openapi.json")
@answers(shapes.Document, 304)
def show_document() -> Response:
    """This document; it is made with the first call."""
    made = current_app.extensions
    if "openapi" not in made:
        made["openapi"] = json.dumps(openapi.document(current_app), separators=(",", ":"))
    response = Response(made["openapi"], mimetype="application/json")
    response.add_etag()
    return response.make_conditional(request)  # type: ignore[return-value]


@bp.get("/docs")
def show_page() -> Response:
    """The page (static/api-docs.html)."""
    return current_app.send_static_file("api-docs.html")


@bp.get("/docs/<path:filename>")
def show_asset(filename: str) -> Response:
    """A file of Swagger UI."""
    return send_from_directory(ASSETS, filename)
