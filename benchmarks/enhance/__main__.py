"""The command: which arms and seeds are missing, one after the other, then the page and the last line."""

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import benchmarks.enhance as package
from benchmarks.enhance.arms import ARMS, TWICE
from benchmarks.enhance.baseline import baseline, check_given
from benchmarks.enhance.book import Book, open_book
from benchmarks.enhance.depends import against, result_hash, settings_of
from benchmarks.enhance.experiment import SEEDS, SMOKE, Experiment
from benchmarks.enhance.given import Given, seconds, timed
from benchmarks.enhance.measure import Scored
from benchmarks.enhance.page import line, page
from benchmarks.enhance.plot import plot
from benchmarks.enhance.results import Result, file_name, read_results
from illume.core.config import override
from illume.core.errors import ConfigError, IllumeError
from illume.core.files import write_text
from illume.core.log import console

RESULTS, DOCS = Path("results/enhance"), Path("docs")
PAGE, PLOT = "enhance-results.md", "pictures/enhance.svg"


def run(
    experiment: Experiment,
    arms: Sequence[str],
    seeds: Sequence[int],
    out: Path,
    results: Path,
    docs: Path,
    bases: Sequence[Path] = (),
    *,
    smoke: bool = False,
) -> None:
    """Every arm of every seed whose result is missing; seed by seed. The page follows each of them."""
    check_given(bases, seeds)
    wanted = [(seed, arm) for seed in seeds for arm in arms]
    missing = [(s, a) for s, a in wanted if not (results / file_name(a, s, result_hash(experiment, a))).is_file()]
    console.print(f"{len(wanted) - len(missing)} of {len(wanted)} are finished")
    for number, (seed, arm) in enumerate(missing, start=1):
        console.print(f"[bold cyan]{number}/{len(missing)}: {arm}, seed {seed}[/bold cyan]")
        saved = result(experiment, arm, seed, out / f"seed-{seed}", bases, smoke=smoke).save(results)
        publish(results, docs, smoke=smoke)
        console.print(f"written: {saved}", markup=False)


def result(
    experiment: Experiment, arm: str, seed: int, folder: Path, bases: Sequence[Path] = (), *, smoke: bool = False
) -> Result:
    """Make an arm on its seed's baseline, and score it."""
    name = result_hash(experiment, arm)
    with timed(folder / "base"):
        base = baseline(experiment, seed, folder / "base", bases)
    made = ARMS[arm](Given(experiment, seed, base, folder))
    second = base.model if arm in TWICE else None
    scoring = folder / f"scored-{arm}-{name}"
    with timed(scoring):
        scores = Scored(made.model, experiment.num_items, scoring, second).scores()
    took = {"making": round(sum(map(seconds, made.folders)), 1), "scoring": seconds(scoring)}
    return Result(
        arm,
        seed,
        name,
        settings_of(experiment, arm),
        against(experiment, arm),
        scores,
        made.steps,
        made.drawings,
        made.tokens,
        made.judge,
        None if second is None else "self, of the baseline",
        took,
        smoke,
    )


def publish(results: Path, docs: Path, *, smoke: bool = False) -> tuple[Book, str]:
    """Write the page and the plot; what they show, and the page. ConfigError where a smoke run's results stand among
    others."""
    found = read_results(results)
    if any(one.smoke for one in found) and not smoke:
        raise ConfigError(f"{results} has results of a smoke run: delete them")
    book = open_book(found)
    if book.variants:
        write_text(docs / PLOT, plot(book))
    text = page(book, PLOT if book.variants else None, smoke=smoke)
    write_text(docs / PAGE, text)
    return book, text


def tell(results: Path, docs: Path, *, smoke: bool = False) -> None:
    """Publish, print the page and the last line."""
    book, text = publish(results, docs, smoke=smoke)
    print(text)
    print(json.dumps(line(book, smoke=smoke)))


def seeds_of(text: str) -> list[int]:
    """The seeds of "0-4" or "0,2,3". ValueError for anything else."""
    first, dash, last = text.partition("-")
    found = list(range(int(first), int(last) + 1)) if dash else [int(one) for one in text.split(",")]
    if not found or min(found) < 0:
        raise ValueError(text)
    return found


def arms_of(text: str) -> list[str]:
    """The arms of "a,b", in their own order. ValueError for one that there is not."""
    asked = text.split(",")
    if unknown := [name for name in asked if name not in ARMS]:
        raise argparse.ArgumentTypeError(f"there is no arm {unknown[0]!r}; there are {', '.join(ARMS)}")
    return [name for name in ARMS if name in asked]


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        "benchmarks.enhance", description=package.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="of the experiment: share=0.3 good=0.5 ...")
    parser.add_argument("--arms", type=arms_of, default=list(ARMS), help=f"of {', '.join(ARMS)}; all by default")
    parser.add_argument("--seeds", type=seeds_of, help=f"0-4 or 0,2; by default 0-{SEEDS - 1}, in a smoke run 0")
    parser.add_argument("--base", type=Path, action="append", default=[], help="a run of a seed whose parts are taken")
    parser.add_argument("--out", type=Path, help="where runs are kept; runs/enhance by default")
    parser.add_argument("--table", action="store_true", help="only the page, from the results that are there")
    parser.add_argument("--smoke", action="store_true", help="everything tiny; nothing is kept without --out")
    asked = parser.parse_intermixed_args(words)
    try:
        if asked.smoke:
            with tempfile.TemporaryDirectory() as folder:
                smoke(asked, asked.out or Path(folder))
        else:
            if not asked.table:
                experiment = override(Experiment(), asked.overrides)
                seeds = asked.seeds or list(range(SEEDS))
                run(experiment, asked.arms, seeds, asked.out or Path("runs/enhance"), RESULTS, DOCS, asked.base)
            tell(RESULTS, DOCS)
    except IllumeError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def smoke(asked: argparse.Namespace, out: Path) -> None:
    """The whole command in a folder of its own, results and page too."""
    experiment = override(SMOKE, asked.overrides)
    run(experiment, asked.arms, asked.seeds or [0], out, out / "results", out / "docs", asked.base, smoke=True)
    tell(out / "results", out / "docs", smoke=True)


if __name__ == "__main__":
    sys.exit(main())
