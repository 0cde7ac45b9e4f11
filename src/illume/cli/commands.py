"""The commands: each a few lines over the Python API, which it imports when it runs; they do no work of their own."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from illume import __version__
from illume.cli.drawing import draw
from illume.cli.enhancing import enhance
from illume.cli.files import check_writable, load_model, save_images
from illume.cli.judging import judge_app
from illume.cli.options import (
    DeviceOption,
    GuidanceOption,
    ImageOption,
    JsonOption,
    ModelArgument,
    OutOption,
    SeedOption,
    TemperatureOption,
    TopKOption,
    TopPOption,
)
from illume.cli.serving import serve
from illume.cli.terminal import answer, converse
from illume.core.errors import UsageError

app = typer.Typer(
    help="One language model that reads images, answers about them, draws and edits them, and judges what it drew.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
data_app = typer.Typer(help="Look at data before training on it.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(data_app, name="data")
app.add_typer(judge_app, name="judge")
app.command()(enhance)


def version(show: bool) -> None:
    if show:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def root(
    _: Annotated[bool, typer.Option("--version", callback=version, is_eager=True, help="Print the version.")] = False,
) -> None:
    pass


@app.command()
def train(
    recipe: Annotated[str, typer.Argument(help="A built-in recipe, FILE.py:FUNCTION, or the config.yaml of a run.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="stages.0.steps=10 ...")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Train a recipe from start to scorecard; run again, it goes on where it was."""
    from illume.recipes.catalog import resolve
    from illume.recipes.run import run

    card = run(resolve(recipe, overrides or []))
    answer(card, as_json, text=None)


app.command()(draw)
app.command()(serve)


@app.command()
def chat(
    model: ModelArgument,
    question: Annotated[str | None, typer.Argument(help="Without one, the conversation is interactive.")] = None,
    image: Annotated[
        list[Path] | None, typer.Option("--image", "-i", help="An image to talk about (repeatable).")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="The folder for a conversation's drawings. Default: chat-1, -2..."),
    ] = None,
    memory: Annotated[
        int | None, typer.Option(min=0, help="How many earlier turns an answer sees. Default: the model's own.")
    ] = None,
    slices: Annotated[
        int, typer.Option(min=0, help="Read large images as an overview and at most so many slices (0: whole).")
    ] = 0,
    seed: SeedOption = 0,
    temperature: TemperatureOption = None,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Answer a question about an image, or hold a conversation: words, /draw, /edit, /undo... (/help), line by line."""
    images = list(image or [])
    if question is not None:
        if out is not None or memory is not None:
            raise UsageError("--out and --memory are for a conversation: leave the question out")
        asked = load_model(model, device)
        reply = asked.chat(question, images=images, seed=seed, temperature=temperature, slices=slices)
        answer({"question": question, "answer": reply}, as_json, text=reply)
        return
    from illume.session.console import Console, free_folder

    asked = load_model(model, device)
    remembered = asked.parts.generation.memory if memory is None else memory
    session = asked.session(seed=seed, memory=remembered, slices=slices)
    converse(Console(session, out or free_folder("chat"), images, temperature=temperature), as_json)


@app.command()
def edit(
    model: ModelArgument,
    image: ImageOption,
    instruction: Annotated[
        str | None, typer.Argument(help="What to change; with a mask it may be left out, then what fits is painted.")
    ] = None,
    mask: Annotated[
        Path | None, typer.Option(help="A picture of the image's size: white is painted anew, all else kept.")
    ] = None,
    composite: Annotated[
        bool, typer.Option(help="With a mask: keep the pixels outside of it, or show what the model drew there.")
    ] = True,
    out: OutOption = Path("out.png"),
    n: Annotated[int, typer.Option(min=1, help="How many versions.")] = 1,
    seed: SeedOption = 0,
    guidance: GuidanceOption = None,
    temperature: TemperatureOption = None,
    top_k: TopKOption = None,
    top_p: TopPOption = None,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Change an image as the instruction says."""
    if instruction is None and mask is None:
        raise UsageError("say what to change, or give --mask FILE: white is painted anew")
    check_writable(out)
    illume = load_model(model, device)
    settings = {"guidance": guidance, "temperature": temperature, "top_k": top_k, "top_p": top_p}
    images = illume.edit(image, instruction, n=n, seed=seed, mask=mask, composite=composite, **settings)
    files = save_images(images, out)
    rows = [{"instruction": instruction, "file": str(file)} for file in files]
    answer({"seed": seed, "edits": rows}, as_json, text="\n".join(map(str, files)))


