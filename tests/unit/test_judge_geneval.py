"""GenEval's rules against hand-written detections and against a plain reading of its published script."""

import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from illume.core.errors import DataError
from illume.judge import geneval
from illume.judge.geneval import (
    COLOURS,
    RELATIONS,
    Metadata,
    Rules,
    Wanted,
    check,
    counted,
    iou,
    label_of,
    parse_metadata,
    relations_of,
)
from illume.models.detection import Box, Detection
from illume.tasks.verdict import Verdict

RULES = Rules()
NAMES = ("cat", "dog", "tv remote")


def seen(label: str, score: float = 0.95, box: Box = (0, 0, 10, 10)) -> Detection:
    left, top, right, bottom = map(float, box)
    return Detection(label, score, (left, top, right, bottom))


def no_colours(name: str, objects: Sequence[Detection]) -> list[str]:
    raise AssertionError("nobody asks for colours here")


def judged(spec: dict[str, Any], *detections: Detection, colours: Any = no_colours) -> Verdict:
    metadata = parse_metadata(spec)
    found = {name: counted([d for d in detections if d.label == name], metadata.tag, RULES) for name in NAMES}
    return check(metadata, found, colours, RULES)


def spec(tag: str, *include: dict[str, Any], exclude: Sequence[dict[str, Any]] = ()) -> dict[str, Any]:
    made: dict[str, Any] = {"tag": tag, "include": list(include), "prompt": "a photo"}
    return made | ({"exclude": list(exclude)} if exclude else {})


CAT, DOG = {"class": "cat", "count": 1}, {"class": "dog", "count": 1}
SINGLE, TWO = spec("single_object", CAT), spec("two_object", CAT, DOG)
THREE = spec("counting", {"class": "cat", "count": 3}, exclude=[{"class": "cat", "count": 4}])


def wrong(verdict: Verdict) -> set[str]:
    return {name for name, c in verdict.criteria.items() if c.applicable and not c.passed}


def applies(verdict: Verdict) -> set[str]:
    return {name for name, c in verdict.criteria.items() if c.applicable}


@pytest.mark.parametrize(
    ("asked", "detections", "failed"),
    [
        (SINGLE, [seen("cat")], set()),
        (SINGLE, [seen("cat"), seen("cat"), seen("dog")], set()),  # more of it, or others, are no fault
        (SINGLE, [seen("dog")], {"object"}),
        (SINGLE, [seen("cat", 0.3)], {"object"}),  # the threshold itself does not count
        (SINGLE, [seen("cat", 0.31)], set()),
        (TWO, [seen("cat"), seen("dog")], set()),
        (TWO, [seen("cat")], {"object"}),
        (THREE, [seen("cat")] * 3, set()),
        (THREE, [seen("cat")] * 2, {"counting"}),
        (THREE, [seen("cat")] * 4, {"counting"}),
        (THREE, [], {"object", "counting"}),
        (THREE, [*[seen("cat")] * 3, seen("cat", 0.89)], set()),  # counting wants to be sure
        (THREE, [*[seen("cat")] * 2, seen("cat", 0.9)], {"counting"}),
    ],
)
def test_objects_and_counts(asked: dict[str, Any], detections: list[Detection], failed: set[str]) -> None:
    verdict = judged(asked, *detections)
    assert wrong(verdict) == failed
    assert applies(verdict) == ({"object", "counting"} if asked is THREE else {"object"})


def test_at_most_sixteen_count() -> None:
    many = spec("counting", {"class": "cat", "count": 16}, exclude=[{"class": "cat", "count": 17}])
    assert judged(many, *[seen("cat")] * 20).overall


RED = spec("colors", {"class": "cat", "count": 1, "color": "red"})
BOTH = spec("color_attr", {**CAT, "color": "red"}, {**DOG, "color": "blue"})


def wears(**colours: str) -> Callable[[str, Sequence[Detection]], list[str]]:
    return lambda name, objects: [colours[name]] * len(objects)


@pytest.mark.parametrize(
    ("asked", "colours", "failed"),
    [
        (RED, {"cat": "red"}, set()),
        (RED, {"cat": "blue"}, {"colour"}),
        (BOTH, {"cat": "red", "dog": "blue"}, set()),
        (BOTH, {"cat": "blue", "dog": "red"}, {"colour"}),  # the binding is what is asked
        (BOTH, {"cat": "red", "dog": "red"}, {"colour"}),
    ],
)
def test_colours_and_their_binding(asked: dict[str, Any], colours: dict[str, str], failed: set[str]) -> None:
    verdict = judged(asked, seen("cat"), seen("dog"), colours=wears(**colours))
    assert (wrong(verdict), applies(verdict)) == (failed, {"object", "colour"})


def test_only_the_surest_object_is_asked_for_its_colour() -> None:
    asked: list[Detection] = []

    def look(name: str, objects: Sequence[Detection]) -> list[str]:
        asked.extend(objects)
        return ["red"] * len(objects)

    judged(RED, seen("cat", 0.4), seen("cat", 0.8), seen("cat", 0.6), colours=look)
    assert [detection.score for detection in asked] == [0.8]


