"""The three objectives of the vision side, and their losses as free functions."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from illume.core.errors import DataError
from illume.data.collate import ImageBatch
from illume.models.pixel_decoder import DiffusionDecoderConfig, DiffusionPixelDecoder
from illume.models.quantizer import VQConfig
from illume.models.tokenizer import LevelConfig, TokenizerConfig, VisionTokenizer
from illume.models.vision_encoder import EncoderConfig, Tap, VisionEncoder, build_encoder
from illume.train.encoder_objective import Contrast, ContrastConfig, EncoderObjective, PixelHead, caption_ids, patches
from illume.train.losses import equal_rows, feature_loss, sigmoid_contrastive
from illume.train.objective import HasAfterStep, HasState, Objective, couples_batch
from illume.train.pixel_objective import PixelObjective
from illume.train.tokenizer_objective import TokenizerObjective

CONTRAST = ContrastConfig(text_size=20, context=6, width=8, heads=2, hidden=16, layers=1, dim=8)
LEVEL = LevelConfig(VQConfig(num_codes=8, dim=4, reservoir=64), width=8, heads=2, hidden=16)


def tokenize(caption: str) -> list[int]:
    return [ord(letter) - ord("a") for letter in caption]


def batch(rows: int = 4) -> ImageBatch:
    generator = torch.Generator().manual_seed(1)
    pixels = torch.rand(rows, 3, 8, 8, generator=generator) * 2 - 1
    return ImageBatch(
        pixels, tuple("abcd"[i % 3 : i % 3 + 2] for i in range(rows)), tuple(f"w/{i}" for i in range(rows))
    )


def rows_of(whole: ImageBatch, start: int, stop: int) -> ImageBatch:
    return ImageBatch(whole.pixels[start:stop], whole.captions[start:stop], whole.keys[start:stop])


def encoder() -> VisionEncoder:
    torch.manual_seed(0)
    taps = (Tap(), Tap(merge=2))
    built = build_encoder(EncoderConfig(image_size=8, patch=2, width=8, layers=1, heads=2, hidden=16, taps=taps))
    for parameter in built.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return built


def tokenizer() -> VisionTokenizer:
    return VisionTokenizer(TokenizerConfig((LEVEL, LEVEL)), encoder())


def decoder() -> DiffusionPixelDecoder:
    return DiffusionPixelDecoder(DiffusionDecoderConfig(channels=(8,), condition=4, cells=1, groups=4), (8, 32))


def objectives() -> list[Objective]:
    return [
        EncoderObjective(encoder(), CONTRAST, tokenize),
        TokenizerObjective(tokenizer(), 10),
        PixelObjective(decoder(), tokenizer()),
    ]


@pytest.mark.parametrize("index", range(3))
def test_each_is_an_objective(index: int) -> None:
    objective = objectives()[index]
    assert isinstance(objective, Objective)
    loss = objective.loss(batch())
    assert objective.size(batch()) == 4
    assert loss.value.shape == ()
    loss.value.backward()
    assert not any(isinstance(v, Tensor) and v.requires_grad for v in loss.metrics.values())
    assert couples_batch(objective) == (index == 0)
    assert isinstance(objective, HasAfterStep) == (index > 0)
    assert isinstance(objective, HasState) == (index == 2)


def test_equal_captions_are_a_yes() -> None:
    ids = torch.tensor([[1, 2], [1, -1], [1, 2]])
    assert equal_rows(ids, ids).tolist() == [[True, False, True], [False, True, False], [True, False, True]]


def test_the_contrastive_loss_is_siglips() -> None:
    images, texts = F.normalize(torch.randn(3, 4), dim=-1), F.normalize(torch.randn(3, 4), dim=-1)
    captions = torch.tensor([[0], [1], [0]])
    scale, bias = torch.tensor(10.0), torch.tensor(-3.0)
    total = 0.0
    for i in range(3):
        for j in range(3):
            logit = 10 * images[i] @ texts[j] - 3
            total -= float(F.logsigmoid(logit if captions[i] == captions[j] else -logit))
    assert float(sigmoid_contrastive(images, texts, captions, scale, bias)) == pytest.approx(total / 3, rel=1e-5)


def test_the_feature_loss_is_zero_for_equal_features_only() -> None:
    features = torch.randn(2, 5, 8)
    assert float(feature_loss(features, features)) == pytest.approx(0, abs=1e-6)
    assert float(feature_loss(-features, features)) > 2


def test_patches_are_where_the_features_are() -> None:
    pixels = torch.arange(3 * 4 * 6).reshape(1, 3, 4, 6).float()
    cut = patches(pixels, 6)
    assert cut.shape == (1, 6, 12)
    assert torch.equal(cut[0, 4].reshape(2, 2, 3), pixels[0, :, 2:4, 2:4].permute(1, 2, 0))


def test_the_pixel_head_can_be_exact() -> None:
    head = PixelHead((12,), (2,))
    torch.nn.init.eye_(head.maps[0].weight)
    torch.nn.init.zeros_(head.maps[0].bias)
    pixels = torch.rand(2, 3, 4, 4)
    assert float(head((patches(pixels, 4),), pixels).detach()) == pytest.approx(0, abs=1e-9)


def test_captions_are_never_cut_nor_empty() -> None:
    assert caption_ids(["ab", "c"], tokenize, 3).tolist() == [[0, 1, -1], [2, -1, -1]]
    with pytest.raises(DataError, match="'abcd' has 4 tokens; the text tower reads 1 to 3"):
        caption_ids(["abcd"], tokenize, 3)
    with pytest.raises(DataError, match="'' has 0 tokens"):
        caption_ids([""], tokenize, 3)


def test_a_text_does_not_see_its_padding() -> None:
    contrast = Contrast(CONTRAST, (8,))
    for parameter in contrast.text.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    padded, bare = torch.tensor([[3, 4, -1, -1]]), torch.tensor([[3, 4]])
    torch.testing.assert_close(contrast.embed_text(padded), contrast.embed_text(bare))


def test_a_saved_contrast_ranks_as_before(tmp_path: Path) -> None:
    objective = EncoderObjective(encoder(), CONTRAST, tokenize)
    objective.contrast.save(tmp_path)
    again = Contrast.load(tmp_path)
    ids, pixels = torch.tensor([[3, 4, 5]]), batch().pixels
    assert torch.equal(again.embed_text(ids), objective.contrast.embed_text(ids))
    seen = objective.contrast.embed_image(pixels, objective.encoder)
    assert torch.equal(again.embed_image(pixels, objective.encoder), seen)
    torch.testing.assert_close(seen.norm(dim=-1), torch.ones(4))


def test_the_noise_of_a_sample_is_its_own() -> None:
    objective = PixelObjective(decoder(), tokenizer())
    whole = batch()
    first, second = objective.noise(rows_of(whole, 0, 1)), objective.noise(rows_of(whole, 1, 4))
    for together, *parts in zip(objective.noise(whole), first, second, strict=True):
        assert torch.equal(together, torch.cat(parts))
    resumed = PixelObjective(decoder(), tokenizer())
    objective.after_step(1)
    resumed.load_state(objective.state())
    assert torch.equal(objective.noise(whole).pixels, resumed.noise(whole).pixels)
    assert not torch.equal(objective.noise(whole).pixels[:1], first.pixels)


@pytest.mark.parametrize("index", [1, 2])
def test_accumulated_is_whole(index: int) -> None:
    one, two = objectives()[index], objectives()[index]
    for module, other in zip(one.modules().values(), two.modules().values(), strict=True):
        other.load_state_dict(module.state_dict())
    whole = batch()
    one.loss(whole).value.backward()
    for start, stop in ((0, 1), (1, 4)):
        part = rows_of(whole, start, stop)
        (two.loss(part).value * two.size(part) / 4).backward()
    for module, other in zip(one.modules().values(), two.modules().values(), strict=True):
        for parameter, accumulated in zip(module.parameters(), other.parameters(), strict=True):
            if parameter.grad is not None:
                torch.testing.assert_close(parameter.grad, accumulated.grad, atol=1e-6, rtol=1e-4)


def contrastive_loss(texts: Tensor, images: Tensor, captions: Tensor) -> Tensor:
    return sigmoid_contrastive(images, texts, captions, torch.tensor(5.0), torch.tensor(-2.0))


def test_processes_that_gather_contrast_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two processes played in one: each gathers the whole, whose gradient adds up over both, as core.dist has it."""
    images, texts = (F.normalize(torch.randn(5, 4), dim=-1).requires_grad_() for _ in range(2))
    captions = torch.tensor([[0], [1], [0], [2], [1]])
    whole = contrastive_loss(texts, images, captions)
    expected = torch.autograd.grad(whole, (images, texts))
    monkeypatch.setattr("illume.train.losses.gather_rows", lambda rows: texts if rows.is_floating_point() else captions)
    shares = (slice(0, 2), slice(2, 5))
    parts = [contrastive_loss(texts[s], images[s], captions[s]) * len(captions[s]) / 5 for s in shares]
    together = torch.stack(parts).sum()
    torch.testing.assert_close(together, whole)
    for found, wanted in zip(torch.autograd.grad(together, (images, texts)), expected, strict=True):
        torch.testing.assert_close(found, wanted)


def test_without_gathering_processes_would_not_contrast_as_one() -> None:
    images, texts = F.normalize(torch.randn(4, 4), dim=-1), F.normalize(torch.randn(4, 4), dim=-1)
    captions = torch.arange(4)[:, None]
    halves = [contrastive_loss(texts[s], images[s], captions[s]) / 2 for s in (slice(0, 2), slice(2, 4))]
    assert not torch.allclose(torch.stack(halves).sum(), contrastive_loss(texts, images, captions))
