"""Questions and edits: answers are true, a question alone says little, edits change what they say and nothing else."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import replace

import pytest

from illume.core.streams import stream
from illume.world import (
    NANO,
    PICO,
    QUESTION_KINDS,
    Object,
    Question,
    Scene,
    WorldConfig,
    arrange,
    ask,
    held_out,
    questions,
    sample_edit,
    sample_edit_pair,
    sample_scene,
    scene_split,
)

MOVING = replace(PICO, edits=("recolour", "remove", "add", "replace", "move"))


def asked(config: WorldConfig, split: str, number: int) -> list[tuple[Scene, Question]]:
    scenes = [sample_scene(config, split, i) for i in range(number)]
    return [(scene, q) for i, scene in enumerate(scenes) for q in questions(scene, config, stream("ask", i))]


def majority(found: Iterable[Question]) -> float:
    """How often one is right who always gives a text's most frequent answer."""
    answers: dict[str, Counter[str]] = defaultdict(Counter)
    for question in found:
        answers[question.text][question.answer] += 1
    best = sum(max(counter.values()) for counter in answers.values())
    return best / sum(sum(counter.values()) for counter in answers.values())


@pytest.fixture(scope="module")
def many() -> list[tuple[Scene, Question]]:
    return asked(PICO, "train", 4000)


@pytest.mark.parametrize("kind", ["exists", "count", "colour", "shape", "where"])
def test_a_question_alone_says_little(many: list[tuple[Scene, Question]], kind: str) -> None:
    assert majority(question for _, question in many if question.kind == kind) <= 0.6


def test_a_relation_alone_says_little(many: list[tuple[Scene, Question]]) -> None:
    """There are too many texts to count the answers of each: by the relation and the two shapes."""
    short = [
        Question("relation", " ".join(w for w in q.text.split() if w not in PICO.colours), q.answer)
        for _, q in many
        if q.kind == "relation"
    ]
    assert majority(short) <= 0.6


def test_balance_catches_questions_whose_answer_is_always_yes(many: list[tuple[Scene, Question]]) -> None:
    assert majority(q for _, q in many if q.kind == "exists" and q.answer == "yes") > 0.6


def test_answers_are_true(many: list[tuple[Scene, Question]]) -> None:
    for scene, question in many:
        assert is_true(scene, question), (scene, question)


def is_true(scene: Scene, question: Question) -> bool:
    """Checked from the words alone."""
    words = question.text.removesuffix("?").split()
    if question.kind == "exists":
        return (len(named(words, scene)) > 0) == (question.answer == "yes")
    if question.kind == "count":
        return len(named(words, scene)) == int(question.answer)
    if question.kind == "relation":
        return relation_holds(words, scene) == (question.answer == "yes")
    (thing,) = named(words, scene)
    return (
        question.answer
        == {"colour": thing.colour, "shape": thing.shape, "where": PICO.place(thing.cell)}[question.kind]
    )


def named(words: list[str], scene: Scene) -> list[Object]:
    """The objects that the shapes, colours and places among the words allow."""
    found = list(scene)
    for word in words:
        shape = next((s for s in PICO.shapes if word in (s, s + "s", s + "es")), None)
        found = [o for o in found if shape in (None, o.shape)]
        found = [o for o in found if word not in PICO.colours or o.colour == word]
        found = [o for o in found if word not in ("top", "bottom", "left", "right") or word in PICO.place(o.cell)]
    return found


def relation_holds(words: list[str], scene: Scene) -> bool:
    at = next(i for i, word in enumerate(words) if word in ("left", "right", "above", "below"))
    (a,), (b,) = named(words[:at], scene), named(words[at + 1 :], scene)
    (ay, ax), (by, bx) = a.cell, b.cell
    return {"left": ax < bx, "right": ax > bx, "above": ay < by, "below": ay > by}[words[at]]


def test_every_kind_is_asked_and_impossible_ones_are_not(many: list[tuple[Scene, Question]]) -> None:
    assert {question.kind for _, question in many} == set(QUESTION_KINDS)
    lonely = arrange([Object("circle", "red", "medium", (0, 0))])
    assert ask(lonely, PICO, stream(0), "relation") is None


def test_training_questions_never_name_a_held_out_pair(many: list[tuple[Scene, Question]]) -> None:
    names = {f"{colour} {shape}" for shape, colour in held_out(PICO)}
    assert not any(name in question.text for _, question in many for name in names)
    assert any(name in question.text for _, question in asked(PICO, "novel", 50) for name in names)


# --- edits ------------------------------------------------------------------------------------------------------------


def differences(source: Scene, target: Scene) -> tuple[list[Object], list[Object]]:
    """What is gone and what is new; everything else is identical, its place to the pixel included."""
    return [o for o in source if o not in target.objects], [o for o in target if o not in source.objects]


def change_is_as_asked(kind: str, instruction: str, source: Scene, target: Scene, config: WorldConfig) -> bool:
    gone, new = differences(source, target)
    if kind == "add":
        return not gone and len(new) == 1 and new[0].offset == (0, 0) and _says(instruction, new[0], config)
    if kind == "remove":
        return not new and len(gone) == 1 and gone[0].shape in instruction
    if (len(gone), len(new)) != (1, 1):
        return False
    (old,), (fresh,) = gone, new
    if kind == "move":
        return replace(old, cell=fresh.cell) == fresh and config.place(fresh.cell) in instruction
    kept = (
        replace(old, colour=fresh.colour)
        if kind == "recolour"
        else replace(old, shape=fresh.shape, colour=fresh.colour)
    )
    return kept == fresh and old.shape in instruction and fresh.colour in instruction and old.cell == fresh.cell


def _says(instruction: str, thing: Object, config: WorldConfig) -> bool:
    return f"{thing.colour} {thing.shape}" in instruction and instruction.endswith(config.place(thing.cell))


@pytest.mark.parametrize("config", [MOVING, NANO])
@pytest.mark.parametrize("split", ["train", "test", "novel"])
def test_an_edit_does_what_it_says_and_nothing_else(config: WorldConfig, split: str) -> None:
    kinds: Counter[str] = Counter()
    for i in range(12 * len(config.edits)):
        source, edit = sample_edit_pair(config, split, i)
        assert (source, edit) == sample_edit_pair(config, split, i)
        assert change_is_as_asked(edit.kind, edit.instruction, source, edit.target, config), (source, edit)
        kinds[edit.kind] += 1
    assert kinds == dict.fromkeys(config.edits, 12)


def test_edit_law_catches_an_edit_that_moves_something_else() -> None:
    source, edit = sample_edit_pair(PICO, "train", 2)
    first, *rest = edit.target
    nudged = arrange([replace(first, offset=(first.offset[0] - 1, first.offset[1])), *rest])
    assert change_is_as_asked(edit.kind, edit.instruction, source, edit.target, PICO)
    assert not change_is_as_asked(edit.kind, edit.instruction, source, nudged, PICO)


def test_a_reference_means_one_object_only() -> None:
    twins = arrange(Object("circle", "red", "medium", cell) for cell in ((0, 0), (1, 1)))
    for i in range(40):
        edit = sample_edit(twins, MOVING, stream("twins", i))
        if edit.kind in ("recolour", "remove", "replace"):
            (gone, *_), _ = differences(twins, edit.target)
            assert PICO.place(gone.cell) in edit.instruction
        assert scene_split(edit.target, MOVING) == scene_split(twins, MOVING)
