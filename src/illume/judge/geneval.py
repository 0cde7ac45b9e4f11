"""GenEval's rules (Ghosh et al. 2023, "GenEval: An Object-Focused Framework", section 3; evaluation/evaluate_images.py
of github.com/djghosh13/geneval): from what is detected to whether it is what a prompt means; it opens no picture.

The rules are theirs to the letter: a detector's confidence decides what counts (.3, for counting .9, at most 16 of a
class); of each class the surest `count` are looked at; colours are asked of a zero-shot classifier; and positions are
taken from the middles of boxes, past a margin. Theirs is one decision; here it is told by criterion, and all applicable
ones pass exactly where theirs is "correct".
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import hypot
from typing import Any

from illume.core.errors import DataError
from illume.data.json_text import kind_of, string
from illume.models.detection import Box, Detection
from illume.tasks.verdict import Criterion, Verdict

COLOURS = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "brown", "black", "white")
RELATIONS = ("left of", "right of", "above", "below")
WORDINGS = ("a photo of a {colour} {name}", "a photo of a {colour}-colored {name}", "a photo of a {colour} object")
BLANK = (0x99, 0x99, 0x99)
"""What is painted around an object before its colour is asked for, where its pixels are known."""
# GenEval's names that COCO's detectors call otherwise, and other names that detectors use for COCO's classes.
OTHER_NAMES = {
    "computer mouse": ("mouse",),
    "tv remote": ("remote",),
    "computer keyboard": ("keyboard",),
    "couch": ("sofa",),
    "tv": ("tvmonitor",),
    "airplane": ("aeroplane",),
    "motorcycle": ("motorbike",),
    "potted plant": ("pottedplant",),
    "dining table": ("diningtable",),
}

Found = Mapping[str, Sequence[Detection]]  # GenEval's class -> what counts of it, surest first
Colours = Callable[[str, Sequence[Detection]], Sequence[str]]  # the colour of each of some objects of a class


@dataclass(frozen=True)
class Rules:
    """GenEval's options, at its defaults. Overlap 1: boxes may cover each other; less: intersection over union."""

    threshold: float = 0.3
    counting_threshold: float = 0.9
    most: int = 16
    overlap: float = 1.0
    margin: float = 0.1


@dataclass(frozen=True)
class Wanted:
    """`count` or more objects of a class; of a colour; standing so to the objects of an earlier one, by its index."""

    name: str
    count: int
    colour: str | None = None
    position: tuple[str, int] | None = None


@dataclass(frozen=True)
class Metadata:
    """What a prompt means: all of `include` are there, and none of `exclude` is as often as it says."""

    tag: str
    include: tuple[Wanted, ...]
    exclude: tuple[Wanted, ...] = ()


def parse_metadata(spec: Mapping[str, Any]) -> Metadata:
    """A line of GenEval's evaluation_metadata.jsonl. DataError says what it is not."""
    unknown = [name for name in spec if name not in ("tag", "include", "exclude", "prompt")]
    if unknown or "tag" not in spec or "include" not in spec:
        raise DataError(f"GenEval's metadata has tag, include, maybe exclude and prompt; here are {', '.join(spec)}")
    include, exclude = (_clauses(spec.get(name, []), name) for name in ("include", "exclude"))
    if any(wanted.colour or wanted.position for wanted in exclude):
        raise DataError("exclude has classes and counts only")
    for index, wanted in enumerate(include):
        if wanted.position is not None and not 0 <= wanted.position[1] < index:
            raise DataError(
                f"include[{index}]: the position refers to include[{wanted.position[1]}], not an earlier one"
            )
    return Metadata(string(spec["tag"], "tag"), include, exclude)


def label_of(name: str, labels: Sequence[str]) -> str:
    """What a detector calls a class of GenEval's. DataError where it knows none such."""
    for other in (name, *OTHER_NAMES.get(name, ())):
        if other in labels:
            return other
    raise DataError(f"the detector knows no {name!r}; it knows {', '.join(sorted(labels))}"[:300])


def counted(detections: Sequence[Detection], tag: str, rules: Rules) -> list[Detection]:
    """What counts of the detections of one class: the surest, but for those that cover one of them too much."""
    least = rules.counting_threshold if tag == "counting" else rules.threshold
    sure = sorted((d for d in detections if d.score > least), key=lambda d: -d.score)[: rules.most]
    if rules.overlap == 1:
        return sure
    kept: list[Detection] = []
    for detection in sure:
        if all(iou(detection.box, other.box) < rules.overlap for other in kept):
            kept.append(detection)
    return kept


def check(metadata: Metadata, found: Found, colours: Colours, rules: Rules) -> Verdict:
    """The verdict. `colours` is asked of classes of which there are enough, for their surest objects."""
    surest = {wanted: list(found.get(wanted.name, ()))[: wanted.count] for wanted in metadata.include}
    return Verdict.of(
        {
            "object": _objects(metadata, found),
            "counting": _counts(metadata, found),
            "colour": _colours(metadata, surest, colours),
            "relation": _relations(metadata, surest, rules.margin),
        }
    )


