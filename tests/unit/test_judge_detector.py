"""The detector judge: tiny models end to end, and hand-made detectors for what is cut out and asked."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fixtures.tiny_detectors import save_clip, save_mask2former, save_yolos
from illume.judge.detector import DetectorJudge, cut_out
from illume.judge.geneval import COLOURS, Rules
from illume.judge.protocol import Drawing, Failure, Judgement
from illume.models.detection import Box, Detection
from illume.models.detectors import load_detector, load_matcher
from illume.tasks.verdict import Verdict

SPECS: list[dict[str, Any]] = [
    {"tag": "single_object", "include": [{"class": "bench", "count": 1}]},
    {"tag": "colors", "include": [{"class": "tv remote", "count": 1, "color": "red"}]},
    {"tag": "counting", "include": [{"class": "bench", "count": 2}], "exclude": [{"class": "bench", "count": 3}]},
]


def noise(size: tuple[int, int], seed: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8))


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> DetectorJudge:
    detector = load_detector(save_mask2former(tmp_path_factory.mktemp("detector")))
    return DetectorJudge(detector, load_matcher(save_clip(tmp_path_factory.mktemp("clip"))), Rules(0.0, 0.0))


def test_every_drawing_gets_its_verdict_whatever_the_sizes(judge: DetectorJudge) -> None:
    sizes = [(32, 32)] * 10 + [(40, 24), (24, 40)]
    drawings = [Drawing("p", noise(size, i), str(i), SPECS[i % 3]) for i, size in enumerate(sizes)]
    found = list(judge.judge(drawings))
    assert [judgement.drawing for judgement in found] == drawings
    assert all(isinstance(judgement.outcome, Verdict) for judgement in found)
    assert [judgement.outcome for judgement in judge.judge(drawings)] == [judgement.outcome for judgement in found]


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (None, "has no spec"),
        ({"tag": "x"}, "GenEval's metadata"),
        ({"tag": "x", "include": [{"class": "giraffe", "count": 1}]}, "knows no 'giraffe'"),
    ],
)
def test_what_it_cannot_judge_is_unfit(judge: DetectorJudge, spec: Any, words: str) -> None:
    good = Drawing("p", noise((32, 32), 0), "a", SPECS[0])
    first, second = judge.judge([Drawing("p", noise((32, 32), 0), "b", spec), good])
    assert isinstance(first.outcome, Failure)
    assert (first.outcome.kind, first.passed, words in first.outcome.reason) == ("unfit", False, True)
    assert isinstance(second.outcome, Verdict)


class Seeing:
    """A detector that sees what it is told, and a matcher that names the flat colour of a picture."""

    def __init__(self, *detections: Detection) -> None:
        self.labels = {0: "cat"}
        self.detections = list(detections)
        self.looked_at: list[np.ndarray] = []
        self.wordings: list[list[str]] = []

    def detect(self, pictures: np.ndarray) -> list[list[Detection]]:
        return [self.detections for _ in pictures]

    def classifier(self, wordings: list[list[str]]) -> Any:
        self.wordings = wordings
        return "classifier"

    def best(self, pictures: list[np.ndarray], classifier: Any) -> list[int]:
        assert classifier == "classifier"
        self.looked_at += pictures
        return [COLOURS.index("red" if picture[..., 0].mean() > 128 else "blue") for picture in pictures]


def halves() -> Image.Image:
    """Red on the left, blue on the right."""
    pixels = np.zeros((10, 20, 3), np.uint8)
    pixels[:, :10, 0] = pixels[:, 10:, 2] = 255
    return Image.fromarray(pixels)


@pytest.mark.parametrize(("box", "passed"), [((0.0, 0.0, 9.6, 10.0), True), ((10.4, 0.0, 20.0, 10.0), False)])
def test_the_colour_is_that_of_the_crop(box: Box, passed: bool) -> None:
    seeing: Any = Seeing(Detection("cat", 0.9, box))
    spec = {"tag": "colors", "include": [{"class": "cat", "count": 1, "color": "red"}]}
    (judgement,) = DetectorJudge(seeing, seeing).judge([Drawing("a red cat", halves(), "a", spec)])
    assert judgement == Judgement(judgement.drawing, judgement.outcome)
    assert judgement.passed == passed
    assert seeing.looked_at[0].shape == (10, 10, 3)
    assert seeing.wordings[0] == ["a photo of a red cat", "a photo of a red-colored cat", "a photo of a red object"]
    assert len(seeing.wordings) == len(COLOURS) == 10


def test_what_is_not_the_object_is_grey() -> None:
    mask = np.zeros((10, 20), bool)
    mask[:, :5] = True
    cut = np.asarray(cut_out(halves(), Detection("cat", 0.9, (0.0, 0.0, 12.0, 10.0), mask)))
    assert cut.shape == (10, 12, 3)
    assert (cut[:, :5] == (255, 0, 0)).all()
    assert (cut[:, 5:] == 0x99).all()


def test_a_box_without_area_is_one_pixel() -> None:
    assert cut_out(halves(), Detection("cat", 0.9, (3.1, 2.0, 3.2, 2.0))).size == (1, 1)


def test_its_identity_is_models_and_rules(tmp_path: Path, judge: DetectorJudge) -> None:
    json.dumps(dict(judge.identity.settings))
    other_rules = DetectorJudge(judge.detector, judge.matcher)
    other_model = DetectorJudge(load_detector(save_yolos(tmp_path)), judge.matcher, judge.rules)
    again = DetectorJudge(judge.detector, judge.matcher, Rules(0.0, 0.0))
    assert again.identity.fingerprint == judge.identity.fingerprint
    assert len({one.identity.fingerprint for one in (judge, other_rules, other_model)}) == 3
