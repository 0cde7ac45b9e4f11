"""Benchmarks: one file each, and the tables that say which of them a kind of data has."""

from collections.abc import Collection

from illume.data.image_folder import ImageFolder
from illume.eval.task import Task
from illume.eval.tasks.assess import Assess
from illume.eval.tasks.draw import Draw
from illume.eval.tasks.edit import Edit
from illume.eval.tasks.edit_turns import EditTurns
from illume.eval.tasks.folder import Embedder, FolderDraw, FolderReconstruct, FolderSee
from illume.eval.tasks.inpaint import Inpaint
from illume.eval.tasks.reconstruct import Reconstruct
from illume.eval.tasks.see import See
from illume.world import WorldConfig


def world_tasks(config: WorldConfig, num_items: int, learnt: Collection[str] = ("inpaint",)) -> tuple[Task, ...]:
    """The benchmarks of the generated world, `num_items` for each ability and split.

    Inpainting is asked only of whoever `learnt` it: there is a task of that name, which a recipe may leave out.
    """
    return (
        See(config, num_items),
        Draw(config, num_items),
        Reconstruct(config, num_items),
        Edit(config, num_items),
        EditTurns(config, num_items),
        *([Inpaint(config, num_items)] if "inpaint" in learnt else []),
        Assess(config, num_items),
    )


def folder_tasks(folder: ImageFolder, num_items: int, embedder: Embedder | None) -> tuple[Task, ...]:
    """The benchmarks of a person's own images, up to `num_items` held-out ones for each ability.

    Drawings are judged by what `embedder` finds alike; without one they are not.
    """
    see, reconstruct = FolderSee(folder, num_items), FolderReconstruct(folder, num_items)
    return (see, reconstruct) if embedder is None else (see, FolderDraw(folder, num_items, embedder), reconstruct)
