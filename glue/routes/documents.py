"""The OpenAPI document, and a page to read it and try it with; nothing is loaded from elsewhere."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

from flask import Blueprint, Response, jsonify
from flask_openapi3.openapi import OpenAPI

_ASSETS = str(files("flask_openapi3_swagger") / "templates" / "swagger")

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>pgbooking API</title>
<link rel="icon" href="/docs/assets/images/swagger.svg">
<link rel="stylesheet" href="/docs/assets/css/swagger-ui.css">
</head>
<body>
<div id="swagger-ui"></div>
<script src="/docs/assets/js/swagger-ui-bundle.js"></script>
<script src="/docs/start.js"></script>
</body>
</html>
"""

# validatorUrl: the page would otherwise show the document to a service on the internet.
_START = """SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  validatorUrl: null,
  presets: [SwaggerUIBundle.presets.apis],
});
"""


# Swagger UI sets styles from its script and has its icons as data.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:;"
    " font-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)


def routes(app: OpenAPI) -> Blueprint:
    """The blueprint of the documentation."""
    pages = Blueprint("documents", __name__, static_folder=_ASSETS, static_url_path="/docs/assets")

    @pages.after_request
    def protect(response: Response) -> Response:
        response.headers["Content-Security-Policy"] = _POLICY
        response.headers.setdefault("Cache-Control", "no-cache")
        return response

    @pages.get("/openapi.json")
    def openapi() -> Response:
        return jsonify(document(app))

    @pages.get("/docs")
    def docs() -> Response:
        return Response(_PAGE, content_type="text/html; charset=utf-8")

    @pages.get("/docs/start.js")
    def start() -> Response:
        return Response(_START, content_type="text/javascript; charset=utf-8")

    return pages


def document(app: OpenAPI) -> dict[str, Any]:
    """What the routes say of themselves.

    The library adds the answer to a bad input to every operation; it is taken out where there is no input. It
    calls every body required; one is not where every field has a default.
    """
    spec = app.api_doc
    schemas = spec["components"]["schemas"]
    for operations in spec["paths"].values():
        for operation in operations.values():
            responses = operation["responses"]
            added = responses.get("400", {}).get("content", {}).get("application/json", {}).get("schema", {})
            if added.get("type") == "array":
                del responses["400"]
            if "requestBody" in operation:
                schema = operation["requestBody"]["content"]["application/json"]["schema"]
                named = schemas.get(schema.get("$ref", "").rsplit("/", 1)[-1])
                operation["requestBody"]["required"] = named is None or bool(named.get("required"))
    return spec
