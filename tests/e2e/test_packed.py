"""A run packed by the command line, and then used by a name, as what comes with ILLUME is."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from illume.generate.named import BUILT_IN
from illume.tasks.verdict import Verdict

pytestmark = pytest.mark.xdist_group("run")  # one run for all of them
Illume = Callable[..., Any]


@pytest.fixture
def comes_along(illume: Illume, here: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What `illume pack` answered; its folder is called `nano` from then on."""
    answer = illume("pack", "runs/demo", "weights/nano", "--json")
    assert answer.code == 0, answer.err
    monkeypatch.setitem(BUILT_IN, "nano", here / "weights" / "nano")
    told: dict[str, Any] = json.loads(answer.out)
    return told


def test_it_is_half_as_large(comes_along: dict[str, Any], here: Path) -> None:
    def size(folder: str) -> int:
        return sum(file.stat().st_size for file in (here / folder).rglob("*.safetensors"))

    assert size("weights/nano") < 0.6 * size("runs/demo/model")
    assert size("weights/nano") < comes_along["bytes"] < size("weights/nano") + 100_000


def test_every_command_takes_its_name(comes_along: dict[str, Any], here: Path, illume: Illume) -> None:
    picture = here / "out.png"
    for words in (
        ["draw", "nano", "a red circle", "-o", picture],
        ["chat", "nano", "--image", picture, "how many objects are there?"],
        ["edit", "nano", "--image", picture, "remove the circle", "-o", here / "edited.png"],
        ["show", "nano"],
        ["draw", "nano", "a red circle", "--best-of", "2", "--judge", "oracle", "-o", picture],
    ):
        answer = illume(*words)
        assert answer.code == 0, (words, answer.err)
    scored = illume("score", "nano", "score.num_items=6", "--json")
    assert json.loads(scored.out)["config_hash"] == comes_along["config_hash"]
    judged = illume("assess", "nano", "--image", picture, "a red circle", "--json")
    if judged.code:
        assert "verdict" in judged.err, "a model that has learnt nothing need not write one, but says so"
    else:
        Verdict.from_json(judged.out)


def test_a_run_that_is_none_is_refused(illume: Illume, here: Path) -> None:
    answer = illume("pack", "runs/demo/model", "out")  # its scorecard is the run's
    assert (answer.code, "only a finished run is packed" in answer.err) == (1, True)
