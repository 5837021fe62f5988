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

# As most callers name us; no port that is left out in an address, or that may be none.
_HOST = re.compile(r"[a-z0-9-]{1,63}(?:\.[a-z0-9-]{1,63}){0,8}(?::(?!80$|443$)[1-9][0-9]{0,3})?")


class LeanApplication(OpenAPI):
    """Nothing of it is a coroutine, and its addresses are the same under every name."""

    def ensure_sync(self, func: Callable[..., Any]) -> Callable[..., Any]:
        return func

    def create_url_adapter(self, request: Request | None) -> MapAdapter | None:
        if request is not None:
            environ = request.environ
            host, script = environ.get("HTTP_HOST", ""), environ.get("SCRIPT_NAME", "")
            path, query = environ.get("PATH_INFO", ""), environ.get("QUERY_STRING", "")
            is_usual = _HOST.fullmatch(host) and (script + path + query).isascii()
            if is_usual and "HTTP_UPGRADE" not in environ and self.config["TRUSTED_HOSTS"] is None:
                scheme, method = environ["wsgi.url_scheme"], environ["REQUEST_METHOD"]
                return MapAdapter(self.url_map, host, script, "", scheme, path, method, query)
        return super().create_url_adapter(request)


class JsonResponse(Response):
    """A body that is whole, and not empty, of an answer that leads nowhere else."""

    default_mimetype = "application/json"

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] == "HEAD":
            return super().__call__(environ, start_response)
        start_response(self.status, self.headers.to_wsgi_list())
        return self.response  # type: ignore[return-value]  # a list of one
