"""List endpoints (filters, cursors, `has_more`) and `expand`."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from glue.sandbox.errors import Obj, invalid_parameter, invalid_request
from glue.sandbox.params import Params, words
from glue.sandbox.state import State, Store

PAGING = ("limit", "starting_after", "ending_before")
EXPANDABLE = words(
    """balance_transaction charge customer failure_balance_transaction latest_charge line_items payment_intent
    payment_method refunds"""
)


@dataclass
class Call:
    """One API call: the account's state, the parameters, and the ids in the path."""

    state: State
    params: Params
    args: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        return self.args[0]


def list_of(rows: list[Obj], url: str, *, has_more: bool = False) -> Obj:
    return {"object": "list", "data": rows, "has_more": has_more, "url": url}


def page(
    call: Call,
    kind: str,
    url: str,
    *,
    equal: tuple[str, ...] = (),
    where: Callable[[Obj], bool] | None = None,
) -> Obj:
    """One page, newest first. `equal` names filters compared with the field of the same name."""
    params = call.params
    params.known((*PAGING, "created", *equal))
    limit = params.integer("limit", 10, minimum=1, maximum=100) or 10
    created = _created_filter(params)
    wanted = {name: params.string(name) for name in equal if params.string(name) is not None}
    store = call.state.stores[kind]
    backwards = "ending_before" in params
    found: list[Obj] = []
    rows = (
        store.upwards(_cursor(store, kind, params, "ending_before") + 1)
        if backwards
        else store.downwards(_cursor(store, kind, params, "starting_after") - 1)
    )
    for row in rows:
        if not backwards and row["created"] < created.get("gte", 0):
            break  # rows are in order of creation
        matches = (
            all(row.get(name) == value for name, value in wanted.items())
            and _in_range(row["created"], created)
            and (where is None or where(row))
        )
        if matches:
            found.append(row)
            if len(found) > limit:
                break
    rows_of_page = found[:limit]
    if backwards:
        rows_of_page.reverse()
    return list_of(rows_of_page, url, has_more=len(found) > limit)


def _cursor(store: Store, kind: str, params: Params, name: str) -> int:
    object_id = params.string(name)
    if object_id is None:
        return len(store)
    position = store.position(object_id)
    if position is None:
        raise invalid_parameter(f"No such {kind}: '{object_id}'", param=name, code="resource_missing")
    return position


def _created_filter(params: Params) -> dict[str, int]:
    value = params.values.get("created")
    if value is None:
        return {}
    if isinstance(value, str):
        exact = params.integer("created") or 0
        return {"gte": exact, "lte": exact}
    bounds = params.mapping("created")
    bounds.known(("gt", "gte", "lt", "lte"))
    found: dict[str, int] = {}
    for name in ("gt", "gte", "lt", "lte"):
        bound = bounds.integer(name)
        if bound is not None:
            found[name] = bound
    return found


def _in_range(created: int, bounds: dict[str, int]) -> bool:
    return (
        created >= bounds.get("gte", created)
        and created <= bounds.get("lte", created)
        and created > bounds.get("gt", created - 1)
        and created < bounds.get("lt", created + 1)
    )


def check_expand(paths: list[str]) -> None:
    """Refuse, before anything is executed, to expand what never can be."""
    for path in paths:
        if not set(path.split(".")) <= EXPANDABLE | {"data"}:
            raise invalid_parameter(f"This property cannot be expanded ({path}).", param="expand")


def expanded(state: State, answer: Obj, paths: list[str]) -> Obj:
    """A copy of `answer` with the ids at `paths` (`latest_charge`, `data.charge`, ...) made objects."""
    copy: Obj = json.loads(json.dumps(answer))
    for path in paths:
        _expand(state, copy, path.split("."), path)
    return copy


def _expand(state: State, node: Any, keys: list[str], path: str) -> None:
    if isinstance(node, list):
        for item in node:
            _expand(state, item, keys, path)
        return
    if not isinstance(node, dict):
        return
    key, rest = keys[0], keys[1:]
    if key == "data" and node.get("object") == "list":
        _expand(state, node["data"], rest, path)
        return
    if key not in node and key not in ("refunds", "line_items"):
        raise invalid_request(f"This property cannot be expanded ({path}).", param="expand")
    value = node.get(key)
    if key == "refunds" and not isinstance(value, dict):
        refunds = list(reversed(state.linked(node["id"], "refund")))
        node[key] = list_of(json.loads(json.dumps(refunds)), f"/v1/charges/{node['id']}/refunds")
    elif key == "line_items" and not isinstance(value, dict):
        rows = state.secret(node["id"]).get("line_items", [])
        node[key] = list_of(json.loads(json.dumps(rows)), f"/v1/checkout/sessions/{node['id']}/line_items")
    elif isinstance(value, str):
        row = state.find(value)
        if row is not None:
            node[key] = json.loads(json.dumps(row))
    if rest:
        _expand(state, node[key], rest, path)
