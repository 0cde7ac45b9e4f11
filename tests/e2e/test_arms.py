"""The two arms that pico is compared with, each a whole tiny run: codes of reconstruction, and codes as input."""

import importlib.util
import re
from pathlib import Path

import numpy as np
import pytest

from fixtures.tiny_recipe import BATCHES, CODEBOOK, ONE_LEVEL, STEPS
from illume.api import load
from illume.core.errors import CheckpointError, ConfigError
from illume.models.reconstruction import ReconstructionTokenizer
from illume.recipes.blueprint import blueprint
from illume.recipes.catalog import resolve
from illume.recipes.folder import part_hashes
from illume.recipes.recipe import Recipe
from illume.recipes.run import run

OWN = ("pixel_stage", "pixel_decoder", "tokenizer.")


def tiny_arm(out: Path, *overrides: str) -> Recipe:
    """Codes of reconstruction, on a world of 64 scenes."""
    few = [item for item in [*STEPS, *BATCHES] if not item.startswith(OWN)]
    network = [f"{owner}.channels=[8, 8, 16]" for owner in ("tokenizer.network", "pixel_decoder")]
    codes = f"tokenizer.quantizer={CODEBOOK}"
    small = [ONE_LEVEL, "score.num_items=6", "stages.2.sample_every=0", "data.num_scenes=64"]
    return resolve("pico_reconstruction", [f"out={out}", codes, *few, *network, *small, *overrides])


@pytest.mark.parametrize("reading", ["features", "codes"])
def test_codes_of_reconstruction_go_through_the_whole_recipe(reading: str, tmp_path: Path) -> None:
    recipe = tiny_arm(tmp_path / "run", f"reading={reading}")
    card = run(recipe)
    assert set(card["seconds"]) >= {"tokenizer", "stage3"}
    model = load(tmp_path / "run" / "model", device="cpu")
    assert isinstance(model.parts.tokenizer, ReconstructionTokenizer)
    assert model.parts.reading == reading
    assert model.parts.layout.reread == (reading == "features")
    picture = model.draw("a red circle")[0]
    assert picture.size == (32, 32)
    assert isinstance(model.chat("what is it?", [picture], max_new_text=4), str)
    assert np.asarray(model.reconstruct(picture)).shape == (32, 32, 3)
    with pytest.raises(CheckpointError, match="tokenizer was trained with another configuration"):
        run(tiny_arm(tmp_path / "run", "pixel_decoder.layers=2"))


def test_reading_by_codes_is_another_stage_but_the_same_tokenizer() -> None:
    """And "features" names nothing: runs that began before there was a choice go on."""
    ours, theirs = (part_hashes(resolve(name)) for name in ("pico", "pico_codes"))
    assert {part for part in ours if ours[part] != theirs[part]} == {"stage1", "stage2", "stage3"}


def test_arms_differ_in_what_their_names_say() -> None:
    pico = resolve("pico")
    assert resolve("pico_codes") == resolve("pico", ["name=pico_codes", "out=runs/pico_codes", "reading=codes"])
    other = resolve("pico_reconstruction")
    assert (other.stages, other.decoder, other.data, other.encoder) == (
        pico.stages,
        pico.decoder,
        pico.data,
        pico.encoder,
    )
    assert blueprint(other).layout == blueprint(pico).layout


def test_the_commands_of_the_docs_are_understood() -> None:
    page = (Path(__file__).parents[2] / "docs" / "tokenizers.md").read_text(encoding="utf-8")
    commands = re.findall(r"^illume train (.*)$", page, flags=re.MULTILINE)
    assert len(commands) == 3
    for words in map(str.split, commands):
        resolve(words[0], words[1:])
    (module,) = re.findall(r"^python -m (\S+)$", page, flags=re.MULTILINE)
    assert importlib.util.find_spec(module) is not None


def test_images_are_written_on_the_grid_they_are_read_on() -> None:
    finer = ["tokenizer.network.channels=[48, 96]"]
    with pytest.raises(
        ConfigError, match=r"reads 32 pixels as grids \(\(4, 4\),\), the tokenizer writes \(\(8, 8\), \(8, 8\)\)"
    ):
        blueprint(resolve("pico_reconstruction", finer))
    blueprint(resolve("pico_reconstruction", [*finer, "reading=codes"]))


def test_guidance_has_a_scale_for_each_level_that_is_drawn() -> None:
    one_level = f"tokenizer.quantizer={CODEBOOK}"
    with pytest.raises(ConfigError, match=r"generation\.draw\.guidance has 2 scales, images 1 levels"):
        blueprint(resolve("pico_reconstruction", [one_level]))
    blueprint(resolve("pico_reconstruction", [one_level, ONE_LEVEL]))
