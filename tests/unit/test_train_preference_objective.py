"""DPO: its loss is the published one, it starts at log 2, and it raises the chosen over the rejected alone."""

import math
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from fixtures.drawn import pair_loader, pairs, stage, trainable
from fixtures.tiny_training import CPU, Recorder, StopAt, same_weights, weights
from illume.data.loader import Share
from illume.data.pair_loader import PairBatch, PairLoader
from illume.models.unified import Unified
from illume.recipes.prefer import references
from illume.train.objective import Loss
from illume.train.preference_objective import PreferenceConfig, PreferenceObjective
from illume.train.trainer import fit

CONFIG = PreferenceConfig(beta=0.3, likelihood=0.5)
Make = Callable[[Unified, PreferenceConfig], PreferenceObjective]


@torch.no_grad()
def by_hand(model: Unified, sample: object) -> tuple[float, int]:
    """The log-probability of a drawing's codes, id by id from whole rows of logits, and how many they are."""
    ids, places = torch.tensor(sample.ids)[None].long(), torch.tensor(sample.places)[None].long()  # type: ignore[attr-defined]
    logits = model.head.logits(model(ids, torch.arange(ids.shape[1])[None], places=places))[0]
    ((start, stop),) = model.config.code_ranges
    where = [i for i, id in enumerate(ids[0].tolist()) if start <= id < stop]
    each = [logits[i - 1, start:stop].log_softmax(-1)[int(ids[0, i]) - start] for i in where]
    return float(sum(each)), len(each)


def measured(some: list, model: Unified) -> PairLoader:
    """A loader whose references are those of a model."""
    loader = pair_loader(some)
    references(PreferenceObjective(model), loader, stage("dpo", 1), CPU)
    return loader


def check_is_dpo(make: Make) -> None:
    """The loss is -log sigmoid(beta * margin) + the chosen one's mean negative log-likelihood, by hand."""
    start, model = trainable(), trainable()
    for parameter in model.decoder.parameters():
        parameter.data += 0.02 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1))
    some = pairs()
    (batch,) = measured(some, start).batches(0)
    expected = []
    for chosen, rejected in some:
        (c, number), (r, _) = by_hand(model, chosen), by_hand(model, rejected)
        margin = CONFIG.beta * ((c - by_hand(start, chosen)[0]) - (r - by_hand(start, rejected)[0]))
        expected.append(math.log(1 + math.exp(-margin)) - CONFIG.likelihood * c / number)
    with torch.no_grad():
        loss = make(model, CONFIG).loss(batch)
    assert sorted(batch.keys) == sorted(chosen.name for chosen, _ in some)
    assert float(loss.value) == pytest.approx(sum(expected) / 4, abs=1e-4)


def test_the_loss_is_the_published_one_by_hand() -> None:
    check_is_dpo(PreferenceObjective)


class Swapped(PreferenceObjective):
    def loss(self, batch: PairBatch) -> Loss:
        return super().loss(replace(batch, reference=batch.reference.flip(1)))


class Unmeasured(PreferenceObjective):
    def loss(self, batch: PairBatch) -> Loss:
        return super().loss(replace(batch, reference=torch.zeros_like(batch.reference)))


@pytest.mark.parametrize("broken", [Swapped, Unmeasured])
def test_the_check_catches_references_swapped_or_left_out(broken: Make) -> None:
    with pytest.raises(AssertionError):
        check_is_dpo(broken)


def check_starts_at_log_2(make: Make) -> None:
    model = trainable()
    (batch,) = measured(pairs(), model).batches(0)
    loss = make(model, PreferenceConfig()).loss(batch)
    assert float(loss.value.detach()) == pytest.approx(math.log(2), abs=1e-5)
    assert float(loss.metrics["preference_margin"]) == pytest.approx(0, abs=1e-4)


def test_it_starts_at_log_2() -> None:
    check_starts_at_log_2(PreferenceObjective)


def test_the_start_catches_references_left_out() -> None:
    with pytest.raises(AssertionError):
        check_starts_at_log_2(Unmeasured)


def stepped(make: Make) -> tuple[float, float]:
    """How much likelier a small step down the gradient makes the chosen and the rejected, on average."""
    model = trainable()
    (batch,) = measured(pairs(), model).batches(0)
    objective = make(model, PreferenceConfig())
    objective.loss(batch).value.backward()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.grad is not None:
                parameter -= 1e-3 * parameter.grad
        gained = objective.log_probs(batch).sum(dim=2) - batch.reference
    return float(gained[:, 0].mean()), float(gained[:, 1].mean())


