"""The data of a recipe, opened: its sources by name, the images to encode, and every text for a new text tokenizer.

It does not know models or steps.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from illume.core.errors import ConfigError
from illume.data.examples import Pictures, messages
from illume.data.image_folder import FolderTask, ImageFolder, ImageFolderSource
from illume.data.loader import ImageLoader, Share
from illume.data.mixture import Mixture
from illume.data.problems import Problem
from illume.data.records import TaskName
from illume.data.records_source import RecordsSource
from illume.data.sources import Images, Source
from illume.data.world_source import WorldImages, WorldSource
from illume.recipes.recipe import FolderData, Recipe, RecordsData, WorldData
from illume.train.stage import Stage
from illume.vocab.messages import ImageFrame, TextPart

WORLD_TASKS: tuple[TaskName, ...] = ("caption", "draw", "reconstruct", "edit", "chat", "assess", "text")
FOLDER_TASKS: tuple[FolderTask, ...] = ("caption", "draw", "reconstruct", "text")
TEXTS_PER_SOURCE = 4000  # enough for a small vocabulary, and read in a moment


@dataclass(frozen=True)
class OpenData:
    """Training sources by the names that mixtures use. `shown`: captioned images for encoder, tokenizer and painter."""

    sources: Mapping[str, Source]
    shown: Mapping[str, Source]
    problems: Sequence[Problem] = ()

    def mixture(self, stage: Stage) -> Mixture:
        """A stage's mixture. ConfigError where it names a source that is not there."""
        unknown = sorted(set(stage.mixture) - set(self.sources))
        if unknown:
            raise ConfigError(
                f"stage {stage.name!r} mixes {', '.join(unknown)}; this data has {', '.join(self.sources)}"
            )
        return Mixture([(self.sources[name], weight) for name, weight in stage.mixture.items()], stage.seed)

    def image_loader(self, stage: Stage, share: Share) -> ImageLoader:
        """Captioned images for a stage that trains encoder, tokenizer or pixel decoder."""
        weights = stage.mixture or dict.fromkeys(self.shown, 1.0)
        mixture = Mixture([(self.shown[name], weight) for name, weight in weights.items()], stage.seed)
        together = -(-stage.batch_size // (share.world_size * stage.accumulate))
        return ImageLoader(mixture, batch_size=stage.batch_size, images_per_batch=together, share=share)

    def images(self, stages: Sequence[Stage]) -> list[Images]:
        """The images whose codes these stages need, each collection once."""
        used = {name for stage in stages for name in stage.mixture}
        found = {self.sources[name].images.name: self.sources[name].images for name in sorted(used)}
        return list(found.values())

    def prompts(self, number: int) -> list[str]:
        """Texts that images are drawn from, to look at while a model trains."""
        drawn = self.sources.get("draw")
        return [] if drawn is None else [drawn.record(i).text for i in range(min(number, len(drawn)))]

    def texts(self) -> Iterator[str]:
        """Every kind of text that training shows, prompts included."""
        pictures = Pictures(ImageFrame(((1, 1),)), codes=lambda _: ((0,),))  # words do not depend on the pictures
        for source in self.sources.values():
            for index in range(min(len(source), TEXTS_PER_SOURCE)):
                for message in messages(source.record(index), pictures):
                    yield from (part.text for part in message.parts if isinstance(part, TextPart))


def open_data(recipe: Recipe) -> OpenData:
    """The data a recipe names."""
    match recipe.data:
        case WorldData():
            return _open_world(recipe.data, recipe.image_size)
        case FolderData():
            return _open_folder(recipe.data, recipe.image_size)
        case RecordsData():
            return _open_records(recipe.data, recipe.image_size)


def enlarged(recipe: Recipe, times: int) -> Recipe:
    """The same recipe on images of so many times the side. A world's scenes are then others, of the same kind."""
    size, data = recipe.image_size * times, recipe.data
    if isinstance(data, WorldData):
        data = replace(data, world=replace(data.world, size=size))
    return replace(recipe, image_size=size, data=data)


def _open_world(data: WorldData, size: int) -> OpenData:
    if data.world.size != size:
        raise ConfigError(f"image_size {size} is not the world's: data.world.size is {data.world.size}")
    images = WorldImages(data.world, "train", data.num_scenes, data.num_scenes)
    sources: dict[str, Source] = {task: WorldSource(images, task, variants=data.variants) for task in WORLD_TASKS}
    nameless = WorldSource(WorldImages(data.world, "train", data.num_scenes, nameless=True), "reconstruct")
    return OpenData(sources, {"scenes": sources["draw"], "edits": sources["edit"], "nameless": nameless})


def open_folder(data: FolderData, size: int) -> ImageFolder:
    """The image folder of a recipe. ConfigError where none was named."""
    if not data.path:
        raise ConfigError("say which images: data=FOLDER, a folder with a metadata.csv or metadata.jsonl")
    return ImageFolder(Path(data.path), size, how=data.fit, test_fraction=data.held_out, on_invalid=data.on_invalid)


def _open_folder(data: FolderData, size: int) -> OpenData:
    folder = open_folder(data, size)
    sources: dict[str, Source] = {task: ImageFolderSource(folder, "train", task) for task in FOLDER_TASKS}
    return OpenData(sources, {"images": sources["draw"]}, tuple(folder.problems))


def _open_records(data: RecordsData, size: int) -> OpenData:
    sources = {name: RecordsSource(Path(path), size, name=name) for name, path in data.sources.items()}
    return OpenData(sources, {name: sources[name] for name in data.shown})
