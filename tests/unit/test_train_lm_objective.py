"""The language model's loss is the plain cross-entropy of the next id, whatever it is cut into."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from fixtures.tiny_unified import TEXT, drawing, pack, reading, tiny_unified
from illume.core.errors import DataError
from illume.data.collate import SequenceBatch
from illume.train.lm_objective import LMObjective, predicted
from illume.train.objective import named_parameters

BATCH = pack((drawing("0"), reading("1")), (reading("2"),), (reading("1"), drawing("3")))


@torch.no_grad()
def plain_loss(objective: LMObjective, batch: SequenceBatch) -> tuple[float, float, float]:
    """The mean over all, text, and codes with markers, position by position from whole rows of logits."""
    hidden = objective.hidden(batch, torch.arange(batch.ids.numel()))
    logits = objective.model.head.logits(hidden.unflatten(0, batch.ids.shape))
    each = F.cross_entropy(logits[:, :-1].flatten(0, 1), batch.ids[:, 1:].flatten(), reduction="none")
    wanted, vision = batch.loss_mask[:, 1:].flatten(), batch.ids[:, 1:].flatten() >= TEXT
    return float(each[wanted].mean()), float(each[wanted & ~vision].mean()), float(each[wanted & vision].mean())


@pytest.mark.parametrize("chunk", [2048, 3])
def test_the_loss_is_the_cross_entropy_of_each_next_id(chunk: int) -> None:
    objective = LMObjective(tiny_unified(), chunk=chunk)
    with torch.no_grad():
        loss = objective.loss(BATCH)
    whole, text, codes = plain_loss(objective, BATCH)
    assert float(loss.value) == pytest.approx(whole, abs=1e-5)
    assert float(loss.metrics["text_loss"]) == pytest.approx(text, abs=1e-5)
    assert float(loss.metrics["code_loss"]) == pytest.approx(codes, abs=1e-5)
    assert sum(int(count) for count in loss.counts.values()) == objective.size(BATCH) == int(BATCH.loss_mask.sum())


@torch.no_grad()
def check_sample_mean(objective: LMObjective) -> None:
    """The loss is the mean, over samples, of each one's own mean."""
    parts = [pack((sample,)) for sample in (drawing("0"), reading("1"), reading("2"), reading("1"), drawing("3"))]
    each = [float(LMObjective(objective.model).loss(part).value) for part in parts]
    assert objective.size(BATCH) == len(parts)
    assert float(objective.loss(BATCH).value) == pytest.approx(sum(each) / len(each), abs=1e-5)


def test_weighted_by_sample_each_counts_the_same() -> None:
    check_sample_mean(LMObjective(tiny_unified(), "sample"))


def test_the_sample_mean_catches_the_plain_one() -> None:
    with pytest.raises(AssertionError):
        check_sample_mean(LMObjective(tiny_unified(), "id"))


def test_images_reach_the_loss_through_every_slot() -> None:
    objective = LMObjective(tiny_unified())
    for parameter in objective.model.decoder.parameters():  # a new block is the identity and would not look around
        torch.nn.init.normal_(parameter, std=0.3, generator=torch.Generator().manual_seed(1))
    images = BATCH.images.clone().requires_grad_()
    objective.loss(replace(BATCH, images=images)).value.backward()
    assert images.grad is not None
    assert bool((images.grad.flatten(1).norm(dim=1) > 0).all())


def test_a_frozen_encoder_costs_no_backward_pass() -> None:
    objective = LMObjective(tiny_unified())
    objective.model.vision_encoder.requires_grad_(False)
    levels = objective.model.vision_encoder(BATCH.images)
    assert not any(features.requires_grad for features, _ in levels)
    objective.loss(BATCH).value.backward()
    assert all(value.grad is None for value in objective.model.vision_encoder.parameters())
    assert all(value.grad is not None for value in objective.model.adapter.parameters())


def test_a_batch_without_images_and_one_without_loss() -> None:
    objective = LMObjective(tiny_unified())
    drawings = pack((drawing("0"), drawing("1")))
    assert drawings.images.shape[0] == 0
    loss = objective.loss(drawings)
    assert int(loss.counts["text_loss"]) == 0
    assert loss.metrics["text_loss"] == 0
    silent = replace(BATCH, loss_mask=torch.zeros_like(BATCH.loss_mask))
    assert objective.size(silent) == 0
    assert objective.loss(silent).value == 0


def test_an_id_is_never_predicted_from_another_sample() -> None:
    start = int((BATCH.segments[0] == 1).nonzero()[0])
    mask = BATCH.loss_mask.clone()
    mask[0, start] = True
    with pytest.raises(DataError, match=f"row 0, position {start}"):
        predicted(mask, BATCH.segments, BATCH.branches)
    with pytest.raises(DataError, match="row 0, position 0"):
        predicted(torch.ones_like(mask), BATCH.segments, BATCH.branches)


def test_an_id_is_never_predicted_from_another_branch() -> None:
    where = int(BATCH.loss_mask[0].nonzero()[-1])
    branches = torch.zeros_like(BATCH.branches)
    branches[0, where:] = 1
    with pytest.raises(DataError, match=f"row 0, position {where}"):
        predicted(BATCH.loss_mask, BATCH.segments, branches)


@pytest.mark.parametrize("tied", [False, True])
def test_the_modules_cover_every_parameter_once(tied: bool) -> None:
    model = tiny_unified()
    if tied:
        model.head.tie_text(model.embedding.text)
    named = named_parameters(LMObjective(model))
    assert {id(value) for value in named.values()} == {id(value) for value in model.parameters()}
    assert ("head.text" in named) is not tied
