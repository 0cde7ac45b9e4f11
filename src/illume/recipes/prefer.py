"""Preference optimisation on the pairs of self-enhancement rounds, in a run folder of its own.

It does not know how the pairs came about.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from illume.api import Illume
from illume.core.device import autocast, pick_device, pick_dtype
from illume.core.errors import DataError
from illume.core.log import console
from illume.data.drawings import DrawnCodes
from illume.data.pair_loader import PairBatch, PairLoader, SamplePair
from illume.data.pairs import Pair, read_pairs
from illume.encode import weights_hash
from illume.enhance.drawn_codes import drawn_codes
from illume.generate.coded import Coder
from illume.generate.folder import Parts
from illume.generate.shown import pixels_of
from illume.recipes import parts
from illume.recipes.beside import beside, drawings_of, learn_beside
from illume.recipes.data import OpenData
from illume.recipes.folder import RunFolder
from illume.recipes.recipe import RoundsData
from illume.recipes.retrain import Base, Retraining, continued, finished_parts, go_on, older_rounds, row_length_for
from illume.train.preference_objective import PreferenceConfig, PreferenceObjective
from illume.train.stage import Stage


def preferring(
    base: Base, rounds: Mapping[str, Path], out: Path, how: Retraining, config: PreferenceConfig | None = None
) -> dict[str, Any]:
    """A finished model trained on by DPO on the pairs of files of pairs, beside its last stage's mixture. Returns the
    scorecard; killed and run again, it goes on. DataError where the pairs cannot be learnt from."""
    given = finished_parts(base)
    found = telling(given, rounds)
    pairs = [pair for of_round in found.values() for pair in of_round]
    longest = max(len(chosen) + len(rejected) for chosen, rejected in pairs)
    learnt = RoundsData(
        {name: str(path) for name, path in rounds.items()},
        {name: _contents(of_round) for name, of_round in found.items()},
        row_length_for(base.recipe, longest),
        weights_hash(given.model),
        config or PreferenceConfig(),
        how.share,
    )
    stage = continued(base.recipe.stages[-1], {}, how, older_rounds(base.recipe))
    made = replace(base.recipe, out=str(out), stages=(stage,), rounds=learnt)
    return go_on(base, made, given, lambda folder, data: _learn(folder, data, given, pairs))


def telling(given: Parts, rounds: Mapping[str, Path]) -> dict[str, list[SamplePair]]:
    """The pairs of some files as samples. DataError where none of them says anything."""
    found = {name: sampled(given, path) for name, path in rounds.items()}
    if not any(found.values()):
        files = ", ".join(map(str, rounds.values()))
        raise DataError(f"{files}: every pair is of drawings with equal codes, which say nothing: draw more of each")
    return found


def sampled(given: Parts, path: Path) -> list[SamplePair]:
    """The pairs of a file as samples; those whose two drawings are of the same codes say nothing and are left out.

    A picture's codes are those it was drawn with; one that has none (a true picture, an edited one) is encoded.
    """
    pairs, write = read_pairs(path), drawings_of(given)
    codes = _codes(given, path.parent, pairs)
    told = [pair for pair in pairs if codes[pair.chosen] != codes[pair.rejected]]
    if len(told) < len(pairs):
        console.print(f"{path.name}: {len(pairs) - len(told)} pairs of equal codes left out")
    return [
        (
            write.sample(pair.prompt, codes[pair.chosen], pair.chosen),
            write.sample(pair.prompt, codes[pair.rejected], pair.rejected),
        )
        for pair in told
    ]


def references(objective: PreferenceObjective, loader: PairLoader, stage: Stage, device: torch.device) -> None:
    """Measure every pair by the model as it is, once and without gradient, and let the loader give that along."""
    modules = objective.modules().values()
    for module in modules:
        module.to(device).eval()
    with torch.no_grad(), autocast(device, pick_dtype(stage.dtype, device)):
        for numbers, batch in loader.all():
            loader.reference[numbers] = objective.log_probs(batch.to(device)).sum(dim=2).float().cpu()


def _learn(folder: RunFolder, data: OpenData, given: Parts, pairs: Sequence[SamplePair]) -> None:
    recipe, learnt = folder.recipe, folder.recipe.rounds
    assert learnt is not None
    assert isinstance(learnt.learnt, PreferenceConfig)
    assert learnt.share is not None
    (stage,) = recipe.stages
    number = beside(learnt.share, stage.batch_size)
    loader = PairLoader(
        pairs,
        batch_size=number,
        row_length=learnt.row_length,
        rows_per_batch=recipe.rows_per_batch,
        num_levels=len(given.layout.read_levels),
        size=given.image_size,
        seed=stage.seed,
        share=parts.share(),
    )
    objective = PreferenceObjective(given.model, learnt.learnt)
    references(objective, loader, stage, pick_device(recipe.device))
    learn_beside(folder, data, given, objective, loader, PairBatch, number)


def _codes(given: Parts, folder: Path, pairs: Iterable[Pair]) -> dict[str, DrawnCodes]:
    illume, coder = Illume(given), Coder(given.tokenizer)
    found: dict[str, DrawnCodes] = {}
    encoded = 0
    for image in dict.fromkeys(image for pair in pairs for image in (pair.chosen, pair.rejected)):
        kept = drawn_codes(folder / image)
        encoded += kept is None
        found[image] = kept if kept is not None else coder(pixels_of(illume.pixels(folder / image)))
    if encoded:
        console.print(f"{encoded} of {len(found)} pictures do not keep the codes they were drawn with: encoded")
    return found


def _contents(pairs: Sequence[SamplePair]) -> str:
    """Names what is in a file of pairs, the codes of its pictures included."""
    digest = hashlib.blake2b(digest_size=6)
    for pair in pairs:
        for sample in pair:
            digest.update(sample.ids.tobytes() + sample.name.encode())
    return digest.hexdigest()
