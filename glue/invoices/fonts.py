"""The fonts that a text needs, cut down to the characters it has.

Noto Sans comes first; a script that it lacks has a Noto font of its own. A variable font is cut down before
its weight is fixed: the other way round takes seconds.
"""

from __future__ import annotations

import io
import unicodedata
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from functools import cache
from importlib.resources import files
from typing import IO

from fontTools import subset
from fontTools.ttLib import TTFont
from fontTools.varLib import instancer

REGULAR, BOLD = 400, 700

Font = tuple[str, str]
"""A package and a file in it."""

_NOTO, _CJK = "manimgx_fonts", "noto_cjk_sans_jp_regular"
_MAIN: Font = (_NOTO, "NotoSans[wght].ttf")
_LAST: tuple[Font, ...] = (
    (_NOTO, "NotoSansSymbols[wght].ttf"),
    (_CJK, "NotoSansCJKjp-Regular.otf"),  # large: after all that may spare it
    (_NOTO, "NotoEmoji[wght].ttf"),
)
_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
_COMMON = frozenset((*range(0x20, 0x7F), *range(0xA0, 0x180), 0x2013))
"""Latin with the letters of Europe; with more of them, the cutting takes much longer."""
_DIRECTIONS = frozenset(map(chr, (*range(0x202A, 0x202F), *range(0x2066, 0x206A))))


@cache
def _others() -> tuple[Font, ...]:
    """The fonts of other scripts in the order in which they are asked."""
    names = sorted(path.name for path in files(_NOTO).iterdir() if path.name.startswith("NotoSans"))
    scripts = [(_NOTO, name) for name in names if not name.startswith(("NotoSans[", "NotoSans-"))]
    return (*(font for font in scripts if font not in _LAST), *_LAST)


@contextmanager
def _file(font: Font) -> Iterator[IO[bytes]]:
    package, name = font
    with (files(package) / name).open("rb") as file:
        yield file


@cache
def _characters(font: Font) -> frozenset[int]:
    with _file(font) as file:
        return frozenset(TTFont(file, lazy=True).getBestCmap())


def printable(text: str) -> str:
    """The text as fonts can show it; line breaks stay.

    A mark stands for what no font has. Control characters go, and so do those that turn the direction of
    reading by force: an invoice must not read otherwise than it is stored.
    """
    fonts = (_MAIN, *_others())
    shown = []
    for character in text.replace("\r\n", "\n").replace("\r", "\n").replace("\t", " "):
        if character in _DIRECTIONS or (unicodedata.category(character) == "Cc" and character != "\n"):
            continue
        if character == "\n" or any(ord(character) in _characters(font) for font in fonts):
            shown.append(character)
        elif unicodedata.category(character) != "Cf":
            shown.append(" " if character.isspace() else _REPLACEMENT)
    return "".join(shown)


def main_font(text: Collection[str], weight: int) -> bytes:
    """A font file: Noto Sans in a weight (100 to 900), with at least the characters of `text` that it has."""
    needed = {ord(character) for character in text} & _characters(_MAIN)
    return _common_font(weight) if needed <= _COMMON else _cut(_MAIN, needed, weight)


@cache
def _common_font(weight: int) -> bytes:
    """Made once: it takes most of the time of an invoice, and most need nothing else."""
    return _cut(_MAIN, _COMMON & _characters(_MAIN), weight)


def fallback_fonts(text: Collection[str]) -> Iterator[bytes]:
    """A font file for each script of `text` that Noto Sans lacks; together they have every character."""
    left = {ord(character) for character in text} - _characters(_MAIN)
    for font in _others():
        if not left:
            return
        if left & _characters(font):
            yield _cut(font, {ord(character) for character in text}, REGULAR)
            left -= _characters(font)


def _cut(source: Font, characters: Collection[int], weight: int) -> bytes:
    options = subset.Options()
    options.layout_features = ["*"]
    options.name_IDs = [1, 2, 3, 4, 5, 6]
    options.hinting = False
    options.glyph_names = False
    options.notdef_outline = True
    with _file(source) as file:
        # Neither the time nor anything else that differs from run to run gets in.
        font = TTFont(file, lazy=True, recalcTimestamp=False)
        cutter = subset.Subsetter(options)
        cutter.populate(unicodes=characters)
        cutter.subset(font)
        if "fvar" in font:
            instancer.instantiateVariableFont(font, {"wght": weight}, inplace=True)
        out = io.BytesIO()
        font.save(out)
    return out.getvalue()
