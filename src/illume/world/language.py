"""How scenes are described: the captions a spec may be worded as, their splits, wrong captions, and reading one back.

It knows neither pictures nor how prompts are wrapped for a model. Texts are short noun phrases in a small vocabulary.
"""

import random
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import permutations

from illume.core.errors import DataError
from illume.world.neighbours import wrong_specs
from illume.world.scene import (
    COLOURS,
    SHAPES,
    SIZES,
    Scene,
    Split,
    WorldConfig,
    is_test,
    mixes_held_out,
    scene_key,
)
from illume.world.specs import Group, Spec, describe, plural, true_specs

_ONE = ("a", "one", "a single", "just one", "only one")  # the first three also where several groups are named
_NUMBERS = {2: "two", 3: "three", 4: "four", 5: "five", 6: "six", 7: "seven", 8: "eight", 9: "nine"}
_RELATIONS = {
    "left of": ("left of", "to the left of", "on the left of"),
    "right of": ("right of", "to the right of", "on the right of"),
    "above": ("above", "over", "higher than"),
    "below": ("below", "under", "lower than"),
}
# How often a category is said first of a scene it fits: counting fits many more scenes than the others.
_WEIGHTS = {"single_object": 1.0, "two_object": 1.0, "counting": 0.5, "colors": 1.0, "position": 3.0, "color_attr": 1.5}
_JOINERS = (" and ", " with ", " together with ")


@dataclass(frozen=True)
class Caption:
    """A text, its GenEval category, and what it says."""

    text: str
    category: str
    spec: Spec


def text_split(text: str, spec: Spec, config: WorldConfig) -> Split | None:
    """The one split a caption text belongs to: novel if it names a held-out pair, else by its hash.

    None where it names the shape and the colour of one apart, as in `scene_split`.
    """
    if spec.names_held_out(config):
        return "novel"
    if mixes_held_out(((group.shape, group.colour) for group in spec.groups), config):
        return None
    return "test" if is_test(config, "text", text) else "train"


def caption(
    scene: Scene, config: WorldConfig, rng: random.Random, split: Split, category: str | None = None
) -> Caption:
    """A true caption of the whole scene, of that split and category (drawn where it is None).

    Raises DataError if there is none; `sample_scene` gives only scenes that have one.
    """
    found = find_caption(scene, config, rng, split, category)
    if found is None:
        raise DataError(f"no {category or ''} caption of split {split} describes the scene {scene_key(scene)!r}")
    return found


def find_caption(
    scene: Scene, config: WorldConfig, rng: random.Random, split: Split, category: str | None = None
) -> Caption | None:
    """`caption`, or None where there is none."""
    specs = true_specs(scene, config.sized)
    rng.shuffle(specs)
    order = (
        sorted(_WEIGHTS, key=lambda name: -(rng.random() ** (1 / _WEIGHTS[name]))) if category is None else [category]
    )
    return _first_caption(
        [spec for name in order for spec in specs if spec.category == name], config, rng, frozenset({split})
    )


def perturb(
    caption: Caption,
    scene: Scene,
    config: WorldConfig,
    rng: random.Random,
    split: Split,
    criterion: str | None = None,
) -> tuple[Caption, str] | None:
    """A caption near this one that is wrong of the scene in exactly one criterion, and that criterion.

    Relations are drawn twice as often as the others where they are possible, for they seldom are. The text belongs to
    the split (test texts may also be given for novel scenes). None where no such caption exists.
    """
    wrong = wrong_specs(caption.spec, scene, config)
    names = [name for name in wrong if criterion in (None, name)]
    order = sorted(names, key=lambda name: rng.random() / (2 if name == "relation" else 1))
    splits: frozenset[Split] = frozenset({"test", "novel"} if split == "novel" else {split})
    for name in order:
        found = _first_caption(rng.sample(wrong[name], len(wrong[name])), config, rng, splits)
        if found is not None:
            return found, name
    return None


def _first_caption(
    specs: Iterable[Spec], config: WorldConfig, rng: random.Random, splits: frozenset[Split]
) -> Caption | None:
    """A text of the first spec that has one in these splits."""
    for spec in specs:
        allowed = _allowed(spec, config, splits)
        if allowed:
            return Caption(rng.choice(allowed), spec.category, spec)
    return None


