"""A recipe's stages under LoRA: what was to move the language model's weights moves the maps beside them instead.

It does not know how the maps are made or saved: models/lora.py does.
"""

import re
from collections.abc import Sequence
from dataclasses import replace

from illume.models.lora import LoRAConfig
from illume.models.unified import Unified
from illume.train.objective import Objective, named_parameters
from illume.train.stage import Rule, Stage

FACTORS = r"decoder\..*\.lora_[AB]"
BASE = rf"(?!{FACTORS}$)decoder\..*|(embedding|head)\.text"  # what a published model brought, and keeps
REST = r"(?!decoder\.|(embedding|head)\.text$)"


def lora_stage(stage: Stage, objective: Objective, lora: LoRAConfig | None) -> Stage:
    """The stage with rules that freeze the base and move A and B at LoRA's rate, if it moves the decoder at all.

    All else (adapter, vision rows, places, vision encoder) keeps its rule; rules that are left with no parameter go.
    """
    if lora is None:
        return stage
    names = list(named_parameters(objective))
    base = [name for name in names if re.fullmatch(BASE, name)]
    moves = any(rule.trained and rule.matches(name) for rule in stage.rules for name in base if "decoder." in name)
    outside = [replace(rule, pattern=f"{REST}(?:{rule.pattern})") for rule in stage.rules]
    kept = [rule for rule in outside if any(map(rule.matches, names))]
    return replace(stage, rules=(Rule(FACTORS, lora.lr if moves else 0.0), Rule(BASE, 0.0), *kept))


def encoder_moves(stages: Sequence[Stage], model: Unified) -> bool:
    """Whether any of these stages trains the vision encoder."""
    names = [f"vision_encoder.{name}" for name, _ in model.vision_encoder.named_parameters()]
    return any(rule.trained and any(map(rule.matches, names)) for stage in stages for rule in stage.rules)
