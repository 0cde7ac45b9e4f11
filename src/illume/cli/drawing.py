"""`illume draw`: pictures of prompts, as they come, or the best of several, or revised; it does no work of its own."""

from collections import Counter
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from illume.cli.files import Asked, check_writable, load_model, read_prompts, save_images, save_some
from illume.cli.judging import JUDGES, estimated
from illume.cli.options import (
    DeviceOption,
    GuidanceOption,
    JsonOption,
    ModelArgument,
    OutOption,
    ParallelOption,
    SeedOption,
    TemperatureOption,
    TierOption,
    TopKOption,
    TopPOption,
)
from illume.cli.terminal import answer
from illume.core.errors import JudgeError, UsageError

if TYPE_CHECKING:
    from illume.api import Illume
    from illume.judge.choice import Candidate, Choice
    from illume.judge.protocol import Judge

OWN = "self"  # the judge that is the drawer itself


class Order(NamedTuple):
    """What is drawn, how, and where to."""

    wanted: Sequence[Asked]
    n: int
    seed: int
    settings: dict[str, Any]
    out: Path

    @property
    def texts(self) -> list[str]:
        """The prompts."""
        return [one.text for one in self.wanted]


class Made(NamedTuple):
    """The answer's rows, what else it tells; the choices behind the pictures, and all drawings that a judge saw."""

    rows: "list[dict[str, Any]]"
    about: "dict[str, Any]"
    chosen: "Sequence[Choice]" = ()
    looked: "Sequence[Candidate]" = ()


class Wish(NamedTuple):
    """How pictures are chosen: the best of so many by a judge, then drawn again so often; None is not at all."""

    of: int | None
    times: int | None
    judge: str
    settings: tuple[str, ...]


