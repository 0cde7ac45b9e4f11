"""A mixture says which items of which sources make up a step, as a pure function of the step; it opens no item."""

from collections.abc import Sequence
from fractions import Fraction
from typing import NamedTuple

from illume.core.errors import ConfigError
from illume.data.permutation import permuted
from illume.data.sources import Source


class Draw(NamedTuple):
    """One sample of a step: the source's place in the mixture, the item in the source, the source's epoch."""

    source: int
    item: int
    epoch: int


class Mixture:
    """Sources in fixed proportions, each visited in a permutation of its own every epoch.

    The shares are exact over time: after n samples a source has given its share of n, up to one sample for each source
    of the mixture; with shares that divide the batch every step has exactly the same numbers. Nothing depends on how
    many processes read it.
    """

    def __init__(self, entries: Sequence[tuple[Source, float]], seed: int = 0) -> None:
        if not entries:
            raise ConfigError("a mixture needs at least one source")
        names = [source.name for source, _ in entries]
        for (source, weight), name in zip(entries, names, strict=True):
            if not weight > 0:
                raise ConfigError(f"the weight of source {name!r} is {weight}: it has to be above 0 (or leave it out)")
            if len(source) == 0:
                raise ConfigError(f"the source {name!r} has no items")
            if names.count(name) > 1:
                raise ConfigError(f"two sources of one mixture are called {name!r}: rename one")
        self.sources: tuple[Source, ...] = tuple(source for source, _ in entries)
        self.seed = seed
        self._ratios = _ratios([weight for _, weight in entries])

    def at(self, step: int, batch_size: int) -> list[Draw]:
        """The `batch_size` samples of a step, in the order of the sources."""
        before, after = self.counts(step * batch_size), self.counts((step + 1) * batch_size)
        return [
            self._draw(index, number)
            for index in range(len(self.sources))
            for number in range(before[index], after[index])
        ]

    def counts(self, num_samples: int) -> tuple[int, ...]:
        """How many of the first `num_samples` samples each source gives; never falls as the number rises."""
        left = num_samples
        counts = []
        for ratio in self._ratios:
            taken = left * ratio.numerator // ratio.denominator
            counts.append(taken)
            left -= taken
        return tuple(counts)

    def _draw(self, index: int, number: int) -> Draw:
        source = self.sources[index]
        epoch, place = divmod(number, len(source))
        return Draw(index, permuted(place, len(source), self.seed, source.name, epoch), epoch)


def _ratios(weights: Sequence[float]) -> list[Fraction]:
    """Each source's share of what the sources before it have left over.

    Taking the floor of a share of the rest, one source after the other, gives numbers that add up exactly and only ever
    rise; flooring each source's share of the whole would not. Fractions, because .1 * 30 is not 3 in floating point.
    """
    exact = [Fraction(weight).limit_denominator(10**6) for weight in weights]
    if any(weight == 0 for weight in exact):
        raise ConfigError("the weights of a mixture differ by more than a million: the smallest would never be drawn")
    return [weight / sum(exact[index:]) for index, weight in enumerate(exact)]
