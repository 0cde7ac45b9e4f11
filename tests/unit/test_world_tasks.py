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
    box_of,
    held_out,
    lesson,
    question_kinds,
    questions,
    sample_edit,
    sample_edit_chain,
    sample_edit_pair,
    sample_inpainting,
    sample_scene,
    scene_split,
)
from illume.world.asking import ask_each_by_name
from illume.world.edits import references
from illume.world.render import render

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


@pytest.fixture(scope="module")
def sized() -> list[tuple[Scene, Question]]:
    return asked(NANO, "train", 600)


@pytest.mark.parametrize("kind", ["size", "more", "larger", "same"])
def test_a_comparison_alone_says_little(sized: list[tuple[Scene, Question]], kind: str) -> None:
    """By what is compared and how, for there are too many texts to count the answers of each."""
    short = []
    for _, question in sized:
        if question.kind == kind:
            first = question.text.find(question.answer) < question.text.find(" or ")
            answer = {"larger": "first" if first else "second"}.get(kind, question.answer)
            words = [
                w for w in question.text.split() if w in ("more", "larger", "smaller", "color?", "shape?", "size?")
            ]
            short.append(Question(kind, " ".join(words), answer))
    assert len(short) > 50
    assert majority(short) <= 0.63


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
    assert majority(short) <= 0.62


def test_balance_catches_questions_whose_answer_is_always_yes(many: list[tuple[Scene, Question]]) -> None:
    assert majority(q for _, q in many if q.kind == "exists" and q.answer == "yes") > 0.6


def test_answers_are_true(many: list[tuple[Scene, Question]]) -> None:
    for scene, question in many:
        assert is_true(scene, question, PICO), (scene, question)


def test_answers_in_a_world_of_several_sizes_are_true(sized: list[tuple[Scene, Question]]) -> None:
    for scene, question in sized:
        assert is_true(scene, question, NANO), (scene, question)
    assert {question.kind for _, question in sized} == set(question_kinds(NANO)) > set(question_kinds(PICO))


def test_the_check_catches_answers_to_another_scene(sized: list[tuple[Scene, Question]]) -> None:
    wrong: Counter[str] = Counter()
    for (scene, _), (_, question) in zip(sized, sized[50:], strict=False):
        try:
            wrong[question.kind] += not is_true(scene, question, NANO)
        except ValueError:  # what is named is not there
            wrong[question.kind] += 1
    assert all(wrong[kind] > 5 for kind in question_kinds(NANO)), wrong


def is_true(scene: Scene, question: Question, config: WorldConfig) -> bool:
    """Checked from the words alone."""
    words = question.text.removesuffix("?").replace(",", "").split()
    if question.kind == "exists":
        return (len(named(words, scene, config)) > 0) == (question.answer == "yes")
    if question.kind == "count":
        return len(named(words, scene, config)) == int(question.answer)
    if question.kind == "relation":
        return relation_holds(words, scene, config) == (question.answer == "yes")
    if question.kind in ("more", "larger", "same"):
        return comparison_holds(question, words, scene, config)
    (thing,) = named(words, scene, config)
    truth = {"colour": thing.colour, "shape": thing.shape, "where": config.place(thing.cell), "size": thing.size}
    return question.answer == truth[question.kind]


def comparison_holds(question: Question, words: list[str], scene: Scene, config: WorldConfig) -> bool:
    at = words.index({"more": "than", "larger": "or", "same": "and"}[question.kind])
    sides = [named(some, scene, config) for some in (words[:at], words[at:])]
    if question.kind == "more":
        return (len(sides[0]) > len(sides[1])) == (question.answer == "yes")
    ((a,), (b,)) = sides
    if question.kind == "same":
        attribute = {"color": "colour"}.get(words[-1], words[-1])
        return (getattr(a, attribute) == getattr(b, attribute)) == (question.answer == "yes")
    extremest = (max if "larger" in words else min)((a, b), key=lambda thing: config.extent(thing.size))
    return a.size != b.size and named(question.answer.split(), scene, config) == [extremest]


def named(words: list[str], scene: Scene, config: WorldConfig) -> list[Object]:
    """The objects that the shapes, colours, sizes and places among the words allow."""
    found = list(scene)
    for word in words:
        shape = next((s for s in config.shapes if word in (s, s + "s", s + "es")), None)
        found = [o for o in found if shape in (None, o.shape)]
        found = [o for o in found if word not in config.colours or o.colour == word]
        found = [o for o in found if word not in config.sizes or o.size == word]
        places = ("top", "middle", "bottom", "left", "center", "right")
        found = [o for o in found if word not in places or word in config.place(o.cell)]
    return found


