"""Several objectives of one model learnt together, each from batches of its own kind; it does not know any of them."""

from collections.abc import Mapping
from typing import Any

from torch import nn

from illume.train.objective import HasState, Loss, Objective


class JointObjective:
    """A batch goes to the objective of its class. Every step brings batches of all kinds, which count by their sizes:
    a sample as much as a pair or a drawing. The objectives share their modules, and name their metrics apart."""

    def __init__(self, objectives: Mapping[type, Objective]) -> None:
        self.objectives = dict(objectives)

    def modules(self) -> Mapping[str, nn.Module]:
        """The modules that all share."""
        return next(iter(self.objectives.values())).modules()

    def size(self, batch: Any) -> int:
        """As its objective says."""
        return self.objectives[type(batch)].size(batch)

    def loss(self, batch: Any) -> Loss:
        """As its objective says."""
        return self.objectives[type(batch)].loss(batch)

    def state(self) -> dict[str, Any]:
        """What the objectives keep, by the name of their batches."""
        return {kind.__name__: one.state() for kind, one in self.objectives.items() if isinstance(one, HasState)}

    def load_state(self, state: dict[str, Any]) -> None:
        for kind, one in self.objectives.items():
            if isinstance(one, HasState):
                one.load_state(state[kind.__name__])
