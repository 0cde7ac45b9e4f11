"""Self-enhancing alignment (ILLUME, section 3), whole: rounds of drawing, judging and composing, then fine-tuning;
and what came after the paper, over the same files.

    illume enhance runs/demo --prompts world --judge oracle --num-prompts 512 --per-prompt 4
    illume enhance runs/demo --prompts world --method reca --num-prompts 2048
    illume enhance runs/demo --prompts world --judge oracle --method grpo

It joins what may not know each other: the steps of a round (enhance/), training and scoring.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import takewhile
from pathlib import Path
from typing import Any

from illume.api import Illume, load
from illume.core.device import pick_device
from illume.core.dist import barrier, close, init_from_env, is_main
from illume.core.errors import CheckpointError, ConfigError, DataError, UsageError
from illume.core.files import read_json, write_json
from illume.core.log import MetricsFile, Progress, console
from illume.core.streams import seed_of
from illume.enhance.assess import assess
from illume.enhance.compose import check_round, compose
from illume.enhance.paint import drawer_of, paint, room
from illume.enhance.pair import pair, round_pairs
from illume.enhance.propose import from_file, from_source, propose, read_prompts
from illume.enhance.redraw import check_redrawings, redraw
from illume.enhance.round import RoundFolder
from illume.eval.task import Example
from illume.judge.api import ApiJudge
from illume.judge.catalog import Setting
from illume.judge.drawings import read_drawings
from illume.judge.protocol import FailureKind, Judge
from illume.judge.run import UNANSWERED
from illume.judge.tally import tally
from illume.recipes.courses import Only, Settings
from illume.recipes.data import open_data
from illume.recipes.examples_page import drawn_examples, examples_of, write_page
from illume.recipes.judges import judge_of
from illume.recipes.prefer import preferring
from illume.recipes.recipe import WorldData
from illume.recipes.reinforce import check_judge, reinforcing
from illume.recipes.retrain import Base, checkpoints_before, model_continued, stage_anew
from illume.recipes.score import score_folder
from illume.world import WorldConfig

WORLD = "world"


def enhance(model: str, settings: Settings, out: Path | None = None, only: Only | None = None) -> dict[str, Any]:
    """Run the rounds into `out` (by default beside the run: NAME-enhanced); killed and run again, it goes on.

    Returns {"before", "after", "rounds"}: scorecards, and "drawings", how many each round drew, as in
    out/scorecards.json. `only`: one step of the last round,
    after which {"step", "file"} is returned. Under torchrun drawing, judging and training are shared, and the first
    process alone is given an answer.
    """
    init_from_env(pick_device(settings.device))
    try:
        base = Base.find(model)
        folder = out or beside(model, base)
        if only is not None and only not in settings.course.steps:
            raise ConfigError(
                f"{settings.method} has no step {only!r}: its steps are {', '.join(settings.course.steps)}"
            )
        if only is not None:
            return _one_step(base, settings, folder, only)
        Round(base, settings, folder, 1).prepare()
        cards = [_before(base, settings, folder)]
        for number in range(1, settings.rounds + 1):
            one = Round(base, settings, folder, number)
            for step in settings.course.steps:
                one.run(step)
            cards.append(one.card())
        return _finish(base, settings, folder, cards)
    finally:
        close()


def beside(model: str, base: Base) -> Path:
    """Where a run's rounds go if nobody says. ConfigError for a model that is not of a folder here."""
    if not Path(model).exists():
        raise ConfigError(f"{model}: there is no run here for its rounds to stand beside: say where, with --out FOLDER")
    return base.run.with_name(f"{base.run.name}-enhanced")


