"""Thousands of malformed files, of every kind that is read: each is read as something, or refused by an error in words.

Data sets have a fuzz of their own (test_data_fuzz.py). ILLUME_FUZZ=5000 damages each file that often.
"""

import copy
import json
import os
import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import save

from fixtures.damage import Damage, changed, changed_line, damaged
from fixtures.tiny_model_folder import tiny_illume, tiny_parts
from fixtures.tiny_sessions import Recording, session_parts
from illume.api import Generation
from illume.core.config import dump_yaml, load_yaml
from illume.core.errors import IllumeError
from illume.core.log import MetricsFile
from illume.core.tensors import load_tensors, read_metadata
from illume.data.codes import CodeStore, Origin, read_shard, write_shard
from illume.enhance.drawn_codes import drawn_codes, noted
from illume.enhance.propose import from_file
from illume.eval import scorecard
from illume.generate.folder import load_parts
from illume.images import ops
from illume.images.given import opened
from illume.judge.drawings import read_drawings
from illume.judge.verdicts import read_verdicts
from illume.models.lora import LoRAConfig, add_lora, load_lora, save_lora
from illume.models.painting import load_pixel_decoder
from illume.models.published import config_to_publish, published_config
from illume.models.tokenizing import load_tokenizer
from illume.tasks.verdict import CRITERIA, Criterion, Verdict
from illume.vocab.text import HuggingFaceTokenizer

SCORECARDS = Path(__file__).parents[2] / "results" / "scorecards"
VERDICT = Verdict.of({name: Criterion(True, "seen", True) for name in CRITERIA})


@dataclass(frozen=True)
class Reader:
    """A file, what reads it (given that file), how it is damaged, and how often in an ordinary run."""

    file: Path
    read: Callable[[Path], object]
    damage: Damage
    times: int


def check_reading(reader: Reader, name: str) -> int:
    """Law: whatever stands in the file, it is read, or refused by an error of ours that says something; how often."""
    whole = reader.file.read_bytes()
    reader.read(reader.file)  # undamaged it is read
    refused = 0
    for number in range(int(os.environ.get("ILLUME_FUZZ", reader.times))):
        data = reader.damage(whole, random.Random(f"{name} {number}"))
        reader.file.write_bytes(data)
        said = said_of_reading(reader)
        assert said is None or said.strip(), f"damage {number} of {name}: an error without words, {data[:2000]!r}"
        refused += said is not None
    return refused


def said_of_reading(reader: Reader) -> str | None:
    """What an error of ours says; None where the file is read."""
    try:
        reader.read(reader.file)
    except IllumeError as error:
        return str(error)
    except Exception as error:
        raise AssertionError(f"{error!r} on {reader.file.read_bytes()[:2000]!r}") from error
    return None


def parts_of(file: Path) -> object:
    return load_parts(file.parent, torch.device("cpu"), torch.float32)


def model_readers(root: Path) -> dict[str, Reader]:
    folder, model = root / "model", tiny_illume()
    model.save(folder)
    tokenizer, painter = folder / "vision_tokenizer", folder / "pixel_decoder"
    found = {
        "config.json": Reader(folder / "config.json", parts_of, changed, 25),
        "tokenizer": Reader(tokenizer / "config.json", lambda file: load_tokenizer(file.parent), changed, 80),
        "tokenizer weights": Reader(tokenizer / "model.safetensors", lambda f: load_tokenizer(f.parent), damaged, 20),
        "words": Reader(folder / "tokenizer.json", lambda file: HuggingFaceTokenizer.load(file.parent), changed, 40),
    }
    for name in ("config.json", "unet/config.json", "scheduler/scheduler_config.json", "model.safetensors"):
        damage = changed if name.endswith("json") else damaged
        found[f"painter {name}"] = Reader(painter / name, lambda _: load_pixel_decoder(painter), damage, 30)
    return found


def tensor_readers(root: Path) -> dict[str, Reader]:
    tensors = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.ones(4, dtype=torch.int64), "c": torch.zeros(1)}
    names = {"one.safetensors": ("a", "b"), "two.safetensors": ("c",)}
    for name, inside in names.items():
        (root / name).write_bytes(save({key: tensors[key] for key in inside}))
    (root / "whole.safetensors").write_bytes(save(tensors, {"note": "x"}))
    index = root / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {key: name for name, inside in names.items() for key in inside}}))
    store = CodeStore(["a", "b"], [torch.arange(8, dtype=torch.int32).reshape(2, 2, 2).numpy()])
    write_shard(root / "codes.safetensors", store, Origin("one", "two"))
    return {
        "safetensors": Reader(root / "whole.safetensors", lambda f: (load_tensors(f), read_metadata(f)), damaged, 1500),
        "index": Reader(index, lambda _: load_tensors(root / "model.safetensors"), changed, 300),
        "codes": Reader(root / "codes.safetensors", lambda f: read_shard(f, Origin("one", "two")), damaged, 300),
        "codes' origin": Reader(said_of(root), read_said, changed, 200),
    }


def said_of(root: Path) -> Path:
    """What a shard of codes says of itself, as a file of its own to be changed."""
    said = {"format_version": 1, "origin": {"tokenizer": "one", "images": "two"}, "keys": ["a", "b"]}
    (root / "said.json").write_text(json.dumps(said))
    return root / "said.json"


