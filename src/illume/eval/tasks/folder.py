"""A person's own captioned images, held out from training: captions written, drawings found again, reconstructions.

It does not know how a model answers, nor how pictures and texts become vectors.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np
import numpy.typing as npt

from illume.core.statistics import mean
from illume.data.image_folder import ImageFolder
from illume.eval.metrics import capped_psnr
from illume.eval.scorecard import Figure, Row
from illume.eval.task import Example, Picture, Score, Subject, to_row
from illume.eval.tasks.reconstruct import mean_picture

_MEAN_OF = 2000  # training images that the mean image is taken of
_COMPARED = 256  # training images held against the drawings at a time


class Embedder(Protocol):
    """Pictures and texts as unit vectors [n, d] of one space, close where they belong together."""

    def texts(self, texts: Sequence[str]) -> npt.NDArray[np.float32]: ...

    def pictures(self, pictures: Sequence[Picture]) -> npt.NDArray[np.float32]: ...


@dataclass(frozen=True)
class Item:
    """A held-out image, its caption, and the source it is reported by, if there are several."""

    picture: Picture
    caption: str
    source: str = ""

    @property
    def by(self) -> tuple[str, ...]:
        return (self.source,) if self.source else ()


class OwnImages(Protocol):
    """Captioned images: those that training never sees, and some it does see, to be compared with."""

    def held_out(self) -> Sequence[Item]: ...

    def training(self) -> Sequence[Picture]: ...


@dataclass(frozen=True)
class FolderImages:
    """The images of a folder, split by their captions."""

    folder: ImageFolder

    def held_out(self) -> Sequence[Item]:
        return held_out(self.folder)

    def training(self) -> Sequence[Picture]:
        return training_pictures(self.folder)


@dataclass(frozen=True)
class OwnSee:
    """Captions written for held-out images: the share of words they have in common with the real one (F1)."""

    images: OwnImages
    num_items: int
    ability: ClassVar[str] = "see"

    def items(self) -> Sequence[Item]:
        return self.images.held_out()[: self.num_items]

    def answer(self, subject: Subject, items: Sequence[Item]) -> Sequence[str]:
        return subject.caption([item.picture for item in items])

    def score(self, item: Item, answer: str) -> Score:
        example = Example(f"real caption: {item.caption}", (("", item.picture),), f"written: {answer}")
        exact = " ".join(words(answer)) == " ".join(words(item.caption))
        return Score(word_f1(answer, item.caption), item.by, facts={"exact": exact}, example=example)

    def baselines(self, subject: Subject, items: Sequence[Item], answers: Sequence[str]) -> Mapping[str, float]:
        """The same captions held against the next image's: what sounding like a caption is worth."""
        others = [*items[1:], *items[:1]]
        return {"another image's caption": mean([word_f1(a, o.caption) for a, o in zip(answers, others, strict=True)])}

    def aggregate(self, scores: Sequence[Score], baselines: Mapping[str, float]) -> Row:
        return to_row(scores, baselines, {"exact": Figure.of([score.facts["exact"] for score in scores])})


@dataclass(frozen=True)
class Drawing:
    """A drawing, how many other captions are at least as near to it as its own, and the nearest training image."""

    picture: Picture
    rank: int
    nearest: Picture


@dataclass(frozen=True)
class OwnDraw:
    """Drawings from held-out captions: is a drawing's own caption the nearest of all held-out captions (R@1)?"""

    images: OwnImages
    num_items: int
    embedder: Embedder
    ability: ClassVar[str] = "draw"

    def items(self) -> Sequence[Item]:
        """Each held-out caption once, with its first image."""
        return distinct(self.images.held_out())[: self.num_items]

    def answer(self, subject: Subject, items: Sequence[Item]) -> Sequence[Drawing]:
        pictures = subject.draw([item.caption for item in items])
        nearest = nearest_pictures(pictures, self.images.training())
        ranks = self._ranks(pictures, items)
        return [Drawing(*drawn) for drawn in zip(pictures, ranks, nearest, strict=True)]

    def score(self, item: Item, answer: Drawing) -> Score:
        """1 where no other caption is as near; R@5 and the likeness to the nearest training image beside it."""
        pictures = (("drawn", answer.picture), ("real", item.picture), ("nearest in training", answer.nearest))
        found = f"its own caption comes {'first' if answer.rank == 0 else f'in place {answer.rank + 1}'}"
        example = Example(item.caption, pictures, found, answer.rank == 0)
        facts = {"R@5": answer.rank < 5, "nearest": capped_psnr(answer.picture, answer.nearest)}
        return Score(answer.rank == 0, item.by, facts=facts, example=example)

    def baselines(self, subject: Subject, items: Sequence[Item], answers: Sequence[Drawing]) -> Mapping[str, float]:
        """Guessing, and, as a ceiling, the real images in place of the drawings."""
        real = self._ranks([item.picture for item in items], items)
        candidates = len(distinct(self.images.held_out()))
        return {"chance": 1 / candidates, "real image": mean([rank == 0 for rank in real])}

    def aggregate(self, scores: Sequence[Score], baselines: Mapping[str, float]) -> Row:
        by = {
            "R@5": Figure.of([score.facts["R@5"] for score in scores]),
            "psnr_db to nearest training image": Figure.of([score.facts["nearest"] for score in scores]),
        }
        return to_row(scores, baselines, by)

    def _ranks(self, pictures: Sequence[Picture], items: Sequence[Item]) -> list[int]:
        captions = [item.caption for item in distinct(self.images.held_out())]
        own = [captions.index(item.caption) for item in items]
        return ranks(self.embedder.pictures(pictures) @ self.embedder.texts(captions).T, own)


