"""What every scene of the demo needs: who takes part, and how a request is shown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from glue.demo.console import Console, StepFailed
from glue.demo.people import Answer, Api, Card, Person
from glue.logins import Sql
from glue.system import System

PATIENCE = 30.0
"""Seconds for what happens by itself: webhooks, the worker."""


@dataclass(frozen=True)
class Cast:
    """Everybody who takes part."""

    system: System
    api: Api
    card: Card
    server: Sql
    """The server's own login role."""
    operator: Sql
    """The login role of the person who runs the system."""

    def person(self, name: str, role: str) -> Person:
        return Person.of(name, role, self.api, self.system.secrets.jwt)


class Scene:
    """Steps in order; each raises StepFailed when something does not hold."""

    def __init__(self, cast: Cast, console: Console) -> None:
        self._cast = cast
        self._say = console
        self._control = cast.system.control
        self._student = cast.person("student-sam", "student")
        self._admin = cast.person("admin-ada", "admin")

    def _post(self, who: Person, path: str, body: Mapping[str, Any], *, status: int, key: str = "") -> Answer:
        """A POST that is shown and must be answered with this status."""
        with_key = f" (Idempotency-Key: {key})" if key else ""
        self._say.asked(f"POST {path} {compact(body)}{with_key}", who.name)
        answer = who.post(path, body, key)
        if answer.status != status:
            raise StepFailed(f"POST {path}", status, f"{answer}: {answer.body}")
        return answer

    def _quietly(self, who: Person, path: str, body: Mapping[str, Any], *, status: int) -> Answer:
        answer = who.post(path, body)
        if answer.status != status:
            raise StepFailed(f"POST {path} as {who.name}", status, f"{answer}: {answer.body}")
        return answer


def compact(body: Mapping[str, Any]) -> str:
    return "{" + ", ".join(f"{name}: {value}" for name, value in body.items()) + "}"