@lru_cache(maxsize=1 << 15)
def _allowed(spec: Spec, config: WorldConfig, splits: frozenset[Split]) -> tuple[str, ...]:
    """The wordings of a spec that belong to these splits."""
    return tuple(text for text in texts(spec) if text_split(text, spec, config) in splits)


@lru_cache(maxsize=1 << 15)
def texts(spec: Spec) -> tuple[str, ...]:
    """Every wording of a spec."""
    if spec.relation:
        phrases = _RELATIONS[spec.relation]
        sides = [[_phrase(group, style) for group in spec.groups] for style in range(3)]
        return tuple(f"{first} {phrase} {second}" for first, second in sides for phrase in phrases)
    if len(spec.groups) == 1:
        return tuple(_alone(spec.groups[0]))
    orders = list(permutations(spec.groups))
    return tuple(text for order in orders for style in range(3) for text in _joined(order, style))


def _joined(groups: tuple[Group, ...], style: int) -> list[str]:
    *rest, last = (_phrase(group, style) for group in groups)
    if len(rest) == 1:
        return [rest[0] + joiner + last for joiner in _JOINERS]
    return [", ".join(rest) + " and " + last, f"{rest[0]} with " + ", ".join(rest[1:]) + f" and {last}"]


def _alone(group: Group) -> list[str]:
    found = [_phrase(group, style) for style in range(len(_ONE))]
    if group.count == 2:
        found.append(f"a pair of {_noun(group)}")
    if group.colour:
        plain = replace(group, colour=None)
        found += [f"{_phrase(plain, 0)} that {'is' if group.count == 1 else 'are'} {group.colour}"]
        found += [f"{_phrase(plain, 0)} in {group.colour}"]
    return found


def _phrase(group: Group, style: int) -> str:
    noun = _noun(group)
    if group.count > 1:
        word = _NUMBERS[group.count]
        number = (word, str(group.count), f"exactly {word}", f"just {word}", f"only {word}")[style]
        return f"{number} {noun}"
    return with_article(noun) if style == 0 else f"{_ONE[style]} {noun}"


def _noun(group: Group) -> str:
    noun = group.shape or "object"
    return " ".join(filter(None, (group.size, group.colour, noun if group.count == 1 else plural(noun))))


def with_article(noun: str) -> str:
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


_WORDS = {name: relation for relation, phrases in _RELATIONS.items() for name in phrases}
_COUNTS = {
    **dict.fromkeys((*_ONE, "an"), 1),
    **{
        name: n
        for n, word in _NUMBERS.items()
        for name in (word, str(n), *(f"{w} {word}" for w in ("exactly", "just", "only")))
    },
    "a pair of": 2,
}
_NOUNS: dict[str, str | None] = {"object": None, "objects": None}
_NOUNS |= {name: shape for shape in SHAPES for name in (shape, plural(shape))}


def _any_of(words: Iterable[str]) -> str:
    return "|".join(re.escape(word) for word in sorted(words, key=len, reverse=True))


_RELATION = re.compile(rf"^(.+?) ({_any_of(_WORDS)}) (.+)$")
_GROUP = re.compile(
    rf"^(?P<count>{_any_of(_COUNTS)}) (?:(?P<size>{_any_of(SIZES)}) )?(?:(?P<colour>{_any_of(COLOURS)}) )?"
    rf"(?P<noun>{_any_of(_NOUNS)})(?: (?:that is|that are|in) (?P<late>{_any_of(COLOURS)}))?$"
)


def understand(text: str) -> Spec:
    """The spec a caption says: `texts` backwards. Raises DataError where the text is none of this world's captions."""
    try:
        related = _RELATION.match(text)
        if related:
            return Spec((_group(related[1]), _group(related[3])), _WORDS[related[2]])
        return describe(_group(part) for part in re.split(r" together with | with | and |, ", text))
    except ValueError as error:
        raise DataError(f"{text!r} is not a caption of this world: {error}") from None


def _group(text: str) -> Group:
    match = _GROUP.match(text)
    if match is None:
        raise ValueError(f"{text!r} is not understood")
    colour = match["colour"] or match["late"]
    return Group(_NOUNS[match["noun"]], colour, _COUNTS[match["count"]], match["size"])
