"""What `illume show` says of a recipe, a model or a data set: plain data, and the same for a person at a terminal.

It trains nothing, loads no weights, and downloads nothing but a model of the hub that is asked for by its name.
"""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby, islice
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text
from rich.tree import Tree
from safetensors import safe_open
from torch import nn

from illume.core.config import from_dict, to_dict
from illume.core.errors import UsageError
from illume.data.examples import Pictures, messages
from illume.data.json_text import lines_of, parse_line
from illume.data.metadata import METADATA, read_image_folder
from illume.data.records import Record, validate
from illume.eval.scorecard import ABILITIES
from illume.generate.folder import TOKENIZER, check_folder, model_inside
from illume.generate.hub import is_name
from illume.generate.named import built_in, model_folder
from illume.models.convert import read_unified_config
from illume.models.tokenizing import stored_grids
from illume.recipes.blueprint import blueprint
from illume.recipes.catalog import resolve
from illume.recipes.pack import read_provenance
from illume.recipes.recipe import Recipe
from illume.train.callbacks import rule_table
from illume.train.optim import parameter_table
from illume.vocab.document import Piece, pieces
from illume.vocab.format import render
from illume.vocab.layout import VocabLayout
from illume.vocab.messages import ImageFrame
from illume.vocab.text import PLAIN, ChatTemplate, HuggingFaceTokenizer, TextFormat, train_byte_bpe

_FILES = (".yaml", ".yml", ".jsonl")  # of runs and records: never the name of a model
COLOURS = {"system": "magenta", "user": "cyan", "assistant": "green", None: "white"}
LEGEND = "+ predicted with loss (bold); colours: [magenta]system[/] [cyan]user[/] [green]assistant[/]"


@dataclass(frozen=True)
class Description:
    """Something described twice: `data` for programs (JSON), `text` for people (rich)."""

    data: dict[str, Any]
    text: RenderableType


def describe(what: str, overrides: Sequence[str] = (), limit: int = 3) -> Description:
    """A recipe (name, FILE.py:FUNCTION, config.yaml), a model (its folder, its run's, or a hub name), or records (a
    records.jsonl or an imagefolder). With a recipe whose model comes with ILLUME: where that is, and its scores.

    Overrides are a recipe's; records take `model=MODEL`, whose vocabulary they are then shown in. `limit`: how many
    records. UsageError where there is nothing of that name, ModelError where the hub gives no such model.
    """
    path = Path(what)
    if _is_model(what):
        if overrides:
            raise UsageError(f"{what} is a model, and takes no overrides: {', '.join(overrides)}")
        return describe_model(model_folder(what))
    if path.suffix == ".jsonl" or any((path / name).is_file() for name in METADATA):
        return describe_records(path, limit, _model_among(overrides))
    shown = describe_recipe(resolve(what, overrides))
    weights = None if overrides else built_in(what)
    return shown if weights is None else _with_weights(shown, what, weights)


def _is_model(what: str) -> bool:
    named = is_name(what) and Path(what).suffix not in _FILES
    return named or (model_inside(Path(what)) / "config.json").is_file()


def describe_recipe(recipe: Recipe) -> Description:
    """Its configuration, and what each stage moves at which rate."""
    plan = blueprint(recipe)
    tables = {stage.name: parameter_table(objective, stage) for stage, objective in plan.stages}
    trained = {name: sum(row.parameters for row in rows if row.trained) for name, rows in tables.items()}
    counts = _counts(plan.modules)
    ranges = _ranges(plan.layout)
    data = {
        "kind": "recipe",
        "recipe": to_dict(recipe),
        "stages": {name: [asdict(row) for row in rows] for name, rows in tables.items()},
        "trained": trained,
        "parameters": counts,
        "vocabulary": ranges,
    }
    shown: list[RenderableType] = [
        tree(recipe.name, to_dict(recipe)),
        *(rule_table(f"stage {name}: {trained[name]:,} parameters trained", rows) for name, rows in tables.items()),
        _count_table(counts),
        _range_table(ranges),
    ]
    return Description(data, Group(*shown))


