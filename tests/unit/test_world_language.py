"""Captions, prompts and verdicts: true where they should be, wrong in one criterion where they should be, split."""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import permutations, product

import pytest

from illume.core.errors import ConfigError, DataError
from illume.core.streams import stream
from illume.world import (
    CATEGORIES,
    CRITERIA,
    NANO,
    PICO,
    Caption,
    Group,
    Object,
    Scene,
    Spec,
    WorldConfig,
    arrange,
    caption,
    categories_of,
    held_out,
    holds,
    oracle,
    perturb,
    sample_prompt,
    sample_scene,
    text_split,
    texts,
    understand,
    verdict,
)
from illume.world.neighbours import wrong_specs
from illume.world.render import render
from illume.world.scene import SIZES, related
from illume.world.specs import true_specs

SPLITS = ("train", "test", "novel")


def captions(config: WorldConfig, split: str, number: int) -> list[tuple[Scene, Caption]]:
    scenes = [sample_scene(config, split, i) for i in range(number)]
    return [(scene, caption(scene, config, stream("caption", i), split)) for i, scene in enumerate(scenes)]


def matches(spec: Spec, scene: Scene) -> bool:
    """What a spec means, by brute force: some order of the objects fits the groups one by one."""
    wanted = [group for group in spec.groups for _ in range(group.count)]
    first = spec.groups[0].count
    return len(wanted) == len(scene) and any(
        all(is_a(o, g) for g, o in zip(wanted, order, strict=True))
        and (spec.relation is None or all(related(a, spec.relation, b) for a in order[:first] for b in order[first:]))
        for order in permutations(scene)
    )


def is_a(thing: Object, group: Group) -> bool:
    said = {"shape": group.shape, "colour": group.colour, "size": group.size}
    return all(value in (None, getattr(thing, name)) for name, value in said.items())


@pytest.mark.parametrize("config", [PICO, NANO])
@pytest.mark.parametrize("split", SPLITS)
def test_captions_are_true_understood_and_of_their_split(config: WorldConfig, split: str) -> None:
    for scene, said in captions(config, split, 120):
        assert matches(said.spec, scene)
        assert understand(said.text) == said.spec
        assert text_split(said.text, said.spec, config) == split
        assert said.category == said.spec.category
        assert said.spec.names_held_out(config) == (split == "novel")
        words = set(said.text.split()) | {word.removesuffix("s").removesuffix("e") for word in said.text.split()}
        assert split == "novel" or not any({shape, colour} <= words for shape, colour in held_out(config))


def texts_overlap(said: Callable[[str], set[str]]) -> bool:
    train, test, novel = (said(split) for split in SPLITS)
    return bool(train & test or train & novel or test & novel)


def said_in(split: str) -> set[str]:
    said = captions(PICO, split, 250)
    wrong = [perturb(c, scene, PICO, stream("wrong", i), split) for i, (scene, c) in enumerate(said)]
    prompts = [sample_prompt(PICO, split, i) for i in range(120)]
    return {c.text for _, c in said} | {c.text for c in prompts} | {w[0].text for w in wrong if w and split != "novel"}


def test_no_text_of_one_split_is_said_in_another() -> None:
    assert not texts_overlap(said_in)


def test_split_law_catches_texts_without_a_split() -> None:
    def careless(split: str) -> set[str]:
        rng = stream("careless", split)
        return {rng.choice(texts(rng.choice(true_specs(sample_scene(PICO, split, i))))) for i in range(250)}

    assert texts_overlap(careless)


@pytest.mark.parametrize("split", ["train", "test", "novel"])
def test_wrong_prompts_of_novel_scenes_are_never_training_texts(split: str) -> None:
    for i, (scene, said) in enumerate(captions(PICO, split, 100)):
        wrong = perturb(said, scene, PICO, stream(i), split)
        if wrong is not None:
            allowed = {"train": {"train"}, "test": {"test"}, "novel": {"test", "novel"}}[split]
            assert text_split(wrong[0].text, wrong[0].spec, PICO) in allowed


