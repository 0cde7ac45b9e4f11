"""The folders that InstructPix2Pix's generator writes; whoever has a table of edits instead, see edits.py.

    seeds.json                 [["0000000", ["1056846848", "2342443623"]], ...]
    0000000/prompt.json        {"input": "a photo of a cat", "edit": "make it a dog", "output": "a photo of a dog"}
    0000000/1056846848_0.jpg   before
    0000000/1056846848_1.jpg   after

After timothybrooks/instruct-pix2pix, edit_dataset.py and dataset_creation/prepare_dataset.py.
"""

from collections.abc import Iterator
from pathlib import Path

from illume.core.errors import DataError
from illume.data.collection import Row
from illume.data.folder_files import Files, FolderFiles
from illume.data.json_text import fields, items_of, kind_of, parse_line, string
from illume.data.records import Record

SEEDS = "seeds.json"
PROMPT = "prompt.json"


class Pix2PixFolder:
    """Every pair of images that seeds.json names, with the instruction of its folder."""

    kind = "edits"

    def __init__(self, path: Path) -> None:
        self.path = path
        self.files: Files = FolderFiles(path)
        self.ignored: tuple[str, ...] = ()

    def rows(self) -> Iterator[Row]:
        for where, item in items_of(self.path / SEEDS):
            try:
                name, seeds = _entry(item)
                instruction = self._instruction(name)
            except DataError as error:
                yield Row(where, error)
                continue
            for seed in seeds:
                images = (f"{name}/{seed}_0.jpg", f"{name}/{seed}_1.jpg")
                yield Row(where, Record("edit", images=images, instruction=instruction, where=where))

    def _instruction(self, name: str) -> str:
        file = f"{name}/{PROMPT}"
        data = self.files.read(file)
        try:
            return string(fields(parse_line(data), "a prompt").get("edit"), "edit").strip()
        except DataError as error:
            raise DataError(f"{self.files.place(file)}: {error}") from None


def _entry(item: object) -> tuple[str, list[str]]:
    if isinstance(item, DataError):
        raise item
    match item:
        case [str(name), [*seeds]] if seeds:
            return string(name, "the name"), [_seed(seed) for seed in seeds]
    raise DataError(f'expected ["NAME", ["SEED", ...]], got {kind_of(item)}')


def _seed(value: object) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    seed = string(value, "a seed")
    if "/" in seed or "\\" in seed:
        raise DataError(f"a seed is a part of a file's name, not {seed!r}")
    return seed
