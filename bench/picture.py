"""docs/benchmarks.svg: how soon 5 % bad requests end, and how often a good version is put back, by rate.

An SVG of lines, dots and words, without a library. Not here: the tables (`report.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import log10, sqrt
from typing import Any

from bench.report import kept
from bench.scenarios import RATES

Line = dict[str, Any]

WIDTH, HEIGHT, MARGIN, TOP, BOTTOM = 860, 330, 56, 48, 62
PANEL = (WIDTH - 3 * MARGIN) / 2
# Who, how it is drawn, and what it is called.
DRAWN = (
    ("ours", "sufficient", "#1f6feb", "ours, sufficient"),
    ("ours", "required", "#8250df", "ours, required"),
    ("flagger", None, "#cf222e", "Flagger, best setting"),
    ("argo", None, "#bf8700", "Argo Rollouts, best setting"),
)
# What stands for never, and the marks of both axes.
NEVER_SECONDS, SECONDS = 3000.0, (1, 3, 10, 30, 100, 300, 1000)
SHARES = (0.0, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8)
ALPHA = 0.05
# So that dots of the same height can be told apart.
BESIDE = 6.0


def picture(lines: Sequence[Line] | None = None) -> str:
    """docs/benchmarks.svg."""
    known = kept() if lines is None else lines
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" '
        'font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        *_panel(
            MARGIN,
            "Half of the releases with 5 % bad requests are back within",
            [(_of_seconds(one), f"{one:g} s") for one in SECONDS] + [(_of_seconds(NEVER_SECONDS), "never")],
        ),
        *_curves(known, "bad-5", MARGIN, lambda line: _of_seconds(line["seconds_median"] or NEVER_SECONDS)),
        *_panel(
            2 * MARGIN + PANEL,
            "Releases with 0.5 % bad requests, of 1 % allowed, put back",
            [(_of_share(one), f"{one:.0%}") for one in SHARES],
        ),
        *_curves(known, "healthy-0.5", 2 * MARGIN + PANEL, lambda line: _of_share(line["false_abort"])),
        *_legend(),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _of_seconds(seconds: float) -> float:
    """Height of a time, from 0 to 1, on a logarithmic scale."""
    return log10(max(1.0, seconds)) / log10(NEVER_SECONDS)


def _of_share(share: float) -> float:
    """Height of a share: small ones are spread, as the root of it."""
    return sqrt(share / SHARES[-1])


def _x(left: float, rate: float) -> float:
    return left + PANEL * (RATES.index(rate) + 0.5) / len(RATES)


def _y(height: float) -> float:
    return HEIGHT - BOTTOM - min(1.0, height) * (HEIGHT - TOP - BOTTOM)


def _panel(left: float, title: str, marks: Sequence[tuple[float, str]]) -> list[str]:
    found = [f'<text x="{left:.1f}" y="{TOP - 24}" font-weight="bold">{title}</text>']
    for height, words in marks:
        y = _y(height)
        found.append(f'<line x1="{left:.1f}" x2="{left + PANEL:.1f}" y1="{y:.1f}" y2="{y:.1f}" stroke="#d0d7de"/>')
        found.append(f'<text x="{left - 6:.1f}" y="{y + 4:.1f}" text-anchor="end" fill="#57606a">{words}</text>')
    for rate in RATES:
        words = f'<text x="{_x(left, rate):.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle" fill="#57606a">'
        found.append(f"{words}{rate:g}/s</text>")
    return found


def _curves(lines: Sequence[Line], scenario: str, left: float, height: Callable[[Line], float]) -> list[str]:
    found = []
    for number, (method, mode, colour, _) in enumerate(DRAWN):
        beside = BESIDE * (number - (len(DRAWN) - 1) / 2)
        points = {
            line["rate"]: (_x(left, line["rate"]) + beside, _y(height(line)))
            for line in lines
            if line["bench"] == "gates" and (line["method"], line["mode"], line["scenario"]) == (method, mode, scenario)
            if line["alpha"] in (None, ALPHA)
        }
        path = " ".join(f"{x:.1f},{y:.1f}" for _, (x, y) in sorted(points.items()))
        found.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        found += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{colour}"/>' for x, y in points.values()]
    return found


def _legend() -> list[str]:
    found, y = [], HEIGHT - 14
    for number, (method, _, colour, title) in enumerate(DRAWN):
        x = MARGIN + number * (WIDTH - MARGIN) / len(DRAWN)
        words = f"{title}, alpha {ALPHA:g}" if method == "ours" else title
        found.append(f'<circle cx="{x:.1f}" cy="{y - 4}" r="4" fill="{colour}"/>')
        found.append(f'<text x="{x + 10:.1f}" y="{y}">{words}</text>')
    return found
