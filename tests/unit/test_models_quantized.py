"""Products of packed and quantised weights against those of the weights they stand for."""

import pytest
import torch
from torch import Tensor

from illume.core.errors import ModelError
from illume.models.quantized import (
    GROUP,
    Int4Linear,
    Int8Linear,
    PackedLinear,
    PlainLinear,
    W8A8Linear,
    quantize_int4,
    quantize_int8,
)

# What bfloat16 leaves of a product of numbers around 1: a rounding of 2**-9 of the result, and one of what enters.
BF16 = 2.0**-7


def weight(outputs: int = 48, inputs: int = 96, seed: int = 0) -> Tensor:
    return (
        torch.randn(outputs, inputs, generator=torch.Generator().manual_seed(seed))
        * torch.logspace(-2, 0, outputs)[:, None]
    )


def dequantized(kind: type, matrix: Tensor) -> Tensor:
    if kind is Int8Linear:
        codes, scales = quantize_int8(matrix)
        return codes * scales[:, None]
    codes, scales = quantize_int4(matrix)
    step, zero = scales.transpose(0, 1).unbind(dim=-1)
    return ((codes.unflatten(1, (-1, GROUP)) - 8) * step[..., None] + zero[..., None]).flatten(1)


def check_error_is_bounded(kind: type, matrix: Tensor) -> None:
    """No weight moves farther than half a step, and a little where the step itself was rounded."""
    error = (dequantized(kind, matrix) - matrix).abs()
    if kind is Int8Linear:
        bound = quantize_int8(matrix)[1][:, None] / 2
    else:
        step, zero = quantize_int4(matrix)[1].transpose(0, 1).unbind(dim=-1)
        bound = (step / 2 + step * 15 * 2.0**-9 + zero.abs() * 2.0**-9).repeat_interleave(GROUP, dim=1)
    assert (error <= bound * 1.001).all()


@pytest.mark.parametrize("kind", [Int8Linear, Int4Linear])
def test_no_weight_moves_farther_than_half_a_step(kind: type) -> None:
    check_error_is_bounded(kind, weight())


@pytest.mark.parametrize("kind", [Int8Linear, Int4Linear])
def test_the_bound_catches_codes_that_are_cut_off_instead_of_rounded(
    kind: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Tensor, "round", Tensor.floor)
    with pytest.raises(AssertionError):
        check_error_is_bounded(kind, weight())


@pytest.mark.parametrize("kind", [Int8Linear, Int4Linear])
@pytest.mark.parametrize("outputs", [16, 48, 131])
@pytest.mark.parametrize("shape", [(1,), (2, 1), (3, 5)])
def test_products_are_those_of_the_dequantised_weights(kind: type, outputs: int, shape: tuple[int, ...]) -> None:
    matrix, bias = weight(outputs), torch.randn(outputs)
    x = torch.randn(*shape, matrix.shape[1]).bfloat16()
    found = kind(matrix, bias)(x)
    expected = x.float() @ dequantized(kind, matrix).T + bias
    assert found.shape == (*shape, outputs)
    assert (found.float() - expected).abs().max() < BF16 * expected.abs().max()


@pytest.mark.parametrize("kind", [Int8Linear, Int4Linear])
def test_weights_that_are_all_alike_or_nothing_stay_what_they_are(kind: type) -> None:
    matrix = torch.cat((torch.zeros(16, 64), torch.full((16, 64), 0.5)))
    assert torch.allclose(dequantized(kind, matrix), matrix, atol=2e-3)


@pytest.mark.parametrize("kind", [Int8Linear, Int4Linear])
def test_odd_widths_are_refused(kind: type) -> None:
    with pytest.raises(ModelError, match="multiples of 32, a matrix here has 40"):
        kind(weight(inputs=40))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [(1,), (2, 1), (3, 5)])
def test_packed_products_are_plain_products(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    matrix, bias, x = weight().to(dtype), torch.randn(48).to(dtype), torch.randn(*shape, 96).to(dtype)
    if not PackedLinear.serves(matrix):
        pytest.skip(f"this processor does not multiply {dtype}")
    found, expected = PackedLinear(matrix, bias)(x), PlainLinear(matrix, bias)(x)
    assert found.shape == expected.shape
    assert (found - expected).abs().max() < (1e-5 if dtype == torch.float32 else BF16 * expected.abs().max())


def test_packing_is_for_what_the_processor_multiplies() -> None:
    assert not PackedLinear.serves(torch.zeros(2, 2, dtype=torch.float64))
    assert not PackedLinear.serves(torch.zeros(2, 2, device="meta"))


needs_vnni = pytest.mark.skipif(
    not W8A8Linear.serves(), reason="this processor does not multiply 8-bit integers (VNNI)"
)


def check_w8a8_is_near(outputs: int, shape: tuple[int, ...]) -> None:
    """Each number that enters moves by at most half of its row's step, so a product by no more than all of them do."""
    matrix, bias = weight(outputs), torch.randn(outputs)
    x = torch.randn(*shape, matrix.shape[1]) * torch.logspace(-3, 2, shape[0]).view(-1, *[1] * len(shape))
    found, meant = W8A8Linear(matrix, bias)(x), dequantized(Int8Linear, matrix)
    expected = x @ meant.T + bias
    steps = x.abs().max(dim=-1, keepdim=True).values / 127
    bound = steps / 2 * meant.abs().sum(dim=-1) + 1e-5 * expected.abs().max()
    assert found.shape == (*shape, outputs)
    assert ((found - expected).abs() <= bound).all()


@needs_vnni
@pytest.mark.parametrize("outputs", [16, 48, 131])
@pytest.mark.parametrize("shape", [(1,), (2, 1), (3, 5)])
def test_products_of_integers_are_near_those_of_the_weights(outputs: int, shape: tuple[int, ...]) -> None:
    check_w8a8_is_near(outputs, shape)


@needs_vnni
def test_the_bound_catches_one_step_for_all_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    amax = Tensor.amax
    monkeypatch.setattr(
        Tensor, "amax", lambda x, dim, keepdim=False: amax(x).expand(len(x), 1) if keepdim else amax(x, dim)
    )
    with pytest.raises(AssertionError):
        check_w8a8_is_near(48, (3,))


@needs_vnni
def test_a_rows_products_of_integers_are_its_own() -> None:
    tested, x = W8A8Linear(weight()), torch.randn(4, 96).bfloat16()
    alone = torch.cat([tested(row[None]) for row in x])
    assert torch.equal(tested(x), alone)
    assert torch.equal(tested(torch.zeros(2, 96)), torch.zeros(2, 48))
