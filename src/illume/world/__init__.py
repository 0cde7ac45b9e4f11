"""The embedded data set: generated scenes with exact ground truth.

What is exported here is plain Python; the pictures (`world.render`, `world.oracle`) use numpy and are imported by name.
"""

from illume.world.asking import QUESTION_KINDS, Question, ask, question_kinds, questions
from illume.world.edits import Edit, propose_edit, sample_edit
from illume.world.inpainting import INPAINT_KINDS, Inpainting, box_of, propose_inpainting
from illume.world.language import Caption, caption, perturb, text_split, texts, understand
from illume.world.lessons import lesson
from illume.world.sampling import (
    categories_of,
    sample_edit_chain,
    sample_edit_pair,
    sample_inpainting,
    sample_prompt,
    sample_scene,
)
from illume.world.scene import (
    NANO,
    PICO,
    Object,
    Scene,
    Split,
    WorldConfig,
    arrange,
    held_out,
    scene_key,
    scene_split,
)
from illume.world.specs import CATEGORIES, Group, Spec
from illume.world.verdicts import CRITERIA, Finding, Verdict, holds, verdict

__all__ = [
    "CATEGORIES",
    "CRITERIA",
    "INPAINT_KINDS",
    "NANO",
    "PICO",
    "QUESTION_KINDS",
    "Caption",
    "Edit",
    "Finding",
    "Group",
    "Inpainting",
    "Object",
    "Question",
    "Scene",
    "Spec",
    "Split",
    "Verdict",
    "WorldConfig",
    "arrange",
    "ask",
    "box_of",
    "caption",
    "categories_of",
    "held_out",
    "holds",
    "lesson",
    "perturb",
    "propose_edit",
    "propose_inpainting",
    "question_kinds",
    "questions",
    "sample_edit",
    "sample_edit_chain",
    "sample_edit_pair",
    "sample_inpainting",
    "sample_prompt",
    "sample_scene",
    "scene_key",
    "scene_split",
    "text_split",
    "texts",
    "understand",
    "verdict",
]