def _with_weights(recipe: Description, name: str, folder: Path) -> Description:
    """A recipe, and the model that comes with ILLUME under its name."""
    made = read_provenance(folder)
    card = made["scorecard"]
    scores = {ability: card[ability]["score"] for ability in ABILITIES if ability in card}
    told = {"folder": str(folder), **{key: made[key] for key in ("command", "config_hash", "seed", "version")}}
    weights = {**told, "scores": scores}
    return Description({**recipe.data, "weights": weights}, Group(recipe.text, tree(f"the model {name}", weights)))


def describe_model(folder: Path) -> Description:
    """What is in a model's folder: parameters by module, vocabulary, how it generates where a request says nothing."""
    check_folder(folder)
    plain = read_unified_config(folder)
    counts = stored_parameters(folder)
    ranges = _ranges(from_dict(VocabLayout, plain["vocabulary"], where=f"{folder}/config.json: vocabulary"))
    settings = {name: plain[name] for name in ("image_size", "generation", "chat_template")}
    data = {"kind": "model", "folder": str(folder), "parameters": counts, "vocabulary": ranges, **settings}
    shown: list[RenderableType] = [_count_table(counts), _range_table(ranges), tree("settings", settings)]
    return Description(data, Group(Text(str(folder), style="bold"), *shown))


def describe_records(path: Path, limit: int, model: Path | None = None) -> Description:
    """The first records of a file or an imagefolder as the sequences a model would see, every code being 0."""
    first = list(islice(_records(path), limit))
    seen_as = stand_in() if model is None else vocabulary_of(model)
    sequences = [_sequence(record, seen_as) for record in first]
    data = {"kind": "records", "path": str(path), "vocabulary": seen_as.said, "records": sequences}
    lines = [Text(seen_as.said, style="yellow"), Text.from_markup(LEGEND)]
    return Description(data, Group(*lines, *(_sequence_text(one) for one in sequences)))


@dataclass(frozen=True)
class SeenAs:
    """A vocabulary that records can be rendered in, and in words whose it is."""

    layout: VocabLayout
    text: TextFormat
    frame: ImageFrame
    said: str


def stand_in() -> SeenAs:
    """Where no model is given: one id a byte of text, and images of 4x4 codes."""
    text = TextFormat(train_byte_bpe([], 256 + len(PLAIN.specials), PLAIN.specials), PLAIN)
    layout = VocabLayout(text.size, (512,), num_sizes=0, row_ends=False, level_markers=False)
    said = (
        "No model was given (model=MODEL): ids are of a stand-in, one a byte of text, 4x4 codes an image, all codes 0."
    )
    return SeenAs(layout, text, ImageFrame(((4, 4),)), said)


def vocabulary_of(folder: Path) -> SeenAs:
    """The vocabulary, text tokenizer and image size of a model's folder, no weights read."""
    check_folder(folder)
    plain = read_unified_config(folder)
    layout = from_dict(VocabLayout, plain["vocabulary"], where=f"{folder}/config.json: vocabulary")
    template = from_dict(ChatTemplate, plain["chat_template"], where=f"{folder}/config.json: chat_template")
    grids = stored_grids(folder / TOKENIZER, (plain["image_size"][0], plain["image_size"][1]))
    text = TextFormat(HuggingFaceTokenizer.load(folder), template)
    return SeenAs(layout, text, ImageFrame(grids), f"Ids are those of {folder}; all codes are 0.")


def stored_parameters(folder: Path) -> dict[str, int]:
    """How many numbers each module of a model's folder has, by the headers of its safetensors."""
    counts: Counter[str] = Counter()
    for file in sorted(folder.rglob("*.safetensors")):
        where = file.relative_to(folder).parts[:-1]
        with safe_open(file, "pt") as tensors:
            for name in tensors.keys():  # noqa: SIM118  (not a dict)
                counts[_module(where, name)] += math.prod(tensors.get_slice(name).get_shape())
    return dict(counts)


