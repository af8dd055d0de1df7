"""Bar charts as SVG: one figure of all contestants, best first."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from html import escape
from typing import Final

import attrs

__all__ = ["Line", "chart", "shown"]

_WIDTH: Final = 760
_LEFT: Final = 190  # of the bars; names stand before it
_RIGHT: Final = 110  # for the figure behind the longest bar
_TOP: Final = 44
_STEP: Final = 26
_BAR: Final = 16
_SPAN: Final = _WIDTH - _LEFT - _RIGHT
_CUT: Final = 5  # times the median; longer bars are cut there
_COLOURS: Final = {"ours": "#0b66c3", "weaker": "#8fbbe6", "rival": "#9a9a9a"}
_HEAD: Final = (
    '<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
    'viewBox="0 0 {width} {height}" role="img" aria-label="{title}" '
    'font-family="Helvetica, Arial, sans-serif" font-size="13">'
)


@attrs.frozen(kw_only=True)
class Line:
    """One bar.

    Attributes:
        low: Least sample; the thin line begins there.
        high: Greatest sample.
        kind: ``ours``; ``weaker``: ours, with less durability; ``rival``.
    """

    name: str
    value: float
    low: float
    high: float
    kind: str


def chart(title: str, unit: str, lines: Sequence[Line], *, more_is_better: bool = False) -> str:
    """Return the SVG text of a chart with one bar a line, on a linear scale from 0.

    Bars are as given, thin lines go from the least to the greatest sample.  Where less is better,
    a bar of many times the usual would flatten all others: it is cut, and shows that.
    """
    ordered = sorted(lines, key=lambda line: line.value, reverse=more_is_better)
    scale = _SPAN / _most(lines, more_is_better=more_is_better)
    height = _TOP + _STEP * len(ordered) + 12
    note = f"{escape(unit)}, {'more' if more_is_better else 'less'} is better"
    parts = [
        _HEAD.format(width=_WIDTH, height=height, title=escape(title)),
        f'<rect width="{_WIDTH}" height="{height}" fill="#ffffff"/>',
        f'<text x="12" y="24" font-size="15" fill="#1a1a1a">{escape(title)}</text>',
        f'<text x="{_WIDTH - 12}" y="24" text-anchor="end" fill="#666666">{note}</text>',
    ]
    for k, line in enumerate(ordered):
        parts += _bar(line, _TOP + k * _STEP, scale)
    return "\n".join([*parts, "</svg>", ""])


def _most(lines: Sequence[Line], *, more_is_better: bool) -> float:
    """Return what the whole width stands for."""
    values = [line.value for line in lines]
    most = max(values, default=0)
    if values and not more_is_better:
        most = min(most, _CUT * statistics.median(values)) or most
    return most or 1.0


def _bar(line: Line, y: int, scale: float) -> list[str]:
    end = _LEFT + min(line.value * scale, _SPAN)
    low, high = (_LEFT + min(one * scale, _SPAN) for one in (line.low, line.high))
    middle, text = y + _BAR / 2, y + _BAR - 3
    colour, name = _COLOURS[line.kind], escape(line.name)
    label, width = max(end, high) + 6, max(end - _LEFT, 1)
    parts = [
        f'<text x="{_LEFT - 8}" y="{text}" text-anchor="end" fill="#1a1a1a">{name}</text>',
        f'<rect x="{_LEFT}" y="{y}" width="{width:.1f}" height="{_BAR}" fill="{colour}"/>',
        f'<path d="M{low:.1f} {middle:g}H{high:.1f}" stroke="#333333"/>',
        f'<text x="{label:.1f}" y="{text}" fill="#1a1a1a">{shown(line.value)}</text>',
    ]
    if line.value * scale > _SPAN * 1.001:
        parts.append(f'<path d="M{end - 30:.1f} {y}l6 {_BAR}h6l-6 -{_BAR}z" fill="#ffffff"/>')
    return parts


def shown(value: float) -> str:
    """Return a figure as readers see it: three digits that mean something."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"
