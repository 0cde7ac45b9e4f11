"""The report is one page that needs nothing else, shows people's words as words, and each figure in its unit."""

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from illume.eval.report import comparable, figure_text, meaning, picked, write_report
from illume.eval.scorecard import Figure, Row, Scorecard
from illume.eval.task import Example

PICTURE = np.full((32, 32, 3), 200, np.uint8)


def card(**rows: Row) -> dict[str, Any]:
    return Scorecard(rows, {"encoder": 61.0, "score": 2.0}, 1.5, "0123456789ab", 0).to_dict()


def page(path: Path, examples: dict[str, list[Example]], **rows: Row) -> str:
    metrics = [{"part": "encoder", "step": step, "loss": 1 / (step + 1)} for step in range(5)]
    write_report(path / "report.html", "pico", card(**rows), examples, [*metrics, {"part": "codes"}])
    return (path / "report.html").read_text(encoding="utf-8")


def test_the_page_stands_alone(tmp_path: Path) -> None:
    see = Row(0.954, 100, (0.9, 0.98), {"count": Figure(0.5, 2, (0.0, 1.0))}, {"without image": 0.3})
    html = page(tmp_path, {"see": [Example("how many?", (("", PICTURE),), "two", True)] * 30}, see=see)

    class Sources(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            for name, value in attrs:
                if name in ("src", "href", "xlink:href"):
                    assert value is not None
                    assert value.startswith(("data:image/png", "#")), value

    Sources().feed(html)
    assert "<script" not in html
    assert "95.4%" in html
    assert "1 min 03 s" in html
    assert html.count("how many?</b>") == 24
    assert len(re.findall("<svg", html)) == 1


def test_words_are_only_words(tmp_path: Path) -> None:
    nasty = "<img src=x onerror=alert(1)> {{ 7 * 7 }}"
    html = page(tmp_path, {"draw": [Example(nasty, (("", PICTURE),), nasty, False)]}, draw=Row(0.0, 1, (0.0, 0.0)))
    assert "<img src=x" not in html
    assert "{{ 7 * 7 }}" in html


def test_nothing_scored_still_makes_a_page(tmp_path: Path) -> None:
    assert "pico" in page(tmp_path, {})


@pytest.mark.parametrize(
    ("value", "name", "text"),
    [
        (0.9537, "", "95.4%"),
        (1.0, "", "100.0%"),
        (23.44, "", "23.4 dB"),
        (0.5, "psnr_db", "0.5 dB"),
        (-0.1, "kappa", "-0.10"),
    ],
)
def test_figures_have_their_unit(value: float, name: str, text: str) -> None:
    assert figure_text(value, name) == text


def test_only_comparable_baselines_are_marked() -> None:
    world = {"score": 0.9, "by": {"psnr_db": {}}, "baseline": {"mean image": 0.0, "mean image psnr_db": 13.0}}
    own = {"score": 0.1, "by": {"R@5": {}}, "baseline": {"chance": 0.01, "real image": 0.4}}
    assert comparable(world["baseline"], world) == [0.0]
    assert comparable(own["baseline"], own) == [0.01]
    assert meaning("draw", own) != meaning("draw", world)


def test_examples_are_picked_by_chance_and_the_same_at_every_call() -> None:
    some = [Example(str(number)) for number in range(100)]
    found = [int(example.asked) for example in picked("draw", some, 24)]
    assert found == sorted(set(found)) == [int(example.asked) for example in picked("draw", some, 24)]
    assert len(found) == 24
    assert found != list(range(24))
    assert picked("draw", some[:3], 24) == some[:3]
