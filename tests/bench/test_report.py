"""The page and the picture that are made of the benchmark's lines."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

from bench.picture import DRAWN, picture
from bench.report import PROMISES, page

SVG = "{http://www.w3.org/2000/svg}"
OURS: dict[str, Any] = {
    "bench": "gates",
    "method": "ours",
    "setting": "",
    "mode": "sufficient",
    "scenario": "healthy-0.5",
    "good": True,
    "rate": 10.0,
    "alpha": 0.05,
    "beta": 0.05,
    "runs": 400,
    "decidable": True,
    "false_abort": 0.0125,
    "missed": None,
    "bounds_99": [0.002, 0.04],
    "undecided": 0.0,
    "horizon_seconds": 185.0,
    "policy_outcome": "promoted",
    "seconds_median": 202.8,
    "seconds_p95": 207.8,
    "failed_requests_median": 27,
}
BAD = {
    **OURS,
    "scenario": "bad-5",
    "good": False,
    "false_abort": None,
    "missed": 0.0,
    "bounds_99": [0.0, 0.04],
    "policy_outcome": "aborted",
    "seconds_median": 37.5,
}
THEIRS = {"method": "flagger", "setting": "interval 10s", "mode": None, "alpha": None, "beta": None, "decidable": None}
COST = {"bench": "cost", "scenario": "6-gates", "gates": 6, "gates_milliseconds": 0.9, "decide_milliseconds": 1.1}
REVERT = {
    "bench": "revert",
    "runs": 20,
    "medians": {"failed_requests": 6.5, "seconds_to_decide": 1.25, "seconds_to_take_effect": 0.3},
    "failed_requests_p95": 9,
    "failed_requests_worst": 11,
}
LINES = [
    OURS,
    BAD,
    {**OURS, **THEIRS, "false_abort": 0.07, "bounds_99": [0.04, 0.1]},
    {**BAD, **THEIRS, "seconds_median": None, "missed": 0.8},
    COST,
    {"bench": "revert", "run": 1, "failed_requests": 7},
    REVERT,
]


def test_the_page_has_the_numbers() -> None:
    text = page(LINES)
    assert "All of them are kept." in text
    assert "| healthy-0.5 | ours, sufficient, 0.05 |  |  |  | 1.2 % |  |  |" in text
    assert "|  | Flagger |  |  |  | 7 % |  |  |" in text
    assert "| bad-5 | ours, sufficient, 0.05 |  |  |  | 38 s |  |  |" in text
    assert "|  | Flagger |  |  |  | never, 80% missed |  |  |" in text
    assert "| Flagger | 10/s | interval 10s |" in text
    assert "| 6-gates | 6 | 0.9 | 1.1 |" in text
    assert "| 20 | 6.5 | 9 | 11 | 1.25 s | 0.3 s |" in text


def test_the_page_says_what_is_not_kept() -> None:
    text = page([{**OURS, "bounds_99": [0.03, 0.09]}, *LINES[1:]])
    assert "All of them are kept." not in text
    assert "\n- healthy-0.5 at 10 requests a second, evidence sufficient, alpha 0.05: 1.25% of 400 good" in text
    assert PROMISES in text


def test_what_cannot_be_decided_is_marked() -> None:
    assert "*38 s*" in page([OURS, {**BAD, "decidable": False}])


def test_the_picture_has_a_dot_for_each_number() -> None:
    drawn = ElementTree.fromstring(picture(LINES))
    dots = [dot for dot in drawn.iter(f"{SVG}circle") if dot.get("r") == "3.5"]
    assert len(dots) == 4
    heights = {dot.get("cy") for dot in dots if dot.get("fill") == DRAWN[2][2]}
    assert len(heights) == 2
    words = [text.text for text in drawn.iter(f"{SVG}text")]
    assert words.count("500/s") == 2
    assert {"never", "0%", "Flagger, best setting"} <= set(words)


def test_lower_is_sooner() -> None:
    def height(seconds: float | None) -> float:
        drawn = ElementTree.fromstring(picture([{**BAD, "seconds_median": seconds}]))
        [dot] = [dot for dot in drawn.iter(f"{SVG}circle") if dot.get("r") == "3.5"]
        return float(dot.get("cy", "0"))

    assert height(2.5) > height(30) > height(600) > height(None)
