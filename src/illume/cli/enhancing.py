"""`illume enhance`: rounds of self-enhancement, or one step of one; it does no work of its own."""

from pathlib import Path
from typing import Annotated, Any, cast

import typer

from illume.cli.options import DeviceOption, JsonOption, ModelArgument, SeedOption
from illume.cli.terminal import answer
from illume.core.errors import UsageError


def enhance(
    model: ModelArgument,
    prompts: Annotated[
        str, typer.Option(metavar="FILE|world", help="Prompts, one a line or .jsonl; world: its training texts.")
    ],
    judge: Annotated[str, typer.Option(help="oracle, self[:MODEL], api:MODEL or detector[:MODEL].")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KEY=VALUE]...", help="Of the judge: url=http://localhost:8000/v1 ..."),
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="How often it draws, is judged and learns.")] = 1,
    start: Annotated[
        str, typer.Option("--from", metavar="stage2|model", help="Train stage 3 anew, or go on with the model.")
    ] = "model",
    out: Annotated[Path | None, typer.Option("--out", "-o", help="The folder. Default: RUN-enhanced.")] = None,
    num_prompts: Annotated[int | None, typer.Option(min=1, help="How many prompts a round.")] = None,
    per_prompt: Annotated[int, typer.Option(min=1, help="How many drawings of each.")] = 1,
    share: Annotated[float, typer.Option(help="The records' share of the training samples.")] = 0.1,
    steps: Annotated[int | None, typer.Option(min=1, help="How many training steps.")] = None,
    rate: Annotated[float, typer.Option(help="--from model: its last stage's rates times this.")] = 0.3,
    correction: Annotated[str, typer.Option(help="After a bad drawing's assessment: image, text or none.")] = "image",
    good: Annotated[float | None, typer.Option(help="The share of good drawings. Default: as they came.")] = None,
    only: Annotated[
        str | None, typer.Option(help="One step of the last round: propose, paint, assess, compose or train.")
    ] = None,
    seed: SeedOption = 0,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Let a model draw, have its drawings judged, and train it on the verdicts; run again, it goes on where it was."""
    from illume.core.errors import ConfigError
    from illume.enhance.compose import Composing
    from illume.enhance.paint import Painting
    from illume.recipes.enhance import STEPS, Settings
    from illume.recipes.enhance import enhance as run
    from illume.recipes.retrain import Retraining

    if start not in ("stage2", "model"):
        raise UsageError(f"--from {start}: there are stage2 and model")
    if only is not None and only not in STEPS:
        raise UsageError(f"--only {only}: there are {', '.join(STEPS)}")
    chosen: dict[str, Any] = {"start": start, "num_prompts": num_prompts, "rounds": rounds}
    try:
        settings = Settings(
            prompts,
            judge,
            tuple(overrides or []),
            painting=Painting(per_prompt, seed),
            composing=Composing(cast(Any, correction), good),
            retraining=Retraining(share, steps, rate),
            device=device,
            seed=seed,
            **chosen,
        )
    except ValueError as error:
        raise ConfigError(str(error)) from error
    found = run(model, settings, out, cast(Any, only))
    if found:  # of several processes one speaks
        answer(found, as_json, text=told(found))


def told(found: dict[str, Any]) -> str:
    """The figures before and after, side by side; of one step, its file."""
    if "file" in found:
        return str(found["file"])
    before, after = found["before"], found["after"]
    rows = [name for name in before if isinstance(before[name], dict) and "score" in before[name] and name in after]
    return "\n".join(f"{name:<12} {before[name]['score']:.3f} -> {after[name]['score']:.3f}" for name in rows)
