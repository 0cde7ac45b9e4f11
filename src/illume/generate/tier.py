"""How fast and how exactly an engine computes: the kind of its weights, and how its steps are run.

Fixed when an engine is built. It knows no model.
"""

import difflib
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import torch

from illume.core.errors import UsageError
from illume.models.quantized import W8A8Linear

Weights: TypeAlias = Literal["fp32", "fp16", "bf16", "int8", "w8a8", "int4"]
Mode: TypeAlias = Literal["eager", "compiled", "graph"]

_DTYPES: dict[str, torch.dtype] = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
AUTO = "auto"


@dataclass(frozen=True)
class Tier:
    """`weights` as the engine multiplies with them; `mode`: step by step, compiled (CPU) or as a CUDA graph."""

    weights: Weights = "fp32"
    mode: Mode = "eager"

    @property
    def name(self) -> str:
        """The name that `tier` reads."""
        return self.weights if self.mode == "eager" else f"{self.weights}-{self.mode}"

    @property
    def dtype(self) -> torch.dtype:
        """Of what enters a product; quantised weights are multiplied in bfloat16."""
        return _DTYPES.get(self.weights, torch.bfloat16)

    @property
    def quantized(self) -> bool:
        """Whether weights are kept in fewer bits than they are multiplied in."""
        return self.weights not in _DTYPES

    def stream_dtype(self, device: torch.device) -> torch.dtype:
        """Of the residual stream, of keys and of values.

        On a CPU it is float32 whatever the weights: attention to few positions is two to five times as fast in it, and
        sums of many layers lose nothing.
        """
        return torch.float32 if device.type == "cpu" else self.dtype


TIERS: dict[str, Tier] = {
    tier.name: tier
    for weights in get_args(Weights)
    for tier in (Tier(weights), Tier(weights, "compiled"), Tier(weights, "graph"))
}


def check_strict(name: str) -> None:
    """Strict mode is the model's own forward, which has no tiers. UsageError for any but "auto"."""
    if name != AUTO:
        raise UsageError(f"strict mode is the model's own forward: it has no tier {name!r}; leave one of them out")


def pick_tier(name: str, device: torch.device, dtype: torch.dtype) -> Tier:
    """The tier of this name for a model of that dtype; "auto" computes in the model's own dtype and waits for nothing.

    UsageError for a name that there is not, or a tier that this device has not.
    """
    if name == AUTO:
        return next(Tier(weights) for weights in _PLAIN if _DTYPES[weights] == dtype)
    if name not in TIERS:
        near = difflib.get_close_matches(name, [AUTO, *TIERS], n=3, cutoff=0.4) or [AUTO, *TIERS]
        raise UsageError(f"no tier is called {name!r}; near names: {', '.join(near)}")
    found = TIERS[name]
    if found.mode == "graph" and device.type != "cuda":
        raise UsageError(f"tier {name!r}: only a CUDA device records graphs, not {device.type}; use {found.weights!r}")
    if found.mode == "compiled" and device.type != "cpu":
        raise UsageError(
            f"tier {name!r} is for the CPU, not {device.type}; use '{found.weights}-graph' or '{found.weights}'"
        )
    if found.quantized and device.type not in _QUANTIZED[found.weights]:
        raise UsageError(f"tier {name!r}: there are no {found.weights} products for {device.type}; use 'bf16'")
    if found.weights == "w8a8" and not W8A8Linear.serves():
        raise UsageError(f"tier {name!r}: this processor does not multiply 8-bit integers (VNNI); use 'int8'")
    return found


def dtype_of(name: str) -> torch.dtype | None:
    """In which dtype a model is best loaded for the tier of this name; None: in any, for weights are quantised anew."""
    return _DTYPES.get(name.partition("-")[0])


_PLAIN: tuple[Weights, ...] = ("fp32", "fp16", "bf16")
_QUANTIZED = {"int8": ("cpu",), "w8a8": ("cpu",), "int4": ("cpu", "cuda")}
