"""Linear maps as an engine multiplies with them: plain, packed for the processor, in 8 and in 4 bits a weight.

Weights alone are quantised and what flows through stays bfloat16; but for W8A8, where what enters a product has 8 bits
too. It knows nothing of layers, and nothing here is trained.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from illume.core.errors import ModelError

GROUP = 32  # weights of 4 bits share a scale and a zero in groups of so many
_TILE = 16  # torch's kernel makes so many outputs of 4 bits at once


class PlainLinear(nn.Module):
    """torch's own product, with the weight as it is."""

    weight: Tensor
    bias: Tensor | None

    def __init__(self, weight: Float[Tensor, "o i"], bias: Float[Tensor, " o"] | None = None) -> None:
        super().__init__()
        self.register_buffer("weight", weight)
        self.register_buffer("bias", bias)

    def forward(self, x: Float[Tensor, "*b i"]) -> Float[Tensor, "*b o"]:
        return F.linear(x, self.weight, self.bias)


class PackedLinear(nn.Module):
    """The weight laid out once as oneDNN multiplies: for a few rows two to four times as fast, on CPUs.

    torch's product lays it out anew, or reads it in an unsuitable order, at every call. Its compiler uses the same
    operator for weights that don't change.
    """

    weight: Tensor
    bias: Tensor | None

    def __init__(self, weight: Float[Tensor, "o i"], bias: Float[Tensor, " o"] | None = None) -> None:
        super().__init__()
        self.register_buffer("weight", torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), None))
        self.register_buffer("bias", bias)

    @staticmethod
    def serves(weight: Tensor) -> bool:
        """Whether this machine and this build of torch can multiply so with weights of this kind."""
        if weight.device.type != "cpu" or not torch.backends.mkldnn.is_available():
            return False
        if weight.dtype == torch.bfloat16:
            return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
        return weight.dtype == torch.float32

    def forward(self, x: Float[Tensor, "*b i"]) -> Float[Tensor, "*b o"]:
        found: Tensor = torch.ops.mkldnn._linear_pointwise(x, self.weight, self.bias, "none", [], "")
        return found


class Int8Linear(nn.Module):
    """8 bits a weight, one scale an output: an error of at most half a scale, the largest weight's 254th part."""

    weight: Int[Tensor, "o i"]
    scales: Float[Tensor, " o"]
    bias: Tensor | None

    def __init__(self, weight: Float[Tensor, "o i"], bias: Float[Tensor, " o"] | None = None) -> None:
        super().__init__()
        _check_width(weight, "int8")
        codes, scales = quantize_int8(weight)
        self.register_buffer("weight", codes)
        self.register_buffer("scales", scales.bfloat16())
        self.register_buffer("bias", None if bias is None else bias.bfloat16())

    def forward(self, x: Float[Tensor, "*b i"]) -> Float[Tensor, "*b o"]:
        found = torch._weight_int8pack_mm(x.flatten(0, -2), self.weight, self.scales)
        return _shaped(found, x, self.bias)


class W8A8Linear(nn.Module):
    """8 bits a weight with one scale an output, and 8 bits a number that enters with one scale a row, found anew each
    time: products of integers, which CPUs with VNNI make as fast as memory gives the weights.

    A row's numbers never depend on another row. Without VNNI sums of products would be cut off: ModelError.
    """

    weight: Tensor
    scales: Float[Tensor, " o"]
    bias: Tensor | None

    def __init__(self, weight: Float[Tensor, "o i"], bias: Float[Tensor, " o"] | None = None) -> None:
        super().__init__()
        if not self.serves():
            raise ModelError("w8a8 needs a processor that multiplies integers (VNNI) and torch with oneDNN: use int8")
        _check_width(weight, "w8a8")
        codes, scales = quantize_int8(weight)
        self.register_buffer("weight", torch.ops.onednn.qlinear_prepack(codes, None))
        self.register_buffer("scales", scales)
        self.register_buffer("bias", None if bias is None else bias.float())
        self.register_buffer("zeros", torch.zeros(len(scales), dtype=torch.int64))
        self.register_buffer("one", torch.ones(1))
        self.register_buffer("zero", torch.zeros(1, dtype=torch.int64))

    @staticmethod
    def serves() -> bool:
        """Whether this machine and this build of torch can multiply so."""
        return torch.backends.mkldnn.is_available() and torch.cpu._is_vnni_supported()

    def forward(self, x: Float[Tensor, "*b i"]) -> Float[Tensor, "*b o"]:
        rows = x.flatten(0, -2).float()
        steps = (rows.abs().amax(dim=-1, keepdim=True) / 127).clamp(min=torch.finfo(torch.float32).tiny)
        codes = (rows / steps).round().to(torch.int8)
        found: Tensor = torch.ops.onednn.qlinear_pointwise.tensor(
            *(codes, self.one, self.zero),
            *(self.weight, self.scales, self.zeros),
            *(None, 1.0, 0, torch.float32, "none", [], ""),  # no bias; as floats; nothing behind it
        )
        found = found * steps if self.bias is None else found * steps + self.bias
        return found.to(x.dtype).unflatten(0, x.shape[:-1])


