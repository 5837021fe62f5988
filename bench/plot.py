"""A subject as a picture: a bar to each ratio, a line across its single rounds, a mark at its target."""

from __future__ import annotations

from collections.abc import Sequence
from xml.sax.saxutils import escape

from bench.measure import Result

WIDTH, LEFT, ROW, TOP = 860, 12, 52, 30
MET, MISSED, PLAIN, INK, SOFT = "#2c7fb8", "#d95f0e", "#7a8794", "#1f2328", "#d8dee4"


def svg(name: str, results: Sequence[Result]) -> str:
    """SVG, readable on light and dark pages; bars begin at 0 and end at the highest ratio, at least at 1."""
    highest = max(1.0, *(max(result.spread[1], result.target or 0) for result in results)) * 1.05
    span = WIDTH - 2 * LEFT - 60
    height = TOP + ROW * len(results) + 24

    def x(ratio: float) -> float:
        return round(LEFT + span * ratio / highest, 1)

    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img"'
        f' font-family="system-ui, sans-serif" font-size="13">',
        f"<title>{escape(name)}: ratio of ours to the floor</title>",
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
        _text(LEFT, 18, f"{name}: ratio to the floor; | is the target, the thin line the single rounds"),
        _line(x(1), TOP, x(1), height - 20, SOFT, 1),
        _text(x(1), height - 6, "1 = the floor", anchor="middle"),
    ]
    for number, result in enumerate(results):
        top = TOP + ROW * number
        low, high = result.spread
        bar = PLAIN if result.target is None else MET if result.ratio >= result.target else MISSED
        lines += [
            _text(LEFT, top + 16, f"{result.title}, against {result.floor_title}"),
            f'<rect x="{LEFT}" y="{top + 24}" width="{round(x(result.ratio) - LEFT, 1)}" height="16"'
            f' fill="{bar}"/>',
            _line(x(low), top + 32, x(high), top + 32, INK, 1),
            _text(x(max(high, result.ratio)) + 8, top + 37, f"{result.ratio:.2f}"),
        ]
        if result.target is not None:
            lines.append(_line(x(result.target), top + 20, x(result.target), top + 44, INK, 2))
    return "\n".join([*lines, "</svg>"]) + "\n"


def _text(x: float, y: float, words: str, anchor: str = "start") -> str:
    return f'<text x="{x}" y="{y}" fill="{INK}" text-anchor="{anchor}">{escape(words)}</text>'


def _line(x1: float, y1: float, x2: float, y2: float, colour: str, width: int) -> str:
    return f'<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}" stroke="{colour}" stroke-width="{width}"/>'
