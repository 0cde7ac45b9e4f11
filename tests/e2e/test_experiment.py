"""The experiment of self-enhancement in small: every arm, its files, going on, parts of another run, the last line."""

import json
from pathlib import Path

import pytest
from benchmarks.enhance import __main__ as command
from benchmarks.enhance.arms import ARMS
from benchmarks.enhance.baseline import baseline, link_parts
from benchmarks.enhance.depends import DEPENDS, folder_name
from benchmarks.enhance.experiment import SMOKE, Experiment, base_recipe
from benchmarks.enhance.given import Given
from benchmarks.enhance.matching import matched, mean_length
from benchmarks.enhance.measure import Scored
from benchmarks.enhance.results import SECOND, Result, read_results

from fixtures.rounds import rows, tree
from illume.core.config import load_yaml
from illume.core.errors import CheckpointError, ConfigError, IllumeError
from illume.core.tensors import load_tensors
from illume.data.records import read_records
from illume.recipes.recipe import Recipe
from illume.recipes.retrain import Base
from illume.recipes.score import score_folder

pytestmark = [pytest.mark.xdist_group("enhance benchmark"), pytest.mark.timeout(900)]
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def smoke(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a smoke run of every arm."""
    out = tmp_path_factory.mktemp("smoke")
    kept = tree(ROOT / "results")
    assert command.main(["--smoke", "--out", str(out)]) == 0
    assert tree(ROOT / "results") == kept
    return out


@pytest.fixture
def results(smoke: Path) -> dict[str, Result]:
    return {one.arm: one for one in read_results(smoke / "results")}


def given(smoke: Path) -> Given:
    return Given(SMOKE, 0, Base.find(str(smoke / "seed-0" / "base")), smoke / "seed-0")


def test_every_arm_is_there_and_says_that_it_is_smoke(results: dict[str, Result]) -> None:
    assert list(DEPENDS) == list(ARMS)
    assert results.keys() == ARMS.keys()
    for arm, one in results.items():
        assert one.smoke
        assert {"see", "see novel", "draw", "draw novel", "edit", "assess kappa"} <= one.scores.keys()
        assert {score.n for score in one.scores.values()} == {SMOKE.num_items}
        assert one.against.items() <= {name: results[name].hash for name in results}.items()
        assert (one.steps > 0) == (arm != "baseline")
    assert SECOND in results["baseline"].scores
    assert results["assessment-oracle"].drawings == SMOKE.num_prompts * SMOKE.per_prompt
    assert results["two-rounds"].drawings == 2 * results["assessment-oracle"].drawings
    assert results["dpo"].drawings == results["assessment-oracle"].drawings
    assert results["grpo"].drawings == 2 * 2 * SMOKE.extra_steps
    assert (results["reca"].drawings, results["reca"].judge) == (0, None)
    assert all(SECOND in results[arm].scores for arm in ("dpo", "grpo"))
    assert results["two-rounds"].steps == 2 * results["assessment-oracle"].steps


def test_scores_are_those_that_the_model_is_given_otherwise(smoke: Path, results: dict[str, Result]) -> None:
    card = score_folder(str(smoke / "seed-0" / "base"), [f"score.num_items={SMOKE.num_items}"])
    scores = results["baseline"].scores
    for ability in ("see", "draw", "edit"):
        assert scores[ability].score == pytest.approx(card[ability]["score"], abs=1e-4)
    assert scores["see novel"].score == pytest.approx(card["see"]["by"]["novel"]["score"], abs=1e-4)
    assert scores["assess kappa"].score == card["assess"]["by"]["kappa"]["score"]


def test_run_again_it_does_nothing_and_says_the_same(smoke: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = tree(smoke)
    assert command.main(["--smoke", "--out", str(smoke)]) == 0
    assert tree(smoke) == before
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (told["benchmark"], told["smoke"], told["goals_met"]) == ("enhance", True, False)
    assert told["means"].keys() == ARMS.keys()
    assert "smoke run" in (smoke / "docs" / command.PAGE).read_text("utf-8")


def test_a_control_has_the_same_prompts_and_pictures_and_as_many_ids(smoke: Path, results: dict[str, Result]) -> None:
    ours, theirs = (smoke / "seed-0" / folder_name(SMOKE, arm) for arm in ("control-pictures", "assessment-oracle"))
    records, _ = read_records(ours / "pictures" / "records.jsonl")
    prompts = rows(theirs / "round-1" / "prompts.jsonl")
    assert [record.text for record in records] == [prompt["prompt"] for prompt in prompts]
    for record, prompt in zip(records, prompts, strict=True):
        assert (ours / "pictures" / record.images[0]).read_bytes() == (
            theirs / "round-1" / str(prompt["image"])
        ).read_bytes()
    length = mean_length(given(smoke), ours / "pictures" / "records.jsonl")
    tokens = [results[arm].tokens or 0 for arm in ("control-pictures", "assessment-oracle")]
    assert abs(tokens[0] - tokens[1]) <= 0.5 * length * SMOKE.extra_steps + 1  # half a sample a step
    base, how = matched(given(smoke), theirs / "round-1" / "records.jsonl", ours / "pictures" / "records.jsonl")
    ordinary = given(smoke).base.recipe.stages[-1].batch_size * (1 - SMOKE.share)
    assert base.recipe.stages[-1].batch_size * (1 - how.share) == pytest.approx(ordinary)
    unmatched = 16 * SMOKE.share * length * SMOKE.extra_steps  # as many samples instead of as many ids
    assert abs(unmatched - tokens[1]) > 0.5 * length * SMOKE.extra_steps + 1


def test_arms_share_the_drawings_of_the_baseline(smoke: Path) -> None:
    first, *others = (smoke / "seed-0").glob("*/round-1/drawings.jsonl")
    assert len(others) >= 2
    assert {other.read_bytes() for other in others} == {first.read_bytes()}


def test_controls_see_what_the_arms_see_beside_their_own(smoke: Path) -> None:
    runs = {
        arm: load_yaml(smoke / "seed-0" / folder_name(SMOKE, arm) / run / "config.yaml", Recipe)
        for arm, run in (("control-steps", "run"), ("control-pictures", "run"), ("assessment-oracle", "round-1/run"))
    }
    stages = {arm: recipe.stages[-1] for arm, recipe in runs.items()}
    assert {(stage.steps, stage.seed, stage.rules) for stage in stages.values()} == {
        (SMOKE.extra_steps, 1, stages["control-steps"].rules)
    }
    assert stages["control-steps"].mixture.keys() == set(given(smoke).base.recipe.stages[-1].mixture)


class KilledError(Exception):
    """As if somebody had pulled the plug."""


def test_killed_while_it_scores_it_goes_on(smoke: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    measure = Scored._ability

    def dies(self: Scored, ability: str) -> object:
        asked.append(ability)
        if asked == ["see", "draw"]:
            raise KilledError
        return measure(self, ability)

    monkeypatch.setattr(Scored, "_ability", dies)
    model = smoke / "seed-0" / "base" / "model"
    with pytest.raises(KilledError):
        Scored(model, 6, tmp_path).scores()
    found = Scored(model, 6, tmp_path).scores()
    assert asked == ["see", "draw", "draw", "edit", "assess"]
    assert found == Scored(model, 6, tmp_path / "whole").scores()


def test_a_lost_result_is_written_again_without_training(
    smoke: Path, results: dict[str, Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    lost = results["control-pictures"]
    (smoke / "results" / lost.name).unlink()
    monkeypatch.setattr("illume.recipes.parts.fit", lambda *a, **k: pytest.fail("it trains"))
    assert command.main(["--smoke", "--out", str(smoke), "--arms", "control-pictures"]) == 0
    again = {one.arm: one for one in read_results(smoke / "results")}["control-pictures"]
    assert (again.scores, again.tokens, again.hash) == (lost.scores, lost.tokens, lost.hash)


def test_a_finished_baseline_gives_its_parts(smoke: Path, tmp_path: Path) -> None:
    there = smoke / "seed-0" / "base"
    everything = ["encoder", "tokenizer", "pixel_decoder", "stage1", "stage2", "stage3"]
    assert link_parts(there, base_recipe(SMOKE, 0, str(tmp_path / "a"))) == everything
    longer = Experiment(stage3_steps=5, num_items=12, extra_steps=2, recipe=SMOKE.recipe)
    assert link_parts(there, base_recipe(longer, 0, str(tmp_path / "b"))) == everything[:-1]
    with pytest.raises(ConfigError, match="--base"):
        link_parts(there, base_recipe(SMOKE, 1, str(tmp_path / "c")))
    assert not (tmp_path / "c").exists()
    made = baseline(SMOKE, 0, tmp_path / "d", [there])
    ours, theirs = (load_tensors(run / "model" / "model.safetensors") for run in (made.run, there))
    assert [name for name in ours if not ours[name].equal(theirs[name])] == []
    assert (made.run / "checkpoints" / "encoder").is_symlink()


def test_another_baseline_does_not_go_on_in_its_folder(smoke: Path) -> None:
    other = Experiment(stage3_steps=4, num_items=12, extra_steps=2, recipe=SMOKE.recipe)
    with pytest.raises(CheckpointError, match="another configuration"):
        baseline(other, 0, smoke / "seed-0" / "base")


def test_an_error_ends_the_command(smoke: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> Result:
        raise IllumeError("the disk is full")

    monkeypatch.setattr(command, "result", fails)
    assert command.main(["--smoke", "--out", str(smoke), "--seeds", "7", "--arms", "baseline"]) == 1