@dataclass
class Round:
    """A round in its place: who draws, who judges, what is trained of it."""

    base: Base
    settings: Settings
    out: Path
    number: int
    folder: RoundFolder = field(init=False)

    def __post_init__(self) -> None:
        self.folder = RoundFolder(self.path(self.number))

    def path(self, number: int) -> Path:
        """A round's folder."""
        return self.out / f"round-{number}"

    @property
    def trained(self) -> Path:
        """The run folder of what is trained at this round's end."""
        return self.folder.path / "run"

    def card(self) -> dict[str, Any]:
        """The scorecard of what was trained."""
        return read_json(self.trained / "scorecard.json")

    @cached_property
    def illume(self) -> Illume:
        """Who draws: the base, and from the second round on the model that the round before left."""
        before = self.path(self.number - 1) / "run" / "model"
        return load(self.base.model if self.number == 1 else before, device=self.settings.device)

    def run(self, step: Only) -> None:
        """One step; what is finished is left."""
        console.print(f"[bold]round {self.number}: {step}[/bold]")
        getattr(self, step)()

    def prepare(self) -> None:
        """Of the first round all that costs nothing, before the base is scored: what is wrong with the model, the
        judge, the checkpoints or the prompts shows now, not after hours."""
        self._claim()
        judge = None if self.settings.judge is None else self.judge()
        if judge is not None and self.settings.method == "grpo":
            check_judge(judge)
        if self.settings.start == "stage2":
            checkpoints_before(self.base)
        for step in takewhile(FREE.__contains__, self.settings.course.steps):
            self.run(step)
        if (self.settings.judge or "").partition(":")[0] == "detector":
            self._check_specs()

    def _check_specs(self) -> None:
        if not any(prompt.spec for prompt in read_prompts(self.folder.prompts)):
            raise DataError(f"{self.settings.prompts}: no prompt has a spec, and by nothing else a detector judges")

    def _claim(self) -> None:
        """The rounds of a folder, and the score before them, are one model's. CheckpointError where it is another."""
        path, drawer = self.out / "base.json", drawer_of(self.illume)
        if path.is_file() and (known := read_json(path).get("drawer")) != drawer:
            raise CheckpointError(
                f"{self.out} holds the rounds of another model ({known}, now {drawer}): give another folder (--out), "
                "or delete this one"
            )
        if is_main() and not path.is_file():
            write_json(path, {"drawer": drawer})

    def propose(self) -> None:
        if is_main():
            propose(self.folder, self._wanted(), room(self.illume))
        barrier()

    def paint(self) -> None:
        total = len(read_prompts(self.folder.prompts)) * self.settings.painting.per_prompt
        with Progress("drawings", total, enabled=is_main()) as progress:
            paint(self.folder, self.illume, self.settings.painting, progress.advance)

    def assess(self) -> None:
        judge = self.judge()
        drawings = read_drawings(self.folder.drawings)
        asks = isinstance(judge, ApiJudge)
        if asks and is_main():
            console.print(f"{self.settings.judge}: {judge.estimate(drawings)}", markup=False)  # type: ignore[attr-defined]
        with Progress(str(judge.identity), len(drawings), enabled=is_main()) as progress:
            judged = assess(self.folder, judge, again=self.again, shared=not asks, on_progress=progress.advance)
        if is_main():
            console.print(tally(judged).to_text(), markup=False)

    def compose(self) -> None:
        if is_main():
            made = compose(self.folder, self.settings.composing)
            told = "".join(f", {count} {why}" for why, count in made.left_out.items())
            console.print(f"records: {made.good} good, {made.bad} bad, {made.corrected} of them corrected{told}")
        barrier()

    def redraw(self) -> None:
        if is_main():
            console.print(f"records: {redraw(self.folder, self.settings.redrawing)} pictures to redraw")
        barrier()

    def pair(self) -> None:
        if is_main():
            console.print(f"pairs: {pair(self.folder, self.settings.preferring.pairs)}")
        barrier()

    def train(self) -> None:
        settings, course = self.settings, self.settings.course
        folders = [RoundFolder(self.path(n)) for n in range(1, self.number + 1)]
        rounds = {folder.path.name: folder.path / course.learns_from for folder in folders}
        asked = (self.base, rounds, self.trained, settings.retraining or course.retraining)
        match settings.method:
            case "assessment":
                for folder in folders:
                    check_round(folder)
                (stage_anew if settings.start == "stage2" else model_continued)(*asked)
            case "reca":
                for folder in folders:
                    check_redrawings(folder)
                model_continued(*asked)
            case "dpo":
                for folder in folders:
                    round_pairs(folder)
                preferring(*asked, settings.preferring.dpo)
            case "grpo":
                reinforcing(*asked, settings.policy, self.judge())

    def drawings(self) -> dict[str, int]:
        """How many pictures the round drew: to be judged first, and while it trained."""
        painted = len(read_drawings(self.folder.drawings)) if self.folder.drawings.is_file() else 0
        steps = MetricsFile(self.trained / "metrics.jsonl").read()
        return {"painted": painted, "training": int(sum(row.get("drawn", 0) for row in steps))}

    def examples(self) -> dict[str, list[Example]]:
        """Drawings to be shown, by what became of them; of GRPO, which keeps none, the same prompts before and after.
        An API is not asked, and paid, for that."""
        if self.settings.method != "grpo":
            return examples_of(self.folder)
        judge, after = self.judge(), load(self.trained / "model", device=self.settings.device)
        prompts = read_prompts(self.folder.prompts)
        return drawn_examples(prompts, self.illume, after, None if isinstance(judge, ApiJudge) else judge)

    @property
    def again(self) -> tuple[FailureKind, ...]:
        """What a judge is asked again: what a person named; and what was not answered, until something is made of the
        verdicts: answers that come later would change what is learnt from, and be paid for."""
        made = (self.folder.path / self.settings.course.learns_from).is_file()
        return self.settings.again if made else (*UNANSWERED, *self.settings.again)

    def judge(self) -> Judge:
        """The judge of a name. It answers bit for bit the same whatever it is asked at once."""
        setting = Setting(self.out / "answers.jsonl", self.settings.again, _load)
        return judge_of(self.settings.judge or "", self.settings.judge_settings, setting, self._strictly, self._world)

    def _strictly(self) -> Illume:
        return Illume(self.illume.parts, folder=self.illume.folder, strict=True)

    def _world(self) -> WorldConfig:
        data = self.base.recipe.data
        if not isinstance(data, WorldData):
            raise UsageError(f"{self.base.run}: it was trained on other data than a world; say which: oracle:pico")
        return data.world

    def _wanted(self) -> Any:
        settings = self.settings
        if settings.prompts != WORLD:
            return from_file(Path(settings.prompts), settings.num_prompts)
        if not isinstance(self.base.recipe.data, WorldData):
            raise ConfigError(f"--prompts world: {self.base.model} was trained on other data; give a file of prompts")
        source = open_data(self.base.recipe).sources["draw"]
        number = settings.num_prompts or NUM_PROMPTS
        return from_source(source, number, seed_of("round", settings.seed, self.number))


