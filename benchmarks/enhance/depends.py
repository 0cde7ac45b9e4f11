"""What each arm depends on, and the names that follow from it; it makes none."""

from collections.abc import Mapping
from typing import Any

from benchmarks.enhance.experiment import Experiment, name_of
from illume.core.config import to_dict
from illume.recipes.courses import COURSES, Course

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
}
EXTENSIONS = tuple(arm for arm in DEPENDS if arm in COURSES)  # each called as its method
METHODS: Mapping[str, Course] = {str(method): course for method, course in COURSES.items()}
COMMON = ("stage3_steps", "recipe", "num_items")


def constants(arm: str) -> dict[str, Any]:
    """What a method of its own brings to an arm: how it trains, and its settings, as they are shipped."""
    if arm not in METHODS:
        return {}
    course = METHODS[arm]
    own = {} if course.own is None else {course.own[0]: to_dict(course.own[1])}
    return {"retraining": to_dict(course.retraining), **own}


def folder_name(experiment: Experiment, arm: str) -> str:
    """Of what an arm leaves, of whatever seed; other settings have another folder."""
    return f"{arm}-{name_of(experiment, arm, DEPENDS[arm], **constants(arm))}"


def result_hash(experiment: Experiment, arm: str) -> str:
    """Names an arm's result, whatever its seed."""
    return name_of(experiment, arm, (*DEPENDS[arm], "num_items"), **constants(arm))


def against(experiment: Experiment, arm: str) -> dict[str, str]:
    """The arms that one is compared with, by the names of their results."""
    others = ("baseline", *(name for name in CONTROLS if name != arm))
    return {name: result_hash(experiment, name) for name in others if arm != "baseline"}
