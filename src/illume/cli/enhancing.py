"""`illume enhance`: rounds of self-enhancement, or one step of one; it does no work of its own."""

from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, cast

import typer

from illume.cli.options import DeviceOption, JsonOption, ModelArgument, SeedOption
from illume.cli.terminal import answer
from illume.core.errors import UsageError

OF_STEP = {"per_prompt": "paint", "correction": "compose", "good": "compose"}
"""Options that one step alone heeds."""


def enhance(
    model: ModelArgument,
    prompts: Annotated[
        str, typer.Option(metavar="FILE|world", help="Prompts, one a line or .jsonl; world: its training texts.")
    ],
    judge: Annotated[
        str | None, typer.Option(help="oracle, self[:MODEL], api:MODEL or detector[:MODEL]; reca needs none.")
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KEY=VALUE]...", help="Of the judge: url=http://localhost:8000/v1 ..."),
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="How often it draws, is judged and learns.")] = 1,
    method: Annotated[
        str, typer.Option(help="What is learnt: assessment (the paper's), reca, dpo or grpo.")
    ] = "assessment",
    method_settings: Annotated[
        list[str] | None,
        typer.Option("--with", metavar="KEY=VALUE", help="Of the method: dpo.beta=0.2 ... (repeatable)."),
    ] = None,
    start: Annotated[
        str, typer.Option("--from", metavar="stage2|model", help="Train stage 3 anew, or go on with the model.")
    ] = "model",
    out: Annotated[Path | None, typer.Option("--out", "-o", help="The folder. Default: RUN-enhanced.")] = None,
    num_prompts: Annotated[int | None, typer.Option(min=1, help="How many prompts a round.")] = None,
    per_prompt: Annotated[int | None, typer.Option(min=1, help="How many drawings of each. Default: 1.")] = None,
    share: Annotated[
        float | None, typer.Option(help="The rounds' share of the training samples. Default: the method's.")
    ] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="How many training steps.")] = None,
    rate: Annotated[
        float | None, typer.Option(help="--from model: its last stage's rates times this. Default: the method's.")
    ] = None,
    correction: Annotated[
        str | None, typer.Option(help="After a bad drawing's assessment: image, text or none. Default: image.")
    ] = None,
    good: Annotated[float | None, typer.Option(help="The share of good drawings. Default: as they came.")] = None,
    again: Annotated[
        list[str] | None,
        typer.Option(help="Ask the judge such failures again: refused, malformed, unavailable, unfit (repeatable)."),
    ] = None,
    only: Annotated[
        str | None,
        typer.Option(help="One step of the last round: propose, paint, assess, compose, redraw, pair or train."),
    ] = None,
    seed: SeedOption = 0,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Let a model draw, have its drawings judged, and train it on the verdicts; run again, it goes on where it was."""
    from illume.core.errors import ConfigError
    from illume.enhance.compose import Composing
    from illume.enhance.paint import Painting
    from illume.recipes.courses import COURSES, METHODS, STEPS, Settings
    from illume.recipes.enhance import enhance as run

    if start not in ("stage2", "model"):
        raise UsageError(f"--from {start}: there are stage2 and model")
    if method not in METHODS:
        raise UsageError(f"--method {method}: there are {', '.join(METHODS)}")
    if only is not None and only not in STEPS:
        raise UsageError(f"--only {only}: there are {', '.join(STEPS)}")
    course = COURSES[method]
    composing = {"correction": correction, "good": good}
    refuse_unheard(said({"per_prompt": per_prompt, **composing}), method, course.steps)
    if rate is not None and start == "stage2":
        raise UsageError(
            "--rate is for a model that goes on: --from stage2 trains its last stage at that stage's rates"
        )
    asked: dict[str, Any] = {"share": share, "steps": steps, "rate": rate}
    chosen: dict[str, Any] = {"start": start, "num_prompts": num_prompts, "rounds": rounds, "method": method}
    try:
        settings = Settings(
            prompts,
            judge,
            tuple(overrides or []),
            painting=Painting(per_prompt or 1, seed),
            composing=Composing(**said(composing)),
            retraining=replace(course.retraining, **said(asked)),
            device=device,
            seed=seed,
            again=tuple(cast(Any, again or ())),
            **chosen,
            **course.settled(method_settings or []),
        )
    except ValueError as error:
        raise ConfigError(str(error)) from error
    found = run(model, settings, out, cast(Any, only))
    if found:  # of several processes one speaks
        answer(found, as_json, text=told(found))


def said(options: Mapping[str, Any]) -> dict[str, Any]:
    """Those that a person gave."""
    return {name: value for name, value in options.items() if value is not None}


def refuse_unheard(options: Collection[str], method: str, steps: Collection[str]) -> None:
    """UsageError for the first option of a step that a method does not have."""
    for name in options:
        if OF_STEP[name] not in steps:
            raise UsageError(f"--{name.replace('_', '-')} is of the step {OF_STEP[name]}, which {method} does not have")


def told(found: dict[str, Any]) -> str:
    """The figures before and after, side by side; of one step, its file."""
    if "file" in found:
        return str(found["file"])
    before, after = found["before"], found["after"]
    rows = [name for name in before if isinstance(before[name], dict) and "score" in before[name] and name in after]
    return "\n".join(f"{name:<12} {before[name]['score']:.3f} -> {after[name]['score']:.3f}" for name in rows)
