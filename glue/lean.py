"""Flask without what this application has no use for, which took a fifth of its time for a request.

Each short cut is taken only where the answer is the same; what is not as usual goes Flask's own way.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from flask import Request, Response
from flask_openapi3.openapi import OpenAPI
from werkzeug.routing import MapAdapter

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

# As most callers name us; no port that is left out in an address.
_HOST = re.compile(r"[a-z0-9-]{1,63}(?:\.[a-z0-9-]{1,63}){0,8}(?::(?!80$|443$)\d{1,5})?")


class LeanApplication(OpenAPI):
    """Nothing of it is a coroutine, and its addresses are the same under every name."""

    def ensure_sync(self, func: Callable[..., Any]) -> Callable[..., Any]:
        return func

    def create_url_adapter(self, request: Request | None) -> MapAdapter | None:
        if request is not None:
            environ = request.environ
            host, path = environ.get("HTTP_HOST", ""), environ.get("PATH_INFO", "")
            if _HOST.fullmatch(host) and path.isascii() and "HTTP_UPGRADE" not in environ:
                return MapAdapter(
                    self.url_map,
                    host,
                    environ["SCRIPT_NAME"],
                    "",
                    environ["wsgi.url_scheme"],
                    path,
                    environ["REQUEST_METHOD"],
                    environ["QUERY_STRING"],
                )
        return super().create_url_adapter(request)


class JsonResponse(Response):
    """A body that is whole, and not empty, of an answer that leads nowhere else."""

    default_mimetype = "application/json"

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] == "HEAD":
            return super().__call__(environ, start_response)
        start_response(self.status, self.headers.to_wsgi_list())
        return self.response  # type: ignore[return-value]  # a list of one