def check_raises_the_chosen(make: Make) -> None:
    chosen, rejected = stepped(make)
    assert chosen > 0 > rejected


class LikelihoodOfBoth(PreferenceObjective):
    """What must not be: both drawings learnt as targets."""

    def loss(self, batch: PairBatch) -> Loss:
        return Loss(F.softplus(-self.log_probs(batch).sum(dim=2)).mean())


def test_its_gradient_raises_the_chosen_and_lowers_the_rejected() -> None:
    check_raises_the_chosen(PreferenceObjective)


def test_the_gradient_catches_a_bad_drawing_as_a_target() -> None:
    with pytest.raises(AssertionError):
        check_raises_the_chosen(LikelihoodOfBoth)


def check_reaches_its_goal(make: Make) -> None:
    """Law 10: of four pairs, every one is preferred with certainty, and the rejected did not become likelier."""
    model, recorder = trainable(), Recorder()
    loader = measured(pairs(), model)
    fit(make(model, PreferenceConfig()), loader, stage("dpo", 15), [recorder], folder=None, device=CPU)
    last = recorder.reports[-1].metrics
    assert last["preference_accuracy"] == 1
    assert last["preference_loss"] < 0.05
    assert last["rejected"] < 0


def test_it_drives_four_pairs_to_near_zero() -> None:
    check_reaches_its_goal(PreferenceObjective)


def test_the_goal_catches_references_swapped() -> None:
    class Backwards(PreferenceObjective):
        def loss(self, batch: PairBatch) -> Loss:
            found = super().loss(batch)
            return replace(found, value=-found.value)

    with pytest.raises(AssertionError):
        check_reaches_its_goal(Backwards)


def test_micro_batches_sum_to_the_whole_and_processes_share() -> None:
    model = trainable()
    whole = measured(pairs(), model)
    parts = pair_loader(pairs(), rows_per_batch=1)
    parts.reference = whole.reference + 0.5 * torch.arange(8).reshape(4, 2)
    whole.reference = parts.reference
    objective = PreferenceObjective(model)

    def mean(batches: list[PairBatch]) -> float:
        with torch.no_grad():
            return sum(float(objective.loss(b).value) * objective.size(b) for b in batches) / 4

    shared = [pair_loader(pairs()), pair_loader(pairs())]
    for number, loader in enumerate(shared):
        loader.share, loader.reference = Share(number, 2), whole.reference
    dealt = [batch for loader in shared for batch in loader.batches(0)]
    assert len(parts.batches(0)) > 1
    assert sum(map(len, dealt)) == 4
    assert mean(parts.batches(0)) == pytest.approx(mean(whole.batches(0)), abs=1e-5)
    assert mean(dealt) == pytest.approx(mean(whole.batches(0)), abs=1e-5)


def trained(folder: Path, stop: int | None = None) -> dict[str, torch.Tensor]:
    """Four steps, maybe stopped abruptly after one of them and gone on with from the files."""
    four = stage("dpo", 4, save_every=1)
    for recorder in [Recorder()] if stop is None else [StopAt(stop, politely=False), Recorder()]:
        model = trainable()
        with suppress(MemoryError):
            state = fit(
                PreferenceObjective(model), measured(pairs(), model), four, [recorder], folder=folder, device=CPU
            )
    return weights(state)


def test_a_stopped_run_ends_with_the_same_weights(tmp_path: Path) -> None:
    assert same_weights(trained(tmp_path / "whole"), trained(tmp_path / "stopped", 2))


def test_the_same_weights_catch_references_of_the_model_that_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A broken variant: who resumes measures by the model of the checkpoint."""
    whole = trained(tmp_path / "whole")
    measure = PreferenceObjective.loss

    def by_now(self: PreferenceObjective, batch: PairBatch) -> Loss:
        if not hasattr(self, "now"):
            self.now = self.log_probs(batch).sum(dim=2).detach()  # type: ignore[attr-defined]
        return measure(self, replace(batch, reference=self.now))  # type: ignore[attr-defined]

    monkeypatch.setattr(PreferenceObjective, "loss", by_now)
    assert not same_weights(whole, trained(tmp_path / "stopped", 2))
