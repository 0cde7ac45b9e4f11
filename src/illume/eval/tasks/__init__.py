"""Benchmarks: one file each, and the tables that say which of them a kind of data has."""

from collections.abc import Callable, Collection

from illume.data.held_out import Parted
from illume.data.image_folder import ImageFolder
from illume.eval.task import Task
from illume.eval.tasks.assess import Assess
from illume.eval.tasks.draw import Draw
from illume.eval.tasks.edit import Edit
from illume.eval.tasks.edit_turns import EditTurns
from illume.eval.tasks.folder import Embedder, FolderImages, OwnDraw, OwnReconstruct, OwnSee
from illume.eval.tasks.inpaint import Inpaint
from illume.eval.tasks.reconstruct import Reconstruct
from illume.eval.tasks.records import CAPTIONED, PICTURED, MixedImages, OwnEdit, OwnQuestions, edits_of, questions_of
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
    images = FolderImages(folder)
    see, reconstruct = OwnSee(images, num_items), OwnReconstruct(images, num_items)
    return (see, reconstruct) if embedder is None else (see, OwnDraw(images, num_items, embedder), reconstruct)


def record_tasks(
    parted: Parted, num_items: int, learnt: Collection[str], embedder: Callable[[], Embedder | None]
) -> tuple[Task, ...]:
    """The benchmarks that the held-out records of a mixture have, up to `num_items` for each ability.

    Questions about an image, or, where none are held out, captions; drawings, judged by what the `embedder` finds
    alike, from captions of sources whose captions it has `learnt`; reconstructions; edits.
    """
    tasks: list[Task] = []
    if questions := questions_of(parted, num_items):
        tasks.append(OwnQuestions(questions))
    captioned = MixedImages(parted, num_items, ("caption",))
    if not questions and captioned.held_out():
        tasks.append(OwnSee(captioned, num_items))
    prompts = MixedImages(parted, num_items, CAPTIONED, tuple(learnt))
    if prompts.held_out() and (found := embedder()) is not None:
        tasks.append(OwnDraw(prompts, num_items, found))
    pictured = MixedImages(parted, num_items, PICTURED)
    if pictured.held_out():
        tasks.append(OwnReconstruct(pictured, num_items))
    if edits := edits_of(parted, num_items):
        tasks.append(OwnEdit(edits))
    return tuple(tasks)
