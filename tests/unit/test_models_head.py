"""The chunked loss over two blocks is the cross-entropy of the concatenated logits, gradients included."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from illume.models import head as head_module
from illume.models.head import SplitHead

TEXT, VISION, WIDTH = 11, 7, 6
Loss = Callable[[SplitHead, torch.Tensor, torch.Tensor], torch.Tensor]


def inputs() -> tuple[SplitHead, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    head = SplitHead(TEXT, VISION, WIDTH, ((TEXT + 2, TEXT + 6),))
    for parameter in head.parameters():
        nn.init.normal_(parameter, std=2.0)
    return head, torch.randn(20, WIDTH, requires_grad=True), torch.randint(0, TEXT + VISION, (20,))


def reference(head: SplitHead, hidden: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    rows = torch.cat([head.text, head.vision_rows()])
    return F.cross_entropy(hidden @ rows.T, targets, reduction="sum")


def gradients(loss: Loss) -> list[torch.Tensor]:
    head, hidden, targets = inputs()
    value = loss(head, hidden, targets)
    return [value.detach(), *torch.autograd.grad(value, (hidden, head.text, head.vision))]


def check_parity(loss: Loss) -> None:
    for ours, theirs in zip(gradients(loss), gradients(reference), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-4)  # measured 3e-5 on a sum of 147


@pytest.mark.parametrize("chunk", [1, 3, 20, 100])
def test_loss_equals_the_cross_entropy_of_all_logits(chunk: int) -> None:
    check_parity(lambda head, hidden, targets: head.loss(hidden, targets, chunk).sum())


def test_parity_catches_blocks_normalised_apart() -> None:
    def apart(head: SplitHead, hidden: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        blocks = (hidden @ head.text.T, hidden @ head.vision.T)
        logits = torch.cat([block.log_softmax(dim=-1) for block in blocks], dim=-1)
        return -logits.gather(1, targets[:, None]).sum()

    with pytest.raises(AssertionError):
        check_parity(apart)


def kept_sizes(loss: Loss) -> set[int]:
    """The sizes of what is held from the forward to the backward pass."""
    head, hidden, targets = inputs()
    sizes: list[int] = []

    def note(saved: torch.Tensor) -> torch.Tensor:
        sizes.append(saved.numel())
        return saved

    with torch.autograd.graph.saved_tensors_hooks(note, lambda saved: saved):
        loss(head, hidden, targets)
    return set(sizes)


def test_no_logits_are_kept() -> None:
    logits = {20 * TEXT, 20 * VISION, 20 * (TEXT + VISION)}
    assert not kept_sizes(lambda head, hidden, targets: head.loss(hidden, targets)) & logits
    assert kept_sizes(reference) & logits


def test_no_positions_cost_nothing() -> None:
    head, hidden, targets = inputs()
    assert head.loss(hidden[:0], targets[:0]).shape == (0,)


@pytest.mark.parametrize("rows", [None, range(0, 4), range(3, 11), range(11, 18), range(13, 15), range(9, 14)])
def test_logits_of_rows_are_those_of_all(rows: range | None) -> None:
    head, hidden, _ = inputs()
    every = hidden @ torch.cat([head.text, head.vision]).T
    wanted = every if rows is None else every[:, rows.start : rows.stop]
    torch.testing.assert_close(head.logits(hidden, rows), wanted)


def test_logits_multiply_with_no_other_row() -> None:
    head, hidden, _ = inputs()
    head.text.data.fill_(float("nan"))
    assert torch.isfinite(head.logits(hidden, range(TEXT, TEXT + VISION))).all()


@pytest.mark.parametrize("rows", [range(0, 19), range(4, 4), range(-1, 3), range(0, 8, 2)])
def test_foreign_rows_are_refused(rows: range) -> None:
    head, hidden, _ = inputs()
    with pytest.raises(ValueError, match="not a run of ids"):
        head.logits(hidden, rows)


def test_chunks_and_whole_agree_with_code_vectors() -> None:
    head, hidden, targets = inputs()
    head.set_code_vectors((torch.randn(4, 3),))
    whole, parts = head.loss(hidden, targets), head.loss(hidden, targets, chunk=7)
    torch.testing.assert_close(whole, parts)
    projection = next(head.code_projections.parameters())
    grads = [torch.autograd.grad(value.sum(), projection)[0] for value in (whole, parts)]
    torch.testing.assert_close(*grads, rtol=1e-4, atol=1e-5)


def test_module_and_loss_are_one() -> None:
    assert head_module.SplitHead.loss is head_module.SplitHead.forward
