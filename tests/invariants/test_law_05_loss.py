"""Law 5: packed loss equals unpacked; accumulated equals whole; two processes equal one."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from fixtures import tiny_training
from fixtures.tiny_training import STAGE, TinyBatch, TinyObjective, in_processes, train, weights
from fixtures.tiny_unified import drawing, pack, reading, tiny_unified
from illume.core.errors import FormatError
from illume.data.collate import SequenceBatch
from illume.data.sample import NO_PLACE, Sample, join
from illume.train import trainer
from illume.train.lm_objective import LMObjective
from illume.train.stage import Stage
from illume.vocab.format import Rendered, Slots

SAMPLES = (drawing("0"), reading("1"), reading("2"), drawing("3"), reading("1"))
Result = tuple[list[float], dict[str, Tensor]]  # the losses, and what the weights became


def check_equal(one: Result, two: Result) -> None:
    assert one[0] == pytest.approx(two[0], rel=1e-5)
    assert one[1].keys() == two[1].keys()
    for name in one[1]:
        torch.testing.assert_close(one[1][name], two[1][name], rtol=1e-4, atol=1e-6)


# -- packed ---------------------------------------------------------------------------------------------------------


def packed_and_not(change: Callable[[SequenceBatch], SequenceBatch] | None = None) -> tuple[Result, Result]:
    """Loss and gradients of five samples packed into rows, and summed over batches of one."""
    packed = pack(SAMPLES[:2], SAMPLES[2:])
    single = [pack((sample,)) for sample in SAMPLES]
    return _gradients([change(packed) if change else packed]), _gradients(single)


def _gradients(batches: list[SequenceBatch]) -> Result:
    objective = LMObjective(tiny_unified())
    for parameter in objective.model.decoder.parameters():  # a new block is the identity and would not look around
        torch.nn.init.normal_(parameter, std=0.2, generator=torch.Generator().manual_seed(parameter.numel()))
    total, value = sum(objective.size(batch) for batch in batches), 0.0
    for batch in batches:
        share = objective.loss(batch).value * objective.size(batch) / total
        share.backward()
        value += share.item()
    named = objective.model.named_parameters()
    return [value], {name: parameter.grad for name, parameter in named if parameter.grad is not None}


def test_packed_equals_unpacked() -> None:
    check_equal(*packed_and_not())


def test_the_check_catches_samples_that_see_each_other() -> None:
    def leak(batch: SequenceBatch) -> SequenceBatch:
        return replace(batch, segments=batch.segments.clamp(max=0))

    with pytest.raises(AssertionError):
        check_equal(*packed_and_not(leak))


# -- joined ---------------------------------------------------------------------------------------------------------


GRIDS = ((2, 2), (1, 1))


def rendered(sample: Sample) -> Rendered:
    """What a sample was rendered as."""
    slots = tuple(Slots(run.start, run.level, GRIDS[run.level], run.image) for run in sample.slots)
    places = tuple(None if place == list(NO_PLACE) else tuple(place) for place in sample.places.tolist())
    return Rendered(tuple(sample.ids.tolist()), tuple(sample.loss_mask.tolist()), slots, places)


def joined(*samples: Sample) -> Sample:
    return join([rendered(sample) for sample in samples], "joined", "test")


def questions() -> tuple[Sample, ...]:
    """The same picture with three texts of different length."""
    first = reading("2")
    texts = ([3], [4, 5], [6, 7, 8])
    return tuple(_with_text(first, text) for text in texts)


def _with_text(sample: Sample, text: list[int]) -> Sample:
    """Its picture, an opening without loss, then this text."""
    read = 7
    ids = [*sample.ids[:read], 2, *text, 1]
    return replace(
        sample,
        ids=np.array(ids, dtype=np.int32),
        loss_mask=np.array([False] * (read + 1) + [True] * (len(text) + 1)),
        places=np.array([*sample.places[:read], *[NO_PLACE] * (len(text) + 2)], dtype=np.int16),
    )


def joined_and_not(change: Callable[[SequenceBatch], SequenceBatch] | None = None) -> tuple[Result, Result]:
    together = pack((SAMPLES[0], joined(*questions())), (SAMPLES[1],))
    single = [pack((sample,)) for sample in (SAMPLES[0], *questions(), SAMPLES[1])]
    return _gradients([change(together) if change else together]), _gradients(single)


def test_joined_equals_alone() -> None:
    assert len(joined(*questions())) < sum(map(len, questions()))
    check_equal(*joined_and_not())


@pytest.mark.parametrize("field", ["branches", "positions"])
def test_the_check_catches_branches_that_see_each_other(field: str) -> None:
    def leak(batch: SequenceBatch) -> SequenceBatch:
        positions = torch.arange(batch.ids.shape[1]).expand_as(batch.ids)
        return replace(batch, **{field: {"branches": batch.branches * 0, "positions": positions}[field]})

    with pytest.raises(AssertionError):
        check_equal(*joined_and_not(leak))


def test_only_what_begins_alike_is_joined() -> None:
    other = replace(reading("2"), ids=reading("2").ids[::-1].copy())
    with pytest.raises(FormatError, match="begin alike"):
        joined(reading("2"), other)
    with pytest.raises(FormatError, match="begin alike"):
        joined(reading("1"), reading("2"))


# -- accumulated ----------------------------------------------------------------------------------------------------


def result(stage: Stage, objective: TinyObjective | None = None) -> Result:
    state, recorder = train(stage, objective=objective)
    return recorder.losses, weights(state)


class CountsSamples(TinyObjective):
    """The usual mistake: a mean over rows, weighted by the number of samples."""

    def size(self, batch: TinyBatch) -> int:
        return len(batch.keys)


@pytest.mark.parametrize("pieces", [2, 3, 6])
def test_accumulated_equals_whole(pieces: int) -> None:
    check_equal(result(replace(STAGE, accumulate=pieces)), result(STAGE))


def test_metrics_do_not_depend_on_the_micro_batches() -> None:
    class Counting(TinyObjective):
        def loss(self, batch: TinyBatch) -> trainer.Loss:
            value = super().loss(batch).value
            positive = batch.targets > 0
            mean = batch.inputs[positive[:, 0]].sum() / positive.sum().clamp(min=1)
            return trainer.Loss(value, {"size": value, "own": mean}, {"own": positive.sum()})

    whole, pieces = (train(replace(STAGE, accumulate=n), objective=Counting())[1].reports for n in (1, 3))
    for one, other in zip(whole, pieces, strict=True):
        assert one.metrics == pytest.approx(dict(other.metrics), rel=1e-4)
        assert one.metrics["size"] == pytest.approx(one.loss)


def test_the_check_catches_a_mean_of_means() -> None:
    with pytest.raises(AssertionError):
        check_equal(result(replace(STAGE, accumulate=3), CountsSamples()), result(STAGE))


# -- two processes --------------------------------------------------------------------------------------------------


def test_two_processes_equal_one(tmp_path: Path) -> None:
    in_processes(2, tiny_training.train_and_write, tmp_path)
    results = {
        name: (json.loads((tmp_path / f"{name}.json").read_text()), torch.load(tmp_path / f"{name}.pt"))
        for name in ("whole", "accumulated", "broken")
    }
    alone = result(STAGE)
    check_equal(results["whole"], alone)
    check_equal(results["accumulated"], alone)
    with pytest.raises(AssertionError):
        check_equal(results["broken"], alone)


def test_a_gradient_no_backward_pass_reached_is_zero_and_not_missing() -> None:
    """It may be reached on another rank: momentum and decay act on it however a step is spread."""
    untouched = torch.nn.Parameter(torch.ones(2))
    trainer.sum_gradients([untouched])
    assert untouched.grad is not None
    assert untouched.grad.tolist() == [0.0, 0.0]