def relation_holds(words: list[str], scene: Scene, config: WorldConfig) -> bool:
    """The relation is the last such word but for the place of what is named: the sides tell one object each."""
    for at in (i for i, word in enumerate(words) if word in ("left", "right", "above", "below")):
        a, b = named(words[:at], scene, config), named(words[at + 1 :], scene, config)
        if len(a) == len(b) == 1:
            (ay, ax), (by, bx) = a[0].cell, b[0].cell
            return {"left": ax < bx, "right": ax > bx, "above": ay < by, "below": ay > by}[words[at]]
    raise ValueError("no relation of one object to another")


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
        return not new and len(gone) == 1 and _refers(instruction, gone[0], config)
    if (len(gone), len(new)) != (1, 1):
        return False
    (old,), (fresh,) = gone, new
    if kind == "move":
        return replace(old, cell=fresh.cell) == fresh and config.place(fresh.cell) in instruction
    if kind == "resize":
        larger = config.extent(fresh.size) > config.extent(old.size)
        words = (fresh.size, "enlarge", "bigger") if larger else (fresh.size, "shrink", "smaller")
        said = any(word in instruction.split() for word in words)
        return replace(old, size=fresh.size) == fresh and said and _refers(instruction, old, config)
    kept = (
        replace(old, colour=fresh.colour)
        if kind == "recolour"
        else replace(old, shape=fresh.shape, colour=fresh.colour)
    )
    referred = _refers(instruction, old, config) and fresh.colour in instruction
    return kept == fresh and referred and old.cell == fresh.cell


def _refers(instruction: str, thing: Object, config: WorldConfig) -> bool:
    return thing.shape in instruction or f"the object at the {config.place(thing.cell)}" in instruction


def _says(instruction: str, thing: Object, config: WorldConfig) -> bool:
    name = f"{f'{thing.size} ' if config.sized else ''}{thing.colour} {thing.shape}"
    return f" {name} " in instruction and instruction.endswith(config.place(thing.cell))


@pytest.mark.parametrize("config", [MOVING, NANO])
@pytest.mark.parametrize("split", ["train", "test", "novel"])
def test_an_edit_does_what_it_says_and_nothing_else(config: WorldConfig, split: str) -> None:
    kinds: Counter[str] = Counter()
    for i in range(12 * len(config.edits)):
        source, edit = sample_edit_pair(config, split, i)
        assert (source, edit) == sample_edit_pair(config, split, i)
        assert change_is_as_asked(edit.kind, edit.instruction, source, edit.target, config), (source, edit)
        kinds[edit.kind] += 1
    if split == "train":  # what refers to something that is there comes twice as often as "add"
        assert all(1.5 < count / kinds["add"] < 2.5 for kind, count in kinds.items() if kind != "add")
    else:
        assert kinds == dict.fromkeys(config.edits, 12)


@pytest.mark.parametrize("config", [MOVING, NANO])
@pytest.mark.parametrize("split", ["train", "test", "novel"])
def test_edits_in_a_row_stay_in_their_split_and_undo_nothing(config: WorldConfig, split: str) -> None:
    for i in range(30):
        scene, edits = sample_edit_chain(config, split, i)
        assert (scene, edits) == sample_edit_chain(config, split, i)
        assert len({edit.kind for edit in edits}) == len(edits) == 3
        scenes = [scene, *(edit.target for edit in edits)]
        assert len(set(scenes)) == 4
        for source, edit in zip(scenes, edits, strict=False):
            assert scene_split(edit.target, config) == split
            assert change_is_as_asked(edit.kind, edit.instruction, source, edit.target, config)


def check_only_the_region_changes(source: Scene, target: Scene, box: tuple[int, ...], config: WorldConfig) -> None:
    """Outside the region the pictures are the same; what stands in another cell keeps out of it."""
    before, after = render(source, config), render(target, config)
    left, top, right, bottom = box
    before[top:bottom, left:right] = after[top:bottom, left:right]
    assert (before == after).all()


