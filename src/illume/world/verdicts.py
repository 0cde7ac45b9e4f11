"""The verdict on a scene, criterion by criterion: is it what a spec says, and if not, in what; it draws nothing."""

from collections import Counter
from collections.abc import Iterator
from itertools import combinations, permutations
from typing import NamedTuple

from illume.world.scene import OPPOSITE, RELATIONS, Object, Scene, related
from illume.world.specs import Group, Spec, apart, fits, plural

CRITERIA = ("object", "counting", "colour", "relation")


class Finding(NamedTuple):
    """What was found for one criterion; `reason` says what is in the picture, and is empty where nothing applies."""

    applicable: bool
    passed: bool
    reason: str


Verdict = dict[str, Finding]  # one finding a criterion, in the order of CRITERIA


def verdict(spec: Spec, scene: Scene) -> Verdict:
    """Whether a scene is what the spec says, criterion by criterion; all applicable ones pass exactly if it is.

    The criteria are told apart as far as can be: colour and relation judge the objects that are there, counting
    compares the shapes that are there and the total. A size belongs to what the object is.
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
    """The shapes, and the sizes where the spec says any."""
    wanted = {group.shape for group in spec.groups if group.shape}
    sized = any(group.size for group in spec.groups)
    if not wanted and not sized:
        return NOT_APPLICABLE
    there = {thing.shape for thing in scene}
    missing, extra = (sorted(wanted - there), sorted(there - wanted)) if wanted else ([], [])
    reasons = [f"no {shape}" for shape in missing] + [f"a {shape}" for shape in extra]
    if sized:
        reasons += _wrong_sizes(spec, scene)
        return Finding(True, not reasons, ", ".join(reasons or sorted({f"{o.size} {o.shape}" for o in scene})))
    return Finding(True, not reasons, ", ".join(reasons or sorted(there)))


def _wrong_sizes(spec: Spec, scene: Scene) -> Iterator[str]:
    """What is wrong with the sizes, shape by shape; a wrong colour or count alone makes no size wrong."""
    for shape in _shapes(spec):
        groups, things = _of_shape(spec, scene, shape)
        slots = [group for group in groups for _ in range(group.count)]
        if _colours_match(groups, Counter(thing.colour for thing in things)):
            match = _most_matched(slots, things)
        else:
            match = _most_matched([Group(None, None, 1, slot.size) for slot in slots], things)
        if match < min(len(slots), len(things)):
            named = " and ".join(sorted({_sized(group) for group in groups if group.size}))
            yield f"{' and '.join(sorted({f'{o.size} {o.colour} {o.shape}' for o in things}))}, not {named}"


def _sized(group: Group) -> str:
    return " ".join(filter(None, (group.size, group.colour, group.shape)))


def _most_matched(slots: list[Group], things: list[Object]) -> int:
    """How many objects can be given a slot that they fit, each slot once (augmenting paths)."""
    taken: dict[int, int] = {}

    def place(thing: int, tried: set[int]) -> bool:
        for slot, group in enumerate(slots):
            if slot not in tried and fits(group, things[thing]):
                tried.add(slot)
                if slot not in taken or place(taken[slot], tried):
                    taken[slot] = thing
                    return True
        return False

    return sum(place(thing, set()) for thing in range(len(things)))


def _shapes(spec: Spec) -> list[str | None]:
    return sorted({group.shape for group in spec.groups}, key=str)


def _of_shape(spec: Spec, scene: Scene, shape: str | None) -> tuple[list[Group], list[Object]]:
    """The groups of a shape, and what is there of it (None: everything)."""
    return [group for group in spec.groups if group.shape == shape], [o for o in scene if shape in (None, o.shape)]


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
    for shape in _shapes(spec):
        groups, things = _of_shape(spec, scene, shape)
        there = Counter(thing.colour for thing in things)
        if not _colours_match(groups, there):
            named = " and ".join(sorted({group.colour for group in groups if group.colour}))
            reasons.append(f"{' and '.join(sorted(there))} {shape or 'object'}, not {named}")
    good = sorted({f"{thing.colour} {thing.shape}" for thing in scene})
    return Finding(True, not reasons, ", ".join(reasons or good))


def _colours_match(groups: list[Group], there: Counter[str]) -> bool:
    """Whether as many objects as can be have a colour that is wanted: a wrong count alone is no wrong colour."""
    wanted: Counter[str | None] = Counter()
    for group in groups:
        wanted[group.colour] += group.count
    named = sum(min(count, there[colour]) for colour, count in wanted.items() if colour)
    most = min(there.total(), wanted.total())
    return min(named + wanted[None], most) == most


def _judge_relation(spec: Spec, scene: Scene) -> Finding:
    if spec.relation is None:
        return NOT_APPLICABLE
    sides = {pair: _likeness(spec, *pair) for pair in _sides(spec, scene)}
    best = max(sides.values(), default=0)
    if best < 4:  # neither named shape is there: nothing stands in any relation
        return Finding(True, False, "no two such objects")
    likely = [pair for pair, value in sides.items() if value == best]
    firsts, seconds = next((pair for pair in likely if apart(*pair, spec.relation)), likely[0])
    if apart(firsts, seconds, spec.relation):
        return Finding(True, True, f"{firsts[0].shape} {spec.relation} {seconds[0].shape}")
    a, b = next((a, b) for a in firsts for b in seconds if not related(a, spec.relation, b))
    return Finding(True, False, f"{a.shape} {_relation(a, spec.relation, b)} {b.shape}")


Side = tuple[Object, ...]


def _sides(spec: Spec, scene: Scene) -> Iterator[tuple[Side, Side]]:
    """Every choice of objects for the two groups, as many as they name, or as there are of so many."""
    first, second = (group.count for group in spec.groups)
    while first + second > max(2, len(scene)):
        first, second = (first - 1, second) if first >= second else (first, second - 1)
    if first == second == 1:
        yield from (((a,), (b,)) for a, b in permutations(scene, 2))
        return
    for firsts in combinations(scene, first):
        rest = [thing for thing in scene if thing not in firsts]
        yield from ((firsts, seconds) for seconds in combinations(rest, second))


def _likeness(spec: Spec, firsts: Side, seconds: Side) -> int:
    first, second = spec.groups
    return sum(first.likeness(thing) for thing in firsts) + sum(second.likeness(thing) for thing in seconds)


def _relation(a: Object, asked: str, b: Object) -> str:
    """How `a` really stands to `b`, along the axis asked about if it can be said."""
    return next(r for r in (OPPOSITE[asked], *RELATIONS) if related(a, r, b))


def _number(count: int, name: str) -> str:
    return f"{count} {name if count == 1 else plural(name)}"
