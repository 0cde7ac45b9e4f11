"""What the training loop needs to know of a thing that is trained: its modules and its loss.

It does not know models, data or optimisers.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor, nn


@dataclass(frozen=True)
class Loss:
    """What one batch cost.

    `value` is the mean over `Objective.size(batch)` elements and carries the gradient. `metrics` are means too, for
    people to read, under the same names in every batch; a metric that is a mean over something else than the loss
    is (say, over the positions of one region) says over how many in `counts`, so that micro-batches and ranks add up.
    """

    value: Float[Tensor, ""]
    metrics: Mapping[str, float | Tensor] = field(default_factory=dict)
    counts: Mapping[str, int | float | Tensor] = field(default_factory=dict)


@runtime_checkable
class Objective(Protocol):
    """Something to train. The gradient of a step is the sum, over micro-batches and ranks, of size / total * value."""

    def modules(self) -> Mapping[str, nn.Module]:
        """The modules by name; rules of a stage match "name.parameter". Frozen ones belong here too."""
        ...

    def loss(self, batch: Any) -> Loss:
        """The loss of a batch that is on the modules' device."""
        ...

    def size(self, batch: Any) -> int:
        """How many elements `loss(batch).value` is a mean over."""
        ...


@runtime_checkable
class HasAfterStep(Protocol):
    """An objective that does something of its own after each optimiser step (reviving dead codes, say)."""

    def after_step(self, step: int) -> None:
        """`step` counts the finished steps, this one included."""
        ...


@runtime_checkable
class HasState(Protocol):
    """An objective that keeps more than its modules' parameters and buffers, and needs it to resume."""

    def state(self) -> dict[str, Any]: ...

    def load_state(self, state: dict[str, Any]) -> None: ...


def couples_batch(objective: Objective) -> bool:
    """Whether the loss of a sample depends on its batch mates (contrastive losses, codebook statistics).

    An objective says so with an attribute `couples_batch = True`; such a loss cannot be accumulated over micro-batches,
    and gathers across ranks itself.
    """
    return bool(getattr(objective, "couples_batch", False))


def named_parameters(objective: Objective) -> dict[str, nn.Parameter]:
    """Every parameter once, by "module.parameter"; one that is shared (tied rows) goes by its first name."""
    seen: set[int] = set()
    named: dict[str, nn.Parameter] = {}
    for module_name, module in objective.modules().items():
        for name, parameter in module.named_parameters():
            if id(parameter) not in seen:
                seen.add(id(parameter))
                named[f"{module_name}.{name}"] = parameter
    return named