@dataclass(frozen=True)
class OwnReconstruct:
    """Held-out images through the vision tokenizer and the pixel decoder: the mean PSNR in dB."""

    images: OwnImages
    num_items: int
    ability: ClassVar[str] = "reconstruct"

    def items(self) -> Sequence[Item]:
        return self.images.held_out()[: self.num_items]

    def answer(self, subject: Subject, items: Sequence[Item]) -> Sequence[Picture]:
        return subject.reconstruct([item.picture for item in items])

    def score(self, item: Item, answer: Picture) -> Score:
        decibels = capped_psnr(item.picture, answer)
        pictures = (("real", item.picture), ("reconstructed", answer))
        return Score(decibels, item.by, example=Example(item.caption, pictures, f"{decibels:.1f} dB"))

    def baselines(self, subject: Subject, items: Sequence[Item], answers: Sequence[Picture]) -> Mapping[str, float]:
        """One picture for all: the mean of training images."""
        middle = mean_picture(self.images.training()[:_MEAN_OF])
        return {"mean image": mean([capped_psnr(item.picture, middle) for item in items])}

    def aggregate(self, scores: Sequence[Score], baselines: Mapping[str, float]) -> Row:
        return to_row(scores, baselines)


def held_out(folder: ImageFolder) -> list[Item]:
    """The images of captions that training never sees."""
    images = folder.images
    return [Item(images.image(images.key(entry.file)), entry.text) for entry in folder.split("test")]


def training_pictures(folder: ImageFolder) -> list[Picture]:
    images = folder.images
    return [images.image(images.key(entry.file)) for entry in folder.split("train")]


def distinct(items: Sequence[Item]) -> list[Item]:
    """The first item of each caption."""
    return list({item.caption: item for item in reversed(items)}.values())[::-1]


def ranks(likeness: npt.NDArray[np.floating], own: Sequence[int]) -> list[int]:
    """For each row [n, candidates] how many others are at least as alike as its own; alike to all is last of all."""
    mine = likeness[np.arange(len(own)), own]
    nearer = ~(likeness < mine[:, None])  # so that what cannot be compared (NaN) comes last, not first
    return [int(count) for count in nearer.sum(axis=1) - 1]


def nearest_pictures(pictures: Sequence[Picture], others: Sequence[Picture]) -> list[Picture]:
    """For each picture the one of `others` with the least squared difference of pixels."""
    flat = np.stack(pictures).reshape(len(pictures), -1).astype(np.float32)
    least, best = np.full(len(flat), np.inf), np.zeros(len(flat), np.int64)
    for start in range(0, len(others), _COMPARED):
        some = np.stack(others[start : start + _COMPARED]).reshape(-1, flat.shape[1]).astype(np.float32)
        distance = np.square(some).sum(1) - 2 * flat @ some.T  # less the same for every candidate
        closest = distance.argmin(axis=1)
        values = distance[np.arange(len(flat)), closest]
        best, least = np.where(values < least, start + closest, best), np.minimum(values, least)
    return [others[int(index)] for index in best]


def words(text: str) -> list[str]:
    """A text's words without case and outer punctuation."""
    return [word for word in (raw.strip(".,:;!?\"'()") for raw in text.casefold().split()) if word]


def word_f1(said: str, real: str) -> float:
    """The harmonic mean of the shares of each text's words that the other has too, repeated words counted."""
    ours, theirs = Counter(words(said)), Counter(words(real))
    common = (ours & theirs).total()
    return 2 * common / (ours.total() + theirs.total()) if common else 0.0
