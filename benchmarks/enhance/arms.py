"""The arms: what each makes of a baseline, and what that took. It scores nothing.

An arm's folder is named by what it depends on, so that another configuration starts anew and an interrupted one goes
on. Arms of one baseline share their first drawings, which are the same to the byte.
"""

import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.enhance.experiment import Experiment, name_of
from illume.core.device import pick_device, pick_dtype
from illume.core.files import atomic_folder, read_json, write_json, write_text
from illume.core.statistics import mean
from illume.data.records import Record, to_dict
from illume.enhance.compose import Composing
from illume.enhance.paint import Painting
from illume.enhance.propose import lines, read_prompts
from illume.enhance.round import RoundFolder
from illume.generate.folder import load_parts
from illume.recipes.enhance import WORLD, Only, Settings, enhance
from illume.recipes.retrain import Base, Retraining, model_continued, record_lengths

TRAINED = ("extra_steps", "rate")
DRAWN = ("num_prompts", "per_prompt")
COMPOSED = (*TRAINED, *DRAWN, "share", "good", "correction")
ORACLE, PICTURES = "assessment-oracle", "pictures"


@dataclass(frozen=True)
class Given:
    """What an arm is made of: a seed's baseline, in the seed's folder."""

    experiment: Experiment
    seed: int
    base: Base
    folder: Path

    def out(self, arm: str) -> Path:
        """The folder of an arm."""
        return self.folder / f"{arm}-{name_of(self.experiment, arm, ARMS[arm].fields)}"

    def settings(self, judge: str, rounds: int = 1) -> Settings:
        """Of `illume enhance`."""
        asked = self.experiment
        return Settings(
            WORLD,
            judge,
            rounds=rounds,
            num_prompts=asked.num_prompts,
            painting=Painting(asked.per_prompt, seed=self.seed),
            composing=Composing(asked.correction, asked.good),
            retraining=self.retraining,
            seed=self.seed,
        )

    @property
    def retraining(self) -> Retraining:
        return Retraining(self.experiment.share, self.experiment.extra_steps, self.experiment.rate)

    @property
    def num_drawings(self) -> int:
        """Of a round."""
        return self.experiment.num_prompts * self.experiment.per_prompt

    def enhanced(self, settings: Settings, out: Path, *steps: Only) -> None:
        """Rounds in a folder, whole, or some steps of the last; timed."""
        with timed(out):
            for step in steps or (None,):
                enhance(str(self.base.run), settings, out, step)


@dataclass(frozen=True)
class Made:
    """The model that an arm leaves, all it trained and drew beyond the baseline, how many ids of dialogues or pictures
    it learnt from, who judged, and the folders whose seconds are its own."""

    model: Path
    steps: int = 0
    drawings: int = 0
    tokens: int | None = None
    judge: str | None = None
    folders: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Arm:
    """`fields` of the experiment that it depends on. `second`: its drawings are also judged by a judge that was not its
    reward."""

    make: Callable[[Given], Made]
    fields: tuple[str, ...]
    second: bool = False


def baseline(given: Given) -> Made:
    """As it stands."""
    return Made(given.base.model, folders=(given.base.run,))


def control_steps(given: Given) -> Made:
    """As many more steps on the data of stage 3."""
    out = given.out("control-steps")
    with timed(out):
        model_continued(given.base, {}, out / "run", given.retraining)
    return Made(out / "run" / "model", given.experiment.extra_steps, folders=(out,))


def control_pictures(given: Given) -> Made:
    """The prompts of the first round with their true pictures, as drawing samples: as many ids of them as the arm with
    the oracle has of dialogues, beside as many ordinary samples, in as many steps."""
    dialogues = composed(given, ORACLE, "oracle").records
    out = given.out("control-pictures")
    with timed(out):
        pictures = plain_pictures(RoundFolder(dialogues.parent), out / PICTURES)
        base, retraining = matched(given, dialogues, pictures)
        model_continued(base, {PICTURES: pictures}, out / "run", retraining)
    learnt = tokens(given, {PICTURES: pictures}, base.recipe.stages[-1].batch_size * retraining.share)
    return Made(out / "run" / "model", given.experiment.extra_steps, tokens=learnt, folders=(out,))


