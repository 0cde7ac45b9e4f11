"""Pairs of verdicts: who is preferred, what a file of pairs may say, and the codes that pictures keep."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from PIL import Image

from fixtures.drawings import picture
from fixtures.rounds import PAINTING, PROMPTS, Bad, ByContent, prompts_file, rows, small_illume
from fixtures.tiny_model_folder import tiny_parts
from illume.core.errors import CheckpointError, DataError
from illume.data.pairs import SCHEMA, Pair, read_pairs
from illume.enhance import pair as pair_module
from illume.enhance.assess import assess
from illume.enhance.compose import assessed
from illume.enhance.drawn_codes import NAME, drawn_codes
from illume.enhance.paint import Painting, paint
from illume.enhance.pair import Pairing, check_pairs, pair, round_pairs
from illume.enhance.propose import from_file, propose, save_picture
from illume.enhance.round import RoundFolder
from illume.generate.draw import drawn
from illume.images.given import opened
from illume.judge.drawings import read_drawings
from illume.judge.verdicts import read_verdicts
from illume.recipes.prefer import sampled, telling

SIX = Painting(per_prompt=6, together=8)


def judged(path: Path, painting: Painting = SIX) -> RoundFolder:
    folder = RoundFolder(path / "round")
    propose(folder, from_file(prompts_file(path)))
    paint(folder, small_illume(), painting)
    assess(folder, ByContent())
    return folder


@pytest.fixture
def round_judged(tmp_path: Path) -> RoundFolder:
    return judged(tmp_path)


def check_pairs_are_of_verdicts(folder: RoundFolder) -> None:
    """Each pair is of one prompt, a drawing that passed before one that failed; those without a verdict are in none."""
    passed = {line.key: line.passed for line in read_verdicts(folder.verdicts) if not hasattr(line.outcome, "kind")}
    drawings = {f"images/{one.key}.png": one for one in read_drawings(folder.drawings)}
    pairs = read_pairs(folder.file("pair"))
    assert pairs
    for one in pairs:
        chosen, rejected = drawings[one.chosen], drawings[one.rejected]
        assert (chosen.prompt, rejected.prompt) == (one.prompt, one.prompt)
        assert (passed[chosen.key], passed[rejected.key]) == (True, False)


def test_pairs_are_of_one_prompt_the_passing_before_the_failing(round_judged: RoundFolder) -> None:
    validator = Draft202012Validator(json.loads(SCHEMA.read_text("utf-8")))
    number = pair(round_judged, Pairing(most=100))
    check_pairs_are_of_verdicts(round_judged)
    for row in rows(round_judged.file("pair")):
        validator.validate(row)
    by_prompt: dict[str, list[bool]] = {}
    for line in read_verdicts(round_judged.verdicts):
        if not hasattr(line.outcome, "kind"):
            by_prompt.setdefault(line.prompt, []).append(line.passed)
    assert number == sum(found.count(True) * found.count(False) for found in by_prompt.values())
    round_judged.file("pair").unlink()
    assert pair(round_judged, Pairing(most=1)) == sum(len(set(found)) == 2 for found in by_prompt.values())


def test_the_check_catches_drawings_paired_by_chance(
    round_judged: RoundFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def any_two(prompt: str, drawings: list[Any], pairing: Pairing) -> list[Pair]:
        return [Pair(prompt, prompt, drawings[1].image, drawings[0].image)]

    monkeypatch.setattr(pair_module, "_of_prompt", any_two)
    with pytest.raises(DataError, match="did not pass"):
        pair(round_judged)
    monkeypatch.setattr(pair_module, "check_pairs", lambda pairs, found: None)
    pair(round_judged)
    with pytest.raises(AssertionError):
        check_pairs_are_of_verdicts(round_judged)


def test_a_true_picture_stands_for_one_that_passes_on_request(tmp_path: Path) -> None:
    folder = RoundFolder(tmp_path / "round")
    propose(folder, from_file(prompts_file(tmp_path)))
    paint(folder, small_illume(), PAINTING)
    assess(folder, Bad())
    with pytest.raises(DataError, match="--per-prompt"):
        pair(folder)
    assert pair(folder, Pairing(truth=True)) == PAINTING.per_prompt
    assert {one.prompt for one in round_pairs(folder)} == {PROMPTS[0]}
    assert {one.chosen for one in round_pairs(folder)} == {f"truth/{rows(folder.prompts)[0]['key']}.png"}


def test_pairs_edited_to_prefer_a_bad_drawing_or_into_invalidity_are_refused(round_judged: RoundFolder) -> None:
    pair(round_judged)
    path = round_judged.file("pair")
    first, *rest = rows(path)
    for changed, words in (
        ({**first, "chosen": first["rejected"], "rejected": first["chosen"]}, "which did not pass"),
        ({**first, "chosen": f"./{first['rejected']}", "rejected": first["chosen"]}, "which did not pass"),
        ({**first, "prompt": "another one"}, "was made for"),
        ({**first, "rejected": first["chosen"]}, r"pairs\.jsonl:1: .*preferred to itself"),
        ({**first, "rejected": "images/none.png"}, r"pairs\.jsonl:1: .*none\.png is not there"),
        ({**first, "key": rest[0]["key"]}, r"pairs\.jsonl:2: .*is taken by .*pairs\.jsonl:1"),
        ({**first, "colour": 1}, r"pairs\.jsonl:1: .*'colour' is unknown"),
        ({name: value for name, value in first.items() if name != "prompt"}, "'prompt' is missing"),
        ({**first, "prompt": " "}, "prompt is empty"),
    ):
        path.write_text("".join(json.dumps(row) + "\n" for row in (changed, *rest)))
        with pytest.raises(DataError, match=words):
            round_pairs(round_judged)
    path.write_text("")
    with pytest.raises(DataError, match="no pair"):
        read_pairs(path)


def test_before_anything_is_judged_there_are_no_pairs(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="'assess'"):
        pair(RoundFolder(tmp_path))
    with pytest.raises(ValueError, match="most"):
        Pairing(most=0)
    check_pairs([], assessed(judged(tmp_path), ByContent().identity))


def check_keeps_its_codes(folder: RoundFolder) -> None:
    """Every picture keeps the very codes that its prompt and seed are drawn with."""
    illume = small_illume()
    for row in rows(folder.drawings)[:5]:
        request = illume.draw_request(str(row["prompt"]), row["seed"])  # type: ignore[arg-type]
        made = drawn(illume.run([request])[0], request.seed)
        assert drawn_codes(folder.path / str(row["image"])) == made.codes


def test_pictures_keep_the_codes_they_were_drawn_with(round_judged: RoundFolder, tmp_path: Path) -> None:
    check_keeps_its_codes(round_judged)
    path = sorted((round_judged.path / "images").iterdir())[0]
    with Image.open(path) as file:
        text = file.text  # type: ignore[attr-defined]
    changed = opened(path).copy()
    changed.putpixel((0, 0), (1, 2, 3))
    from PIL.PngImagePlugin import PngInfo

    notes = PngInfo()
    notes.add_text(NAME, text[NAME])
    save_picture(changed, tmp_path / "edited.png", notes)
    assert drawn_codes(tmp_path / "edited.png") is None
    save_picture(opened(path), tmp_path / "plain.png")
    assert drawn_codes(tmp_path / "plain.png") is None
    notes = PngInfo()
    notes.add_text(NAME, "[")
    save_picture(opened(path), tmp_path / "broken.png", notes)
    with pytest.raises(DataError, match=r"broken\.png: .*cannot be read"):
        drawn_codes(tmp_path / "broken.png")


def test_the_check_catches_codes_of_the_painted_picture(round_judged: RoundFolder) -> None:
    """What the tokenizer reads off a picture is not what it was painted of."""
    from illume.enhance.drawn_codes import noted
    from illume.generate.coded import Coder
    from illume.generate.shown import pixels_of

    for row in rows(round_judged.drawings):
        path = round_judged.path / str(row["image"])
        shown = opened(path)
        save_picture(shown, path, noted(shown, Coder(tiny_parts().tokenizer)(pixels_of(shown))))
    with pytest.raises(AssertionError):
        check_keeps_its_codes(round_judged)


def test_pairs_of_equal_codes_alone_are_refused(round_judged: RoundFolder) -> None:
    pair(round_judged)
    path = round_judged.file("pair")
    first = rows(path)[0]
    shutil.copy(path.parent / str(first["chosen"]), path.parent / "images/copy.png")
    path.write_text(json.dumps({**first, "rejected": "images/copy.png"}) + "\n")
    with pytest.raises(DataError, match=r"pairs\.jsonl: every pair is of drawings with equal codes"):
        telling(tiny_parts(), {"round-1": path})


def test_pairs_become_samples_of_the_codes_drawn(round_judged: RoundFolder, capsys: Any) -> None:
    pair(round_judged)
    path = round_judged.file("pair")
    first = sampled(tiny_parts(), path)
    start = tiny_parts().layout.ranges()["level0"].start
    for one, samples in zip(read_pairs(path), first, strict=True):
        for image, sample in zip((one.chosen, one.rejected), samples, strict=True):
            codes = [id - start for id in sample.ids[sample.loss_mask].tolist() if start <= id < start + 24]
            assert (tuple(codes),) == drawn_codes(path.parent / image)
    assert "encoded" not in capsys.readouterr().err
    chosen = path.parent / read_pairs(path)[0].chosen
    picture(3).resize(opened(chosen).size).save(chosen)
    sampled(tiny_parts(), path)
    assert "1 of" in capsys.readouterr().err
