"""Slots take features, places are added, folding changes nothing, tied rows stay tied, 7B stands on meta."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from illume.models.decoder import DecoderConfig
from illume.models.presets import decoder_preset
from illume.models.unified import Unified, UnifiedConfig

TEXT, CODES = 10, ((12, 16), (16, 21))
CONFIG = UnifiedConfig(DecoderConfig(16, 2, 2, 1, 8, 24), TEXT, 12, CODES, max_grid=3)


class Eyes(nn.Module):
    """Two levels of features, straight from the pixels."""

    dims = (3, 12)

    def forward(self, pixels: torch.Tensor) -> tuple[tuple[torch.Tensor, tuple[int, int]], ...]:
        one = pixels.flatten(2).transpose(1, 2)
        return (one, (pixels.shape[2], pixels.shape[3])), (one.reshape(len(pixels), -1, 12), (1, 1))


def unified(config: UnifiedConfig = CONFIG) -> Unified:
    torch.manual_seed(0)
    return Unified(config, Eyes())


def nowhere(rows: int, length: int) -> torch.Tensor:
    return torch.full((rows, length, 3), -1)


def test_rows_of_text_and_vision_are_looked_up_in_order() -> None:
    embedding = unified().embedding
    table = torch.cat([embedding.text, embedding.vision])
    ids = torch.arange(22).reshape(2, 11)
    assert torch.equal(embedding(ids), table[ids])


@pytest.mark.parametrize("stranger", [-1, 22])
def test_ids_outside_the_vocabulary_are_errors(stranger: int) -> None:
    with pytest.raises(IndexError):
        unified().embedding(torch.tensor([[stranger]]))


def test_only_the_looked_up_parameter_learns() -> None:
    model = unified()
    model.embedding(torch.tensor([[1, 2]])).sum().backward()
    text, vision = model.embedding.text.grad, model.embedding.vision.grad
    assert text is not None
    assert text[1:3].all()
    assert vision is not None
    assert not vision.any()


def test_slots_take_features_in_the_order_given() -> None:
    model, ids = unified(), torch.zeros(2, 4, dtype=torch.long)
    features = torch.randn(3, 16)
    embeds = model.embed(ids, nowhere(2, 4), torch.tensor([1, 2, 7]), features)
    assert torch.equal(embeds.reshape(8, 16)[[1, 2, 7]], features)
    rest = [0, 3, 4, 5, 6]
    assert torch.equal(embeds.reshape(8, 16)[rest], model.embed(ids, nowhere(2, 4)).reshape(8, 16)[rest])


def test_places_are_shared_by_slots_and_codes_and_absent_elsewhere() -> None:
    model, ids = unified(), torch.tensor([[13, 13, 13]])
    places = torch.tensor([[[0, 1, 2], [1, 1, 2], [-1, -1, -1]]])
    plain = model.embed(ids, nowhere(1, 3))
    added = model.embed(ids, places) - plain
    assert model.places is not None
    assert torch.allclose(added[0, 0] - added[0, 1], model.places.level[0] - model.places.level[1], atol=1e-6)
    assert not added[0, 2].any()
    slots = model.embed(ids, places, torch.tensor([0]), torch.zeros(1, 16))
    assert torch.allclose(slots[0, 0], added[0, 0], atol=1e-6)


def test_what_embed_needs_it_asks_for() -> None:
    ids = torch.zeros(1, 2, dtype=torch.long)
    with pytest.raises(ValueError, match="2-D places"):
        unified().embed(ids)
    with pytest.raises(ValueError, match="come together"):
        unified().embed(ids, nowhere(1, 2), slot_index=torch.tensor([0]))
    with pytest.raises(IndexError):
        unified().embed(ids, torch.tensor([[[0, 3, 0], [0, 0, 0]]]))


def test_a_model_without_places_takes_none_or_ignores_them() -> None:
    model, ids = unified(replace(CONFIG, max_grid=0)), torch.tensor([[1, 13]])
    assert model.places is None
    assert torch.equal(model.embed(ids), model.embed(ids, torch.zeros(1, 2, 3, dtype=torch.long)))


def test_read_gives_one_tensor_a_level() -> None:
    levels = unified().read(torch.rand(2, 3, 2, 2))
    assert [tuple(level.shape) for level in levels] == [(2, 4, 16), (2, 1, 16)]


def outputs(model: Unified) -> tuple[torch.Tensor, torch.Tensor]:
    ids = torch.arange(22)[None]
    hidden = model(ids, torch.arange(22)[None], places=nowhere(1, 22))
    return hidden, model.head.logits(hidden)


def test_folding_changes_no_output_and_leaves_plain_rows() -> None:
    model = unified()
    plain = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    before = outputs(model)
    model.set_code_vectors((torch.randn(4, 5), torch.randn(5, 3)))
    with_vectors = outputs(model)
    assert not torch.allclose(before[1], with_vectors[1])
    model.fold()
    for kept, folded in zip(with_vectors, outputs(model), strict=True):
        assert torch.equal(kept, folded)
    assert {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()} == plain


def test_code_vectors_move_codes_alone_and_only_the_projection_learns() -> None:
    model = unified()
    learned = model.embedding.vision.detach().clone()
    model.set_code_vectors((torch.randn(4, 5), torch.randn(5, 3)))
    moved = (model.embedding.vision_rows() - learned).abs().sum(dim=1) > 0
    assert moved.tolist() == [False] * 2 + [True] * 9 + [False]
    trained = {name for name, _ in model.embedding.named_parameters()}
    assert trained == {"text", "vision", "code_projections.0.weight", "code_projections.1.weight"}


def test_without_own_rows_codes_of_equal_vectors_are_one() -> None:
    """What is learnt of a code holds for its likes, so none can be told from them; other rows stay their own."""
    model, vectors = unified(), (torch.randn(4, 5), torch.randn(5, 3))
    vectors[0][1] = vectors[0][0]
    model.set_code_vectors(vectors, own=False)
    hidden, first = torch.randn(3, model.config.decoder.width), model.config.code_ranges[0][0]
    model.head.loss(hidden, torch.tensor([first, first + 1, first + 2])).sum().backward()
    before = model.head.logits(hidden)
    assert torch.equal(before[:, first], before[:, first + 1])
    assert not torch.equal(before[:, first], before[:, first + 2])
    assert model.head.vision.grad is not None
    codes = torch.zeros(len(model.head.vision), dtype=torch.bool)
    for start, stop in model.head.code_ranges:
        codes[start:stop] = True
    assert not model.head.vision.grad[codes].any(), "the codes' own rows are to stay out of it"
    assert model.head.vision.grad[~codes].any()
    model.fold()
    assert torch.equal(model.head.logits(hidden), before)


@pytest.mark.parametrize("scale", [0.01, 100.0])
def test_projected_codes_start_as_large_as_learned_rows(scale: float) -> None:
    model = unified(replace(CONFIG, decoder=DecoderConfig(256, 1, 2, 1, 8, 24)))
    model.set_code_vectors((scale * torch.randn(4, 5), scale * torch.randn(5, 3)))
    projected = model.head.vision_rows() - model.head.vision
    assert 0.5 < projected[2:11].std() / model.head.vision.std() < 2


def test_codebooks_of_other_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(5, 4\) codes for ranges of \(4, 5\)"):
        unified().set_code_vectors((torch.randn(5, 3), torch.randn(4, 3)))


def test_tied_text_rows_are_one_parameter_and_vision_rows_two() -> None:
    model = unified(replace(CONFIG, decoder=replace(CONFIG.decoder, tied=True)))
    assert model.head.text is model.embedding.text
    assert model.head.vision is not model.embedding.vision
    assert "head.text" not in {name for name, _ in model.named_parameters()}


@pytest.mark.parametrize("ranges", [((9, 12),), ((12, 23),), ((12, 16), (15, 18)), ((16, 12),)])
def test_code_ranges_must_lie_in_order_within_the_vision_rows(ranges: tuple[tuple[int, int], ...]) -> None:
    with pytest.raises(ValueError, match="in order, apart"):
        replace(CONFIG, code_ranges=ranges)


def test_a_7b_model_stands_on_meta() -> None:
    config = UnifiedConfig(decoder_preset("qwen2.5-7b"), 151665, 131111, ((151704, 184472), (184472, 282776)))
    with torch.device("meta"):
        model = Unified(config, Eyes())
        model.set_code_vectors((torch.empty(32768, 32), torch.empty(98304, 32)))
        hidden = model(torch.zeros(1, 8, dtype=torch.long), torch.arange(8)[None])
        logits = model.head.logits(hidden)
    assert logits.shape == (1, 8, 282776)
    assert all(parameter.is_meta for parameter in model.parameters())
    assert sum(parameter.numel() for parameter in model.decoder.parameters()) == 6_525_621_760
