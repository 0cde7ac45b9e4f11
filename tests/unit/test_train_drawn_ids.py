"""The log-probabilities of drawn codes are those of the distribution that the engine draws from."""

import pytest
import torch

from fixtures import tiny_drawing
from fixtures.drawn import drawing, pairs, trainable
from fixtures.tiny_drawing import LARGE, draw, engine, layout, text_format, tiny_model
from fixtures.tiny_model_folder import SIZE
from illume.core.errors import DataError
from illume.data.collate import collate
from illume.data.drawings import Drawings
from illume.data.pair_loader import no_image
from illume.generate import choosing
from illume.generate.draw import drawn
from illume.generate.request import Sampling
from illume.models import head as head_module
from illume.train.drawn_ids import drawn_log_probs
from illume.train.lm_objective import LMObjective

PROMPTS = ("a red circle", "two", "a green cross above a blue square")


def drawn_by_engine(temperature: float, monkeypatch: pytest.MonkeyPatch) -> tuple[list, torch.Tensor]:
    """Drawings of two levels, and the log-probability of each of their codes under what the engine sampled from."""
    seen: list[torch.Tensor] = []
    sample = choosing.sample

    def watched(
        logits: torch.Tensor, samplings: list[Sampling], uniforms: list[float], *, strict: bool
    ) -> torch.Tensor:
        assert samplings == [Sampling(temperature)]
        ids = sample(logits, samplings, uniforms, strict=strict)
        seen.append((logits / temperature).log_softmax(-1).gather(1, ids[:, None])[:, 0])
        return ids

    monkeypatch.setattr(choosing, "sample", watched)
    asked = [draw(text, sampling={"image": Sampling(temperature)}, seed=i) for i, text in enumerate(PROMPTS)]
    one = engine(rows=1)  # one drawing after another: what is seen comes in the order of the drawings
    found = [drawn(result, 0).codes for request in asked for result in one.run([request])]
    return found, torch.cat(seen).view(len(PROMPTS), -1)


def check_agrees(temperature: float, given: float, monkeypatch: pytest.MonkeyPatch) -> None:
    codes, expected = drawn_by_engine(temperature, monkeypatch)
    write = Drawings(layout(), text_format(), LARGE)
    samples = [write.sample(text, one, text) for text, one in zip(PROMPTS, codes, strict=True)]
    rows = [[samples[0], samples[1]], [samples[2]]]
    batch = collate(rows, no_image, num_levels=2, size=(8, 8))
    with torch.no_grad():
        found = drawn_log_probs(LMObjective(tiny_model(), chunk=7), batch, given)
    assert found.shape == expected.shape == (3, 20)
    assert float((found - expected).abs().max()) < 2e-5


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_they_are_those_that_the_engine_drew_by(temperature: float, monkeypatch: pytest.MonkeyPatch) -> None:
    check_agrees(temperature, temperature, monkeypatch)


def test_the_check_catches_another_temperature(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(AssertionError):
        check_agrees(0.7, 1.0, monkeypatch)


def test_the_check_catches_the_whole_vocabulary(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = head_module.SplitHead.forward
    monkeypatch.setattr(head_module.SplitHead, "forward", lambda self, h, t, chunk, among: whole(self, h, t, chunk))
    with pytest.raises(AssertionError):
        check_agrees(1.0, 1.0, monkeypatch)


def test_batches_without_drawings_and_of_two_frames() -> None:
    lm = LMObjective(trainable())
    empty = collate([[]], no_image, num_levels=1, size=SIZE, length=8)
    found = drawn_log_probs(lm, empty)
    assert len(found) == 0
    found.sum().backward()
    write = Drawings(layout(), text_format(), LARGE)
    wide = Drawings(layout(), text_format(), tiny_drawing.WIDE)
    two = [
        write.sample("a", ((0,) * 4, (1,) * 16), "a"),
        wide.sample("b", ((0,) * 2, (1,) * 8), "b"),
    ]
    with pytest.raises(DataError, match="of one frame"):
        drawn_log_probs(LMObjective(tiny_model()), collate([two], no_image, num_levels=2, size=(8, 8)))


def test_drawings_of_another_frame_or_codebook_are_refused() -> None:
    write = Drawings(layout(), text_format(), LARGE)
    with pytest.raises(DataError, match=r"x: it has \[4, 15\] codes a level, not \[4, 16\]"):
        write.sample("a", ((0,) * 4, (1,) * 15), "x")
    with pytest.raises(DataError, match="x: a code is not one of the 24"):
        write.sample("a", ((24,) * 4, (1,) * 16), "x")


def test_the_head_measures_among_a_run_of_ids() -> None:
    head, hidden = trainable().head, torch.randn(5, 32)
    first = head.text.shape[0] + 3
    targets = torch.arange(first, first + 5)
    among = head(hidden, targets, 2, range(first, first + 6))
    logits = head.logits(hidden, range(first, first + 6)).log_softmax(-1)
    assert torch.allclose(among, -logits[range(5), range(5)], atol=1e-5)
    for wrong in (range(first, first + 1), range(0, 4), range(first, 10**6)):
        with pytest.raises(ValueError, match="not a run of two vision ids"):
            head(hidden, targets, 2, wrong)


def test_a_pair_stands_side_by_side() -> None:
    for chosen, rejected in pairs():
        assert len(chosen) == len(rejected)
        assert (chosen.loss_mask == rejected.loss_mask).all()
        assert (chosen.ids[~chosen.loss_mask] == rejected.ids[~rejected.loss_mask]).all()
    assert drawing("a", 1).task == "draw"
