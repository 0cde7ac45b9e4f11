"""What each arm depends on, and the names that follow from it; it makes none."""

from collections.abc import Mapping
from typing import Any

from benchmarks.enhance.experiment import Experiment, chosen, name_of
from illume.core.config import override, to_dict
from illume.recipes.courses import COURSES, METHODS, Method
from illume.recipes.retrain import Retraining

TRAINED = ("extra_steps", "rate")
DRAWN = ("num_prompts", "per_prompt")
COMPOSED = (*TRAINED, *DRAWN, "share", "good", "correction")
ORACLE = "assessment-oracle"
CONTROLS = ("control-steps", "control-pictures")

# Fields of the experiment, in the order in which arms are run. What stands last came after the paper.
DEPENDS: Mapping[str, tuple[str, ...]] = {
    "baseline": (),
    "control-steps": TRAINED,
    "control-pictures": COMPOSED,
    ORACLE: COMPOSED,
    "assessment-self": (*COMPOSED, "own_judge"),
    "two-rounds": COMPOSED,
    "reca": ("extra_steps", "num_prompts"),
    "dpo": ("extra_steps", *DRAWN),
    "grpo": ("extra_steps", "num_prompts"),
}
EXTENSIONS = tuple(arm for arm in DEPENDS if arm in METHODS)  # each called as its method
COMMON = ("stage3_steps", "recipe", "num_items")


def shipped(experiment: Experiment, method: Method) -> tuple[Retraining, dict[str, Any]]:
    """How a method trains, and what of `Settings` is its own: as it is shipped, but for the experiment's overrides."""
    course, items = COURSES[method], experiment.methods.get(method, ())
    training = [item for item in items if item.partition("=")[0] in ("share", "rate")]
    retraining = override(course.retraining, [*training, f"steps={experiment.extra_steps}"])
    return retraining, course.settled([item for item in items if item not in training])


def own_settings(experiment: Experiment, arm: str) -> dict[str, Any]:
    """The same as plain data by dotted names; nothing for an arm that is no method of its own."""
    if arm not in EXTENSIONS:
        return {}
    retraining, own = shipped(experiment, arm)
    return _flat("", {"retraining": to_dict(retraining), **{name: to_dict(value) for name, value in own.items()}})


def settings_of(experiment: Experiment, arm: str) -> dict[str, Any]:
    """All that made an arm's result, but for its seed, as a person reads it."""
    return {**chosen(experiment, (*COMMON, *DEPENDS[arm])), **own_settings(experiment, arm)}


def folder_name(experiment: Experiment, arm: str) -> str:
    """Of what an arm leaves, of whatever seed; other settings have another folder."""
    return f"{arm}-{name_of(experiment, arm, DEPENDS[arm], **own_settings(experiment, arm))}"


def result_hash(experiment: Experiment, arm: str) -> str:
    """Names an arm's result, whatever its seed."""
    return name_of(experiment, arm, (*DEPENDS[arm], "num_items"), **own_settings(experiment, arm))


def against(experiment: Experiment, arm: str) -> dict[str, str]:
    """The arms that one is compared with, by the names of their results."""
    others = () if arm == "baseline" else ("baseline",) if arm in CONTROLS else ("baseline", *CONTROLS)
    return {name: result_hash(experiment, name) for name in others}


def _flat(name: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        return {name: value}
    return {k: v for inner in value for k, v in _flat(f"{name}.{inner}" if name else inner, value[inner]).items()}
