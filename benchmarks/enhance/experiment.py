"""What the experiment's figures depend on, as one value, and the names that follow from it; it trains nothing."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from illume.core.config import from_dict, override, plain_hash, to_dict
from illume.enhance.compose import Composing, Correction
from illume.recipes.courses import METHODS
from illume.recipes.pico import pico
from illume.recipes.recipe import Recipe
from illume.recipes.retrain import Retraining
from illume.recipes.score import recipe_hash

# Pico's last two stages as they were when the experiment began: it may be tuned on, its results here stay comparable.
BEGAN = (
    "stages.1.steps=130",
    "stages.2.mixture={draw: 0.35, edit: 0.3, chat: 0.2, assess: 0.1, caption: 0.03, text: 0.02}",
)
STAGE3_STEPS = 140  # of pico's 430 or so: the baseline leaves room, drawing between .50 and .80 (at 220 it draws .83)
ROOM = (0.50, 0.80)
NUM_ITEMS = 2000  # a score
RUN_ITEMS = 60  # of the scorecard that a run writes of itself, which nothing here reads
SEEDS = 5


@dataclass(frozen=True)
class Experiment:
    """`recipe`: overrides of pico. `extra_steps`: of every arm, after the baseline; `share` of their samples are
    dialogues. `own_judge` is who judges where the model itself is to. `methods`: overrides of what
    a method after the paper is shipped with, `share` and `rate` among them. The rest as `illume enhance` has it."""

    stage3_steps: int = STAGE3_STEPS
    num_items: int = NUM_ITEMS
    extra_steps: int = 150
    rate: float = 0.3
    num_prompts: int = 1024
    per_prompt: int = 4
    share: float = 0.2
    good: float | None = None
    correction: Correction = "image"
    own_judge: str = "self"
    methods: dict[str, tuple[str, ...]] = field(default_factory=dict)
    recipe: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("stage3_steps", "num_items", "extra_steps", "num_prompts", "per_prompt"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} ({getattr(self, name)}) must be at least 1")
        if unknown := sorted(self.methods.keys() - METHODS):
            raise ValueError(f"methods: there is no {unknown[0]!r}; there are {', '.join(METHODS)}")
        Composing(self.correction, self.good)
        Retraining(self.share, self.extra_steps, self.rate)


TINY = (  # nothing is learnt, every part is real
    "data.num_scenes=64",
    "encoder.width=32",
    "encoder.layers=1",
    "encoder.heads=2",
    "encoder.hidden=64",
    "tokenizer.levels.0.quantizer.groups.0.num_codes=32",
    "tokenizer.levels.0.quantizer.groups.0.reservoir=128",
    "tokenizer.levels.0.quantizer.groups.1.num_codes=32",
    "tokenizer.levels.0.quantizer.groups.1.reservoir=128",
    "pixel_decoder.channels=[16, 16]",
    "pixel_decoder.steps=2",
    "decoder.shape.width=64",
    "decoder.shape.layers=2",
    "decoder.shape.heads=2",
    "decoder.shape.kv_heads=2",
    "decoder.shape.head_dim=32",
    "decoder.shape.hidden=64",
    "encoder_stage.steps=3",
    "tokenizer_stage.steps=4",
    "pixel_stage.steps=3",
    "stages.0.steps=2",
    "stages.1.steps=2",
    "stages.2.sample_every=0",
    "score.num_items=12",
    *(f"{stage}.batch_size=16" for stage in ("encoder_stage", "tokenizer_stage", "pixel_stage")),
    *(f"stages.{number}.batch_size=16" for number in range(3)),
)
SMOKE = Experiment(
    stage3_steps=3,
    num_items=12,
    extra_steps=2,
    num_prompts=6,
    per_prompt=2,
    own_judge="oracle",  # who has learnt nothing gives no verdicts
    methods={"dpo": ("pairs.truth=true",), "grpo": ("prompts=2", "group=2")},  # nor draws what passes
    recipe=TINY,
)


def base_recipe(experiment: Experiment, seed: int, out: str = "") -> Recipe:
    """The baseline: pico, its last stage shorter. The seed is that of modules and of the language model's data; the
    parts before it are pico's own of that seed, so that they can be taken from a run of pico."""
    few = [f"stages.2.steps={experiment.stage3_steps}", f"score.num_items={RUN_ITEMS}"]
    recipe = override(pico(), [f"seed={seed}", f"out={out}", *BEGAN, *few, *experiment.recipe])
    return replace(recipe, stages=tuple(replace(stage, seed=seed) for stage in recipe.stages))


def base_hash(experiment: Experiment) -> str:
    """Names the baseline, whatever its seed."""
    return recipe_hash(base_recipe(experiment, 0))


def chosen(experiment: Experiment, fields: Sequence[str]) -> dict[str, Any]:
    """The values of these fields, as plain data."""
    plain = to_dict(from_dict(Experiment, to_dict(experiment)))  # a float may stand as an int until it is read back
    return {name: plain[name] for name in fields}


def name_of(experiment: Experiment, arm: str, fields: Sequence[str], **constants: Any) -> str:
    """Names what an arm does on which baseline, whatever the seed: what else changes in the experiment, does not."""
    return plain_hash({"arm": arm, "base": base_hash(experiment), **constants, **chosen(experiment, fields)})
