"""The benchmark of tiers: forced ids, what is compared, goals, what it keeps, and a whole run in small."""

import copy
import json
import math
from pathlib import Path

import pytest
import torch
from benchmarks.tiers import __main__ as command
from benchmarks.tiers.forced import Prompter, Script, Tally, compare, engine_for

from fixtures.tiny_model_folder import tiny_illume, tiny_parts
from illume.api import Illume, Parts
from illume.core.config import dump_yaml
from illume.recipes.pico import pico


def louder() -> Illume:
    """The tiny model, with a head that is surer."""
    parts = tiny_parts()
    model = copy.deepcopy(parts.model)
    with torch.no_grad():
        for parameter in model.head.parameters():
            parameter.mul_(1.2)
    return Illume(Parts(**(vars(parts) | {"model": model})))


def requests(model: Illume) -> list:
    return [*(model.draw_request(text, seed) for seed, text in enumerate(("a", "b", "c"))), model.draw_request("d", 9)]


def check_a_model_is_itself() -> None:
    found = compare(tiny_illume(), tiny_illume(), requests(tiny_illume()), rows=4)
    assert (found.choices, found.same) == (4 * 16, 4 * 16)
    assert abs(found.divergence) < 1e-9


def test_a_model_chooses_as_itself() -> None:
    check_a_model_is_itself()


def test_another_model_is_given_the_same_ids_and_is_farther() -> None:
    found = compare(tiny_illume(), louder(), requests(tiny_illume()), rows=4)
    assert found.choices == 4 * 16
    assert found.divergence / found.choices > 1e-3
    near = compare(tiny_illume(), Illume(tiny_parts(), tier="bf16"), requests(tiny_illume()), rows=4)
    assert 0 < near.divergence < found.divergence / 10


def test_the_check_catches_choices_that_are_mixed_up(monkeypatch: pytest.MonkeyPatch) -> None:
    pick, told = Prompter.pick, [0]

    def shifted(self: Prompter, members: list, ids: torch.Tensor, logits: torch.Tensor) -> list[int]:
        told[0] += 1
        return pick(self, members, ids, logits.roll(told[0] // 20, dims=1))

    monkeypatch.setattr(Prompter, "pick", shifted)
    with pytest.raises(AssertionError):
        check_a_model_is_itself()


def test_what_is_written_is_the_script() -> None:
    model = tiny_illume()
    asked = [model.draw_request("a", 1), model.draw_request("b", 2)]
    first, second = model.engine(4).run(asked)
    swapped = engine_for(model, 4, Script({0: second.ids, 1: first.ids})).run(asked)
    assert [one.ids for one in swapped] == [second.ids, first.ids]


def test_a_choice_is_tallied_by_hand() -> None:
    tally = Tally()
    tally.add(torch.tensor([0.0, math.log(3)]), torch.tensor([0.0, 0.0]))
    tally.add(torch.tensor([0.0, 1.0]), torch.tensor([5.0, 6.0]))
    expected = 0.25 * math.log(0.5) + 0.75 * math.log(1.5)
    assert (tally.choices, tally.same) == (2, 1)
    assert tally.told() == {"choices": 2, "top1": 0.5, "kl": round(expected / 2, 6)}
    assert (tally + tally).choices == 4


def found(top1: float, kl: float, lost: float) -> dict:
    score = {"score": 0.9, "difference": -lost, "ci95": [-lost, -lost], "items": 300}
    return {"choices": {"all": {"choices": 9, "top1": top1, "kl": kl}}, "scores": {"see": score}}


@pytest.mark.parametrize(
    ("tier", "values", "met"),
    [
        ("bf16", (0.99, 0.01, 0.01), True),
        ("bf16-compiled", (0.99, 0.011, 0.0), False),
        ("int8", (0.99, 0.02, -0.05), True),
        ("int8", (0.98, 0.02, 0.0), False),
        ("int4", (0.97, 0.02, 0.0), True),
        ("int4", (0.97, 0.02, 0.011), False),
    ],
)
def test_goals_are_those_of_the_weights(tier: str, values: tuple[float, float, float], met: bool) -> None:
    assert all(row[2] for row in command.goals(tier, found(*values)).values()) == met


def test_differences_are_item_by_item() -> None:
    told = command.differences({"see": [1, 0, 1, 1]}, {"see": [1, 1, 0, 0]})["see"]
    assert (told["score"], told["difference"], told["items"]) == (0.5, -0.25, 4)
    assert told["ci95"][0] < -0.25 < told["ci95"][1]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A tiny model beside a recipe of the world; its pictures are smaller than the world's, and as bad as any."""
    tiny_illume().save(tmp_path / "model")
    (tmp_path / "model" / "recipe.yaml").write_text(dump_yaml(pico()))
    return tmp_path / "model"


def test_it_goes_on_where_it_was_stopped_and_ends_in_a_line_of_json(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[str] = []
    real = command.choices

    def choices(reference: Illume, other: Illume, *given: object) -> dict:
        asked.append(other.tier)
        if asked == ["bf16", "int8"]:
            raise KeyboardInterrupt
        return real(reference, other, *given)

    def scores(other: Illume, tasks: object, *given: object) -> dict:
        return {kind: [1.0, 0.0] for kind in command.KINDS}

    monkeypatch.setattr(command, "choices", choices)
    monkeypatch.setattr(command, "scores", scores)
    arguments = [str(model), "--items", "2", "--tiers", "bf16", "int8", "--out", str(tmp_path / "deep" / "tiers.json")]
    with pytest.raises(KeyboardInterrupt):
        command.main(arguments)
    assert command.main(arguments) == 0
    assert asked == ["bf16", "int8", "int8"]
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (told["benchmark"], set(told["tiers"])) == ("tiers", {"bf16", "int8"})
    assert told["tiers"]["int8"]["scores"]["draw"]["difference"] == 0
    assert json.loads((tmp_path / "deep" / "tiers.json").read_text())["complete"]


def test_a_model_of_no_world_is_refused(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (model / "recipe.yaml").unlink()
    assert command.main([str(model), "--smoke"]) == 1
    assert "without its recipe" in capsys.readouterr().err
