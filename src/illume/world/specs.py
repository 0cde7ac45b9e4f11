"""What must hold for a prompt to be true, and the verdict on a scene; it does not know how prompts are worded.

A spec describes the whole scene: the counts are exact, and nothing that is not named may be there.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import combinations, permutations
from typing import NamedTuple

from illume.world.scene import OPPOSITE, RELATIONS, Object, Scene, WorldConfig, held_out, related

CATEGORIES = ("single_object", "two_object", "counting", "colors", "position", "color_attr")  # GenEval's
NOVEL_CATEGORIES = ("counting", "colors", "position", "color_attr")  # those that can name a shape with its colour
CRITERIA = ("object", "counting", "colour", "relation")


class Finding(NamedTuple):
    """What was found for one criterion; `reason` says what is in the picture, and is empty where nothing applies."""

    applicable: bool
    passed: bool
    reason: str


Verdict = dict[str, Finding]  # one finding a criterion, in the order of CRITERIA


@dataclass(frozen=True, order=True)
class Group:
    """`count` objects of one shape and colour; None: any."""

    shape: str | None
    colour: str | None
    count: int = 1

    def __str__(self) -> str:
        noun = self.shape or "object"
        name = f"{self.colour} {noun}" if self.colour else noun
        return name if self.count == 1 else f"{self.count} {plural(name)}"


@dataclass(frozen=True)
class Spec:
    """The groups that make up the whole scene; with a relation, two single objects, the first so to the second.

    Without a relation the order means nothing: `describe` sorts. Raises ValueError for groups one cannot tell apart.
    """

    groups: tuple[Group, ...]
    relation: str | None = None

    def __post_init__(self) -> None:
        names = [(group.shape, group.colour) for group in self.groups]
        if not names or len(set(names)) != len(names) or any(group.count < 1 for group in self.groups):
            raise ValueError(f"groups are different and not empty, unlike {names}")
        if len(names) > 1 and any(shape is None for shape, _ in names):
            raise ValueError("a group of any shape stands alone")
        if self.relation is not None and (self.relation not in RELATIONS or [g.count for g in self.groups] != [1, 1]):
            raise ValueError(f"{self.relation!r} is said of two single objects, one of {', '.join(RELATIONS)}")

    @property
    def total(self) -> int:
        return sum(group.count for group in self.groups)

    @property
    def category(self) -> str:
        """The GenEval category that a prompt of this spec belongs to."""
        if self.relation:
            return "position"
        if self.total > len(self.groups):
            return "counting"
        coloured = any(group.colour for group in self.groups)
        if len(self.groups) == 1:
            return "colors" if coloured else "single_object"
        return "color_attr" if coloured else "two_object"

    def names_held_out(self, config: WorldConfig) -> bool:
        """Whether a shape is named with a colour that training never shows it in."""
        return any((group.shape, group.colour) in held_out(config) for group in self.groups)


def describe(groups: Iterable[Group]) -> Spec:
    """The spec of these groups, the same whatever their order."""
    return Spec(tuple(sorted(groups, key=lambda g: (g.shape or "", g.colour or "", g.count))))


def plural(name: str) -> str:
    return name + ("es" if name.endswith("s") else "s")


def true_specs(scene: Scene) -> list[Spec]:
    """Everything that can be said of the whole scene, once each."""
    shapes = Counter(thing.shape for thing in scene)
    pairs = Counter(thing.pair for thing in scene)
    found = []
    if len(scene) <= 2 or len(shapes) < len(scene):  # three single shapes without colours are no GenEval category
        found.append(describe(Group(shape, None, n) for shape, n in shapes.items()))
    found.append(describe(Group(shape, colour, n) for (shape, colour), n in pairs.items()))
    if len(scene) > 1:
        found.append(Spec((Group(None, None, len(scene)),)))
        if len({thing.colour for thing in scene}) == 1:
            found.append(Spec((Group(None, scene.objects[0].colour, len(scene)),)))
    if len(scene) == 2:
        found += [spec for a, b in permutations(scene, 2) for spec in _relations(a, b)]
    return found


def _relations(a: Object, b: Object) -> list[Spec]:
    true = [relation for relation in RELATIONS if related(a, relation, b)]
    plain = [Spec((Group(a.shape, None), Group(b.shape, None)), r) for r in true] if a.shape != b.shape else []
    return plain + ([Spec((Group(*a.pair), Group(*b.pair)), r) for r in true] if a.pair != b.pair else [])


def verdict(spec: Spec, scene: Scene) -> Verdict:
    """Whether a scene is what the spec says, criterion by criterion; all applicable ones pass exactly if it is.

    The criteria are told apart as far as can be: colour and relation judge the objects that are there, counting
    compares the shapes that are there and the total.
    """
    return {
        "object": _judge_objects(spec, scene),
        "counting": _judge_counts(spec, scene),
        "colour": _judge_colours(spec, scene),
        "relation": _judge_relation(spec, scene),
    }


def holds(verdict: Verdict) -> bool:
    """Whether every applicable criterion passed."""
    return all(finding.passed for finding in verdict.values() if finding.applicable)


NOT_APPLICABLE = Finding(False, True, "")


def _judge_objects(spec: Spec, scene: Scene) -> Finding:
    wanted = {group.shape for group in spec.groups if group.shape}
    if not wanted:
        return NOT_APPLICABLE
    there = {thing.shape for thing in scene}
    missing, extra = sorted(wanted - there), sorted(there - wanted)
    reasons = [f"no {shape}" for shape in missing] + [f"a {shape}" for shape in extra]
    return Finding(True, not reasons, ", ".join(reasons or sorted(there)))


def _judge_counts(spec: Spec, scene: Scene) -> Finding:
    there = Counter(thing.shape for thing in scene)
    wanted: Counter[str] = Counter()
    for group in spec.groups:
        if group.shape:
            wanted[group.shape] += group.count
    wrong = [shape for shape in sorted(wanted) if there[shape] not in (0, wanted[shape])]
    reasons = [f"{_number(there[shape], shape)}, not {wanted[shape]}" for shape in wrong]
    if not reasons and len(scene) != spec.total:
        reasons = [f"{_number(len(scene), 'object')}, not {spec.total}"]
    counted = [_number(there[shape], shape) for shape in sorted(there)] if wanted else [_number(len(scene), "object")]
    return Finding(True, not reasons, ", ".join(reasons or counted))


def _judge_colours(spec: Spec, scene: Scene) -> Finding:
    if not any(group.colour for group in spec.groups):
        return NOT_APPLICABLE
    reasons = []
    for shape in sorted({group.shape for group in spec.groups}, key=str):
        groups = [group for group in spec.groups if group.shape == shape]
        there = Counter(thing.colour for thing in scene if shape in (None, thing.shape))
        if not _colours_match(groups, there):
            named = " and ".join(sorted(group.colour for group in groups if group.colour))
            reasons.append(f"{' and '.join(sorted(there))} {shape or 'object'}, not {named}")
    good = sorted({f"{thing.colour} {thing.shape}" for thing in scene})
    return Finding(True, not reasons, ", ".join(reasons or good))


def _colours_match(groups: list[Group], there: Counter[str]) -> bool:
    """Whether as many objects as can be have a colour that is wanted: a wrong count alone is no wrong colour."""
    named = sum(min(group.count, there[group.colour]) for group in groups if group.colour)
    free = sum(group.count for group in groups if not group.colour)
    most = min(sum(there.values()), sum(group.count for group in groups))
    return min(named + free, most) == most


def _judge_relation(spec: Spec, scene: Scene) -> Finding:
    if spec.relation is None:
        return NOT_APPLICABLE
    first, second = spec.groups
    likeness = {(a, b): _likeness(first, a) + _likeness(second, b) for a, b in permutations(scene, 2)}
    best = max(likeness.values(), default=0)
    if best < 2:  # neither named shape is there: nothing stands in any relation
        return Finding(True, False, "no two such objects")
    likely = [pair for pair, value in likeness.items() if value == best]
    a, b = next((pair for pair in likely if related(pair[0], spec.relation, pair[1])), likely[0])
    passed = related(a, spec.relation, b)
    return Finding(True, passed, f"{a.shape} {spec.relation if passed else _relation(a, spec.relation, b)} {b.shape}")


def _likeness(group: Group, thing: Object) -> int:
    return 2 * (group.shape == thing.shape) + (group.colour == thing.colour)


def _relation(a: Object, asked: str, b: Object) -> str:
    """How `a` really stands to `b`, along the axis asked about if it can be said."""
    return next(r for r in (OPPOSITE[asked], *RELATIONS) if related(a, r, b))


def _number(count: int, name: str) -> str:
    return f"{count} {name if count == 1 else plural(name)}"


def wrong_specs(spec: Spec, scene: Scene, config: WorldConfig) -> dict[str, list[Spec]]:
    """The specs one change away that are wrong of the scene in exactly one criterion, by that criterion."""
    found: dict[str, list[Spec]] = {criterion: [] for criterion in CRITERIA}
    for other in dict.fromkeys(_neighbours(spec, config)):
        findings = verdict(other, scene)
        failed = [name for name, finding in findings.items() if finding.applicable and not finding.passed]
        if len(failed) == 1:
            found[failed[0]].append(other)
    return {criterion: specs for criterion, specs in found.items() if specs}


def _neighbours(spec: Spec, config: WorldConfig) -> Iterable[Spec]:
    """Specs with one shape, colour or count changed, two colours or counts exchanged, or another relation."""
    if spec.relation:
        yield from (Spec(spec.groups, relation) for relation in RELATIONS if relation != spec.relation)
    changed: list[dict[int, Group]] = []
    for i, group in enumerate(spec.groups):
        changed += [{i: other} for other in _changed(group, config, counted=spec.relation is None)]
    for (i, a), (j, b) in combinations(enumerate(spec.groups), 2):
        changed.append({i: Group(a.shape, b.colour, a.count), j: Group(b.shape, a.colour, b.count)})
        changed.append({i: Group(a.shape, a.colour, b.count), j: Group(b.shape, b.colour, a.count)})
    for change in changed:
        groups = [change.get(i, group) for i, group in enumerate(spec.groups)]
        names = {(group.shape, group.colour) for group in groups}
        if len(names) == len(groups) and sum(group.count for group in groups) <= config.max_objects:
            yield Spec(tuple(groups), spec.relation) if spec.relation else describe(groups)


def _changed(group: Group, config: WorldConfig, counted: bool) -> Iterable[Group]:
    if group.shape:
        yield from (Group(shape, group.colour, group.count) for shape in config.shapes)
    if group.colour:
        yield from (Group(group.shape, colour, group.count) for colour in config.colours)
    if counted:
        yield from (Group(group.shape, group.colour, n) for n in (group.count - 1, group.count + 1) if n > 0)
