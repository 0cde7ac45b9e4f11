"""The judge of GenEval: an object detector says what is there, CLIP its colours, and the rules decide (geneval.py).

A drawing's `spec` is a line of GenEval's metadata; one without is unfit. It knows no thresholds of its own.
"""

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property, lru_cache, partial
from itertools import islice

import numpy as np
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor

from illume.core.config import to_dict
from illume.core.errors import DataError
from illume.encode import weights_hash
from illume.judge.geneval import BLANK, COLOURS, WORDINGS, Rules, check, counted, label_of, parse_metadata
from illume.judge.protocol import Drawing, Failure, Identity, Judgement, Outcome
from illume.models.detection import Detection
from illume.models.detectors import Detector, Matcher

_TOGETHER = 8


class DetectorJudge:
    """GenEval's verdicts, by models in memory (`models.detectors` loads them)."""

    def __init__(self, detector: Detector, matcher: Matcher, rules: Rules | None = None) -> None:
        self.detector = detector
        self.matcher = matcher
        self.rules = rules or Rules()
        self._classifier = lru_cache(maxsize=None)(self._colour_classifier)

    @cached_property
    def identity(self) -> Identity:
        models = {"detector": weights_hash(self.detector.model), "clip": weights_hash(self.matcher.model)}
        return Identity("detector", {**models, "rules": to_dict(self.rules)})

    def judge(self, drawings: Iterable[Drawing]) -> Iterator[Judgement]:
        """In the order of the drawings; neighbours of one size are looked at together."""
        waiting = iter(drawings)
        while some := list(islice(waiting, _TOGETHER)):
            pictures = [np.asarray(drawing.picture()) for drawing in some]
            for drawing, picture, seen in zip(some, pictures, self._seen(pictures), strict=True):
                yield Judgement(drawing, self._outcome(drawing, picture, seen))

    def _seen(self, pictures: Sequence[UInt8[np.ndarray, "_ _ 3"]]) -> list[list[Detection]]:
        if len({picture.shape for picture in pictures}) == 1:
            return self.detector.detect(np.stack(pictures))
        return [self.detector.detect(picture[None])[0] for picture in pictures]

    def _outcome(self, drawing: Drawing, picture: UInt8[np.ndarray, "h w 3"], seen: list[Detection]) -> Outcome:
        try:
            if drawing.spec is None:
                raise DataError("the drawing has no spec: GenEval's metadata say what its prompt means")
            metadata = parse_metadata(drawing.spec)
            labels = tuple(self.detector.labels.values())
            names = {wanted.name for wanted in (*metadata.include, *metadata.exclude)}
            called = {name: label_of(name, labels) for name in sorted(names)}
        except DataError as error:
            return Failure("unfit", str(error))
        found = {
            name: counted([d for d in seen if d.label == label], metadata.tag, self.rules)
            for name, label in called.items()
        }
        return check(metadata, found, partial(self._colours, Image.fromarray(picture)), self.rules)

    def _colours(self, picture: Image.Image, name: str, objects: Sequence[Detection]) -> list[str]:
        crops = [np.asarray(cut_out(picture, one)) for one in objects]
        return [COLOURS[index] for index in self.matcher.best(crops, self._classifier(name))]

    def _colour_classifier(self, name: str) -> Tensor:
        return self.matcher.classifier([[w.format(colour=c, name=name) for w in WORDINGS] for c in COLOURS])


def cut_out(picture: Image.Image, detection: Detection) -> Image.Image:
    """The object alone: its box, and grey where the box shows something else, if that is known."""
    if detection.mask is not None:
        blank = Image.new("RGB", picture.size, BLANK)
        picture = Image.composite(picture, blank, Image.fromarray(detection.mask))
    left, top, right, bottom = (round(side) for side in detection.box)
    return picture.crop((left, top, max(right, left + 1), max(bottom, top + 1)))