FREE: tuple[Only, ...] = ("propose", "redraw")  # steps that neither draw, ask nor train
NUM_PROMPTS = 256  # of the world, where no number is asked for


def _one_step(base: Base, settings: Settings, out: Path, only: Only) -> dict[str, Any]:
    one = Round(base, settings, out, settings.rounds)
    one.run(only)
    made = one.trained / "model" if only == "train" else one.folder.file(only)
    return {"step": only, "file": str(made)} if is_main() else {}


def _before(base: Base, settings: Settings, out: Path) -> dict[str, Any]:
    """The base's scorecard, scored once."""
    path = out / "before.json"
    if is_main() and not path.is_file():
        console.print("[bold]score before[/bold]")
        score_folder(str(base.model), [], out=path, device=settings.device)
    barrier()
    return read_json(path)


def _finish(base: Base, settings: Settings, out: Path, cards: Sequence[dict[str, Any]]) -> dict[str, Any]:
    numbers = range(1, settings.rounds + 1)
    rounds = [Round(base, settings, out, number) for number in numbers]
    drawn = [one.drawings() for one in rounds]
    found = {"before": cards[0], "after": cards[-1], "rounds": list(cards[1:]), "drawings": drawn}
    if is_main():
        write_json(out / "scorecards.json", found)
        examples = [one.examples() for one in rounds]
        write_page(out / "enhance.html", f"{base.recipe.name}: self-enhancement", cards, examples)
        console.print(f"model: {rounds[-1].trained / 'model'}; page: {out / 'enhance.html'}")
    barrier()
    return found if is_main() else {}


def _load(name: str, device: str) -> Illume:
    inner = Path(name) / "model"
    return load(inner if (inner / "config.json").is_file() else name, device=device)
