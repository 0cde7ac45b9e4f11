"""Drawing and learning in one step: what is drawn, by whom it is judged, and that a stop changes nothing."""

import json
import math
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from fixtures.chat_server import chat_server, honest
from fixtures.drawn import PROMPTS, stage, trainable
from fixtures.rollouts import CONFIG, LIST, ByCodes, figures, learning, parts_with, reinforce_and_write
from fixtures.rounds import verdict
from fixtures.tiny_training import CPU, Recorder, StopAt, in_processes, same_weights, weights
from illume.api import Illume
from illume.core.errors import ConfigError, JudgeError
from illume.enhance.propose import Prompt
from illume.generate import choosing
from illume.generate.draw import drawn
from illume.generate.folder import Parts
from illume.generate.painting import Drawn
from illume.judge.api import ApiJudge
from illume.judge.api_config import ApiConfig, Prices
from illume.judge.protocol import Drawing, Failure, Identity, Judgement
from illume.recipes import rollouts as rollouts_module
from illume.recipes.reinforce import costs_of
from illume.recipes.rollouts import SILENT, JudgedDrawer, RolloutLoader, reward_of
from illume.tasks.verdict import CRITERIA, Criterion, Verdict
from illume.train.policy_objective import PolicyConfig, PolicyObjective
from illume.train.state import TrainState
from illume.train.trainer import fit


def check_drawn_as_measured(config: PolicyConfig, drawer: type[JudgedDrawer] = ByCodes) -> None:
    """At the first step on new drawings their log-probabilities, as training measures them, are those they were drawn
    with: every ratio is 1."""
    objective, loader, _ = learning(config, drawer=drawer)
    by_engine = probabilities_drawn_with(loader)
    numbers = {f"{prompt.key}-{seed}": number for number, (prompt, seed) in enumerate(loader.asked(0))}
    for batch in loader.batches(0):
        assert batch.old is not None
        with torch.no_grad():
            new = rollouts_module.drawn_log_probs(objective.lm, batch.rows, config.temperature)
        assert torch.equal(new, batch.old)
        assert float((new - by_engine[[numbers[key] for key in batch.keys]]).abs().max()) < 1e-4


def probabilities_drawn_with(loader: RolloutLoader) -> torch.Tensor:
    """The logarithms of what the engine samples the first drawings with, in the order of what is asked."""
    seen: list[torch.Tensor] = []
    sample = choosing.sample

    def watched(logits: torch.Tensor, samplings: Any, *more: Any, **settings: Any) -> torch.Tensor:
        ids = sample(logits, samplings, *more, **settings)
        seen.append((logits / samplings[0].temperature).log_softmax(-1).gather(1, ids[:, None])[:, 0])
        return ids

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(choosing, "sample", watched)
        loader.drawer(loader.asked(0))
    return torch.stack(seen, dim=1)  # in lockstep: each step of codes is one call for all rows


@pytest.mark.parametrize("temperature", [1.0, 0.8])
def test_what_was_drawn_is_measured_as_it_was_drawn(temperature: float) -> None:
    check_drawn_as_measured(replace(CONFIG, temperature=temperature))


def test_the_measure_catches_drawings_of_another_temperature() -> None:
    class Hotter(ByCodes):
        def __init__(self, given: Parts, judge: Any, config: PolicyConfig) -> None:
            super().__init__(given, judge, replace(config, temperature=1.7))

    with pytest.raises(AssertionError):
        check_drawn_as_measured(CONFIG, Hotter)


def test_groups_are_of_one_prompt_with_seeds_of_their_own() -> None:
    _, loader, _ = learning()
    for turn in range(4):
        asked = loader.asked(turn)
        assert len({seed for _, seed in asked}) == CONFIG.drawings
        for start in range(0, CONFIG.drawings, CONFIG.group):
            assert len({prompt.text for prompt, _ in asked[start : start + CONFIG.group]}) == 1
    epoch = [prompt.text for turn in range(2) for prompt, _ in loader.asked(turn)[:: CONFIG.group]]
    assert sorted(epoch) == sorted(PROMPTS)


def test_drawings_are_made_once_and_given_to_every_inner_step() -> None:
    objective, loader, _ = learning()
    first = loader.batches(0)[0]
    codes = objective.rollout.codes.clone()
    with torch.no_grad():
        next(objective.lm.model.head.parameters()).add_(0.1)
    second = loader.batches(1)[0]
    assert torch.equal(codes, objective.rollout.codes)
    assert first.old is not None
    assert second.old is not None
    assert torch.equal(first.old, second.old)
    assert (first.told["drawn"], second.told["drawn"]) == (8, 0)
    assert first.told["reward"] == second.told["reward"]
    loader.batches(2)
    assert not torch.equal(codes, objective.rollout.codes)


