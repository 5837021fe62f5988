"""Guards of the server, taken away. Each function breaks the process and gives back how to mend it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any
from unittest import mock

import jwt
from pydantic import BaseModel

import glue.auth
from glue.auth import Principal
from glue.db import Database
from glue.routes.base import Services
from glue.schemas import Input

Mend = Callable[[], None]


def _decoding(**options: bool) -> Mend:
    true = jwt.decode_complete

    def decode(*arguments: Any, **named: Any) -> Any:
        # without a signature PyJWT checks nothing, unless it is told to
        checked = {"verify_exp": True, "verify_nbf": True, "verify_iss": True}
        return true(*arguments, **{**named, "options": {**checked, **named["options"], **options}})

    patch = mock.patch.object(jwt, "decode_complete", decode)
    patch.start()
    return patch.stop


def signatures() -> Mend:
    """Nobody looks at signatures."""
    return _decoding(verify_signature=False)


def lifetimes() -> Mend:
    """Tokens live for ever."""
    return _decoding(verify_exp=False)


def algorithms() -> Mend:
    """A token may be signed in more ways than one."""
    patch = mock.patch.object(glue.auth, "_SHARED_KEY_ALGORITHMS", ("HS256", "HS384"))
    patch.start()
    return patch.stop


def roles() -> Mend:
    """Whoever has a token is an administrator."""
    true = Services.principal

    def principal(services: Services) -> Principal:
        return replace(true(services), role="admin")

    patch = mock.patch.object(Services, "principal", principal)
    patch.start()
    return patch.stop


def _inputs(model: type[BaseModel] = Input) -> Iterator[type[BaseModel]]:
    yield model
    for each in model.__subclasses__():
        yield from _inputs(each)


def members() -> Mend:
    """A request may say more than the document knows."""

    def rebuild(extra: Any) -> None:
        for model in _inputs():
            model.model_config["extra"] = extra
        for model in _inputs():
            model.model_rebuild(force=True)

    rebuild("ignore")
    return lambda: rebuild("forbid")


def parameters() -> Mend:
    """Texts are written into the statement, as a beginner does it."""
    true = Database.one, Database.all

    def written(sql: str, params: Any) -> str:
        for name, value in (params or {}).items():
            if isinstance(value, str):
                sql = sql.replace(f"%({name})s", "'" + value.replace("%", "%%") + "'")
        return sql

    def one(self: Database, sql: Any, params: Any = None) -> Any:
        return true[0](self, written(sql, params), params)

    def every(self: Database, sql: Any, params: Any = None) -> Any:
        return true[1](self, written(sql, params), params)

    patch = mock.patch.multiple(Database, one=one, all=every)
    patch.start()
    return patch.stop