def read_said(file: Path) -> object:
    shard = file.with_suffix(".safetensors")
    codes = {"level0": torch.zeros(2, 2, 2, dtype=torch.int32)}
    shard.write_bytes(save(codes, {"illume": file.read_bytes().decode("utf-8", "replace")}))
    return read_shard(shard, Origin("one", "two"))


def published_readers(root: Path) -> dict[str, Reader]:
    model = tiny_parts().model
    config = root / "published" / "config.json"
    config.parent.mkdir()
    config.write_text(json.dumps(config_to_publish(model.config.decoder, 50, tied=False)))
    adapted = copy.deepcopy(model)
    add_lora(adapted.decoder, LoRAConfig(rank=2))
    save_lora(root / "lora", adapted)
    adapter = root / "lora" / "adapter_config.json"
    return {
        "published": Reader(config, lambda file: published_config(file.parent), changed, 300),
        "LoRA": Reader(adapter, lambda file: load_lora(file.parent, copy.deepcopy(model)), changed, 60),
    }


def text_readers(root: Path) -> dict[str, Reader]:
    (root / "own.yaml").write_text(dump_yaml(Generation()))
    shutil.copy(next(SCORECARDS.glob("pico-*.json")), root / "scorecard.json")
    (root / "verdict.json").write_text(VERDICT.to_json())
    MetricsFile(root / "metrics.jsonl").append({"part": "x", "step": 1, "loss": 0.5})
    Image.new("RGB", (4, 4)).save(root / "a.png")
    rows = {
        "prompts": {"prompt": "a red circle", "image": "a.png"},
        "drawings": {"key": "a", "prompt": "a red circle", "image": "a.png", "seed": 1},
        "verdicts": {
            "key": "a", "content": "c", "prompt": "a", "judge": {"name": "oracle", "settings": {}},
            "verdict": json.loads(VERDICT.to_json()),
        },
    }  # fmt: skip
    for name, row in rows.items():
        (root / f"{name}.jsonl").write_text(json.dumps(row) + "\n")
    return {
        "configuration": Reader(root / "own.yaml", lambda file: load_yaml(file, Generation), damaged, 1000),
        "scorecard": Reader(root / "scorecard.json", scorecard.load, changed, 60),
        "verdict": Reader(root / "verdict.json", lambda file: Verdict.from_json(text(file)), changed, 300),
        "metrics": Reader(root / "metrics.jsonl", lambda file: MetricsFile(file).read(), changed_line, 300),
        "prompts": Reader(root / "prompts.jsonl", from_file, changed_line, 300),
        "drawings": Reader(root / "drawings.jsonl", read_drawings, changed_line, 300),
        "verdicts": Reader(root / "verdicts.jsonl", read_verdicts, changed_line, 300),
    }


def text(file: Path) -> str:
    return file.read_bytes().decode("utf-8", "surrogateescape")


def image_readers(root: Path) -> dict[str, Reader]:
    picture = Image.effect_noise((12, 9), 80).convert("RGB")
    found = {}
    for kind in ops.formats():
        if kind != "MPO":  # a JPEG to its writer
            picture.save(root / f"image.{kind}", kind)
            found[f"image {kind}"] = Reader(root / f"image.{kind}", opened, damaged, 300)
    picture.save(root / "drawn.png", pnginfo=noted(picture, ((1, 2), (3,))))
    return found | {"drawn codes": Reader(root / "drawn.png", drawn_codes, damaged, 300)}


def session_readers(root: Path) -> dict[str, Reader]:
    model = Recording(session_parts())
    session = model.session(seed=3)
    session.draw("a red circle")
    session.ask("how many?", max_new_text=3)
    session.save(root / "talk")
    return {
        "session": Reader(root / "talk" / "session.json", lambda file: model.session(file.parent), changed, 120),
        "picture": Reader(
            root / "talk" / "pictures" / "picture-1.png", lambda file: model.session(file.parents[1]), damaged, 30
        ),
    }


GROUPS: dict[str, Callable[[Path], dict[str, Reader]]] = {
    "models": model_readers, "tensors": tensor_readers, "published": published_readers, "texts": text_readers,
    "images": image_readers, "sessions": session_readers,
}  # fmt: skip


@pytest.mark.filterwarnings("ignore")  # of libraries, about what they are given here
@pytest.mark.parametrize("group", GROUPS)
def test_malformed_files_are_read_with_distrust(group: str, tmp_path: Path) -> None:
    for name, reader in GROUPS[group](tmp_path).items():
        good = reader.file.read_bytes()
        assert check_reading(reader, name) > 0, f"no damage to {name} was seen"
        reader.file.write_bytes(good)


def test_thousands_of_files_are_damaged(tmp_path: Path) -> None:
    times = 0
    for group, make in GROUPS.items():
        (tmp_path / group).mkdir()
        times += sum(reader.times for reader in make(tmp_path / group).values())
    assert times >= 8000


def trusting(file: Path) -> object:
    return json.loads(text(file))["size"] + 1


def silent(file: Path) -> object:
    try:
        return trusting(file)
    except Exception:
        raise IllumeError from None


@pytest.mark.parametrize("read", [trusting, silent])
def test_the_fuzz_catches_a_reader_that_trusts_or_says_nothing(read: Callable[[Path], object], tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps({"size": 3}))
    with pytest.raises(AssertionError):
        check_reading(Reader(tmp_path / "a.json", read, changed, 50), "trusting")