def relations_of(a: Box, b: Box, margin: float) -> tuple[str, ...]:
    """How box `a` stands to box `b`: none, one or two of RELATIONS.

    The offset of the middles counts from `margin` times the sum of both widths (heights) on; what is left of it, as a
    share of the whole offset, has to be more than a half.
    """
    across = (a[0] + a[2]) / 2 - (b[0] + b[2]) / 2
    down = (a[1] + a[3]) / 2 - (b[1] + b[3]) / 2
    right = _beyond(across, margin * (abs(a[2] - a[0]) + abs(b[2] - b[0])))
    below = _beyond(down, margin * (abs(a[3] - a[1]) + abs(b[3] - b[1])))
    if abs(right) < 1e-3 and abs(below) < 1e-3:
        return ()
    length = hypot(across, down)
    shares = (-right / length, right / length, -below / length, below / length)
    return tuple(name for name, share in zip(RELATIONS, shares, strict=True) if share > 0.5)


def iou(a: Box, b: Box) -> float:
    """Intersection over union of boxes whose last row and column belong to them."""
    common = _area((max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])))
    union = _area(a) + _area(b) - common
    return common / union if union else 0.0


def _objects(metadata: Metadata, found: Found) -> Criterion:
    missing = [wanted.name for wanted in metadata.include if not found.get(wanted.name)]
    seen = ", ".join(dict.fromkeys(wanted.name for wanted in metadata.include))
    return Criterion(bool(metadata.include), ", ".join(f"no {name}" for name in missing) or seen, not missing)


def _counts(metadata: Metadata, found: Found) -> Criterion:
    """As many as wanted and fewer than excluded; where each is wanted once, the criterion of objects says it all."""
    many = [wanted for wanted in metadata.include if wanted.count > 1]
    if not many and not metadata.exclude:
        return NOT_APPLICABLE
    there = {wanted.name: len(found.get(wanted.name, ())) for wanted in (*metadata.include, *metadata.exclude)}
    few = [f"{there[w.name]} {w.name}, not {w.count}" for w in metadata.include if there[w.name] < w.count]
    much = [f"{there[w.name]} {w.name}, not fewer than {w.count}" for w in metadata.exclude if there[w.name] >= w.count]
    wrong = [*few, *much]
    seen = [f"{count} {name}" for name, count in there.items()]
    return Criterion(True, ", ".join(wrong or seen), not wrong)


def _colours(metadata: Metadata, surest: Mapping[Wanted, Sequence[Detection]], colours: Colours) -> Criterion:
    asked = [wanted for wanted in metadata.include if wanted.colour is not None]
    if not asked:
        return NOT_APPLICABLE
    wrong: list[str] = []
    seen: list[str] = []
    for wanted in asked:
        if len(surest[wanted]) < wanted.count:
            wrong.append(f"no {wanted.colour} {wanted.name}: too few are there")
            continue
        there = list(colours(wanted.name, surest[wanted]))
        told = f"{' and '.join(sorted(set(there)))} {wanted.name}"
        (seen if there.count(str(wanted.colour)) >= wanted.count else wrong).append(told)
    return Criterion(True, ", ".join(wrong or seen), not wrong)


def _relations(metadata: Metadata, surest: Mapping[Wanted, Sequence[Detection]], margin: float) -> Criterion:
    asked = [wanted for wanted in metadata.include if wanted.position is not None]
    if not asked:
        return NOT_APPLICABLE
    wrong: list[str] = []
    right: list[str] = []
    for wanted in asked:
        assert wanted.position is not None
        relation, index = wanted.position
        target = metadata.include[index]
        if any(len(surest[one]) < one.count for one in (wanted, target)):
            wrong.append(f"no {wanted.name} and {target.name}")
            continue
        ways = [relations_of(a.box, b.box, margin) for a in surest[wanted] for b in surest[target]]
        off = next((way for way in ways if relation not in way), None)
        if off is None:
            right.append(f"{wanted.name} {relation} {target.name}")
        else:
            wrong.append(f"{wanted.name} {' and '.join(off) or 'at'} {target.name}, not {relation}")
    return Criterion(True, ", ".join(wrong or right), not wrong)


NOT_APPLICABLE = Criterion(False, "", True)


def _beyond(offset: float, least: float) -> float:
    """What an offset has beyond a least size, in its direction."""
    left = max(abs(offset) - least, 0.0)
    return left if offset > 0 else -left


def _area(box: Box) -> float:
    return max(box[2] - box[0] + 1, 0.0) * max(box[3] - box[1] + 1, 0.0)


def _clauses(value: object, name: str) -> tuple[Wanted, ...]:
    if not isinstance(value, list):
        raise DataError(f"{name} has to be a list, not {kind_of(value)}")
    return tuple(_clause(one, f"{name}[{i}]") for i, one in enumerate(value))


def _clause(value: object, where: str) -> Wanted:
    if not isinstance(value, Mapping) or not set(value) <= {"class", "count", "color", "position"}:
        raise DataError(f"{where} has to have class, count, maybe color and position, not {value!r}"[:300])
    count, colour, position = value.get("count"), value.get("color"), value.get("position")
    if not isinstance(count, int) or isinstance(count, bool) or count < 1:
        raise DataError(f"{where}.count has to be a whole number from 1, not {count!r}")
    if colour is not None and colour not in COLOURS:
        raise DataError(f"{where}.color {colour!r} is none of {', '.join(COLOURS)}")
    return Wanted(string(value.get("class"), f"{where}.class"), count, colour, _position(position, where))


def _position(value: object, where: str) -> tuple[str, int] | None:
    if value is None:
        return None
    if not isinstance(value, list) or len(value) != 2 or value[0] not in RELATIONS or type(value[1]) is not int:
        raise DataError(f"{where}.position has to be [one of {', '.join(RELATIONS)}, index], not {value!r}"[:300])
    return value[0], value[1]
