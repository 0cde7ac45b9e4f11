"""The oracle and the model itself as judges: what they say is what the world and `assess` say."""

import random
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fixtures.drawings import drawings, picture
from fixtures.tiny_model_folder import tiny_illume
from illume.api import Illume
from illume.core.errors import DataError
from illume.judge.oracle import OracleJudge
from illume.judge.own import SelfJudge
from illume.judge.protocol import Drawing, Failure, Judgement
from illume.tasks.verdict import CRITERIA, Criterion, Verdict
from illume.world import NANO, PICO, caption, holds, sample_scene, understand, verdict
from illume.world.render import render

GOOD = Verdict.of(dict.fromkeys(CRITERIA, Criterion(True, "two", True)))


@pytest.mark.parametrize("config", [PICO, NANO], ids=["pico", "nano"])
def test_the_oracle_says_what_is_true(config: Any) -> None:
    scenes = [sample_scene(config, "test", i) for i in range(12)]
    asked, truth = [], []
    for i, scene in enumerate(scenes):
        shown = scenes[i if i % 2 else i - 1]
        prompt = caption(scene, config, random.Random(i), "test").text
        asked.append(Drawing(prompt, Image.fromarray(render(shown, config)), str(i)))
        truth.append(verdict(understand(prompt), shown))
    found = list(OracleJudge(config).judge(asked))
    assert [judgement.passed for judgement in found] == [holds(true) for true in truth]
    for judgement, true in zip(found, truth, strict=True):
        assert isinstance(judgement.outcome, Verdict)
        criteria = judgement.outcome.criteria.items()
        assert {n: (c.applicable, c.passed, c.reason) for n, c in criteria} == {n: tuple(f) for n, f in true.items()}


@pytest.mark.parametrize(
    ("prompt", "image", "words"),
    [
        ("a photo of a bench", Image.new("RGB", (32, 32)), "not a caption of this world"),
        ("a red circle", Image.new("RGB", (64, 64)), "the oracle reads"),
    ],
)
def test_what_is_not_of_its_world_is_unfit(prompt: str, image: Image.Image, words: str) -> None:
    (judgement,) = OracleJudge(PICO).judge([Drawing(prompt, image)])
    assert isinstance(judgement.outcome, Failure)
    assert (judgement.outcome.kind, judgement.passed) == ("unfit", False)
    assert words in judgement.outcome.reason


def test_a_picture_of_nothing_does_not_pass() -> None:
    (judgement,) = OracleJudge(PICO).judge([Drawing("a red circle", np.zeros((32, 32, 3), np.uint8))])
    assert isinstance(judgement.outcome, Verdict)
    assert not judgement.passed


def test_worlds_are_different_judges() -> None:
    assert OracleJudge(PICO).identity.fingerprint != OracleJudge(NANO).identity.fingerprint


PROMPTS = ["a red circle", "two {blue} squares", "x" * 5000, "<odd> [prompt]", *(f"{i} dots" for i in range(20))]


def test_the_model_is_asked_as_assess_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many at once, and those that do not fit beside them; an untrained model gives no verdicts, and that is said."""
    illume = tiny_illume(strict=True)
    batches: list[int] = []
    run = illume.run

    def counted(requests: Any) -> Any:
        wanted = list(requests)
        batches.append(len(wanted))
        return run(wanted)

    monkeypatch.setattr(illume, "run", counted)
    found = list(SelfJudge(illume).judge(drawings(PROMPTS)))
    kinds = [judgement.outcome.kind for judgement in found if isinstance(judgement.outcome, Failure)]
    assert kinds == ["malformed", "malformed", "unfit", *["malformed"] * 21]
    assert not any(judgement.passed for judgement in found)
    assert batches[0] == illume.parts.generation.rows
    assert len(batches) < 2 * len(PROMPTS) / 3
    monkeypatch.undo()
    with pytest.raises(DataError) as refused:
        tiny_illume(strict=True).assess(picture(0), PROMPTS[0])
    assert found[0].outcome == Failure("malformed", str(refused.value))


def test_what_the_model_says_is_its_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    illume = tiny_illume()
    run = illume.run

    class Said:
        def __init__(self, text: str) -> None:
            self.text = text

    def saying(requests: Any) -> Any:
        return [Said(GOOD.to_json() if i % 2 else "no") for i, _ in enumerate(run(requests))]

    monkeypatch.setattr(illume, "run", saying)
    some = drawings(PROMPTS[:2])
    found = list(SelfJudge(illume).judge(some))
    assert found[1] == Judgement(some[1], GOOD)
    assert [judgement.passed for judgement in found] == [False, True]


def test_the_same_weights_are_the_same_judge() -> None:
    one, other = tiny_illume(), tiny_illume(strict=True)
    assert SelfJudge(one).identity.fingerprint == SelfJudge(other).identity.fingerprint
    warm = replace(one.parts.generation, text=replace(one.parts.generation.text, temperature=0.7))
    changed = Illume(replace(one.parts, generation=warm))
    assert SelfJudge(changed).identity.fingerprint != SelfJudge(one).identity.fingerprint