@app.command()
def assess(
    model: ModelArgument,
    prompt: Annotated[str, typer.Argument(help="What the picture should show.")],
    image: ImageOption,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Judge whether an image shows what a prompt asks: object, counting, colour, relation."""
    illume = load_model(model, device)
    from illume.session.console import judged

    verdict = illume.assess(image, prompt)
    answer(json.loads(verdict.to_json()), as_json, text=judged(prompt, verdict))


@app.command()
def score(
    model: ModelArgument,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Where to write the scorecard.")] = None,
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="score.num_items=100 ...")
    ] = None,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Score a model on the tasks of the recipe that made it."""
    from illume.recipes.score import score_folder

    card = score_folder(model, overrides or [], out=out, device=device)
    answer(card, as_json, text=None)


@app.command()
def pack(
    run: Annotated[Path, typer.Argument(help="The folder of a finished run.")],
    out: Annotated[Path, typer.Argument(help="The folder to write.")],
    as_json: JsonOption = False,
) -> None:
    """Write a run's model in half precision, with its recipe and scores in PROVENANCE.json: small, to give away."""
    from illume.recipes.pack import pack as write

    provenance = write(run, out)
    size = sum(file.stat().st_size for file in out.rglob("*") if file.is_file())
    told = {"folder": str(out), "bytes": size, "config_hash": provenance["config_hash"]}
    answer(told, as_json, text=f"{out}: {size / 1e6:.1f} MB")


@data_app.command("check")
def data_check(
    path: Annotated[Path, typer.Argument(help="A data set of any kind: docs/data.md.")],
    kind: Annotated[str, typer.Option(help="folder, records, conversations, edits, chat, webdataset.")] = "auto",
    folder: Annotated[Path | None, typer.Option(help="Where its images are, if not beside the file.")] = None,
    samples: Annotated[Path | None, typer.Option(help="Write some of it there: a .png or an .html.")] = None,
    limit: Annotated[int, typer.Option(min=0, help="How many problems, and of each other list, are told.")] = 20,
    as_json: JsonOption = False,
) -> None:
    """Report what a data set holds and every problem in it, by file and line; exit code 1 if there are any."""
    from illume.data.check import check_collection
    from illume.data.kinds import check_kind, open_kind
    from illume.data.sample_sheet import NUM_SAMPLES, check_suffix, write_samples

    if samples is not None:
        check_suffix(samples)
    collection = open_kind(path, check_kind(kind), folder)
    report = check_collection(collection, limit, NUM_SAMPLES if samples is not None else 0)
    if samples is not None:
        write_samples(samples, report.samples, collection.files)
    answer(report.to_dict(), as_json, text=report.to_text())
    if report.num_problems:
        raise typer.Exit(1)


@app.command()
def show(
    what: Annotated[str, typer.Argument(metavar="RECIPE|MODEL|RECORDS", help="What to show.")],
    overrides: Annotated[list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="For a recipe.")] = None,
    limit: Annotated[int, typer.Option(help="How many records.")] = 3,
    as_json: JsonOption = False,
) -> None:
    """Show a recipe's configuration, a model's parameters, or records as the ids a model sees."""
    from illume.recipes.show import describe

    description = describe(what, overrides or [], limit)
    answer(description.data, as_json, text=None)
    if not as_json:
        from rich.console import Console

        Console(width=None if sys.stdout.isatty() else 120).print(description.text)
