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
from illume.eval.tasks.record_edits import OwnAssess, OwnEdit, OwnInpaint, edits_of, judged_of
from illume.eval.tasks.records import CAPTIONED, PICTURED, MixedImages, OwnQuestions, questions_of, texts_of
from illume.eval.tasks.see import See
from illume.eval.tasks.text import TAUGHT, Text, world_text
from illume.world import WorldConfig


def world_tasks(config: WorldConfig, num_items: int, learnt: Collection[str] = ("inpaint", "text")) -> tuple[Task, ...]:
    """The benchmarks of the generated world, `num_items` for each ability and split.

    Inpainting and plain text are asked only of whoever `learnt` them: there are tasks of these names, which a recipe
    may leave out.
    """
    return (
        See(config, num_items),
        Draw(config, num_items),
        Reconstruct(config, num_items),
        Edit(config, num_items),
        EditTurns(config, num_items),
        *([Inpaint(config, num_items)] if "inpaint" in learnt else []),
        Assess(config, num_items),
        *([world_text(config, num_items)] if "text" in learnt else []),
    )


def folder_tasks(
    folder: ImageFolder, num_items: int, embedder: Embedder | None, learnt: Collection[str] = ()
) -> tuple[Task, ...]:
    """The benchmarks of a person's own images, up to `num_items` held-out ones for each ability.

    Drawings are judged by what `embedder` finds alike; without one they are not. Captions are scored as plain text too
    where "text" was `learnt`.
    """
    images = FolderImages(folder)
    drawn = [] if embedder is None else [OwnDraw(images, num_items, embedder)]
    texts = [_folder_text(folder, num_items)] if "text" in learnt else []
    return (OwnSee(images, num_items), *drawn, OwnReconstruct(images, num_items), *texts)


def _folder_text(folder: ImageFolder, num_items: int) -> Text:
    held_out, training = ([entry.text for entry in folder.split(split)] for split in ("test", "train"))
    return Text(held_out[:num_items], lambda: training[:TAUGHT])


def record_tasks(
    parted: Parted, num_items: int, learnt: Collection[str], embedder: Callable[[], Embedder | None]
) -> tuple[Task, ...]:
    """The benchmarks that the held-out records of a mixture have, up to `num_items` for each ability.

    Questions about an image, or, where none are held out, captions; drawings, judged by what the `embedder` finds
    alike, from captions of sources whose captions it has `learnt`; reconstructions; edits; inpaintings; assessments;
    plain texts.
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
    if regions := edits_of(parted, num_items, "inpaint"):
        tasks.append(OwnInpaint(regions))
    if judged := judged_of(parted, num_items):
        tasks.append(OwnAssess(judged))
    if texts := texts_of(parted.held_out, num_items):
        tasks.append(Text(texts, lambda: texts_of(parted.train, TAUGHT)))
    return tuple(tasks)
