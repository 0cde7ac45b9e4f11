"""A running average of the trained weights. It does not know what they are."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class EMA:
    """The exponential moving average over the weights after steps 1, 2, ..., bias-corrected.

    The weights after step t count in proportion to `decay ** (now - t)`, normalised to 1 (as Adam does), so the random
    initial weights never enter and the average is right from the first step.
    """

    def __init__(self, parameters: Mapping[str, nn.Parameter], decay: float) -> None:
        self.decay = decay
        self.parameters = dict(parameters)
        self.averages = {name: parameter.detach().clone() for name, parameter in parameters.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after the `step`-th step (from 1)."""
        share = (1 - self.decay) / (1 - self.decay**step)
        torch._foreach_lerp_(list(self.averages.values()), list(self.parameters.values()), share)

    def tensors(self) -> dict[str, Tensor]:
        """The averages by name, to save and to load in place."""
        return self.averages

    @torch.no_grad()
    def store(self) -> None:
        """Put the averages into the parameters for good."""
        for name, parameter in self.parameters.items():
            parameter.copy_(self.averages[name])

    @contextmanager
    def swap(self) -> Iterator[None]:
        """The parameters are the averages inside, and themselves again afterwards."""
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    @torch.no_grad()
    def _exchange(self) -> None:
        for name, parameter in self.parameters.items():
            kept = parameter.clone()
            parameter.copy_(self.averages[name])
            self.averages[name].copy_(kept)
