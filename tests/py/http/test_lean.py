"""Flask's short cuts: the same as Flask where they are taken."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask, Request, Response
from werkzeug.exceptions import HTTPException
from werkzeug.test import create_environ

from glue.lean import JsonResponse, LeanApplication

HOSTS = (
    "api.example.com", "127.0.0.1", "localhost:8000", "API.example.com", "example.com:80", "example.com:443",
    "[::1]:8000", "bücher.example", "a..b", "x" * 64 + ".com", "user@host", "host/../path", "",
    "a.example:0", "a.example:08000", "a.example:8443", "a.example:65536", "a.example:99999",
)  # fmt: skip


def asked(app: Flask, **changes: Any) -> dict[str, Any] | str:
    """What the address of a request is taken for, or why it is refused."""
    environ = create_environ("/some/path?x=1", method="POST") | changes
    try:
        adapter = app.create_url_adapter(Request(environ))
    except HTTPException as refusal:
        return type(refusal).__name__
    assert adapter is not None
    return {name: value for name, value in vars(adapter).items() if name not in ("map", "websocket")}


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("host", HOSTS)
def test_an_address_is_what_flask_takes_it_for(host: str, scheme: str) -> None:
    changes = {"HTTP_HOST": host, "wsgi.url_scheme": scheme}
    assert asked(LeanApplication("lean"), **changes) == asked(Flask("flask"), **changes)


@pytest.mark.parametrize(
    "changes",
    [{"PATH_INFO": "/b\xc3\xbccher"}, {"PATH_INFO": "/\xff"}, {"HTTP_UPGRADE": "websocket"},
     {"SCRIPT_NAME": "/under"}, {"QUERY_STRING": ""},
     {"QUERY_STRING": "q=\xc3\xbc"}, {"SCRIPT_NAME": "/\xc3\xbc"}],
)  # fmt: skip
def test_so_is_the_rest_of_it(changes: dict[str, str]) -> None:
    changes = {"HTTP_HOST": "example.com"} | changes
    assert asked(LeanApplication("lean"), **changes) == asked(Flask("flask"), **changes)


def test_hosts_that_are_trusted_are_asked_for() -> None:
    lean, flask = LeanApplication("lean"), Flask("flask")
    for app in (lean, flask):
        app.config["TRUSTED_HOSTS"] = ["example.com"]
    for host in ("example.com", "evil.example"):
        assert asked(lean, HTTP_HOST=host) == asked(flask, HTTP_HOST=host)


def test_without_a_request_there_is_no_address() -> None:
    assert LeanApplication("lean").create_url_adapter(None) is None


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
def test_json_is_answered_as_flask_answers_it(method: str) -> None:
    lean, flask = (
        answered(
            made('{"a":"ü"}', 201, [("Retry-After", "5")], content_type="application/json"),
            create_environ(method=method),
        )
        for made in (JsonResponse, Response)
    )
    assert lean == flask


def answered(response: Response, environ: dict[str, Any]) -> tuple[str, list[tuple[str, str]], bytes]:
    """What a server gets of it."""
    begun: list[tuple[str, list[tuple[str, str]]]] = []

    def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
        begun.append((status, headers))

    body = b"".join(response(environ, start))
    [(status, headers)] = begun
    return status, sorted(headers), body


def test_json_says_that_it_is_json() -> None:
    assert JsonResponse("{}").headers["Content-Type"] == "application/json"