Run = tuple[dict[int, dict[str, float]], dict[str, torch.Tensor]]


def run(folder: Path, stop: int | None = None, config: PolicyConfig = CONFIG) -> Run:
    """Four steps, maybe stopped abruptly after one and gone on with; the steps' figures, and the last weights."""
    seen: dict[int, dict[str, float]] = {}
    for recorder in [Recorder()] if stop is None else [StopAt(stop, politely=False), Recorder()]:
        objective, loader, to_take = learning(config)
        with suppress(MemoryError):
            state: TrainState = fit(objective, loader, to_take, [recorder], folder=folder, device=CPU)
        seen |= {report.step: {"loss": report.loss, **report.metrics} for report in recorder.reports}
    return seen, weights(state)


def check_resumes(tmp_path: Path, stops: Sequence[int], config: PolicyConfig = CONFIG) -> None:
    whole = run(tmp_path / "whole", config=config)
    for stop in stops:
        stopped = run(tmp_path / f"stopped {stop}", stop, config)
        assert stopped[0] == whole[0]
        assert same_weights(stopped[1], whole[1])


def test_stopped_at_any_step_it_ends_with_the_same_weights(tmp_path: Path) -> None:
    """Gone on with after the first step, within an inner pair, and after the second, with new drawings."""
    check_resumes(tmp_path, (2, 3), replace(CONFIG, kl=0.1))


def test_resuming_catches_drawings_that_are_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = PolicyObjective.state
    monkeypatch.setattr(PolicyObjective, "load_state", lambda self, state: None)
    monkeypatch.setattr(PolicyObjective, "state", lambda self: {n: value.clone() for n, value in kept(self).items()})
    with pytest.raises(AssertionError):
        check_resumes(tmp_path, (2,))


def check_shared(found: list[dict[str, float]], alone: list[dict[str, float]]) -> None:
    """Several processes draw, judge and learn what one does."""
    for ours, theirs in zip(found, alone, strict=True):
        assert ours == pytest.approx(theirs, abs=1e-4)


def test_two_processes_equal_one_and_the_check_catches_two_that_draw_the_same(tmp_path: Path) -> None:
    in_processes(2, reinforce_and_write, tmp_path)
    found, alone = json.loads((tmp_path / "figures.json").read_text()), figures()
    check_shared(found["whole"], alone)
    with pytest.raises(AssertionError):
        check_shared(found["alike"], alone)


def check_reaches_its_goal(drawer: type[JudgedDrawer]) -> None:
    """Law 10: drawings come to be what is rewarded."""
    config = PolicyConfig(prompts=4, group=8)
    objective, loader, _ = learning(config, 25, drawer)
    recorder = Recorder()
    fit(objective, loader, stage("grpo", 25), [recorder], folder=None, device=CPU)
    rewards = [float(report.metrics["reward"]) for report in recorder.reports]
    assert rewards[0] < 0.75
    assert sum(rewards[-3:]) / 3 > 0.9


def test_it_drives_drawings_to_what_is_rewarded() -> None:
    check_reaches_its_goal(ByCodes)


def test_the_goal_catches_rewards_by_chance() -> None:
    class ByChance(ByCodes):
        def rewards(self, illume: Illume, prompts: Sequence[Prompt], made: Sequence[Drawn]) -> list[float]:
            mixed = super().rewards(illume, prompts, made)
            return mixed[1:] + mixed[:1]  # each is given its neighbour's

    with pytest.raises(AssertionError):
        check_reaches_its_goal(ByChance)


class Looks:
    """Good where the picture is light above, refused where it is dark; it remembers how much it was asked."""

    identity = Identity("looks")

    def __init__(self) -> None:
        self.asked: list[Drawing] = []

    def judge(self, drawings: Any) -> Iterator[Judgement]:
        for drawing in sorted(drawings, key=lambda one: one.content):  # in any order
            self.asked.append(drawing)
            which = int(drawing.content, 16) % 3
            yield Judgement(drawing, Failure("refused", "no") if which == 2 else verdict(which == 1))


