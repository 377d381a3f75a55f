"""Charts as SVG text: lines over an axis, and bars made of parts. Nothing but text goes in and out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from launcher.report.markup import escape

WIDTH, HEIGHT = 520, 280
RIGHT, TOP, BOTTOM = 14, 14, 44
CHARACTER = 10.9
"""Width of a digit of a tick on a phone, where ticks are set larger."""
DOTS_UP_TO = 60
PALETTE = ("#2f6fde", "#d9822b", "#2a9d62", "#c2408f", "#7a58d1", "#0f9fb5", "#a3522b", "#6b7a1f")


@dataclass(frozen=True)
class Series:
    """One line. Points are in the order of x."""

    name: str
    colour: str
    points: Sequence[tuple[float, float]]


def line_chart(series: Sequence[Series], x_title: str, *, from_zero: bool = False) -> str:
    """All series over common axes, with a title on each point, shown under the mouse. `from_zero`: the axis begins at 0."""
    xs = [x for each in series for x, _ in each.points]
    ys = [y for each in series for _, y in each.points]
    low, high = _padded(min([0.0, *ys]) if from_zero else min(ys), max(ys))
    left, right = (min(xs), max(xs)) if max(xs) > min(xs) else (min(xs) - 1, max(xs) + 1)

    y_ticks = labelled(ticks(low, high, 5))
    margin = 14 + CHARACTER * max((len(label) for _, label in y_ticks), default=1)

    def at(x: float, y: float) -> tuple[float, float]:
        return (
            margin + (x - left) / (right - left) * (WIDTH - margin - RIGHT),
            HEIGHT - BOTTOM - (y - low) / (high - low) * (HEIGHT - TOP - BOTTOM),
        )

    parts = [
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" xmlns="http://www.w3.org/2000/svg">',
        *(_horizontal_line(margin, at(left, y)[1], label) for y, label in y_ticks),
        *(_mark_below(at(x, low)[0], number(x)) for x in ticks(left, right, 7, whole=True)),
        f'<line class="axis" x1="{margin}" x2="{WIDTH - RIGHT}" y1="{HEIGHT - BOTTOM}" y2="{HEIGHT - BOTTOM}"/>',
        f'<text class="tick" x="{(margin + WIDTH - RIGHT) / 2}" y="{HEIGHT - 4}" text-anchor="middle">{escape(x_title)}</text>',
    ]
    for each in series:
        parts += _line(each, [at(x, y) for x, y in each.points], x_title)
    return "".join([*parts, "</svg>"])


def _line(series: Series, places: Sequence[tuple[float, float]], x_title: str) -> list[str]:
    """The line through the places, and a dot with its value on each; of many only on the last."""
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    parts = [f'<polyline class="line" stroke="{series.colour}" points="{path}"/>']
    dots = range(len(places)) if len(places) <= DOTS_UP_TO else [len(places) - 1]
    for index in dots:
        x, y = series.points[index]
        words = escape(f"{series.name}: {number(y)} at {x_title} {number(x)}")
        parts.append(
            f'<circle cx="{places[index][0]:.1f}" cy="{places[index][1]:.1f}" r="2.6" fill="{series.colour}"><title>{words}</title></circle>'
        )
    return parts


def _horizontal_line(margin: float, y: float, label: str) -> str:
    line = f'<line class="grid" x1="{margin}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
    return line + f'<text class="tick" x="{margin - 8}" y="{y + 4:.1f}" text-anchor="end">{label}</text>'


def _mark_below(x: float, label: str) -> str:
    return f'<text class="tick" x="{x:.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{label}</text>'


def part_bar(parts: Sequence[tuple[str, float, str]], total: float) -> str:
    """A bar of (name, amount, colour), as long as its share of `total`."""
    cells = [
        f'<span style="width:{100 * amount / total:.3f}%;background:{colour}" title="{escape(name)}: {amount:.1f} s"></span>'
        for name, amount, colour in parts
        if amount > 0
    ]
    return f'<div class="bar">{"".join(cells)}</div>'


def ticks(low: float, high: float, count: int, *, whole: bool = False) -> list[float]:
    """Round numbers from `low` to `high`, about `count` of them."""
    rough = (high - low) / max(1, count)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(f * power for f in (1, 2, 2.5, 5, 10) if f * power >= rough * 0.999)
    if whole:
        step = max(1.0, round(step))
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [index * step for index in range(first, last + 1)]


def labelled(values: Sequence[float]) -> list[tuple[float, str]]:
    """Ticks with texts that differ where the ticks do."""
    texts = [number(value) for value in values]
    for digits in range(4, 9):
        if len(set(texts)) == len(texts):
            break
        texts = [number(value, digits) for value in values]
    return list(zip(values, texts, strict=True))


def number(value: float, digits: int = 3) -> str:
    """`digits` digits that matter, or one more; very small and very large ones as 9.5e-4."""
    if value == 0:
        return "0"
    if abs(value) < 1e-2 or abs(value) >= 1e7:
        mantissa, _, exponent = f"{value:.{digits - 1}e}".partition("e")
        short = mantissa.rstrip("0").rstrip(".")
        return f"{short}e{int(exponent)}"
    if abs(value) >= 1000 and digits == 3:
        return f"{value:,.0f}"
    return f"{value:,.{digits + 1}g}"


def _padded(low: float, high: float) -> tuple[float, float]:
    if high == low:
        pad = abs(high) * 0.1 or 1.0
        return low - pad, high + pad
    pad = (high - low) * 0.06
    return (0.0 if low >= 0 and low - pad < 0 else low - pad), high + pad
