"""Arguments and options that several commands share, each written once; it does not know what is done with them."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:  # it brings torch along
    from illume.generate.request import Scale

ModelArgument = Annotated[
    str,
    typer.Argument(metavar="MODEL", help="A model folder, a run folder, nano (it comes along), or a name on the hub."),
]
ImageOption = Annotated[Path, typer.Option("--image", "-i", help="The image to look at.")]
OutOption = Annotated[
    Path, typer.Option("--out", "-o", help="The picture to write; several become NAME-0.png, NAME-1.png, ...")
]
SeedOption = Annotated[int, typer.Option(help="The same seed draws the same picture.")]


def scale(text: str) -> "Scale":
    """Of guidance: "1.5", or "1,2" for two levels. BadParameter for anything else."""
    try:
        found = tuple(float(one) for one in text.split(","))
        if min(found) < 0:
            raise ValueError(text)
    except ValueError as error:
        wanted = "a number of at least 0 or one for each level, as in 1,2"
        raise typer.BadParameter(f"{text!r} is not {wanted}") from error
    return found if len(found) > 1 else found[0]


GuidanceOption = Annotated[
    Any,  # a Scale; typer reads no unions
    typer.Option(
        parser=scale,
        metavar="FLOAT[,FLOAT...]",
        help="Guidance scale (1 = none), or one for each level. Default: the model's own.",
    ),
]
TemperatureOption = Annotated[
    float | None, typer.Option(min=0, help="Sampling temperature (0 = greedy). Default: the model's own.")
]
TopKOption = Annotated[int | None, typer.Option("--top-k", min=0, help="Sample among the k likeliest (0 = all).")]
TopPOption = Annotated[
    float | None, typer.Option("--top-p", min=0, max=1, help="Sample among the likeliest that make up p (1 = all).")
]
DeviceOption = Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Answer with one line of JSON.")]
TierOption = Annotated[
    str,
    typer.Option(
        help="Speed: fp32, bf16, int8, w8a8, int4; any of them with -compiled (it waits first) or -graph (CUDA)."
    ),
]
ParallelOption = Annotated[
    int,
    typer.Option(min=0, help="Draft so many codes of an image ahead, and read them together; 0: none. Faster alone."),
]