@pytest.mark.parametrize("split", SPLITS)
def test_prompts_are_balanced_over_the_categories_the_split_can_have(split: str) -> None:
    possible = categories_of(split)
    prompts = [sample_prompt(PICO, split, i) for i in range(10 * len(possible))]
    assert Counter(p.category for p in prompts) == dict.fromkeys(possible, 10)
    assert prompts == [sample_prompt(PICO, split, i) for i in range(10 * len(possible))]
    for category in CATEGORIES:
        if category in possible:
            said = {sample_prompt(PICO, split, i, category).text for i in range(40)}
            assert len(said) >= 3, (category, said)
        else:
            with pytest.raises(ConfigError, match=category):
                sample_prompt(PICO, split, 0, category)


def test_novel_prompts_name_a_held_out_pair() -> None:
    for i in range(80):
        groups = sample_prompt(PICO, "novel", i).spec.groups
        assert any((group.shape, group.colour) in held_out(PICO) for group in groups)


# --- verdicts ---------------------------------------------------------------------------------------------------------


def specs_and_scenes(number: int, config: WorldConfig = PICO) -> Iterable[tuple[Spec, Scene]]:
    """True specs of scenes, those of others, and those one change away."""
    scenes = [sample_scene(config, split, i) for split in ("train", "novel") for i in range(number)]
    for i, scene in enumerate(scenes):
        rng = stream("specs", i)
        for other in (scene, rng.choice(scenes), rng.choice(scenes)):
            yield from ((spec, scene) for spec in true_specs(other, config.sized))
        near = wrong_specs(rng.choice(true_specs(scene, config.sized)), scene, config)
        yield from ((spec, scene) for specs in near.values() for spec in specs)


Judge = Callable[[Spec, Scene], dict]


def verdict_agrees(judge: Judge, config: WorldConfig = PICO) -> bool:
    return all(
        holds(judge(spec, scene)) == matches(spec, scene)
        for spec, scene in specs_and_scenes(150 if config == PICO else 60, config)
    )


@pytest.mark.parametrize("config", [PICO, NANO])
def test_a_verdict_passes_exactly_if_the_spec_fits(config: WorldConfig) -> None:
    assert verdict_agrees(verdict, config)


def test_verdict_law_catches_a_judge_blind_to_sizes() -> None:
    def blind(spec: Spec, scene: Scene) -> dict:
        bare = [replace(group, size=None) for group in spec.groups]
        told_apart = len({group.kind for group in bare}) == len(bare)
        return verdict(Spec(tuple(bare), spec.relation) if told_apart else spec, scene)

    assert verdict_agrees(blind)
    assert not verdict_agrees(blind, NANO)


@pytest.mark.parametrize("criterion", CRITERIA)
def test_verdict_law_catches_a_judge_without(criterion: str) -> None:
    def lenient(spec: Spec, scene: Scene) -> dict:
        return {name: finding for name, finding in verdict(spec, scene).items() if name != criterion}

    assert not verdict_agrees(lenient)


def test_reasons_are_facts() -> None:
    scene = arrange([Object("circle", "red", "medium", (0, 0)), Object("circle", "red", "medium", (1, 1))])
    assert verdict(understand("a red circle"), scene)["counting"] == (True, False, "2 circles, not 1")
    assert verdict(understand("two blue circles"), scene)["colour"] == (True, False, "red circle, not blue")
    assert verdict(understand("two squares"), scene)["object"] == (True, False, "no square, a circle")
    pair = arrange([Object("circle", "red", "medium", (0, 0)), Object("square", "blue", "medium", (0, 1))])
    assert verdict(understand("a circle right of a square"), pair)["relation"] == (True, False, "circle left of square")
    assert verdict(understand("a circle"), pair)["relation"] == (False, True, "")
    sizes = arrange([Object("circle", "red", "small", (0, 0)), Object("circle", "blue", "large", (0, 1))])
    said = "small red circle and large blue circle"
    assert verdict(understand("two circles"), sizes)["object"] == (True, True, "circle")
    assert verdict(understand("a large red circle and a small blue circle"), sizes)["object"] == (
        (True, False, "large blue circle and small red circle, not large red circle and small blue circle")
    )
    assert holds(verdict(understand(f"a {said.replace('and ', 'and a ')}"), sizes))
    three = arrange([*sizes, Object("star", "blue", "large", (1, 2))])
    assert verdict(understand("two circles above a star"), three)["relation"] == (True, True, "circle above star")
    below = verdict(understand("2 circles right of one large star"), three)["relation"]
    assert below == (True, False, "circle left of star")


