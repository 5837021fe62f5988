"""Reads transitions.txt."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from tests.py.states.people import ANSWERS, DECISIONS, EVENTS

FILE = Path(__file__).with_name("transitions.txt")
ALWAYS = frozenset(DECISIONS) | frozenset(EVENTS)


@dataclass(frozen=True)
class Origin:
    """A state, how far ahead the slot is, and the words that lead to it."""

    title: str
    state: str
    hours: int
    confirmation: str
    way: tuple[str, ...]


@dataclass
class Section:
    origins: list[Origin] = field(default_factory=list)
    rules: dict[str, str] = field(default_factory=dict)


def _origin(line: str) -> Origin:
    title, _, way = line[1:].partition("] =")
    words = title.split()
    hours, confirmation = 168, "expert"
    if words[0] == "instant":
        confirmation = words.pop(0)
    elif words[0].endswith("h"):
        hours = int(words.pop(0)[:-1])
    return Origin(title, " ".join(words), hours, confirmation, tuple(way.split()))


def read() -> list[Section]:
    sections: list[Section] = []
    by_title: dict[str, Section] = {}
    later: list[tuple[Section, str, list[str]]] = []
    for raw in FILE.read_text().splitlines():
        line = raw.split("#")[0].strip()
        if not line:
            continue
        if line.startswith("["):
            if not sections or sections[-1].rules or any(entry[0] is sections[-1] for entry in later):
                sections.append(Section())
            origin = _origin(line)
            assert origin.title not in by_title, f"twice: {origin.title}"
            sections[-1].origins.append(origin)
            by_title[origin.title] = sections[-1]
        elif line.startswith("like "):
            later.append((sections[-1], line[5:], []))
        elif line.startswith("without "):
            later[-1][2].extend(line.split()[1:])
        else:
            words, arrow, result = line.partition(" -> ")
            assert arrow, f"no arrow: {line}"
            for word in words.split():
                assert word in ALWAYS or word in ANSWERS, f"unknown word: {word}"
                assert word not in sections[-1].rules, f"twice in {sections[-1].origins[0].title}: {word}"
                sections[-1].rules[word] = result.strip()
    waiting = {id(section) for section, _, _ in later}
    while later:
        ready = [entry for entry in later if id(by_title[entry[1]]) not in waiting]
        assert ready, "states are like each other in a circle"
        for section, like, without in ready:
            inherited = {w: r for w, r in by_title[like].rules.items() if w not in without}
            section.rules = {**inherited, **section.rules}
            waiting.discard(id(section))
            later.remove((section, like, without))
    return sections


def result(rule: str, state: str) -> str:
    """What a rule says of a state: 'declined/* cancel' of 'pending/failed' is 'declined/failed cancel'."""
    if rule.startswith("="):
        return state + rule[1:]
    booking, _, payment = state.split(maxsplit=1)[0].partition("/")
    statuses, _, rest = rule.partition(" ")
    ours, slash, theirs = statuses.partition("/")
    if slash:
        ours = booking if ours == "*" else ours
        theirs = payment if theirs == "*" else theirs
        statuses = f"{ours}/{theirs}"
    return f"{statuses} {rest}".strip()