def tree(title: str, value: object) -> Tree:
    """Plain data as a tree, short lists on one line."""
    root = Tree(Text(title, style="bold"))
    _grow(root, value)
    return root


def _grow(branch: Tree, value: object) -> None:
    items = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
    for name, inner in items:
        nested = isinstance(inner, Mapping) or (isinstance(inner, list) and any(isinstance(i, Mapping) for i in inner))
        if nested and inner:
            _grow(branch.add(Text(str(name))), inner)
        else:
            branch.add(Text.assemble(f"{name}: ", (str(inner), "cyan")))


def _module(where: tuple[str, ...], name: str) -> str:
    """`layers`, `vision_encoder`..., of the language model; `vision_tokenizer/levels`, `pixel_decoder/unet`..."""
    first = name.removeprefix("model.").split(".")[0]
    inner = [first] if len(where) < 2 and not first.isdigit() else []  # a diffusers part is one module, its own folder
    return "/".join([*where, *inner])


def _model_among(overrides: Sequence[str]) -> Path | None:
    unknown = [item for item in overrides if not item.startswith("model=")]
    if unknown:
        raise UsageError(f"records take model=MODEL and nothing else, not {', '.join(unknown)}")
    if not overrides:
        return None
    return model_folder(overrides[-1].removeprefix("model="))


def _records(path: Path) -> Iterator[Record]:
    if path.is_dir():
        for entry in read_image_folder(path).entries:
            for task in ("caption", "draw"):
                yield Record(task, images=(entry.file,), text=entry.text, where=entry.where)
    else:
        for where, line in lines_of(path):
            yield validate(parse_line(line), where)


def _sequence(record: Record, seen_as: SeenAs) -> dict[str, Any]:
    zeros = tuple((0,) * (rows * columns) for rows, columns in seen_as.frame.grids)
    conversation = messages(record, Pictures(seen_as.frame, codes=lambda key: zeros))
    rendered = render(conversation, seen_as.layout, seen_as.text)
    return {
        "where": record.where,
        "task": record.task,
        "ids": list(rendered.ids),
        "loss_mask": list(rendered.loss_mask),
        "pieces": [asdict(piece) for piece in pieces(rendered, seen_as.layout, seen_as.text)],
    }


def _sequence_text(sequence: Mapping[str, Any]) -> Text:
    num_ids, num_loss = len(sequence["ids"]), sum(sequence["loss_mask"])
    text = Text(f"\n{sequence['where']}: {sequence['task']}, {num_ids} ids, {num_loss} with loss", style="bold")
    spelt = [Piece(**piece) for piece in sequence["pieces"]]
    for (loss, role), run in groupby(spelt, key=lambda piece: (piece.loss, piece.role)):
        style = f"{COLOURS[role]}{' bold' if loss else ' not bold'}"
        text.append(f"\n{'+' if loss else ' '} " + " ".join(piece.words for piece in run), style=style)
    return text


def _counts(modules: Mapping[str, nn.Module]) -> dict[str, int]:
    """The numbers of each module; what two share (tied rows) counts for the first."""
    counts, seen = {}, set[nn.Parameter]()
    for name, module in modules.items():
        own = set(module.parameters()) - seen
        counts[name] = sum(parameter.numel() for parameter in own)
        seen |= own
    return counts


def _ranges(layout: VocabLayout) -> dict[str, list[int]]:
    return {name: [ids.start, ids.stop] for name, ids in layout.ranges().items()}


def _count_table(counts: Mapping[str, int]) -> Table:
    table = Table("module", "parameters", title="parameters")
    for name, count in counts.items():
        table.add_row(escape(name), f"{count:,}")
    table.add_section()
    table.add_row("total", f"{sum(counts.values()):,}")
    return table


def _range_table(ranges: Mapping[str, list[int]]) -> Table:
    table = Table("range", "first id", "ids", title="vocabulary")
    for name, (start, stop) in ranges.items():
        table.add_row(name, f"{start:,}" if stop > start else "-", f"{stop - start:,}")
    return table
