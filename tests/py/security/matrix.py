"""The cells of the matrix: every operation x who calls x whose thing, and what is wrong with the answers."""

from __future__ import annotations

from collections.abc import Iterator

import requests

from tests.py.http.site import Row
from tests.py.security.openapi import known_operations
from tests.py.security.rights import RIGHTS, Refusal, Right
from tests.py.security.stage import CALLERS, Stage, Thing

OPERATIONS = known_operations()
BY_NAME = {str(operation): operation for operation in OPERATIONS if str(operation) in RIGHTS}


def faults_of_refusals(stage: Stage, name: str) -> list[str]:
    """Sends every request that must be refused. What is not as it must be, in words: another answer, one
    that tells what belongs to others, a change in any table, a call of Stripe."""
    operation, right = BY_NAME[name], RIGHTS[name]
    others, own = stage.others(right.thing), right.thing(stage, stage.new_parties())
    found = []
    stage.quiet()
    before, asked = stage.site.contents(), stage.stripe_calls()
    for cell, headers, values, expected in refusals(stage, right, own, others):
        response = stage.send(operation, headers, values)
        sent = {str(value) for value in values.values()}
        found += wrong(cell, response, expected, (own.marks | others.marks) - sent)
    after = stage.site.contents()
    found += [f"{table} changed" for table in after if after[table] != before[table]]
    found += ["Stripe was called"] if stage.stripe_calls() != asked else []
    return found


def faults_of_services(stage: Stage, name: str) -> list[str]:
    """Lets everybody who may do it with a thing of his own. What is not as it must be, in words: another
    answer, one that tells what belongs to others, a row of theirs that changed, a read that wrote."""
    operation, right = BY_NAME[name], RIGHTS[name]
    others = stage.others(right.thing)
    found = []
    for caller in right.roles:
        if right.others and caller not in right.parties:
            continue
        own = right.thing(stage, stage.new_parties())
        stage.quiet()
        before = stage.site.contents()
        headers = stage.authorization(caller, own.parties.by_role(caller))
        response = stage.send(operation, headers, own.fields)
        sees = right.sees_all or caller in right.sees_others
        hidden = frozenset[str]() if sees else others.marks
        found += wrong(caller, response, operation.success, hidden)
        after = stage.site.contents()
        if operation.method == "GET" and caller != "scheduler" and after != before:
            found.append(f"{caller}: a read wrote")
        found += [
            f"{caller}: rows of others changed"
            for mark in others.marks
            if rows_with(mark, before) != rows_with(mark, after)
        ]
    return found


def refusals(
    stage: Stage, right: Right, own: Thing, others: Thing
) -> Iterator[tuple[str, dict[str, str], Row, Refusal]]:
    """Each cell whose answer is a refusal: its name, headers, values, what must be answered."""
    named = {"own": dict(own.fields), "other's": dict(others.fields), "absent": stage.absent(own)}
    for caller in CALLERS:
        headers = stage.authorization(caller, own.parties.by_role(caller))
        for whose, values in named.items():
            cell = f"{caller} x {whose}"
            if caller not in right.roles:
                yield cell, headers, values, at_the_door(caller, right)
            elif whose == "absent" and right.absent:
                yield cell, headers, values, right.absent
            elif caller in right.sees_others:
                continue
            elif right.others and (whose == "other's" or (whose == "own" and caller not in right.parties)):
                yield cell, headers, values, right.others


def at_the_door(caller: str, right: Right) -> Refusal:
    if caller == "nobody":
        return right.without_token
    if caller == "scheduler" and right.otherwise == (403, "forbidden"):
        return (401, "invalid_token")
    return right.otherwise


def wrong(
    cell: str, response: requests.Response, expected: Refusal | int, hidden: frozenset[str]
) -> list[str]:
    status, code = expected if isinstance(expected, tuple) else (expected, None)
    found = []
    if response.status_code != status:
        found.append(f"{cell}: {response.status_code} and not {status}: {response.text[:300]}")
    elif code is not None and code not in response.text:
        found.append(f"{cell}: {response.text[:300]} and not {code}")
    whole = response.text + str(response.headers)
    return found + [f"{cell}: the answer tells {mark}" for mark in hidden if mark in whole]


def rows_with(mark: str, contents: dict[str, list[str]]) -> list[str]:
    return [line for lines in contents.values() for line in lines if mark in line]
