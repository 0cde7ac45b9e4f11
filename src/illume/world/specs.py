"""What must hold for a prompt to be true, and all that is true of a scene; it does not know how prompts are worded.

A spec describes the whole scene: the counts are exact, and nothing that is not named may be there.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import permutations

from illume.world.scene import RELATIONS, Object, Scene, WorldConfig, held_out, related

CATEGORIES = ("single_object", "two_object", "counting", "colors", "position", "color_attr")  # GenEval's
NOVEL_CATEGORIES = ("counting", "colors", "position", "color_attr")  # those that can name a shape with its colour


@dataclass(frozen=True)
class Group:
    """`count` objects of one shape, colour and size; None: any."""

    shape: str | None
    colour: str | None
    count: int = 1
    size: str | None = None

    def __str__(self) -> str:
        name = " ".join(filter(None, (self.size, self.colour, self.shape or "object")))
        return name if self.count == 1 else f"{self.count} {plural(name)}"

    @property
    def kind(self) -> tuple[str | None, str | None, str | None]:
        """What its objects are, however many."""
        return self.shape, self.colour, self.size

    def likeness(self, thing: Object) -> int:
        """How much of what is said is true of an object; the shape counts most, then the colour."""
        return 4 * (self.shape == thing.shape) + 2 * (self.colour == thing.colour) + (self.size == thing.size)


@dataclass(frozen=True)
class Spec:
    """The groups that make up the whole scene; with a relation there are two, all of the first so to all of the second.

    Without a relation the order means nothing: `describe` sorts. Raises ValueError for groups one cannot tell apart.
    """

    groups: tuple[Group, ...]
    relation: str | None = None

    def __post_init__(self) -> None:
        kinds = [group.kind for group in self.groups]
        if not kinds or len(set(kinds)) != len(kinds) or any(group.count < 1 for group in self.groups):
            raise ValueError(f"groups are different and not empty, unlike {kinds}")
        if len(kinds) > 1 and any(group.shape is None for group in self.groups):
            raise ValueError("a group of any shape stands alone")
        if self.relation is not None and (self.relation not in RELATIONS or len(self.groups) != 2):
            raise ValueError(f"{self.relation!r} is said of two groups, one of {', '.join(RELATIONS)}")

    @property
    def total(self) -> int:
        return sum(group.count for group in self.groups)

    @property
    def category(self) -> str:
        """The GenEval category that a prompt of this spec belongs to; a size alone makes no other one."""
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
    return Spec(tuple(sorted(groups, key=lambda g: (g.shape or "", g.colour or "", g.count, g.size or ""))))


def plural(name: str) -> str:
    return name + ("es" if name.endswith("s") else "s")


def true_specs(scene: Scene, sized: bool = False) -> list[Spec]:
    """Everything that can be said of the whole scene, once each; of a world of several sizes (`sized`) sizes too."""
    found = _plain_specs(scene, sized=False)
    if len(scene) == 2:
        found += [spec for a, b in permutations(scene, 2) for spec in _relations(a, b)]
    if sized:
        found += _plain_specs(scene, sized=True)
        found += [spec for spec in _sided_specs(scene) if spec not in found]
    return found


def _plain_specs(scene: Scene, sized: bool) -> list[Spec]:
    """The specs without a relation, all sizes said or none."""
    bare = Counter((thing.shape, None, thing.size if sized else None) for thing in scene)
    full = Counter((thing.shape, thing.colour, thing.size if sized else None) for thing in scene)
    found = []
    if len(scene) <= 2 or len(bare) < len(scene):  # three single shapes without colours are no GenEval category
        found.append(describe(Group(shape, None, n, size) for (shape, _, size), n in bare.items()))
    found.append(describe(Group(shape, colour, n, size) for (shape, colour, size), n in full.items()))
    sizes = {size for _, _, size in full}
    if len(scene) > 1 and len(sizes) == 1:
        (size,) = sizes
        found.append(Spec((Group(None, None, len(scene), size),)))
        if len({thing.colour for thing in scene}) == 1:
            found.append(Spec((Group(None, scene.objects[0].colour, len(scene), size),)))
    return found


def _relations(a: Object, b: Object) -> list[Spec]:
    true = [relation for relation in RELATIONS if related(a, relation, b)]
    plain = [Spec((Group(a.shape, None), Group(b.shape, None)), r) for r in true] if a.shape != b.shape else []
    return plain + ([Spec((Group(*a.pair), Group(*b.pair)), r) for r in true] if a.pair != b.pair else [])


def _sided_specs(scene: Scene) -> Iterator[Spec]:
    """A scene of two kinds of objects, all of one kind beside all of the other; the kinds told at every detail."""
    for coloured, sized in ((False, False), (True, False), (False, True), (True, True)):
        kinds = Counter((o.shape, o.colour if coloured else None, o.size if sized else None) for o in scene)
        if len(kinds) != 2:
            continue
        for first, second in permutations(Group(shape, colour, n, size) for (shape, colour, size), n in kinds.items()):
            firsts, seconds = ([o for o in scene if fits(group, o)] for group in (first, second))
            yield from (Spec((first, second), relation) for relation in RELATIONS if apart(firsts, seconds, relation))


def fits(group: Group, thing: Object) -> bool:
    """Whether an object is what a group says."""
    said = zip(group.kind, (thing.shape, thing.colour, thing.size), strict=True)
    return all(wanted in (None, there) for wanted, there in said)


def apart(firsts: Iterable[Object], seconds: Iterable[Object], relation: str) -> bool:
    """Whether every one of the first objects stands so to every one of the second."""
    others = list(seconds)
    return all(related(a, relation, b) for a in firsts for b in others)