def test_no_colour_is_asked_of_what_is_not_there() -> None:
    assert wrong(judged(RED, seen("dog"))) == {"object", "colour"}


def beside(relation: str) -> dict[str, Any]:
    return spec("position", CAT, {**DOG, "position": [relation, 0]})


@pytest.mark.parametrize(
    ("dog", "there"),
    [
        ((30, 0, 40, 10), {"right of"}),
        ((-30, 0, -20, 10), {"left of"}),
        ((0, 30, 10, 40), {"below"}),
        ((0, -30, 10, -20), {"above"}),
        ((30, 30, 40, 40), {"right of", "below"}),
        ((2, 0, 12, 10), set()),  # within the margin: a tenth of both widths
        ((2.1, 0, 12.1, 10), set()),  # past it, but too little is left of the offset
        ((5, 0, 15, 10), {"right of"}),
        ((30, 12, 40, 22), {"right of"}),
        ((0, 0, 10, 10), set()),
    ],
)
def test_positions_take_the_middles_of_boxes_past_a_margin(dog: Box, there: set[str]) -> None:
    assert set(relations_of(dog, (0, 0, 10, 10), RULES.margin)) == there
    for relation in RELATIONS:
        verdict = judged(beside(relation), seen("cat"), seen("dog", box=dog))
        assert (wrong(verdict), applies(verdict)) == (
            set() if relation in there else {"relation"},
            {"object", "relation"},
        )


def test_without_its_target_nothing_stands_anywhere() -> None:
    assert wrong(judged(beside("left of"), seen("dog"))) == {"object", "relation"}


def test_overlapping_boxes_count_once_if_so_wanted() -> None:
    near = [seen("cat", 0.9, (0, 0, 9, 9)), seen("cat", 0.8, (0, 0, 9, 8)), seen("cat", 0.7, (20, 0, 29, 9))]
    assert iou(near[0].box, near[1].box) == pytest.approx(0.9)
    assert counted(near, "colors", RULES) == near
    assert counted(near, "colors", Rules(overlap=0.9)) == [near[0], near[2]]
    assert counted(near, "colors", Rules(overlap=0.91)) == near


# A plain reading of evaluate() and relative_position() of evaluation/evaluate_images.py, with its arrays.


def published(metadata: Metadata, objects: dict[str, list[Detection]], colours: Any) -> bool:
    correct, matched_groups = True, []
    for wanted in metadata.include:
        there = objects.get(wanted.name, [])[: wanted.count]
        matched = len(there) >= wanted.count
        if matched and wanted.colour:
            matched = list(colours(wanted.name, there)).count(wanted.colour) >= wanted.count
        if matched and wanted.position:
            relation, target = wanted.position
            group = matched_groups[target]
            matched = group is not None and all(relation in position(a.box, b.box) for a in there for b in group)
        correct = correct and matched
        matched_groups.append(there if matched else None)
    return correct and all(len(objects.get(other.name, [])) < other.count for other in metadata.exclude)


def position(a: Box, b: Box) -> set[str]:
    boxes = np.array([a, b], dtype=np.float64).reshape(2, 2, 2)
    (center_a, center_b), (dim_a, dim_b) = boxes.mean(axis=-2), np.abs(np.diff(boxes, axis=-2))[..., 0, :]
    offset = center_a - center_b
    revised = np.maximum(np.abs(offset) - 0.1 * (dim_a + dim_b), 0) * np.sign(offset)
    if np.all(np.abs(revised) < 1e-3):
        return set()
    dx, dy = revised / np.linalg.norm(offset)
    held = {"left of": dx < -0.5, "right of": dx > 0.5, "above": dy < -0.5, "below": dy > 0.5}
    return {name for name, value in held.items() if value}


SIDES = st.integers(0, 8).map(float)
BOXES = st.tuples(SIDES, SIDES, SIDES, SIDES).map(lambda s: (s[0], s[1], s[0] + s[2], s[1] + s[3]))
DETECTIONS = st.builds(Detection, st.sampled_from(NAMES), st.floats(0, 1, width=16), BOXES)
CLAUSES = st.builds(
    Wanted, st.sampled_from(NAMES), st.integers(1, 3), st.none() | st.sampled_from(COLOURS[:2]), st.none()
)
EXCLUDED = st.builds(Wanted, st.sampled_from(NAMES), st.integers(1, 4))


@st.composite
def metadata(draw: st.DrawFn) -> Metadata:
    include = draw(st.lists(CLAUSES, max_size=3))
    for i in range(1, len(include)):
        if draw(st.booleans()):
            placed = (draw(st.sampled_from(RELATIONS)), draw(st.integers(0, i - 1)))
            include[i] = Wanted(include[i].name, include[i].count, include[i].colour, placed)
    return Metadata(draw(st.sampled_from(["counting", "position"])), tuple(include), tuple(draw(st.lists(EXCLUDED))))


