"""The specs one change away from a spec, and those of them that are wrong of a scene in one criterion alone."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations

from illume.world.scene import RELATIONS, Scene, WorldConfig
from illume.world.specs import Group, Spec, describe
from illume.world.verdicts import CRITERIA, verdict


def wrong_specs(spec: Spec, scene: Scene, config: WorldConfig) -> dict[str, list[Spec]]:
    """The specs one change away that are wrong of the scene in exactly one criterion, by that criterion."""
    found: dict[str, list[Spec]] = {criterion: [] for criterion in CRITERIA}
    for other in dict.fromkeys(_neighbours(spec, config)):
        findings = verdict(other, scene)
        failed = [name for name, finding in findings.items() if finding.applicable and not finding.passed]
        if len(failed) == 1:
            found[failed[0]].append(other)
    return {criterion: specs for criterion, specs in found.items() if specs}


def _neighbours(spec: Spec, config: WorldConfig) -> Iterator[Spec]:
    """Specs with one shape, colour, size or count changed, two of them exchanged, or another relation."""
    if spec.relation:
        yield from (Spec(spec.groups, relation) for relation in RELATIONS if relation != spec.relation)
    changed: list[dict[int, Group]] = []
    for i, group in enumerate(spec.groups):
        changed += [{i: other} for other in _changed(group, config, counted=spec.relation is None)]
    for (i, a), (j, b) in combinations(enumerate(spec.groups), 2):
        changed.append({i: replace(a, colour=b.colour), j: replace(b, colour=a.colour)})
        changed.append({i: replace(a, count=b.count), j: replace(b, count=a.count)})
        if a.size != b.size:
            changed.append({i: replace(a, size=b.size), j: replace(b, size=a.size)})
    for change in changed:
        groups = [change.get(i, group) for i, group in enumerate(spec.groups)]
        different = len({group.kind for group in groups}) == len(groups)
        if different and sum(group.count for group in groups) <= config.max_objects:
            yield Spec(tuple(groups), spec.relation) if spec.relation else describe(groups)


def _changed(group: Group, config: WorldConfig, counted: bool) -> Iterator[Group]:
    if group.shape:
        yield from (replace(group, shape=shape) for shape in config.shapes)
    if group.colour:
        yield from (replace(group, colour=colour) for colour in config.colours)
    if counted:
        yield from (replace(group, count=n) for n in (group.count - 1, group.count + 1) if n > 0)
    if group.size:
        yield from (replace(group, size=size) for size in config.sizes)
