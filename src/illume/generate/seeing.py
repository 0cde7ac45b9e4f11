"""Images that requests show, read by the model: equal pictures once, and not again while they are remembered.

It does not know what is asked about them.
"""

from collections import OrderedDict
from collections.abc import Mapping

from illume.generate.request import Pixels
from illume.generate.runner import Runner
from illume.generate.sequence import Features


class Seen:
    """The features of the last `most` pictures that were read."""

    def __init__(self, runner: Runner, most: int = 64) -> None:
        self._runner = runner
        self._most = most
        self._features: OrderedDict[str, Features] = OrderedDict()

    def features(self, pictures: Mapping[str, Pixels]) -> dict[str, Features]:
        """The features of pictures by their names."""
        new = [name for name in pictures if name not in self._features]
        if new:
            self._features.update(zip(new, self._runner.see([pictures[name] for name in new]), strict=True))
        for name in pictures:
            self._features.move_to_end(name)
        found = {name: self._features[name] for name in pictures}
        while len(self._features) > self._most:
            self._features.popitem(last=False)
        return found
