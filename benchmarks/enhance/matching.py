"""How long samples are, and the control that is matched to dialogues by that; it trains nothing."""

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from benchmarks.enhance.given import Given
from illume.core.device import pick_device, pick_dtype
from illume.core.files import write_text
from illume.core.statistics import mean
from illume.data.records import Record, to_dict
from illume.enhance.propose import lines, read_prompts
from illume.enhance.round import RoundFolder
from illume.generate.folder import load_parts
from illume.recipes.retrain import Base, Retraining, record_lengths


def plain_pictures(folder: RoundFolder, out: Path) -> Path:
    """A round's prompts and true pictures as records of drawing."""
    records = []
    for prompt in read_prompts(folder.prompts):
        assert prompt.image is not None  # the world's prompts have one each
        (out / "truth").mkdir(parents=True, exist_ok=True)
        shutil.copyfile(prompt.image, out / "truth" / prompt.image.name)
        records.append(Record("draw", images=(f"truth/{prompt.image.name}",), text=prompt.text, id=prompt.key))
    path = out / "records.jsonl"
    write_text(path, lines(to_dict(record) for record in records))
    return path


def matched(given: Given, dialogues: Path, pictures: Path) -> tuple[Base, Retraining]:
    """The baseline with a larger batch, and the share of pictures in it, so that a step has as many ids of pictures as
    it would have of dialogues, and as many ordinary samples beside them."""
    recipe, share = given.base.recipe, given.experiment.share
    last = recipe.stages[-1]
    ours, theirs = (mean_length(given, path) for path in (dialogues, pictures))
    ordinary = last.batch_size * (1 - share)
    batch = max(round(ordinary + last.batch_size * share * ours / theirs), int(ordinary) + 1)
    wider = replace(recipe, stages=(*recipe.stages[:-1], replace(last, batch_size=batch)))
    return replace(given.base, recipe=wider), replace(given.retraining, share=1 - ordinary / batch)


def tokens(given: Given, sources: Mapping[str, Path], samples: float) -> int:
    """How many ids of these sources, mixed alike, an arm learns from that has so many samples of them a step."""
    length = mean([mean_length(given, path) for path in sources.values()])
    return round(given.experiment.extra_steps * samples * length)


def dialogue_tokens(given: Given, *rounds: RoundFolder) -> int:
    """The same of rounds of dialogues."""
    samples = given.base.recipe.stages[-1].batch_size * given.experiment.share
    return tokens(given, {folder.path.name: folder.records for folder in rounds}, samples)


def mean_length(given: Given, records: Path) -> float:
    """Of the samples that a file of records makes, in ids."""
    device = pick_device("cpu")
    parts = load_parts(given.base.model, device, pick_dtype("float32", device))
    return mean(record_lengths(records, "records", parts, given.base.recipe))