def test_pictures_are_judged_each_once_and_rewards_go_to_their_own() -> None:
    judge, given = Looks(), parts_with(trainable())
    drawer = JudgedDrawer(given, judge, replace(CONFIG, reward="overall"))
    asked = [(prompt, seed) for prompt in LIST[:2] for seed in (1, 2, 1)]
    codes, rewards = drawer(asked)
    assert torch.equal(codes[0], codes[2])
    assert len(judge.asked) == len({one.content for one in judge.asked}) == 4
    illume = Illume(given)
    for (prompt, seed), row, reward in zip(asked, codes.tolist(), rewards.tolist(), strict=True):
        request = illume.draw_request(prompt.text, seed, guidance=1.0, temperature=1.0, top_k=0, top_p=1.0)
        made = drawn(illume.run([request])[0], seed)
        assert list(made.codes[0]) == row
        picture = illume.painter.pictures([made])[0]
        expected = int(Drawing(prompt.text, picture).content, 16) % 3
        assert math.isnan(reward) if expected == 2 else reward == expected
    assert given.model.training == trainable().training


def test_a_judge_that_says_nothing_is_told() -> None:
    class Mute(Looks):
        def judge(self, drawings: Any) -> Iterator[Judgement]:
            return iter(())

    with pytest.raises(JudgeError, match="said nothing of a drawing of 'a red circle'"):
        JudgedDrawer(parts_with(trainable()), Mute(), CONFIG)([(LIST[0], 1)])


def test_a_judge_that_gives_no_verdict_for_long_is_given_up() -> None:
    class OnceHeard(ByCodes):
        def __call__(self, asked: Sequence[tuple[Prompt, int]]) -> tuple[torch.Tensor, torch.Tensor]:
            self.unheard = "malformed: prose"
            reward = 1.0 if next(turns) == SILENT - 2 else float("nan")
            return torch.zeros(len(asked), 16, dtype=torch.long), torch.full((len(asked),), reward)

    turns = iter(range(100))
    _, loader, _ = learning(replace(CONFIG, inner=1), drawer=OnceHeard)
    for step in range(2 * SILENT - 2):
        loader.batches(step)
    with pytest.raises(JudgeError, match="malformed: prose"):
        loader.batches(2 * SILENT - 2)


def test_what_an_api_will_cost_is_told_before_anything_is_drawn(tmp_path: Path) -> None:
    config = ApiConfig("m", "http://127.0.0.1:1", key_env="", prices=Prices(2.5, 10.0))
    judge, given = ApiJudge(config, tmp_path / "answers.jsonl"), parts_with(trainable())
    once, often = (costs_of(judge, given, LIST, number * len(LIST)) for number in (1, 1000))
    assert f"; {len(LIST)} questions to ask, 0 answered before; about " in once
    assert f"; {1000 * len(LIST)} questions to ask" in often
    assert "in money" in often
    assert costs_of(Looks(), given, LIST, 9) == ""


def test_an_api_rewards_and_is_asked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "*")
    asked = [(prompt, seed) for prompt in (Prompt("a", "good one"), Prompt("b", "bad one")) for seed in (1, 2)]
    with chat_server(honest) as server:
        for _ in range(2):
            judge = ApiJudge(ApiConfig("m", server.url, key_env=""), tmp_path / "answers.jsonl")
            _, rewards = JudgedDrawer(parts_with(trainable()), judge, CONFIG)(asked)
            assert rewards.tolist() == [1.0, 1.0, 0.0, 0.0]
        assert len(server.asked) == 4


def test_rewards_are_shares_of_criteria_or_all_of_them() -> None:
    def said(*passed: bool | None) -> Verdict:
        criteria = {
            name: Criterion(one is not None, "seen", one is not False)
            for name, one in zip(CRITERIA, passed, strict=True)
        }
        return Verdict.of(criteria)

    two_of_three = said(True, False, True, None)
    assert (reward_of(two_of_three, "share"), reward_of(two_of_three, "overall")) == (pytest.approx(2 / 3), 0)
    assert reward_of(said(True, None, True, None), "share") == reward_of(said(True, None, None, None), "overall") == 1
    assert reward_of(said(None, None, None, None), "share") == 1
    assert reward_of(Failure("refused", "no"), "share") != 0


def test_prompts_that_cannot_be_dealt_out_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rollouts_module, "world_size", lambda: 3)
    with pytest.raises(ConfigError, match="2 prompts a step cannot be dealt out to 3"):
        learning()
