"""What an arm is given and what it leaves, and the baseline's drawings, which arms share; it makes no arm.

An arm's folder is named by what it depends on, so that another configuration starts anew and an interrupted one goes
on.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any

from benchmarks.enhance.depends import DRAWN, folder_name
from benchmarks.enhance.experiment import Experiment, name_of
from illume.core.files import atomic_folder, read_json, write_json
from illume.enhance.compose import Composing
from illume.enhance.paint import Painting
from illume.enhance.round import RoundFolder
from illume.recipes.courses import Method, Only, Settings
from illume.recipes.enhance import WORLD, enhance
from illume.recipes.retrain import Base, Retraining


@dataclass(frozen=True)
class Given:
    """What an arm is made of: a seed's baseline, in the seed's folder."""

    experiment: Experiment
    seed: int
    base: Base
    folder: Path

    def out(self, arm: str) -> Path:
        """The folder of an arm."""
        return self.folder / folder_name(self.experiment, arm)

    def settings(
        self,
        judge: str | None,
        rounds: int = 1,
        method: Method = "assessment",
        retraining: Retraining | None = None,
    ) -> Settings:
        """Of `illume enhance`."""
        asked = self.experiment
        return Settings(
            WORLD,
            judge,
            rounds=rounds,
            num_prompts=asked.num_prompts,
            painting=Painting(asked.per_prompt, seed=self.seed),
            composing=Composing(asked.correction, asked.good),
            retraining=retraining or self.retraining,
            method=method,
            seed=self.seed,
        )

    @property
    def retraining(self) -> Retraining:
        return Retraining(self.experiment.share, self.experiment.extra_steps, self.experiment.rate)

    @property
    def num_drawings(self) -> int:
        """Of a round."""
        return self.experiment.num_prompts * self.experiment.per_prompt

    def enhanced(self, settings: Settings, out: Path, *steps: Only) -> dict[str, Any]:
        """Rounds in a folder, whole, or some steps of the last; timed. What the last of them returns."""
        with timed(out):
            return [enhance(str(self.base.run), settings, out, step) for step in steps or (None,)][-1]


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


@contextmanager
def timed(out: Path) -> Iterator[None]:
    """Add the seconds that pass to a folder's, over all sittings."""
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
