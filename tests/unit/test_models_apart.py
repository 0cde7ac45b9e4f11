"""Codes told apart: the groups of a product quantiser as levels of the sequence, each learnt from a view of its own."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from illume.core.errors import ModelError
from illume.data.collate import ImageBatch
from illume.models.convolutional import ConvolutionalDecoderConfig
from illume.models.quantizer import ProductVQConfig, VQConfig, from_levels, to_levels
from illume.models.reconstruction import ReconstructionConfig, ReconstructionTokenizer
from illume.models.tokenizer import LevelConfig, TokenizerConfig, VisionTokenizer
from illume.models.vision_encoder import EncoderConfig, Tap, build_encoder
from illume.train.tokenizer_objective import TokenizerObjective

ENCODER = EncoderConfig(image_size=16, patch=4, width=8, layers=1, heads=2, hidden=16, taps=(Tap(merge=2), Tap(1)))
GROUPS = (VQConfig(num_codes=3, dim=2, reservoir=16), VQConfig(num_codes=5, dim=4, reservoir=16))
JOINT = ProductVQConfig(groups=GROUPS)
PLAIN = LevelConfig(VQConfig(num_codes=7, dim=4, reservoir=16), width=8, heads=2, hidden=16)


def tokenizer(quantizer: ProductVQConfig, outputs: int = 2) -> VisionTokenizer:
    torch.manual_seed(0)
    product = LevelConfig(quantizer, width=8, heads=2, hidden=16)
    encoder = build_encoder(replace(ENCODER, taps=ENCODER.taps[-outputs:]))
    made = VisionTokenizer(TokenizerConfig((PLAIN, product)[-outputs:]), encoder)
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return made.eval()


def pixels(number: int = 3, seed: int = 1) -> Tensor:
    return torch.rand(number, 3, 16, 16, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def test_groups_apart_are_the_digits_of_the_joint_code() -> None:
    joint, apart = tokenizer(JOINT), tokenizer(replace(JOINT, apart=True))
    assert (joint.num_codes, apart.num_codes) == ((7, 15), (7, 3, 5))
    assert (joint.depths, apart.depths) == ((1, 1), (1, 2))
    assert apart.grids((16, 24)) == ((2, 3), (4, 6), (4, 6))
    assert [tuple(vectors.shape) for vectors in apart.code_vectors()] == [(7, 4), (3, 2), (5, 4)]
    together, told = joint.encode(pixels()), apart.encode(pixels())
    assert torch.equal(together[0], told[0])
    assert torch.equal(together[1], told[1] * 5 + told[2])
    for a, b in zip(joint.decode(together), apart.decode(told), strict=True):
        assert torch.equal(a, b)
    with pytest.raises(ModelError, match="2 grids of codes for 3 levels"):
        apart.decode(together)


def test_digits_of_mixed_bases_there_and_back() -> None:
    codes = torch.arange(2 * 3 * 5)
    digits = to_levels(codes, (2, 3, 5))
    assert [int(digit[17]) for digit in digits] == [1, 0, 2]
    assert torch.equal(from_levels(digits, (2, 3, 5)), codes)


def check_each_group_is_its_views(made: VisionTokenizer, forward: Callable[..., tuple[object, ...]]) -> None:
    """The codes of group i are those of view i, whatever the picture and the other views show."""
    shown, shapes, colours = (pixels(seed=seed) for seed in (1, 2, 3))
    (level,) = forward(shown, (shapes, colours))
    digits = to_levels(level.quantizer.codes, (3, 5))  # type: ignore[attr-defined]
    for group, view in enumerate((shapes, colours)):
        assert torch.equal(digits[group], made.encode(view)[group].flatten(1)), f"group {group} saw something else"
    assert torch.equal(level.target, made.targets(shown)[0][0])  # type: ignore[attr-defined]


def test_each_group_is_learnt_from_its_own_view() -> None:
    made = tokenizer(replace(JOINT, apart=True), outputs=1)
    check_each_group_is_its_views(made, made)


def test_the_law_catches_groups_that_see_the_picture_itself() -> None:
    made = tokenizer(replace(JOINT, apart=True), outputs=1)
    with pytest.raises(AssertionError, match="saw something else"):
        check_each_group_is_its_views(made, lambda shown, views: made(shown, ()))
    with pytest.raises(AssertionError, match="saw something else"):
        check_each_group_is_its_views(made, lambda shown, views: made(shown, views[::-1]))


def test_the_objective_hands_the_views_on() -> None:
    made = tokenizer(replace(JOINT, apart=True), outputs=1)
    objective = TokenizerObjective(made, steps=10)
    shown, other = pixels(seed=1), pixels(seed=2)
    alone = ImageBatch(shown, ("",) * 3, ("",) * 3)
    viewed = replace(alone, views=(other, shown))
    assert not torch.equal(objective.loss(alone).value, objective.loss(viewed).value)
    assert torch.allclose(objective.loss(alone).value, objective.loss(replace(alone, views=(shown, shown))).value)


@pytest.mark.parametrize("number", [1, 3])
def test_views_are_as_many_as_groups(number: int) -> None:
    made = tokenizer(replace(JOINT, apart=True), outputs=1)
    with pytest.raises(ModelError, match=f"{number} views of each image"):
        made(pixels(), (pixels(),) * number)


def test_views_need_a_product_of_codebooks() -> None:
    made = tokenizer(JOINT, outputs=2)
    with pytest.raises(ModelError, match="2 views of each image"):
        made(pixels(), (pixels(), pixels()))


def test_a_reconstruction_tokenizer_tells_groups_apart_too() -> None:
    network = ConvolutionalDecoderConfig(channels=(4, 8), groups=2)
    joint, apart = (
        ReconstructionTokenizer(ReconstructionConfig(quantizer=replace(JOINT, apart=told), network=network))
        for told in (False, True)
    )
    apart.load_state_dict(joint.state_dict())
    (codes,), levels = joint.eval().encode(pixels()), apart.eval().encode(pixels())
    assert (joint.num_codes, apart.num_codes, apart.depths) == ((15,), (3, 5), (2,))
    assert apart.grids((16, 16)) == joint.grids((16, 16)) * 2
    assert torch.equal(codes, levels[0] * 5 + levels[1])
    assert torch.equal(joint.decode((codes,))[0], apart.decode(levels)[0])
    with pytest.raises(ModelError, match="1 grids of codes for 2 levels"):
        apart.decode((codes,))
