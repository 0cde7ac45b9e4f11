"""A stage of training as a value: which parameters move at which rate, on what mixture, for how long.

It knows neither modules nor data, only their names.
"""

import math
import re
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True)
class Rule:
    """How the parameters whose "module.parameter" name the regular expression `pattern` matches in full are trained.

    `lr` 0 freezes them. "muon" is for two-dimensional matrices (a usual rate is 0.02), "adamw" for everything.
    """

    pattern: str
    lr: float
    optimizer: Literal["adamw", "muon"] = "adamw"
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        try:
            re.compile(self.pattern)
        except re.error as error:
            raise ValueError(f"pattern {self.pattern!r} is not a regular expression: {error}") from error
        if self.lr < 0 or self.weight_decay < 0:
            raise ValueError(f"rule {self.pattern!r}: lr and weight_decay cannot be negative")

    @property
    def trained(self) -> bool:
        return self.lr > 0

    def matches(self, name: str) -> bool:
        return re.fullmatch(self.pattern, name) is not None


@dataclass(frozen=True)
class Schedule:
    """What every rate is multiplied by at each step. `warmup` and `flat` are fractions of the stage.

    All kinds rise linearly over the first `warmup`; then "constant" stays at 1, "cosine" falls to 0 along half a
    period, and "trapezoid" stays at 1 until `flat` and falls linearly to 0.
    """

    kind: Literal["constant", "cosine", "trapezoid"] = "trapezoid"
    warmup: float = 0.03
    flat: float = 0.4

    def __post_init__(self) -> None:
        if not (0 <= self.warmup < 1 and 0 <= self.flat <= 1):
            raise ValueError(f"warmup ({self.warmup}) and flat ({self.flat}) are fractions of the stage")

    def factor(self, step: int, steps: int) -> float:
        """The multiplier in (0, 1] of the step with index `step` in a stage of `steps`."""
        rising = round(self.warmup * steps)
        if step < rising:
            return (step + 1) / (rising + 1)
        start = max(rising, round(self.flat * steps)) if self.kind == "trapezoid" else rising
        fallen = max(0, step - start) / max(1, steps - start)
        if self.kind == "cosine":
            return (1 + math.cos(math.pi * fallen)) / 2
        return 1.0 if self.kind == "constant" else 1 - fallen


@dataclass(frozen=True)
class Stage:
    """One stage. `batch_size` counts samples a step over all ranks, `accumulate` the micro-batches it is cut into.

    `mixture` gives the weight of each source by name. `betas` are AdamW's and `momentum` is Muon's. `clip` bounds the
    norm of the whole gradient. `ema` is the decay of the averaged weights, which are then the ones that are exported.
    A checkpoint is written every `save_every` steps (0: only at the end), the newest `keep` of them stay, and samples
    are drawn every `sample_every` steps (0: never).
    """

    name: str
    steps: int
    batch_size: int
    rules: tuple[Rule, ...]
    schedule: Schedule = Schedule()
    betas: tuple[float, float] = (0.9, 0.95)
    momentum: float = 0.95
    clip: float | None = 1.0
    accumulate: int = 1
    ema: float | None = None
    mixture: dict[str, float] = field(default_factory=dict)
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    save_every: int = 0
    keep: int = 1
    sample_every: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "accumulate", "keep"):
            if getattr(self, name) < 1:
                raise ValueError(f"stage {self.name!r}: {name} must be at least 1, not {getattr(self, name)}")
        for name in ("save_every", "sample_every"):
            if getattr(self, name) < 0:
                raise ValueError(f"stage {self.name!r}: {name} cannot be negative")
        if self.ema is not None and not 0 < self.ema < 1:
            raise ValueError(f"stage {self.name!r}: ema is a decay between 0 and 1, not {self.ema}")
        if self.clip is not None and self.clip <= 0:
            raise ValueError(f"stage {self.name!r}: clip must be positive (none: no clipping), not {self.clip}")
        if any(weight < 0 for weight in self.mixture.values()):
            raise ValueError(f"stage {self.name!r}: a weight of the mixture is negative: {self.mixture}")

    @property
    def mixed(self) -> tuple[str, ...]:
        """What its mixture takes anything of: an override can leave a source out in no other way than by 0."""
        return tuple(name for name, weight in self.mixture.items() if weight > 0)