@pytest.mark.parametrize(
    ("text", "groups", "relation"),
    [
        ("a small circle", (Group("circle", None, 1, "small"),), None),
        ("three large objects in red", (Group(None, "red", 3, "large"),), None),
        (
            "two small red circles left of a large blue star",
            (Group("circle", "red", 2, "small"), Group("star", "blue", 1, "large")),
            "left of",
        ),
    ],
)
def test_sizes_and_groups_beside_groups_are_said(text: str, groups: tuple[Group, ...], relation: str | None) -> None:
    assert understand(text) == Spec(groups, relation)
    assert text in texts(Spec(groups, relation))


def test_every_way_to_speak_of_sizes_comes_and_none_in_a_world_of_one() -> None:
    said = Counter(
        (any(g.size for g in spec.groups), spec.relation is not None, spec.total > 2)
        for i in range(400)
        for spec in [caption(sample_scene(NANO, "train", i), NANO, stream(i), "train").spec]
    )
    assert min(said[sized, related, large] for sized, related, large in product((True, False), repeat=3)) >= 5, said
    assert not any(word in text for _, c in captions(PICO, "train", 100) for text in [c.text] for word in SIZES)


@pytest.mark.parametrize("config", [PICO, NANO])
def test_perturbed_prompts_are_wrong_in_exactly_the_named_criterion(config: WorldConfig) -> None:
    found: Counter[str] = Counter()
    for i, (scene, said) in enumerate(captions(config, "train", 300)):
        wrong = perturb(said, scene, config, stream("perturb", i), "train")
        assert wrong is not None
        worded, criterion = wrong
        assert understand(worded.text) == worded.spec
        assert not matches(worded.spec, scene)
        failed = [name for name, f in verdict(worded.spec, scene).items() if f.applicable and not f.passed]
        assert failed == [criterion]
        found[criterion] += 1
    assert min(found[criterion] for criterion in CRITERIA) >= 20


def test_a_criterion_can_be_asked_for_and_may_be_impossible() -> None:
    scene = arrange([Object("circle", "red", "medium", (0, 0))])
    said = caption(scene, PICO, stream(0), "train")
    assert perturb(said, scene, PICO, stream(0), "train", "relation") is None
    assert set(wrong_specs(understand("a red circle"), scene, PICO)) == {"object", "counting", "colour"}


def test_the_verdict_on_a_scene_is_the_oracles_on_its_picture() -> None:
    for config, every in ((PICO, 7), (NANO, 101)):
        for spec, scene in list(specs_and_scenes(20, config))[::every]:
            assert oracle.check(render(scene, config), spec, config) == verdict(spec, scene)


@pytest.mark.parametrize("text", ["", "a circle and", "a red", "circle", "three circle of squares", "a {red} circle"])
def test_other_texts_are_not_understood(text: str) -> None:
    with pytest.raises(DataError, match="not a caption"):
        understand(text)


def test_specs_that_mean_nothing_are_refused() -> None:
    red = Group("circle", "red")
    for groups, relation in [((), None), ((red, red), None), ((red,), "above"), ((red, Group(None, None)), None)]:
        with pytest.raises(ValueError, match=r"group|single"):
            Spec(groups, relation)