def painted(name: str, objects: Sequence[Detection]) -> list[str]:
    """A colour that hangs on the object alone."""
    return [COLOURS[int(d.box[0] + d.box[1]) % 2] for d in objects]


def check_published_rules(rules: Rules, asked: Metadata, detections: list[Detection]) -> None:
    found = {n: counted([d for d in detections if d.label == n], asked.tag, rules) for n in NAMES}
    by_hand = {
        n: sorted(
            (d for d in detections if d.label == n and d.score > (0.9 if asked.tag == "counting" else 0.3)),
            key=lambda d: -d.score,
        )
        for n in NAMES
    }
    assert check(asked, found, painted, rules).overall == published(asked, by_hand, painted)


@given(metadata(), st.lists(DETECTIONS, max_size=8))
def test_all_applicable_criteria_pass_exactly_where_it_is_correct(asked: Metadata, detections: list[Detection]) -> None:
    check_published_rules(RULES, asked, detections)


@given(BOXES, BOXES)
def test_relations_are_the_published_ones(a: Box, b: Box) -> None:
    assert set(relations_of(a, b, 0.1)) == position(a, b)


@pytest.mark.parametrize("broken", [{"margin": 0.4}, {"threshold": 0.5}])
def test_the_check_catches_other_rules(broken: dict[str, float]) -> None:
    asked = Metadata("position", (Wanted("cat", 1), Wanted("dog", 1, None, ("right of", 0))))
    detections = [seen("cat", 0.4), seen("dog", 0.8, (5, 0, 15, 10))]
    check_published_rules(RULES, asked, detections)
    with pytest.raises(AssertionError):
        check_published_rules(Rules(**broken), asked, detections)


def test_the_check_catches_colours_that_are_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    blue_cat, red_dog = seen("cat", box=(1, 0, 3, 3)), seen("dog", box=(0, 0, 3, 3))
    check_published_rules(RULES, parse_metadata(BOTH), [blue_cat, red_dog])
    monkeypatch.setattr(geneval, "_colours", lambda *args: geneval.NOT_APPLICABLE)
    with pytest.raises(AssertionError):
        check_published_rules(RULES, parse_metadata(BOTH), [blue_cat, red_dog])


GENEVAL_LINES = """
{"tag": "single_object", "include": [{"class": "kite", "count": 1}], "prompt": "a photo of a kite"}
{"tag": "counting", "include": [{"class": "bus", "count": 4}], "exclude": [{"class": "bus", "count": 5}], "prompt": "a"}
{"tag": "colors", "include": [{"class": "cake", "count": 1, "color": "red"}], "prompt": "a photo of a red cake"}
{"tag": "position", "include": [{"class": "a", "count": 1}, {"class": "b", "count": 1, "position": ["left of", 0]}]}
"""


@pytest.mark.parametrize("line", GENEVAL_LINES.strip().splitlines())
def test_its_metadata_are_read(line: str) -> None:
    plain = json.loads(line)
    read = parse_metadata(plain)
    assert (read.tag, [w.name for w in read.include]) == (plain["tag"], [i["class"] for i in plain["include"]])
    assert [w.count for w in read.exclude] == [e["count"] for e in plain.get("exclude", [])]


@pytest.mark.parametrize(
    ("plain", "words"),
    [
        ({}, "GenEval's metadata"),
        ({"tag": "x", "include": [], "more": 1}, "GenEval's metadata"),
        ({"tag": "x", "include": {}}, "include has to be a list"),
        ({"tag": "x", "include": [{"class": "cat"}]}, r"include\[0\].count"),
        ({"tag": "x", "include": [{"class": "cat", "count": True}]}, r"include\[0\].count"),
        ({"tag": "x", "include": [{"class": "", "count": 1}]}, r"include\[0\].class is empty"),
        ({"tag": "x", "include": [{**CAT, "color": "mauve"}]}, "mauve"),
        ({"tag": "x", "include": [{**CAT, "colour": "red"}]}, r"include\[0\] has to have"),
        ({"tag": "x", "include": [{**CAT, "position": ["left of", 0]}]}, "not an earlier one"),
        ({"tag": "x", "include": [CAT, {**DOG, "position": ["beside", 0]}]}, "position has to be"),
        ({"tag": "x", "include": [CAT], "exclude": [{**DOG, "color": "red"}]}, "classes and counts only"),
    ],
)
def test_other_metadata_are_refused(plain: dict[str, Any], words: str) -> None:
    with pytest.raises(DataError, match=words):
        parse_metadata(plain)


def test_a_class_is_found_under_its_other_names() -> None:
    assert label_of("tv remote", ["cat", "remote"]) == "remote"
    assert label_of("couch", ["sofa"]) == "sofa"
    with pytest.raises(DataError, match="knows no 'kite'"):
        label_of("kite", ["cat"])
