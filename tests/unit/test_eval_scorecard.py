"""A scorecard is written as its golden file says, and nothing else is taken for one."""

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from illume.core.errors import DataError
from illume.eval.scorecard import ABILITIES, Figure, Row, Scorecard, load, schema, validate
from illume.eval.task import Score, to_row

GOLDEN = Path(__file__).parent / "golden" / "scorecard.json"


def card() -> Scorecard:
    row = Row(0.75, 4, (0.5, 1.0), {"count": Figure(0.5, 2, (0.0, 1.0))}, {"without image": 0.25})
    rows = dict.fromkeys(ABILITIES, row)
    return Scorecard(rows, {"encoder": 12.5, "score see": 0.5}, 1.25, "0123456789ab", 0, version="0.1.0")


def test_a_scorecard_is_what_its_golden_file_says(tmp_path: Path) -> None:
    golden = json.loads(GOLDEN.read_text())
    assert card().to_dict() == golden
    card().save(tmp_path / "scorecard.json")
    assert load(tmp_path / "scorecard.json") == golden


def broken(*path: str, value: Any) -> dict[str, Any]:
    """The golden scorecard with one value changed (None: left out)."""
    plain = deepcopy(json.loads(GOLDEN.read_text()))
    node = plain
    for name in path[:-1]:
        node = node[name]
    node.pop(path[-1]) if value is None else node.update({path[-1]: value})
    return plain


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("format_version",), 2),
        (("format_version",), None),
        (("config_hash",), "short"),
        (("seconds", "encoder"), -1.0),
        (("peak_memory_gb",), "much"),
        (("sing",), {"score": 1.0}),
        (("see", "score"), "good"),
        (("see", "n"), 0),
        (("see", "ci95"), [0.0]),
        (("see", "by", "count"), {"score": 0.5, "n": 2}),
        (("see", "baseline", "without image"), "low"),
        (("see", "extra"), 1),
    ],
)
def test_what_is_no_scorecard_is_refused_and_the_place_named(path: tuple[str, ...], value: Any) -> None:
    with pytest.raises(DataError) as caught:
        validate(broken(*path, value=value), "card.json")
    assert "card.json" in str(caught.value)
    assert path[0] in str(caught.value)


def test_a_scorecard_may_lack_abilities_that_its_data_do_not_have() -> None:
    plain = broken("edit", value=None)
    assert validate(plain, "card.json") == plain
    assert set(ABILITIES) < set(schema()["properties"])


def test_an_unreadable_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "torn.json").write_text('{"see": ')
    for name in ("torn.json", "missing.json"):
        with pytest.raises(DataError, match=name):
            load(tmp_path / name)


def test_a_row_is_the_mean_over_counted_items_and_their_groups() -> None:
    scores = [Score(1.0, ("a",)), Score(0.0, ("a", "b")), Score(1.0), Score(0.0, ("novel",), counted=False)]
    row = to_row(scores, {"chance": 1 / 3}, {"kappa": Figure.rounded(0.123456, 3, (0.1, 0.2))})
    assert (row.score, row.n) == (0.6667, 3)
    assert {name: (figure.score, figure.n) for name, figure in row.by.items()} == {
        "a": (0.5, 2),
        "b": (0.0, 1),
        "novel": (0.0, 1),
        "kappa": (0.1235, 3),
    }
    assert row.baseline == {"chance": 0.3333}
