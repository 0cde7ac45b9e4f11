"""Examples: which conversation a record becomes, what guidance drops, what an error names."""

import json

import pytest

from fixtures.sequences import ONE_LEVEL, TASKS, random_codes, tiny_text, world_examples, world_images, world_mixture
from illume.core.errors import DataError
from illume.data.examples import Examples, Pictures, conversations, drawn_keys, messages
from illume.data.records import Record, validate
from illume.data.sample import Sample
from illume.data.world_images import WorldImages
from illume.data.world_source import WorldSource
from illume.tasks import prompts
from illume.tasks.verdict import CRITERIA, Criterion, Verdict
from illume.vocab.format import parse
from illume.vocab.messages import ImageFrame, ImagePart, Message, TextPart
from illume.world import PICO

FRAME = ImageFrame(ONE_LEVEL)


def codes(key: str) -> tuple[tuple[int, ...], ...]:
    return (tuple(ord(key[0]) - 97 for _ in range(16)),)


PICTURES = Pictures(FRAME, codes)
A, B = (ImagePart(FRAME, image=key) for key in "ab")
DRAWN_A, DRAWN_B = (ImagePart(FRAME, codes(key), key) for key in "ab")


def record(task: str, **fields: object) -> Record:
    return validate({"task": task, **fields}, "here")


VERDICT = Verdict.of({name: Criterion(True, "seen", name != "colour") for name in CRITERIA})
PLAIN_VERDICT = json.loads(VERDICT.to_json())
CHAT = [
    {"role": "user", "content": [{"type": "image", "index": 0}, {"type": "text", "text": "now {blue}"}]},
    {"role": "assistant", "content": [{"type": "image", "index": 1}]},
]
CASES: dict[str, tuple[Record, list[Message]]] = {
    "caption": (record("caption", images=["a"], text="{x}"), prompts.caption(A, "{x}")),
    "draw": (record("draw", images=["a"], text="x"), prompts.draw("x", DRAWN_A)),
    "reconstruct": (record("reconstruct", images=["a"]), prompts.reconstruct(DRAWN_A, DRAWN_A)),
    "edit": (record("edit", images=["a", "b"], instruction="x"), prompts.edit(DRAWN_A, "x", DRAWN_B)),
    "inpaint": (
        record("inpaint", images=["a", "b"], mask=[0, 0, 2, 2], instruction="{x}"),
        prompts.inpaint(DRAWN_A, "{x}", DRAWN_B),
    ),
    "inpaint without words": (
        record("inpaint", images=["a", "b"], mask="m.png"),
        prompts.inpaint(DRAWN_A, None, DRAWN_B),
    ),
    "text": (record("text", text="x"), prompts.text("x")),
    "assess": (record("assess", images=["a"], text="x", verdict=PLAIN_VERDICT), prompts.assess(A, "x", VERDICT)),
    "correct": (
        record("assess", images=["a", "b"], text="x", verdict=PLAIN_VERDICT),
        prompts.correct(A, "x", VERDICT, DRAWN_B),
    ),
    "chat": (
        record("chat", images=["a", "b"], messages=CHAT),
        [Message("user", (DRAWN_A, TextPart("now {blue}"))), Message("assistant", (DRAWN_B,))],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_record_becomes_its_tasks_messages(name: str) -> None:
    made, wanted = CASES[name]
    assert messages(made, PICTURES) == wanted


@pytest.mark.parametrize("name", CASES)
def test_codes_are_asked_for_exactly_where_it_is_said(name: str) -> None:
    made, _ = CASES[name]
    asked: list[str] = []

    def listening(key: str) -> tuple[tuple[int, ...], ...]:
        asked.append(key)
        return codes(key)

    messages(made, Pictures(FRAME, listening))
    assert set(asked) == set(drawn_keys(made))
    if asked:
        with pytest.raises(DataError, match="encode the images first"):
            messages(made, Pictures(FRAME))


def test_read_by_codes_every_image_brings_them() -> None:
    made = messages(CASES["caption"][0], Pictures(FRAME, codes, always_codes=True))
    assert made == prompts.caption(DRAWN_A, "{x}")


@pytest.mark.parametrize("task", TASKS)
def test_every_task_renders_and_parses_back_also_dropped(task: str) -> None:
    mixture = world_mixture((task,))
    for drop in (0.0, 1.0):
        examples = world_examples(drop=drop)
        for item in range(4):
            sample = examples.sample(mixture.sources[0], item, 0)
            several = conversations(mixture.sources[0].record(item), examples.pictures)
            for conversation, ids in zip(several, each_alone(sample), strict=True):
                if drop and task in ("draw", "edit", "reconstruct", "inpaint"):
                    conversation = prompts.dropped(conversation, training=True)
                found = parse(ids, examples.layout, examples.text)
                assert [message.role for message in found] == [message.role for message in conversation]
                assert [len(message.parts) for message in found] == [len(message.parts) for message in conversation]
            assert sample.loss_mask.any()


def each_alone(sample: Sample) -> list[list[int]]:
    """The ids of every conversation joined into a sample."""
    if sample.branches is None:
        return [sample.ids.tolist()]
    return [
        sample.ids[(sample.branches == 0) | (sample.branches == n)].tolist()
        for n in range(1, sample.branches.max() + 1)
    ]


def test_independent_questions_share_one_picture() -> None:
    source, examples = world_mixture(("chat",)).sources[0], world_examples()
    sample = examples.sample(source, 0, 0)
    alone = each_alone(sample)
    assert len(alone) == len(source.record(0).messages) // 2 > 1
    assert sum(run.count for run in sample.slots) == 16
    assert len(sample) < sum(map(len, alone)) - 16 * (len(alone) - 1)


def test_dropping_is_keyed_by_epoch_and_item_and_as_often_as_asked() -> None:
    source = world_mixture(("draw",)).sources[0]
    one, other = world_examples(drop=0.3), world_examples(drop=0.3)
    made = {(i, e): one.sample(source, i, e).ids.tolist() for e in range(20) for i in range(len(source))}
    assert all(other.sample(source, i, e).ids.tolist() == made[i, e] for i, e in reversed(made)), "whatever the order"
    plain = [world_examples(drop=0).sample(source, i, 0).ids.tolist() for i in range(len(source))]
    dropped = sum(ids != plain[i] for (i, _), ids in made.items())
    assert 0.2 < dropped / len(made) < 0.4


def test_a_sample_is_rendered_once() -> None:
    source = world_mixture(("caption",)).sources[0]
    examples = world_examples(drop=0)
    assert examples.sample(source, 0, 0) is examples.sample(source, 0, 1)
    other = WorldSource(WorldImages(PICO, "test", 4), "caption")
    assert other.name == source.name
    assert examples.sample(other, 0, 0).slots[0].image.startswith("world-test/")


def test_an_error_names_source_item_and_line() -> None:
    class Broken(WorldSource):
        def record(self, index: int) -> Record:
            return Record("draw", images=("elsewhere",), text="x", where="file:3")

    images = world_images()
    examples = Examples(world_examples().layout, tiny_text(), Pictures(FRAME, random_codes(images, ONE_LEVEL)), drop=0)
    with pytest.raises(DataError, match=r"sample draw\[5\] \(file:3\): there are no codes of the image 'elsewhere'"):
        examples.sample(Broken(images, "draw"), 5, 0)