def assessment(arm: str, judge: str | None = None) -> Callable[[Given], Made]:
    """A round of ILLUME's section 3, judged by `judge`: None is the model itself."""

    def make(given: Given) -> Made:
        return assessed(given, arm, judge or given.experiment.own_judge)

    return make


def assessed(given: Given, arm: str, judge: str) -> Made:
    """The round of one judge."""
    folder = share_drawings(given, given.out(arm))
    given.enhanced(given.settings(judge), given.out(arm))
    learnt = dialogue_tokens(given, folder)
    own = (first_drawings(given), given.out(arm))
    model = folder.path / "run" / "model"
    return Made(model, given.experiment.extra_steps, given.num_drawings, learnt, judge, own)


def two_rounds(given: Given) -> Made:
    """A second round after the oracle's: its model draws, and the baseline learns from both rounds."""
    first = ARMS[ORACLE].make(given)
    out, second = given.out(ORACLE), given.out("two-rounds")
    rounds = [RoundFolder(out / f"round-{number}") for number in (1, 2)]
    with timed(second):
        enhance(str(given.base.run), given.settings("oracle", rounds=2), out)
    learnt = dialogue_tokens(given, *rounds)
    own = (*first.folders, second)
    model = rounds[1].path / "run" / "model"
    return Made(model, 2 * first.steps, 2 * first.drawings, learnt, "oracle", own)


ARMS: Mapping[str, Arm] = {
    "baseline": Arm(baseline, (), second=True),
    "control-steps": Arm(control_steps, TRAINED),
    "control-pictures": Arm(control_pictures, COMPOSED),
    ORACLE: Arm(assessment(ORACLE, "oracle"), COMPOSED),
    "assessment-self": Arm(assessment("assessment-self"), (*COMPOSED, "own_judge")),
    "two-rounds": Arm(two_rounds, COMPOSED),
}
CONTROLS = ("control-steps", "control-pictures")
EXTENSIONS: tuple[str, ...] = ()


def first_drawings(given: Given) -> Path:
    """The folder whose first round is the baseline's drawings, which the arms share."""
    return given.folder / f"drawings-{name_of(given.experiment, 'drawings', DRAWN)}"


def share_drawings(given: Given, out: Path) -> RoundFolder:
    """Let a folder's first round have the baseline's drawings, made once."""
    there, here = first_drawings(given), out / "round-1"
    if not here.is_dir():
        given.enhanced(given.settings("oracle"), there, "propose", "paint")
        with atomic_folder(here) as folder:
            shutil.copytree(there / "round-1", folder, dirs_exist_ok=True)
    return RoundFolder(here)


def composed(given: Given, arm: str, judge: str) -> RoundFolder:
    """The first round of an arm, up to its records."""
    folder = share_drawings(given, given.out(arm))
    given.enhanced(given.settings(judge), given.out(arm), "assess", "compose")
    return folder


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


@contextmanager
def timed(out: Path) -> Iterator[None]:
    """Add the seconds that pass to a folder's, over all sittings."""
    from time import monotonic

    began = monotonic()
    try:
        yield
    finally:
        path = out / "seconds.json"
        write_json(path, {"seconds": round(seconds(out) + monotonic() - began, 1)})


def seconds(out: Path) -> float:
    """What was done in a folder took so long until now."""
    path = out / "seconds.json"
    return float(read_json(path)["seconds"]) if path.is_file() else 0.0


def against(experiment: Experiment, arm: str) -> dict[str, str]:
    """The arms that one is compared with, by the names of their results."""
    others = ("baseline", *(name for name in CONTROLS if name != arm))
    return {name: result_hash(experiment, name) for name in others if arm != "baseline"}


def result_hash(experiment: Experiment, arm: str) -> str:
    """Names an arm's result, whatever its seed."""
    return name_of(experiment, arm, (*ARMS[arm].fields, "num_items"))
