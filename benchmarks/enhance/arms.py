"""The arms: what each makes of a baseline, and what that took. It scores nothing."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

from benchmarks.enhance.depends import ORACLE, shipped
from benchmarks.enhance.given import Given, Made, composed, first_drawings, share_drawings, timed
from benchmarks.enhance.matching import dialogue_tokens, matched, plain_pictures, tokens
from illume.enhance.round import RoundFolder
from illume.recipes.courses import COURSES, Method
from illume.recipes.enhance import enhance
from illume.recipes.retrain import model_continued

PICTURES = "pictures"


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


def assessed(given: Given, arm: str, judge: str) -> Made:
    """A round of ILLUME's section 3, judged by `judge`."""
    folder = share_drawings(given, given.out(arm))
    given.enhanced(given.settings(judge), given.out(arm))
    learnt = dialogue_tokens(given, folder)
    own = (first_drawings(given), given.out(arm))
    model = folder.path / "run" / "model"
    return Made(model, given.experiment.extra_steps, given.num_drawings, learnt, judge, own)


def self_assessed(given: Given) -> Made:
    """The same, judged by the model that draws."""
    return assessed(given, "assessment-self", given.experiment.own_judge)


def two_rounds(given: Given) -> Made:
    """A second round after the oracle's: its model draws, and the baseline learns from both rounds."""
    first = assessed(given, ORACLE, "oracle")
    out, second = given.out(ORACLE), given.out("two-rounds")
    rounds = [RoundFolder(out / f"round-{number}") for number in (1, 2)]
    with timed(second):
        enhance(str(given.base.run), given.settings("oracle", rounds=2), out)
    learnt = dialogue_tokens(given, *rounds)
    own = (*first.folders, second)
    model = rounds[1].path / "run" / "model"
    return Made(model, 2 * first.steps, 2 * first.drawings, learnt, "oracle", own)


def further(given: Given, method: Method) -> Made:
    """A round of what came after the paper; where somebody judges, the oracle does."""
    course, out = COURSES[method], given.out(method)
    judge = None if method == "reca" else "oracle"
    if draws := "paint" in course.steps:
        share_drawings(given, out)
    retraining, own = shipped(given.experiment, method)
    asked = replace(given.settings(judge, 1, method, retraining), **own)
    found = given.enhanced(asked, out)
    folders = (first_drawings(given), out) if draws else (out,)
    drawings = sum(sum(drawn.values()) for drawn in found["drawings"])
    model = out / "round-1" / "run" / "model"
    return Made(model, given.experiment.extra_steps, drawings, judge=judge, folders=folders)


ARMS: Mapping[str, Callable[[Given], Made]] = {
    "baseline": baseline,
    "control-steps": control_steps,
    "control-pictures": control_pictures,
    ORACLE: partial(assessed, arm=ORACLE, judge="oracle"),
    "assessment-self": self_assessed,
    "two-rounds": two_rounds,
    "reca": partial(further, method="reca"),
    "dpo": partial(further, method="dpo"),
    "grpo": partial(further, method="grpo"),
}
TWICE = ("baseline", "dpo", "grpo")  # their drawings are also judged by the baseline itself, which was not their reward