def draw(
    model: ModelArgument,
    prompt: Annotated[str | None, typer.Argument(help="What to draw.")] = None,
    out: OutOption = Path("out.png"),
    n: Annotated[int, typer.Option(min=1, help="How many pictures of each prompt.")] = 1,
    prompts: Annotated[
        Path | None, typer.Option(help="A text file: one prompt a line; or .jsonl, as illume enhance reads it.")
    ] = None,
    seed: SeedOption = 0,
    guidance: GuidanceOption = None,
    temperature: TemperatureOption = None,
    top_k: TopKOption = None,
    top_p: TopPOption = None,
    best_of: Annotated[
        int | None, typer.Option(min=1, help="An extension: draw so many for each picture, keep the best.")
    ] = None,
    judge: Annotated[
        str | None, typer.Option(help=f"Of --best-of: who judges: self, {JUDGES}. Default: self, the model.")
    ] = None,
    judge_setting: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE", help="Of the judge (repeatable): url=http://localhost:8000/v1 ..."),
    ] = None,
    revise: Annotated[
        int | None,
        typer.Option(
            min=1, help="An extension: let the model assess its drawing, and draw it again, so often at most."
        ),
    ] = None,
    tier: TierOption = "auto",
    parallel: ParallelOption = 0,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Draw pictures from a prompt, or from every line of a file."""
    wanted = read_prompts(prompt, prompts)
    wish = _wish(best_of, revise, judge, tuple(judge_setting or ()), wanted)
    check_writable(out)
    settings = {"guidance": guidance, "temperature": temperature, "top_k": top_k, "top_p": top_p}
    order = Order(wanted, n, seed, settings, out)
    drawer = cache(lambda: load_model(model, device, tier, parallel))
    made = _plain(order, drawer()) if wish is None else _choosing(order, wish, drawer)
    files = [row["file"] for row in made.rows if row["file"] is not None]
    answer({"seed": seed, **made.about, "drawings": made.rows}, as_json, text="\n".join(files) or None)
    _tell(made)


def _plain(order: Order, illume: "Illume") -> Made:
    """Pictures as they come."""
    n, texts = order.n, order.texts
    files = save_images(illume.draw(texts, n=n, seed=order.seed, **order.settings), order.out)
    return Made([{"prompt": texts[i // n], "file": str(file)} for i, file in enumerate(files)], {})


def _wish(
    of: int | None, times: int | None, judge: str | None, settings: tuple[str, ...], wanted: Sequence[Asked]
) -> Wish | None:
    """What is asked for beyond drawing; None: nothing. UsageError for options that do not go together."""
    if of is None and (judge is not None or settings):
        raise UsageError("--judge is of --best-of N: say how many to draw for each picture")
    if settings and judge is None:
        raise UsageError(f"--judge-setting {settings[0]}: say which --judge it is of")
    name = judge or OWN
    if times is not None and name != OWN:
        raise UsageError(f"--revise goes by the model's own assessment: with --best-of, --judge {OWN}, not {name}")
    if name.partition(":")[0] == "detector" and any(one.spec is None for one in wanted):
        raise UsageError(
            "--judge detector has to be told what prompts mean: give --prompts FILE.jsonl, whose lines have a spec"
        )
    return None if of is None and times is None else Wish(of, times, name, settings)


def _choosing(order: Order, wish: Wish, drawer: "Callable[[], Illume]") -> Made:
    """Pictures chosen of several, revised, or both."""
    from illume.judge.catalog import Setting
    from illume.judge.revise import revise
    from illume.recipes.judges import judge_of, world_of

    setting = Setting(order.out.with_suffix(".answers.jsonl"), (), load_model)
    judge = judge_of(wish.judge, wish.settings, setting, drawer, lambda: world_of(drawer()))
    chosen = _chosen(order, wish, drawer(), judge)
    revised = revise(drawer(), judge, chosen, wish.times, **order.settings) if wish.times is not None else None
    final: Sequence[Choice] = chosen if revised is None else revised
    files = save_some([None if one.taken is None else one.picture for one in final], order.out)
    rows = [
        {"prompt": one.prompt, "file": None if file is None else str(file), "passed": one.passed}
        | ({"best_of": chosen[i].to_dict()} if wish.of is not None else {})
        | ({"revise": revised[i].to_dict()} if revised is not None else {})
        for i, (one, file) in enumerate(zip(final, files, strict=True))
    ]
    by = {"name": judge.identity.name, "settings": dict(judge.identity.settings)}
    looked = [candidate for one in chosen for candidate in one.candidates]
    looked += [candidate for chain in revised or () for candidate in chain.candidates[1:]]
    return Made(rows, {"judge": by}, final, looked)


def _chosen(order: Order, wish: Wish, illume: "Illume", judge: "Judge") -> "list[Choice]":
    """The best of several, or the first drawing with its assessment."""
    from illume.core.log import Progress
    from illume.judge.best_of import choose, sketches
    from illume.judge.revise import check_revising

    if wish.times is not None:
        check_revising(illume, order.texts)
    specs = [one.spec for one in order.wanted]
    drawn = sketches(illume, order.texts, wish.of or 1, order.n, order.seed, specs=specs, **order.settings)
    drawings = [drawing for group in drawn for drawing, _ in group]
    estimated(judge, drawings)
    with Progress(str(judge.identity), len(drawings)) as progress:
        return choose(drawn, judge, progress.advance)


def _tell(made: Made) -> None:
    """Beside the answer: how many pass, and what was not judged. JudgeError for pictures that could not be chosen."""
    if not made.chosen:
        return
    from illume.judge.choice import unjudged
    from illume.judge.protocol import Failure

    failures = Counter[str](one.outcome.kind for one in made.looked if isinstance(one.outcome, Failure))
    told = "".join(f"; without a verdict: {count} {kind}" for kind, count in failures.items())
    typer.echo(f"{sum(one.passed for one in made.chosen)} of {len(made.chosen)} pictures pass{told}", err=True)
    if lost := [one for one in made.chosen if one.taken is None]:
        more = f", nor of those of {len(lost) - 1} more pictures" if len(lost) > 1 else ""
        raise JudgeError(f"{unjudged(lost[0])}{more}: nothing was taken there")
