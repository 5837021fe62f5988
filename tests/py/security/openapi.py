"""What the application says of itself: its operations, as /openapi.json lists them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from glue.app import create_app
from glue.routes import Services
from glue.routes.documents import document
from glue.settings import Settings
from tests.py.http.site import base_env


@dataclass(frozen=True)
class Field:
    """A parameter, or a member of the body. `place`: path, query, header or body."""

    name: str
    place: str
    required: bool
    schema: Mapping[str, Any]

    @property
    def is_text(self) -> bool:
        return "string" in _types(self.schema)

    @property
    def is_free_text(self) -> bool:
        """Whether it takes any words, and not only those of a list or a format."""
        return self.is_text and not any("enum" in s or "format" in s for s in _branches(self.schema))


@dataclass(frozen=True)
class Operation:
    method: str
    path: str
    fields: tuple[Field, ...]
    security: tuple[str, ...]
    success: int

    def __str__(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def has_body(self) -> bool:
        return any(field.place == "body" for field in self.fields)

    def in_place(self, place: str, values: Mapping[str, Any]) -> dict[str, Any]:
        """Those of the values that belong there."""
        return {f.name: values[f.name] for f in self.fields if f.place == place and f.name in values}


def operations_of(spec: Mapping[str, Any]) -> list[Operation]:
    """Every operation of an OpenAPI document, in its order; fields by place and name."""
    return [
        Operation(
            method.upper(),
            path,
            tuple(sorted(_fields(spec, operation), key=lambda field: (field.place, field.name))),
            tuple(name for choice in operation.get("security", []) for name in choice),
            min(int(status) for status in operation["responses"]),
        )
        for path, item in spec["paths"].items()
        for method, operation in item.items()
    ]


def known_operations() -> list[Operation]:
    """Those of an application like the one that serves; it is connected to nothing."""
    settings = Settings.from_env(base_env("postgresql://127.0.0.1:9/nothing") | {"METRICS_ENABLED": "true"})
    app: Any = create_app(settings)
    services: Services = app.extensions["pgbooking"]
    services.db.close()
    services.mirror.close()
    services.gateway.close()
    return operations_of(document(app))


def _fields(spec: Mapping[str, Any], operation: Mapping[str, Any]) -> Iterator[Field]:
    for found in operation.get("parameters", []):
        yield Field(
            found["name"], found["in"], found.get("required", False), _resolved(spec, found["schema"])
        )
    content = operation.get("requestBody", {}).get("content", {})
    schema = _resolved(spec, content.get("application/json", {}).get("schema", {}))
    for name, value in schema.get("properties", {}).items():
        yield Field(name, "body", name in schema.get("required", []), _resolved(spec, value))


def _resolved(spec: Mapping[str, Any], schema: Mapping[str, Any]) -> Mapping[str, Any]:
    while "$ref" in schema:
        schema = spec["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]]
    return schema


def _branches(schema: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [schema, *schema.get("anyOf", []), *schema.get("oneOf", []), *schema.get("allOf", [])]


def _types(schema: Mapping[str, Any]) -> set[str]:
    return {branch["type"] for branch in _branches(schema) if "type" in branch}
