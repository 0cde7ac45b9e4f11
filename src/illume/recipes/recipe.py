"""A recipe as one value: what is built, what it is trained on, for how long. It trains nothing: run.py does."""

from dataclasses import dataclass, field
from typing import Literal

from illume.data.collection import CAPTION_TASKS
from illume.data.kinds import Kind
from illume.data.records import TASKS
from illume.generate.folder import Generation
from illume.models.convolutional import ConvolutionalDecoderConfig
from illume.models.decoder import DecoderConfig
from illume.models.lora import LoRAConfig
from illume.models.painting import PixelDecoderConfig
from illume.models.reconstruction import ReconstructionConfig
from illume.models.tokenizing import AnyTokenizerConfig
from illume.models.vision_encoder import EncoderConfig, PretrainedEncoderConfig
from illume.train.encoder_objective import ContrastConfig
from illume.train.lm_objective import Weighting
from illume.train.policy_objective import PolicyConfig
from illume.train.preference_objective import PreferenceConfig
from illume.train.stage import Stage
from illume.vocab.format import Reading
from illume.vocab.text import TEMPLATES
from illume.world.scene import WorldConfig


@dataclass(frozen=True)
class WorldData:
    """Scenes of the generated world: `num_scenes` of them, as many edits, and, where a stage mixes "inpaint" or
    "edit_turns", as many masked regions or conversations of several edits are trained on, each scene with `variants`
    different captions and rounds of questions."""

    world: WorldConfig
    kind: Literal["world"] = "world"
    num_scenes: int = 8192
    variants: int = 4


@dataclass(frozen=True)
class FolderData:
    """A Hugging Face imagefolder: pictures and a metadata.csv or .jsonl with `file_name,text`.

    `held_out` is the share of captions, with all their images, that training never sees. `on_invalid` "skip" leaves
    unusable rows out and lists them. `fit` makes pictures square: "cover" cuts, "contain" adds white, "stretch" bends.
    """

    path: str
    kind: Literal["folder"] = "folder"
    held_out: float = 0.06
    on_invalid: Literal["raise", "skip"] = "raise"
    fit: Literal["cover", "contain", "stretch"] = "cover"


@dataclass(frozen=True)
class RecordsData:
    """Files of records by source name; `shown` are the sources whose images train tokenizer and pixel decoder.

    Images of a source in `slices` are read in detail, in at most so many, as in SourceConfig; `held_out` is as in
    MixedData.
    """

    sources: dict[str, str]
    shown: tuple[str, ...]
    kind: Literal["records"] = "records"
    held_out: float = 0.0
    slices: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_share(self.held_out)
        for name, slices in self.slices.items():
            if name not in self.sources:
                raise ValueError(f"slices: there is no source {name!r}; there are {', '.join(self.sources)}")
            check_slices(slices)


@dataclass(frozen=True)
class SourceConfig:
    """One collection of a mixture: a data set of any kind of docs/data.md, its images in `folder` if not beside it.

    Captioned images (kinds "folder" and "webdataset") become a source for each of `tasks`, in these proportions where
    a stage names the collection alone; other kinds are what their records say. Where a stage names a task, or "images",
    every collection that has it gives in proportion to its `weight`. Conversations that draw nothing read each image in
    detail where `slices` is not 0: as an overview and at most so many slices of the image size (ILLUME, stage 3: 9).
    """

    path: str
    kind: Kind = "auto"
    folder: str | None = None
    tasks: dict[str, float] | None = None
    weight: float = 1.0
    slices: int = 0

    def __post_init__(self) -> None:
        check_slices(self.slices)
        if self.weight <= 0:
            raise ValueError(f"weight {self.weight} has to be above 0 (or leave the collection out)")
        for task, share in (self.tasks or {}).items():
            if task not in CAPTION_TASKS or share <= 0:
                raise ValueError(f"tasks: {task}: {share}: expected shares above 0 of {', '.join(CAPTION_TASKS)}")


@dataclass(frozen=True)
class MixedData:
    """Collections of any kinds by the names that stages mix them by: see SourceConfig and docs/data.md.

    A stage's mixture may name a source ("photos/draw", "edits"), a collection ("photos": its sources by their shares),
    or a task ("draw": of every collection that has it). `shown` are the collections whose images train encoder,
    tokenizer and pixel decoder, "images" being all of them; left empty, the captioned ones, or all if there are none.
    `held_out` is the share of images, with all their records, and of records without images, that training never sees
    and the scorecard asks about (data/held_out.py); without any there is no scorecard.
    """

    sources: dict[str, SourceConfig]
    kind: Literal["mixed"] = "mixed"
    shown: tuple[str, ...] = ()
    on_invalid: Literal["raise", "skip"] = "raise"
    fit: Literal["cover", "contain", "stretch"] = "cover"
    held_out: float = 0.0

    def __post_init__(self) -> None:
        check_share(self.held_out)
        if not self.sources:
            raise ValueError("sources: name at least one: data.sources.NAME.path=PATH")
        for name in self.sources:
            if not name or "/" in name or name in (*TASKS, "images"):
                raise ValueError(f"sources: {name!r} names a task, or what is in a source: choose another name")
        if unknown := [name for name in self.shown if name not in self.sources]:
            raise ValueError(f"shown: there are no sources {', '.join(unknown)}; there are {', '.join(self.sources)}")


def check_share(held_out: float) -> None:
    """ValueError where that is no share of which something is left."""
    if not 0 <= held_out < 1:
        raise ValueError(f"held_out ({held_out}) is a share from 0, nothing, to less than 1")


