"""The benchmarks of what is held out of a mixture: what is perfect, what looks past the point, and what is asked."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from fixtures.own_data import picture, write_lines, write_pictures
from illume.data.collection import OpenCollection
from illume.data.held_out import Parted, parted
from illume.data.kinds import open_kind
from illume.data.records import validate
from illume.eval.metrics import BEST_PSNR
from illume.eval.report import meaning
from illume.eval.runner import run_tasks
from illume.eval.scorecard import Row, Scorecard
from illume.eval.task import Picture
from illume.eval.tasks import record_tasks
from illume.eval.tasks.record_edits import edits_of, judged_of
from illume.eval.tasks.records import _asked, in_turn, questions_of
from illume.tasks.verdict import CRITERIA

COUNT = 30


def questions(images: list[str], talk: list[tuple[str, str]], **more: object) -> dict[str, object]:
    messages = []
    for i, (question, answer) in enumerate(talk):
        shown = [{"type": "image", "index": n} for n in range(len(images))] if i == 0 else []
        messages += [{"role": "user", "content": [*shown, {"type": "text", "text": question}]},
                     {"role": "assistant", "content": answer}]  # fmt: skip
    return {"task": "chat", "images": images, "messages": messages, **more}


def opened(path: Path, name: str) -> OpenCollection:
    return OpenCollection(open_kind(path), 32, name=name)


def verdict(good: bool) -> dict[str, object]:
    criteria = {name: {"applicable": True, "reason": "as seen", "passed": True} for name in CRITERIA}
    criteria["colour"] |= {"passed": good}
    return {**criteria, "overall": good}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Parted:
    root = tmp_path_factory.mktemp("own")
    names = write_pictures(root, COUNT)
    for name in names:
        (root / f"other-{name}").write_bytes((root / name).read_bytes())
    chats = [questions([n], [("how many?", str(i % 4)), ("which?", f"no. {i}")], independent=True)
             for i, n in enumerate(names)]  # fmt: skip
    others = [questions([f"other-{n}"], [("how many of them?", "four")]) for n in names]
    shown = [{"task": ("caption", "draw")[i % 2], "images": [n], "text": f"scene {i}"} for i, n in enumerate(names)]
    plain = [{"task": "reconstruct", "images": [n]} for n in names]
    pairs = [names[i] for i in range(0, COUNT, 2)]
    edits = [{"task": "edit", "images": [n, f"other-{n}"], "instruction": f"change {n}"} for n in pairs]
    for number, name in enumerate(pairs):
        (root / f"other-{name}").write_bytes(picture(100 + number))
    regions = [
        {"task": "inpaint", "images": [n, f"other-{n}"], "mask": [4, 4, 20, 20], "instruction": f"fill {n}"}
        for n in pairs
    ]
    verdicts = [
        {"task": "assess", "images": [n], "text": f"prompt {i}", "verdict": verdict(i % 2 == 0)}
        for i, n in enumerate(names)
    ]
    texts = [{"task": "text", "text": f"a text of {n} words and no more"} for n in range(COUNT)]
    paths = {"talks": chats, "more": others, "told": shown, "plain": plain, "changes": edits}
    paths |= {"holes": regions, "judged": verdicts, "words": texts}
    collections = {name: opened(write_lines(root / f"{name}.jsonl", lines), name) for name, lines in paths.items()}
    return parted(collections, 0.4)


class Knowing:
    """Knows the held-out records by heart."""

    def __init__(self, data: Parted) -> None:
        self.answers = {(q.picture.tobytes(), q.text): q.answer for q in questions_of(data, 1000)}
        self.targets = {(e.picture.tobytes(), e.instruction): e.target for e in edits_of(data, 1000)}
        self.regions = {(e.picture.tobytes(), e.instruction): e.target for e in edits_of(data, 1000, "inpaint")}
        self.verdicts = {(j.picture.tobytes(), j.prompt): j.verdict.to_json() for j in judged_of(data, 1000)}
        told = data.held_out["told"]
        self.drawings = {record.text: told.images.image(record.images[0]) for record in told.records}

    def ask(self, pictures: Sequence[Picture | None], texts: Sequence[str], *, slices: int = 0) -> list[str]:
        asked = zip(pictures, texts, strict=True)
        return ["4" if p is None else f" {self.answers[p.tobytes(), text].upper()}. " for p, text in asked]

    def caption(self, pictures: Sequence[Picture]) -> list[str]:
        return [next(text for text, shown in self.drawings.items() if np.array_equal(shown, p)) for p in pictures]

    def draw(self, prompts: Sequence[str]) -> list[Picture]:
        return [self.drawings[prompt] for prompt in prompts]

    def edit(self, pictures: Sequence[Picture], instructions: Sequence[str]) -> list[Picture]:
        return [self.targets[p.tobytes(), text] for p, text in zip(pictures, instructions, strict=True)]

    def inpaint(self, masked: Sequence[Picture], instructions: Sequence[str | None]) -> list[Picture]:
        return [self.regions[p.tobytes(), text or ""] for p, text in zip(masked, instructions, strict=True)]

    def reconstruct(self, pictures: Sequence[Picture]) -> list[Picture]:
        return list(pictures)

    def assess(self, pictures: Sequence[Picture], prompts: Sequence[str]) -> list[str]:
        return [self.verdicts[p.tobytes(), text] for p, text in zip(pictures, prompts, strict=True)]

    def nats(self, texts: Sequence[str]) -> list[float]:
        return [0.0] * len(texts)


class Idle(Knowing):
    """Never looks at a picture: gives back what it is given, says what is said without one."""

    def ask(self, pictures: Sequence[Picture | None], texts: Sequence[str], *, slices: int = 0) -> list[str]:
        return ["4"] * len(texts)

    def edit(self, pictures: Sequence[Picture], instructions: Sequence[str]) -> list[Picture]:
        return list(pictures)

    def inpaint(self, masked: Sequence[Picture], instructions: Sequence[str | None]) -> list[Picture]:
        return list(masked)

    def assess(self, pictures: Sequence[Picture], prompts: Sequence[str]) -> list[str]:
        return ["fine"] * len(prompts)

    def nats(self, texts: Sequence[str]) -> list[float]:
        return [9.0 * len(text.split()) for text in texts]

    def reconstruct(self, pictures: Sequence[Picture]) -> list[Picture]:
        return [np.zeros_like(picture) for picture in pictures]


class Embedding:
    """A vector for each of these captions and its picture."""

    def __init__(self, data: Parted) -> None:
        told = data.held_out["told"]
        self.texts_of = {told.images.image(r.images[0]).tobytes(): r.text for r in told.records}
        self.rows = {r.text: np.eye(len(told.records), dtype=np.float32)[i] for i, r in enumerate(told.records)}

    def texts(self, texts: Sequence[str]) -> np.ndarray:
        return np.stack([self.rows[text] for text in texts])

    def pictures(self, pictures: Sequence[Picture]) -> np.ndarray:
        return self.texts([self.texts_of[picture.tobytes()] for picture in pictures])


def rows(data: Parted, subject: Knowing, num_items: int = 100) -> dict[str, Row]:
    found = run_tasks(subject, record_tasks(data, num_items, ["told"], lambda: Embedding(data)))
    Scorecard(found.rows, found.seconds, 0.0, "0" * 12, 0).to_dict()  # follows the schema
    return dict(found.rows)


def check_baselines_mean_something(found: dict[str, Row]) -> None:
    """Whoever looks is above whoever does not, and the baselines say where that begins."""
    assert found["see"].score > found["see"].baseline["without image"] + 0.2
    assert found["edit"].score > found["edit"].baseline["copy the input"] + 1
    assert found["edit"].by["nearer than the input"].score == 1
    assert found["reconstruct"].score > found["reconstruct"].baseline["mean image"] + 1
    assert found["inpaint"].score > found["inpaint"].baseline["mean colour"] + 1
    assert found["assess"].by["kappa"].score == found["assess"].by["valid_json"].score == 1
    assert found["assess"].score > found["assess"].baseline["always pass"] + 0.2
    assert found["text"].score > found["text"].baseline["trigrams"] > 0.3


def test_whoever_knows_the_records_by_heart_reaches_the_top(data: Parted) -> None:
    found = rows(data, Knowing(data))
    assert list(found) == ["see", "draw", "reconstruct", "edit", "inpaint", "assess", "text"]
    assert (found["see"].score, found["draw"].score, found["assess"].score, found["text"].score) == (1, 1, 1, 1)
    assert found["edit"].score == found["inpaint"].score == found["reconstruct"].score == BEST_PSNR
    check_baselines_mean_something(found)


def test_the_check_catches_whoever_does_not_look(data: Parted) -> None:
    found = rows(data, Idle(data))
    assert found["see"].score == found["see"].baseline["without image"]
    assert found["edit"].score == found["edit"].baseline["copy the input"]
    assert found["edit"].by["nearer than the input"].score == 0
    assert found["inpaint"].score < found["inpaint"].baseline["mean colour"]
    assert (found["assess"].score, found["assess"].by["valid_json"].score) == (0, 0)
    assert found["text"].score < found["text"].baseline["trigrams"]
    with pytest.raises(AssertionError):
        check_baselines_mean_something(found)


def test_every_row_tells_of_its_sources(data: Parted) -> None:
    found = rows(data, Knowing(data))
    assert found["see"].by.keys() == {"talks", "more"}
    assert found["see"].by["talks"].n == 2 * len(data.held_out["talks"].records)
    assert sum(figure.n for figure in found["see"].by.values()) == found["see"].n
    assert found["draw"].by.keys() == {"told", "R@5", "psnr_db to nearest training image"}
    assert found["reconstruct"].by.keys() == {"told", "plain"}
    assert found["edit"].by.keys() == {"changes", "nearer than the input"}
    assert found["inpaint"].by.keys() == {"holes"}
    assert found["assess"].by.keys() == {"judged", "kappa", "valid_json"}


def test_items_come_from_all_sources_in_turn(data: Parted) -> None:
    found = rows(data, Knowing(data), num_items=6)
    assert {row.n for row in found.values()} <= {6, len(edits_of(data, 6))}
    assert [figure.n for figure in found["see"].by.values()] == [3, 3]
    assert list(in_turn({"a": [1, 2, 3], "b": [4]})) == [("a", 1), ("b", 4), ("a", 2), ("a", 3)]


def test_without_questions_captions_are_scored_and_without_captions_nothing_is_drawn(data: Parted) -> None:
    def only(*names: str) -> list[str]:
        parts = Parted(data.train, {name: data.held_out[name] for name in names})
        return [task.ability for task in record_tasks(parts, 9, ["told"], lambda: Embedding(data))]

    assert only("told") == ["see", "draw", "reconstruct"]
    assert only("plain") == ["reconstruct"]
    assert only("changes") == ["edit"]
    assert only("holes", "judged") == ["inpaint", "assess"]
    assert only("words") == ["text"]
    assert [task.ability for task in record_tasks(data, 9, [], lambda: Embedding(data))] == [
        "see",
        "reconstruct",
        "edit",
        "inpaint",
        "assess",
        "text",
    ]
    assert "draw" not in [task.ability for task in record_tasks(data, 9, ["told"], lambda: None)]


@pytest.mark.parametrize(
    ("record", "asked"),
    [
        (questions(["a"], [("how many?", "2"), ("and?", "3")]), [("how many?", "2")]),
        (questions(["a"], [("how many?", "2"), ("and?", "3")], independent=True), [("how many?", "2"), ("and?", "3")]),
        (questions(["a"], [("what?", "a big red dog")]), []),
        (questions(["a", "b"], [("which?", "a")]), []),
        (questions([], [("how?", "so")]), []),
        ({"task": "caption", "images": ["a"], "text": "x"}, []),
    ],
)
def test_what_has_one_right_answer(record: dict[str, object], asked: list[tuple[str, str]]) -> None:
    assert [(text, answer) for text, answer, _ in _asked(validate(record, "here"))] == asked


def test_the_report_says_what_the_figures_are() -> None:
    assert "PSNR" in meaning("edit", {"score": 21.0, "by": {}})
    assert "PSNR" in meaning("inpaint", {"score": 21.0, "by": {}})
    assert "answered right" in meaning("see", {"score": 0.5, "by": {"talks": {}}})
