"""The benchmarks of a person's own images: what is perfect, what is chance, and what cannot be told apart."""

from collections.abc import Sequence

import numpy as np
import pytest

from fixtures.imagefolder import make_image_folder
from illume.data.image_folder import ImageFolder
from illume.eval.metrics import BEST_PSNR
from illume.eval.runner import run_tasks
from illume.eval.scorecard import Row, Scorecard
from illume.eval.task import Picture
from illume.eval.tasks import folder_tasks
from illume.eval.tasks.folder import distinct, held_out, nearest_pictures, ranks, training_pictures, word_f1


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> ImageFolder:
    path = tmp_path_factory.mktemp("own") / "images"
    make_image_folder(path, 64)
    return ImageFolder(path, 32, test_fraction=0.3)


class PerfectSubject:
    """Knows the held-out images by heart."""

    def __init__(self, folder: ImageFolder) -> None:
        self.items = held_out(folder)
        self.drawings = {item.caption: item.picture for item in reversed(self.items)}
        self.captions = {item.picture.tobytes(): item.caption for item in self.items}

    def ask(self, pictures: Sequence[Picture | None], questions: Sequence[str], *, slices: int = 0) -> list[str]:
        raise AssertionError("no questions are asked about a person's own images")

    def caption(self, pictures: Sequence[Picture]) -> list[str]:
        return [self.captions[picture.tobytes()].capitalize() + "." for picture in pictures]

    def draw(self, prompts: Sequence[str]) -> list[Picture]:
        return [self.drawings[prompt] for prompt in prompts]

    def edit(self, pictures: Sequence[Picture], instructions: Sequence[str]) -> list[Picture]:
        raise AssertionError("no edits are asked of a person's own images")

    def reconstruct(self, pictures: Sequence[Picture]) -> list[Picture]:
        return list(pictures)

    def assess(self, pictures: Sequence[Picture], prompts: Sequence[str]) -> list[str]:
        raise AssertionError("no judgements are asked for of a person's own images")


class Blank(PerfectSubject):
    """Says "a", and draws and reconstructs nothing."""

    def caption(self, pictures: Sequence[Picture]) -> list[str]:
        return ["a"] * len(pictures)

    def draw(self, prompts: Sequence[str]) -> list[Picture]:
        return [np.zeros((32, 32, 3), np.uint8) for _ in prompts]

    def reconstruct(self, pictures: Sequence[Picture]) -> list[Picture]:
        return self.draw([""] * len(pictures))


class LookedUp:
    """A caption and its first image have one vector; an unknown image has one that is alike to all."""

    def __init__(self, folder: ImageFolder) -> None:
        items = distinct(held_out(folder))
        self.rows = {item.caption: row for item, row in zip(items, np.eye(len(items), dtype=np.float32), strict=True)}
        self.images = {item.picture.tobytes(): self.rows[item.caption] for item in items}

    def texts(self, texts: Sequence[str]) -> np.ndarray:
        return np.stack([self.rows[text] for text in texts])

    def pictures(self, pictures: Sequence[Picture]) -> np.ndarray:
        even = np.full(len(self.rows), len(self.rows) ** -0.5, np.float32)
        return np.stack([self.images.get(picture.tobytes(), even) for picture in pictures])


def rows(folder: ImageFolder, subject: PerfectSubject) -> dict[str, Row]:
    found = run_tasks(subject, folder_tasks(folder, 100, LookedUp(folder)))
    Scorecard(found.rows, found.seconds, 0.0, "0" * 12, 0).to_dict()
    return dict(found.rows)


def test_whoever_knows_the_images_by_heart_reaches_the_top(folder: ImageFolder) -> None:
    found = rows(folder, PerfectSubject(folder))
    assert (found["see"].score, found["see"].by["exact"].score) == (1, 1)
    assert found["reconstruct"].score == BEST_PSNR
    assert (found["draw"].score, found["draw"].by["R@5"].score, found["draw"].baseline["real image"]) == (1, 1, 1)
    assert found["draw"].baseline["chance"] == round(1 / len(distinct(held_out(folder))), 4)
    assert found["see"].n == found["reconstruct"].n == len(held_out(folder))
    assert found["reconstruct"].baseline["mean image"] < 30
    assert found["see"].baseline["another image's caption"] < 0.7


def test_whoever_draws_nothing_reaches_nothing(folder: ImageFolder) -> None:
    found = rows(folder, Blank(folder))
    assert found["draw"].score == found["draw"].by["R@5"].score == 0
    assert found["reconstruct"].score < found["reconstruct"].baseline["mean image"]
    assert found["see"].score < 0.5
    assert found["see"].by["exact"].score == 0


def test_without_an_embedder_drawings_are_not_scored(folder: ImageFolder) -> None:
    assert [task.ability for task in folder_tasks(folder, 4, None)] == ["see", "reconstruct"]
    found = run_tasks(PerfectSubject(folder), folder_tasks(folder, 4, None))
    assert found.rows["see"].n == 4


def test_held_out_captions_are_not_in_training(folder: ImageFolder) -> None:
    train = {entry.text for entry in folder.split("train")}
    assert not train & {item.caption for item in held_out(folder)}
    assert len(train) + len(distinct(held_out(folder))) == len({entry.text for entry in folder.entries})


def test_a_rank_counts_all_that_are_at_least_as_alike() -> None:
    alike = np.array([[0.9, 0.5, 0.1], [0.9, 0.5, 0.1], [0.2, 0.2, 0.2], [np.nan] * 3])
    assert ranks(alike, [0, 2, 1, 0]) == [0, 2, 2, 2]


def test_the_nearest_picture_is_that_of_least_squared_distance(folder: ImageFolder) -> None:
    train, some = training_pictures(folder), [item.picture for item in held_out(folder)[:5]]
    found = nearest_pictures([*some, train[7]], train * 8)
    for picture, nearest in zip(some, found, strict=False):
        distances = [np.square(picture.astype(int) - other).sum() for other in train]
        assert np.square(picture.astype(int) - nearest).sum() == min(distances)
    assert (found[-1] == train[7]).all()


@pytest.mark.parametrize(
    ("said", "real", "f1"),
    [
        ("a red circle", "A red circle.", 1.0),
        ("a red circle", "a blue circle", 2 / 3),
        ("red red red", "red", 0.5),
        ("", "red", 0.0),
        ("...", "!", 0.0),
        ("cat", "dog", 0.0),
    ],
)
def test_words_in_common(said: str, real: str, f1: float) -> None:
    assert word_f1(said, real) == pytest.approx(f1)
    assert word_f1(real, said) == pytest.approx(f1)