def check_slices(slices: int) -> None:
    """ValueError where that is no number of slices."""
    if slices < 0:
        raise ValueError(f"slices ({slices}) is how many there may be at most, 0 for none")


def check_template(name: str) -> None:
    """ValueError where no chat template has this name."""
    if name not in TEMPLATES:
        raise ValueError(f"no chat template is called {name!r}; there are {', '.join(TEMPLATES)}")


@dataclass(frozen=True)
class BPEConfig:
    """A byte-level BPE of at most `size` ids, trained on the texts of the data."""

    kind: Literal["bpe"] = "bpe"
    size: int = 1024
    template: str = "plain"

    def __post_init__(self) -> None:
        check_template(self.template)


@dataclass(frozen=True)
class PretrainedTextConfig:
    """The text tokenizer of a published language model, by folder or hub name."""

    name: str
    kind: Literal["pretrained"] = "pretrained"
    template: str = "chatml"

    def __post_init__(self) -> None:
        check_template(self.template)


@dataclass(frozen=True)
class FrameConfig:
    """How an image's stretch of a sequence is written: see VocabLayout."""

    row_ends: bool = True
    level_markers: bool = True
    num_sizes: int = 0
    reread: bool = True


@dataclass(frozen=True)
class PretrainedDecoderConfig:
    """A published language model of the Llama family, by folder or hub name; `shape` is its configuration, so that the
    recipe can be built and shown without its weights."""

    name: str
    shape: DecoderConfig
    text_rows: int
    kind: Literal["pretrained"] = "pretrained"


@dataclass(frozen=True)
class NewDecoderConfig:
    """A language model trained from nothing."""

    shape: DecoderConfig
    kind: Literal["new"] = "new"


@dataclass(frozen=True)
class ScoreConfig:
    """How much is scored: `num_items` for each ability and split."""

    num_items: int = 400
    rows: int = 64


@dataclass(frozen=True)
class RoundsData:
    """Records of self-enhancement rounds, which the last stage alone mixes, by source name: `sources` are their files,
    `contents` name what is in these. `start` names the weights that the last stage goes on from, None: those the stages
    before it left. The last stage's rows are `row_length` long: a judged image with its correction takes room.
    `learnt`: the files are not records to mix, but what this method learns from beside the mixture, `share` of the
    samples, with the reward of `judge`."""

    sources: dict[str, str]
    contents: dict[str, str]
    row_length: int
    start: str | None = None
    learnt: PreferenceConfig | PolicyConfig | None = None
    share: float | None = None
    judge: str | None = None


@dataclass(frozen=True)
class Recipe:
    """Everything that a run depends on; `out` and `device` alone do not enter its hash.

    encoder_stage, where there is one, trains the vision encoder from the captions (sigmoid contrastive, plus pixels);
    a pretrained encoder needs none. `grid_positions` is the largest grid of the two-dimensional positions (0: none).
    `code_vectors`: the rows of codes also follow from their codebook vectors while training; with `code_rows` false,
    from these alone (models/embedding.py). A reconstruction tokenizer
    is trained together with a convolutional pixel decoder, which pixel_stage, where there is one, then trains further.
    `lora`: the language model's weights stay, maps of low rank beside them move; adapter and vision rows move whole.
    reading "codes": images enter as codes of the tokenizer instead of features, and a drawn one is not read again.
    """

    name: str
    out: str
    data: WorldData | FolderData | RecordsData | MixedData
    image_size: int
    text: BPEConfig | PretrainedTextConfig
    encoder: EncoderConfig | PretrainedEncoderConfig
    tokenizer: AnyTokenizerConfig
    pixel_decoder: PixelDecoderConfig
    decoder: NewDecoderConfig | PretrainedDecoderConfig
    encoder_stage: Stage | None
    tokenizer_stage: Stage
    pixel_stage: Stage | None
    stages: tuple[Stage, ...]
    frame: FrameConfig = FrameConfig()
    grid_positions: int = 0
    code_vectors: bool = False
    code_rows: bool = True
    contrast: ContrastConfig = ContrastConfig(text_size=0)
    row_length: int = 128
    rows_per_batch: int = 64
    drop: float = 0.1
    weighting: Weighting = "id"
    reading: Reading = "features"
    lora: LoRAConfig | None = None
    rounds: RoundsData | None = None
    generation: Generation = Generation()
    score: ScoreConfig = ScoreConfig()
    device: str = "auto"
    seed: int = 0

    def __post_init__(self) -> None:
        if isinstance(self.tokenizer, ReconstructionConfig):
            if not isinstance(self.pixel_decoder, ConvolutionalDecoderConfig):
                raise ValueError(
                    "a reconstruction tokenizer is trained with what paints it: pixel_decoder.kind=convolutional"
                )
        elif self.pixel_stage is None:
            raise ValueError("pixel_stage is missing: only a reconstruction tokenizer's pixel decoder can do without")
        if not (self.code_rows or self.code_vectors):
            raise ValueError("code_rows is false, and so is code_vectors: codes would have no rows at all")
        if self.reading == "codes" and (detailed := _in_detail(self.data)):
            raise ValueError(f"data.{detailed[0]}: images read as codes are not read in slices")


def _in_detail(data: WorldData | FolderData | RecordsData | MixedData) -> list[str]:
    """The fields of data by which images are read in slices."""
    if isinstance(data, MixedData):
        return [f"sources.{name}.slices" for name, source in data.sources.items() if source.slices]
    return [f"slices.{name}" for name, most in data.slices.items() if most] if isinstance(data, RecordsData) else []
