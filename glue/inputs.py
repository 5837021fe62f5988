"""A request's parts as the models that a handler is annotated with.

flask-openapi3 would make the JSON schema of each model anew for every request, which takes longer than all
the rest. It writes /openapi.json from the same annotations; here the models alone do the checking.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from io import BytesIO
from typing import Any, NoReturn, get_type_hints

from flask import current_app, request
from pydantic import BaseModel, ValidationError
from werkzeug.exceptions import RequestEntityTooLarge

from glue.errors import ApiError

Reader = Callable[[Mapping[str, Any]], BaseModel]


class Inputs:
    """What reads the parts of a request that a handler is annotated with: path, query, header, body."""

    def __init__(self, handler: Callable[..., Any]) -> None:
        hints = get_type_hints(handler)
        self._readers: list[tuple[str, Reader]] = [
            (part, make(hints[part]))
            for part, make in (("header", _headers), ("path", _path), ("query", _query))
            if part in hints
        ]
        self._body: type[BaseModel] | None = hints.get("body")
        self._needs_body = self._body is not None and needs_body(self._body)

    def read(self, path: Mapping[str, Any]) -> dict[str, BaseModel]:
        """The arguments of the handler. Raises `ApiError` 400, 413, 415."""
        content = json_object(needed=self._needs_body) if self._body else None
        try:
            found = {part: reader(path) for part, reader in self._readers}
            if self._body:
                found["body"] = self._body.model_validate(content)
            return found
        except ValidationError as error:
            refuse_input(error)


def refuse_input(error: ValidationError) -> NoReturn:
    """Names the fields at fault, and never repeats what was sent."""
    fields = [
        {
            "field": ".".join(str(part) for part in found["loc"])[:100],
            "message": found["msg"].removeprefix("Value error, "),
        }
        for found in error.errors(include_url=False, include_context=False, include_input=False)[:10]
    ]
    first = fields[0]
    raise ApiError(
        400,
        "invalid_request",
        f"{first['field']}: {first['message']}",
        {"field": first["field"], "fields": fields},
    )


def read_body() -> bytes:
    """The whole body. A stream of unknown length is cut at the limit without a word: that is refused, too."""
    stream, most = request.environ["wsgi.input"], request.max_content_length or 0
    if type(stream) is BytesIO:  # it is here already (`glue.front`): no stream is needed around it
        body = stream.getvalue()
        is_too_large = len(body) > most
    else:
        body = request.get_data()
        is_too_large = request.content_length is None and len(body) >= most
    if is_too_large:
        raise RequestEntityTooLarge
    return body


def needs_body(model: type[BaseModel]) -> bool:
    """Whether something has to be said: with a default for every field, nothing has."""
    return any(field.is_required() for field in model.model_fields.values())


def json_object(*, needed: bool = True) -> dict[str, Any]:
    """The body as a JSON object, before any field is looked at; no body is `{}` unless it is `needed`.

    Raises `ApiError` 400, 415.
    """
    content = read_body()
    if not needed and not content:
        return {}
    if not request.is_json:
        raise ApiError(415, "unsupported_media_type", "Send the body as application/json.")
    try:
        body = current_app.json.loads(content)
    except ValueError:
        raise ApiError(400, "invalid_json", "The body is not valid JSON.") from None
    if not isinstance(body, dict):
        raise ApiError(400, "invalid_request", "The body must be a JSON object.")
    return body


def _path(model: type[BaseModel]) -> Reader:
    return model.model_validate


def _query(model: type[BaseModel]) -> Reader:
    return lambda _: model.model_validate(request.args.to_dict())


def _headers(model: type[BaseModel]) -> Reader:
    names = [field.alias or name for name, field in model.model_fields.items()]

    def read(_: Mapping[str, Any]) -> BaseModel:
        headers = request.headers
        return model.model_validate({name: headers[name] for name in names if name in headers})

    return read