class Int4Linear(nn.Module):
    """4 bits a weight, a scale and a zero for every `GROUP` inputs of an output."""

    weight: Tensor
    scales: Float[Tensor, "groups o two"]
    bias: Tensor | None

    def __init__(self, weight: Float[Tensor, "o i"], bias: Float[Tensor, " o"] | None = None) -> None:
        super().__init__()
        _check_width(weight, "int4")
        self.outputs = weight.shape[0]
        weight = F.pad(weight, (0, 0, 0, -self.outputs % _TILE))
        codes, scales = quantize_int4(weight)
        if weight.device.type == "cpu":
            packed = torch.ops.aten._convert_weight_to_int4pack_for_cpu(codes, 1)
        else:
            packed = torch.ops.aten._convert_weight_to_int4pack((codes[:, ::2] << 4 | codes[:, 1::2]).byte(), 8)
        self.register_buffer("weight", packed)
        self.register_buffer("scales", scales.bfloat16())
        self.register_buffer("bias", None if bias is None else bias.bfloat16())

    def forward(self, x: Float[Tensor, "*b i"]) -> Float[Tensor, "*b o"]:
        cpu = x.device.type == "cpu"
        multiply = torch.ops.aten._weight_int4pack_mm_for_cpu if cpu else torch.ops.aten._weight_int4pack_mm
        found: Tensor = multiply(x.flatten(0, -2), self.weight, GROUP, self.scales)
        return _shaped(found[:, : self.outputs], x, self.bias)


def quantize_int8(weight: Float[Tensor, "o i"]) -> tuple[Int[Tensor, "o i"], Float[Tensor, " o"]]:
    """Codes in [-127, 127] and a scale for every output, so that `codes * scale` is nearest to the weight.

    The scale is one that bfloat16 holds, as the product reads it.
    """
    scales = (weight.float().abs().amax(dim=1) / 127).clamp(min=torch.finfo(torch.float32).tiny).bfloat16().float()
    codes = (weight.float() / scales[:, None]).round().clamp(-127, 127)
    return codes.to(torch.int8), scales


def quantize_int4(weight: Float[Tensor, "o i"]) -> tuple[Int[Tensor, "o i"], Float[Tensor, "groups o two"]]:
    """Codes in [0, 15], and for every group of inputs and output a scale and what the code 8 stands for.

    A weight is `(code - 8) * scale + zero`; both are numbers that bfloat16 holds, as the product reads them.
    """
    groups = weight.float().unflatten(1, (-1, GROUP))
    low, high = groups.amin(dim=-1), groups.amax(dim=-1)
    scales = ((high - low) / 15).clamp(min=1e-8).bfloat16().float()
    zeros = (low + 8 * scales).bfloat16().float()
    codes = ((groups - zeros[..., None]) / scales[..., None] + 8).round().clamp(0, 15)
    return codes.flatten(1).int(), torch.stack((scales, zeros), dim=-1).transpose(0, 1).contiguous()


def _check_width(weight: Tensor, kind: str) -> None:
    if weight.shape[1] % GROUP:
        raise ModelError(
            f"{kind} weights need inputs in multiples of {GROUP}, a matrix here has {weight.shape[1]}: use bf16 or fp32"
        )


def _shaped(found: Tensor, x: Tensor, bias: Tensor | None) -> Tensor:
    found = found.unflatten(0, x.shape[:-1])
    return found if bias is None else found + bias