@pytest.mark.parametrize("config", [PICO, NANO])
@pytest.mark.parametrize("split", ["train", "test", "novel"])
def test_an_inpainting_changes_its_region_alone(config: WorldConfig, split: str) -> None:
    kinds: Counter[str] = Counter()
    for i in range(40):
        source, found = sample_inpainting(config, split, i)
        assert (source, found) == sample_inpainting(config, split, i)
        assert scene_split(found.target, config) == split
        check_only_the_region_changes(source, found.target, found.box, config)
        there = [thing for thing in found.target if thing.cell in found.cells]
        if found.kind == "fill":
            assert len(there) == 1
            assert there[0].offset == (0, 0)
            assert found.instruction is not None
            assert _says(f"{found.instruction} at the {config.place(found.cells[0])}", there[0], config)
        else:
            assert (there, found.instruction) == ([], None)
            assert any(thing.cell in found.cells for thing in source)
        kinds[found.kind] += 1
    assert kinds == {"fill": 20, "restore": 20}


def test_the_region_check_catches_a_region_too_small() -> None:
    source, found = sample_inpainting(NANO, "train", 1)
    left, top, _, _ = found.box
    with pytest.raises(AssertionError):
        check_only_the_region_changes(source, found.target, (left, top, left + 1, top + 1), NANO)


@pytest.mark.parametrize("config", [PICO, NANO])
def test_regions_of_cells_tile_the_picture(config: WorldConfig) -> None:
    covered = Counter(
        (x, y)
        for left, top, right, bottom in (box_of((cell,), config) for cell in config.cells)
        for x in range(left, right)
        for y in range(top, bottom)
    )
    assert covered == dict.fromkeys(((x, y) for x in range(config.size) for y in range(config.size)), 1)


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


def test_training_says_common_relations_more_often_and_tests_do_not(many: list[tuple[Scene, Question]]) -> None:
    def share(found: Iterable[Question]) -> float:
        words = [set(q.text.split()) for q in found if q.kind == "relation"]
        return sum(bool(some & {"left", "above"}) for some in words) / len(words)

    assert 0.6 < share(q for _, q in many) < 0.95
    assert 0.35 < share(q for _, q in asked(PICO, "test", 300)) < 0.65


def test_a_lesson_asks_twice_of_what_takes_many_answers() -> None:
    """Never the same twice, never more than `questions` asks; of a scene without relations the very same."""
    dropped: Counter[str] = Counter()
    related = Counter(kind for i in range(300) for kind in twice(PICO, i, dropped))
    assert related["relation"] > 100
    assert related["where"] > 100
    assert set(related) == {"relation", "where"}
    assert set(dropped) == {"exists", "shape", "colour"}


def test_a_lesson_where_sizes_differ_asks_for_every_object_by_name() -> None:
    relations, both = Counter[int](), 0
    for number in range(300):
        scene = sample_scene(NANO, "train", number)
        learnt = lesson(scene, NANO, stream("lesson", number))
        assert len({question.text for question in learnt}) == len(learnt) <= 12
        named = [thing for thing in scene if references(thing, scene)]
        where = [q for q in learnt if q.kind == "where"]
        assert Counter(q.answer for q in where if " and " not in q.text) == Counter(NANO.place(o.cell) for o in named)
        both += sum(are_found(q, scene) for q in where if " and " in q.text)
        by_name = {q.kind for q in learnt if q.kind in {"shape", "colour"} and " at the " not in q.text}
        assert by_name == {k for k in ("shape", "colour") if ask_each_by_name(scene, NANO, stream("any"), k)}
        assert sum(q.kind in {"exists", "count", "more", "size", "same"} for q in learnt) <= 2
        relations[sum(q.kind == "relation" for q in learnt)] += 1
    assert set(relations) == {0, 1, 2}
    assert relations[2] > 150
    assert both > 150


def are_found(question: Question, scene: Scene) -> bool:
    """Whether "where is A and where is B?" is answered in that order."""
    names = question.text.removesuffix("?").split(" and ")
    things = [next(o for o in scene if name.removeprefix("where is ") in references(o, scene)) for name in names]
    return question.answer == " and ".join(NANO.place(thing.cell) for thing in things)


def twice(config: WorldConfig, number: int, dropped: Counter[str]) -> list[str]:
    """The kinds that the lesson of a scene has two of; counts those that it leaves out."""
    scene = sample_scene(config, "train", number)
    asked, learnt = (f(scene, config, stream("lesson", number)) for f in (questions, lesson))
    kinds = Counter(question.kind for question in learnt)
    assert len({question.text for question in learnt}) == len(learnt) <= len(asked)
    if "relation" not in kinds:
        assert learnt == asked
    dropped.update({question.kind for question in asked} - set(kinds))
    return [kind for kind, count in kinds.items() if count == 2]
