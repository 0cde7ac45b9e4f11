"""`illume judge`: drawings judged into files, and two judges held against each other; it does not judge."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from illume.cli.files import load_model
from illume.cli.options import JsonOption
from illume.cli.terminal import answer
from illume.core.errors import UsageError

if TYPE_CHECKING:
    from illume.judge.drawings import Drawing
    from illume.judge.protocol import Judge
    from illume.judge.verdicts import Judged

judge_app = typer.Typer(help="Judge drawings, and compare judges.", no_args_is_help=True, rich_markup_mode=None)

MANY = 1000  # drawings: to open so many takes a while
JUDGES = "oracle[:WORLD], self:MODEL, api:MODEL or detector[:MODEL]"
DrawingsArgument = Annotated[Path, typer.Argument(metavar="FILE", help="drawings.jsonl: docs/judges.md.")]


@judge_app.command("run")
def run(
    judge: Annotated[str, typer.Argument(help=JUDGES + ".")],
    file: DrawingsArgument,
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KEY=VALUE]...", help="Of the judge: url=http://localhost:8000/v1 ..."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="The verdicts. Default: verdicts.jsonl beside FILE.")
    ] = None,
    answers: Annotated[
        Path | None, typer.Option(help="What an API said, kept. Default: the verdicts' name with .answers.jsonl.")
    ] = None,
    again: Annotated[
        list[str] | None, typer.Option(help="Ask such failures again: refused, malformed, unfit (repeatable).")
    ] = None,
    estimate: Annotated[bool, typer.Option("--estimate", help="Only say what an API would cost.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Judge drawings; run again, it goes on where it was and asks nothing twice."""
    from illume.judge.drawings import read_drawings
    from illume.judge.tally import tally

    path = out or file.with_name("verdicts.jsonl")
    made = _made(judge, overrides or [], path, answers, again or [])
    drawings = read_drawings(file)
    costs = estimated(made, drawings)
    if estimate:
        answer({"estimate": costs}, as_json, text=costs or "this judge costs nothing")
        return
    counts = tally(_judged(made, drawings, path, again or []))
    answer({"verdicts": str(path), **counts.to_dict()}, as_json, text=f"{counts.to_text()}\n{path}")


@judge_app.command("compare")
def compare(
    first: Annotated[
        str, typer.Argument(metavar="A", help="Verdicts (FILE, or FILE:JUDGE of several), or a judge: " + JUDGES + ".")
    ],
    second: Annotated[str, typer.Argument(metavar="B", help="As A.")],
    file: Annotated[
        Path | None, typer.Argument(metavar="[FILE]", help="Drawings: those compared. A judge needs them.")
    ] = None,
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Of the judges: a.KEY=VALUE, b.KEY=VALUE.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """How far two judges agree on the same drawings: accuracy, Cohen's kappa, overall and by criterion."""
    from illume.judge import agreement
    from illume.judge.drawings import read_drawings

    drawings = read_drawings(file) if file is not None else None
    sides = [_side(name, letter, drawings, file, overrides or []) for name, letter in ((first, "a."), (second, "b."))]
    found = agreement.compare(*sides)
    answer(found.to_dict(), as_json, text=found.to_text())


def _side(
    name: str, letter: str, drawings: "list[Drawing] | None", file: Path | None, overrides: list[str]
) -> "dict[str, Judged]":
    """Content -> line, of a file of verdicts, or of a judge whose verdicts are kept beside the drawings."""
    from illume.judge.verdicts import latest, read_verdicts, said_by

    own = [item.removeprefix(letter) for item in overrides if item.startswith(letter)]
    given, _, whose = (name, "", "") if Path(name).is_file() else name.rpartition(":")
    if Path(given).is_file():
        there = read_verdicts(Path(given))
        lines = latest(said_by(there, whose) if whose else there)
        wanted = None if drawings is None else {drawing.content for drawing in drawings}
        return {content: line for content, line in lines.items() if wanted is None or content in wanted}
    if drawings is None or file is None:
        raise UsageError(f"{name!r} is no file of verdicts; for a judge, give the drawings too: compare A B FILE")
    judge = _made(name, own, file.with_name(f"{file.stem}.verdicts.jsonl"), None, [])
    path = file.with_name(f"{file.stem}.{judge.identity}.verdicts.jsonl")
    estimated(judge, drawings)
    return latest(_judged(judge, drawings, path, []))


def _made(name: str, overrides: list[str], out: Path, answers: Path | None, again: list[str]) -> "Judge":
    from illume.judge.catalog import Setting, make_judge
    from illume.judge.protocol import FAILURES

    kinds = [kind for kind in FAILURES if kind in again]
    if unknown := set(again) - set(kinds):
        raise UsageError(f"--again {sorted(unknown)[0]}: there are {', '.join(FAILURES)}")
    return make_judge(name, overrides, Setting(answers or out.with_suffix(".answers.jsonl"), kinds, load_model))


def estimated(judge: "Judge", drawings: "list[Drawing]") -> str | None:
    """What a judge that costs something will cost, told before it is asked; None for others."""
    from illume.core.log import Progress
    from illume.judge.api import ApiJudge
    from illume.judge.drawings import open_all

    with Progress("reading the drawings", len(drawings), enabled=len(drawings) >= MANY) as progress:
        open_all(drawings, progress.advance)
    if not isinstance(judge, ApiJudge):
        return None
    costs = str(judge.estimate(drawings))
    typer.echo(f"{judge.config.model}: {costs}", err=True)
    return costs


def _judged(judge: "Judge", drawings: "list[Drawing]", path: Path, again: list[str]) -> "list[Judged]":
    from illume.core.log import Progress
    from illume.judge.protocol import FAILURES
    from illume.judge.run import UNANSWERED, judge_drawings

    kinds = [kind for kind in FAILURES if kind in again or kind in UNANSWERED]
    with Progress(str(judge.identity), len(drawings)) as progress:
        return judge_drawings(judge, drawings, path, again=kinds, on_progress=progress.advance)
