"""The data of a recipe, opened: its sources by name, the images to encode, and every text for a new text tokenizer.

It does not know models or steps.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import cast

from illume.core.errors import ConfigError
from illume.data.collection import CAPTION_TASKS, CollectionSource, OpenCollection
from illume.data.examples import Pictures, drawn_keys, messages
from illume.data.held_out import Parted, parted
from illume.data.image_folder import FolderTask, ImageFolder, ImageFolderSource
from illume.data.image_subset import ImageSubset
from illume.data.kinds import open_kind
from illume.data.loader import ImageLoader, Share
from illume.data.mixture import Mixture
from illume.data.problems import Problem
from illume.data.records import TaskName
from illume.data.records_source import RecordsFile, RecordsSource
from illume.data.sources import Images, Source
from illume.data.world_images import WorldImages
from illume.data.world_source import PartedSource, WorldSource, WorldTask
from illume.models.vision_encoder import PretrainedEncoderConfig
from illume.recipes.recipe import FolderData, MixedData, Recipe, RecordsData, SourceConfig, WorldData
from illume.train.stage import Stage
from illume.vocab.format import Reading
from illume.vocab.messages import ImageFrame, TextPart

WORLD_TASKS: tuple[TaskName, ...] = ("caption", "draw", "reconstruct", "edit", "chat", "assess", "text")
DEFAULT_TASKS: dict[str, float] = {"caption": 0.5, "draw": 0.5}  # of a collection that a mixture names alone
TEXTS_PER_SOURCE = 4000  # enough for a small vocabulary, and read in a moment
Shares = Mapping[str, float]  # of each source, by name


@dataclass(frozen=True)
class OpenData:
    """Training sources by the names that mixtures use. `shown`: captioned images for encoder, tokenizer and painter.

    `groups` are names that stand for several sources, and `shown_groups` for several of `shown`, each with its share.
    `parted`: of what is held out of collections, beside what is trained on; None for data that are split otherwise.
    `rounds`: names of sources that came after the vocabulary. `unopened`: names of sources that there would be if a
    stage took anything of them.
    """

    sources: Mapping[str, Source]
    shown: Mapping[str, Source]
    problems: Sequence[Problem] = ()
    groups: Mapping[str, Shares] = field(default_factory=dict)
    shown_groups: Mapping[str, Shares] = field(default_factory=dict)
    parted: Parted | None = None
    rounds: Collection[str] = ()
    unopened: Collection[str] = ()

    def mixture(self, stage: Stage) -> Mixture:
        """A stage's mixture. ConfigError where it names a source that is not there."""
        weights = self._expanded(stage)
        return Mixture([(self.sources[name], weight) for name, weight in weights.items()], stage.seed)

    def image_loader(self, stage: Stage, share: Share) -> ImageLoader:
        """Captioned images for a stage that trains encoder, tokenizer or pixel decoder."""
        mixture = Mixture([(self.shown[name], weight) for name, weight in self.seen(stage).items()], stage.seed)
        together = -(-stage.batch_size // (share.world_size * stage.accumulate))
        return ImageLoader(mixture, batch_size=stage.batch_size, images_per_batch=together, share=share)

    def seen(self, stage: Stage) -> Shares:
        """The sources of `shown` that such a stage learns from."""
        named = stage.mixture or dict.fromkeys(self.shown, 1.0)
        return _expanded(stage, named, self.shown, self.shown_groups, self.unopened)

    def images(self, stages: Sequence[Stage], reading: Reading = "features") -> list[Images]:
        """The images whose codes these stages need, each collection once: those that are drawn somewhere.

        All of them where images are read as codes too; where nothing is drawn at all, one, for the shape of its codes.
        """
        used = {name for stage in stages for name in self._expanded(stage)}
        by_name: dict[str, Images] = {}
        drawn: dict[str, set[str]] = {}
        for source in (self.sources[name] for name in sorted(used)):
            images = by_name.setdefault(source.images.name, source.images)
            drawn.setdefault(images.name, set()).update(images.keys() if reading == "codes" else _drawn(source))
        if not any(drawn.values()):
            name, images = next((name, images) for name, images in by_name.items() if images.keys())
            drawn[name] = set(images.keys()[:1])
        return [_subset(by_name[name], keys) for name, keys in drawn.items() if keys]

    def prompts(self, number: int) -> list[str]:
        """Texts that images are drawn from, to look at while a model trains."""
        names = ["draw"] if "draw" in self.sources else list(self.groups.get("draw", ()))
        drawn = [self.sources[name] for name in names]
        records = (source.record(i) for source in drawn for i in range(min(number, len(source))))
        return [record.text for record in records if record.task == "draw"][:number]

    def texts(self) -> Iterator[str]:
        """Every kind of text that training shows, prompts included."""
        pictures = Pictures(ImageFrame(((1, 1),)), codes=lambda _: ((0,),))  # words do not depend on the pictures
        for source in (source for name, source in self.sources.items() if name not in self.rounds):
            for index in range(min(len(source), TEXTS_PER_SOURCE)):
                for message in messages(source.record(index), pictures):
                    yield from (part.text for part in message.parts if isinstance(part, TextPart))

    def _expanded(self, stage: Stage) -> Shares:
        return _expanded(stage, stage.mixture, self.sources, self.groups, self.unopened)


def open_data(recipe: Recipe) -> OpenData:
    """The data a recipe names, with the records of its self-enhancement rounds."""
    data = _open(recipe)
    if recipe.rounds is None or recipe.rounds.learnt is not None:  # what is learnt beside the mixture is no source
        return data
    rounds = {n: RecordsSource(Path(p), recipe.image_size, name=n) for n, p in recipe.rounds.sources.items()}
    if taken := sorted(rounds.keys() & (data.sources.keys() | data.groups.keys())):
        raise ConfigError(f"rounds.sources: the data have a source {taken[0]!r} already: choose another name")
    return replace(data, sources={**data.sources, **rounds}, rounds=tuple(rounds))


def _open(recipe: Recipe) -> OpenData:
    match recipe.data:
        case WorldData():
            seeing = (recipe.encoder_stage, recipe.tokenizer_stage, recipe.pixel_stage)
            shown = {name for stage in seeing if stage is not None for name in stage.mixed}
            return _open_world(recipe.data, recipe.image_size, {name for s in recipe.stages for name in s.mixed}, shown)
        case FolderData():
            return _open_folder(recipe.data, recipe.image_size)
        case RecordsData():
            return _open_records(recipe.data, recipe.image_size)
        case MixedData():
            return _open_mixed(recipe.data, recipe)


def enlarged(recipe: Recipe, times: int) -> Recipe:
    """The same recipe on images of so many times the side. A world's scenes are then others, of the same kind."""
    size, data = recipe.image_size * times, recipe.data
    if isinstance(data, WorldData):
        data = replace(data, world=replace(data.world, size=size))
    return replace(recipe, image_size=size, data=data)


def _open_world(data: WorldData, size: int, mixed: Collection[str], seen: Collection[str]) -> OpenData:
    """`mixed`: what the stages mix, `seen`: what is mixed of the images for encoder, tokenizer and painter. Inpainting
    and edits in turns are sources only where they are mixed, for their words would enter the vocabulary."""
    if data.world.size != size:
        raise ConfigError(f"image_size {size} is not the world's: data.world.size is {data.world.size}")
    images = WorldImages(data.world, "train", data.num_scenes, data.num_scenes)
    sources: dict[str, Source] = {task: WorldSource(images, task, variants=data.variants) for task in WORLD_TASKS}
    nameless = WorldImages(data.world, "train", data.num_scenes, nameless=True)
    shown: dict[str, Source] = {
        "scenes": sources["caption"],
        "edits": sources["edit"],
        "nameless": WorldSource(nameless, "reconstruct"),
        "parted": PartedSource(nameless),
    }
    # what their pictures are called where they are only seen
    pictures: dict[WorldTask, str] = {"inpaint": "regions", "edit_turns": "turns"}
    wanted = [task for task, name in pictures.items() if task in mixed or name in seen]
    for task in wanted:
        further = _further(data, task)
        shown[pictures[task]] = further
        if task in mixed:
            sources[task] = further
    unopened = {*pictures, *pictures.values()} - sources.keys() - shown.keys()
    return OpenData(sources, shown, unopened=unopened)


def _further(data: WorldData, task: WorldTask) -> WorldSource:
    """Inpainting, or edits in turns, of images of their own."""
    if task == "inpaint":
        images = WorldImages(data.world, "train", 0, name="regions-train", num_inpaintings=data.num_scenes)
    else:
        images = WorldImages(data.world, "train", 0, name="chains-train", num_chains=data.num_scenes)
    return WorldSource(images, task)


def open_folder(data: FolderData, size: int) -> ImageFolder:
    """The image folder of a recipe. ConfigError where none was named."""
    if not data.path:
        raise ConfigError("say which images: data=FOLDER, a folder with a metadata.csv or metadata.jsonl")
    return ImageFolder(Path(data.path), size, how=data.fit, test_fraction=data.held_out, on_invalid=data.on_invalid)


def _open_folder(data: FolderData, size: int) -> OpenData:
    folder = open_folder(data, size)
    sources: dict[str, Source] = {task: ImageFolderSource(folder, "train", task) for task in CAPTION_TASKS}
    return OpenData(sources, {"images": sources["draw"]}, tuple(folder.problems))


def _open_records(data: RecordsData, size: int) -> OpenData:
    opened = {
        name: OpenCollection(RecordsFile(Path(path)), size, name=name, slices=data.slices.get(name, 0))
        for name, path in data.sources.items()
    }
    parts = parted(opened, data.held_out)
    sources = {name: CollectionSource(collection) for name, collection in parts.train.items()}
    return OpenData(sources, {name: sources[name] for name in data.shown}, parted=parts)


def _open_mixed(data: MixedData, recipe: Recipe) -> OpenData:
    parts = parted({n: _open_source(n, source, data, recipe) for n, source in data.sources.items()}, data.held_out)
    opened = parts.train
    sources: dict[str, Source] = {}
    groups: dict[str, dict[str, float]] = {}
    for name, collection in opened.items():
        config = data.sources[name]
        if not collection.captioned:
            if config.tasks is not None:
                raise ConfigError(f"data.sources.{name}.tasks: {collection.kind} data have the tasks of their records")
            sources[name] = CollectionSource(collection)
            for said in sorted({record.task for record in collection.records}):
                groups.setdefault(said, {})[name] = config.weight
            continue
        for task in CAPTION_TASKS if config.tasks is None else config.tasks:
            sources[f"{name}/{task}"] = CollectionSource(collection, cast(FolderTask, task), name=f"{name}/{task}")
            groups.setdefault(task, {})[f"{name}/{task}"] = config.weight
        shares = DEFAULT_TASKS if config.tasks is None else config.tasks
        groups[name] = {f"{name}/{task}": share for task, share in shares.items()}
    shown = _shown(data, opened)
    problems = tuple(problem for collection in opened.values() for problem in collection.problems)
    images = {name: data.sources[name].weight for name in shown}
    found = OpenData(sources, shown, problems, groups, {"images": images}, parts)
    _check_captions(recipe, found, opened)
    return found


def _open_source(name: str, source: SourceConfig, data: MixedData, recipe: Recipe) -> OpenCollection:
    folder = None if source.folder is None else Path(source.folder)
    collection = open_kind(Path(source.path), source.kind, folder, Path(recipe.out) / "indexes")
    size, slices = recipe.image_size, source.slices
    return OpenCollection(collection, size, name=name, how=data.fit, on_invalid=data.on_invalid, slices=slices)


def _shown(data: MixedData, opened: Mapping[str, OpenCollection]) -> dict[str, Source]:
    """The collections that encoder, tokenizer and pixel decoder see."""
    pictured = [name for name, collection in opened.items() if collection.images.keys()]
    names = data.shown or [name for name in pictured if opened[name].captioned] or pictured
    for name in names:
        if not all(record.images for record in opened[name].records):
            raise ConfigError(f"data.shown: not every record of {name!r} has an image")
    return {name: CollectionSource(opened[name]) for name in names}


def _check_captions(recipe: Recipe, data: OpenData, opened: Mapping[str, OpenCollection]) -> None:
    """ConfigError where the encoder is to learn from images of which nothing is said."""
    stage = recipe.encoder_stage
    if stage is None or isinstance(recipe.encoder, PretrainedEncoderConfig):
        return
    for name in data.seen(stage):
        if not opened[name].captioned:
            raise ConfigError(
                f"stage {stage.name!r} learns from captions, and {name!r} ({opened[name].kind}) has none: "
                "let its mixture name captioned images alone"
            )


def _expanded(
    stage: Stage,
    named: Shares,
    sources: Mapping[str, Source],
    groups: Mapping[str, Shares],
    unopened: Collection[str],
) -> Shares:
    """Weights by source, of a mixture that may name groups; what weighs 0 is out. ConfigError for a name of neither."""
    out = {name for name in unopened if named.get(name) == 0}
    unknown = sorted(set(named) - set(sources) - set(groups) - out)
    if unknown:
        known = ", ".join(dict.fromkeys((*sources, *groups)))
        raise ConfigError(f"stage {stage.name!r} mixes {', '.join(unknown)}; this data has {known}")
    weights: dict[str, float] = {}
    for name, weight in named.items():
        if weight == 0:  # an override can leave a source out in no other way
            continue
        shares = {name: 1.0} if name in sources else groups[name]
        for source, share in shares.items():
            weights[source] = weights.get(source, 0.0) + weight * share / sum(shares.values())
    return weights


def _drawn(source: Source) -> Iterable[str]:
    """The images of a source whose codes are needed; of a generated world all of them, to whoever asks."""
    if isinstance(source, WorldSource):
        return source.images.keys()
    return (key for index in range(len(source)) for key in drawn_keys(source.record(index)))


def _subset(images: Images, keys: set[str]) -> Images:
    return images if len(keys) == len(images.keys()) else ImageSubset(images, keys)
