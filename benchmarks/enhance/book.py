"""All results together: which seeds an arm has in which configuration, what it is compared with, and the goals."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean

from benchmarks.enhance.depends import CONTROLS, DEPENDS, EXTENSIONS, ORACLE, result_hash
from benchmarks.enhance.experiment import Experiment
from benchmarks.enhance.intervals import Difference, paired
from benchmarks.enhance.results import Result, Score, by_seed

BEATS = 0.03  # in drawing, both controls
GAINS = 0.10  # the best extension, in drawing
LOSS = 0.01  # a mean that is lower by no more than this is no loss, unless its interval lies below 0


@dataclass(frozen=True)
class Variant:
    """An arm in one configuration, its results by seed; `label` says how it differs from the arm's main one."""

    arm: str
    hash: str
    label: str
    results: Mapping[int, Result]

    @property
    def any(self) -> Result:
        """One of them, for what all have in common."""
        return next(iter(self.results.values()))

    def scores(self, name: str) -> dict[int, Score]:
        """A score by seed, of the seeds that have it."""
        return {seed: result.scores[name] for seed, result in self.results.items() if name in result.scores}

    def mean(self, name: str) -> float | None:
        """Over its seeds; None where none has it."""
        found = [score.score for score in self.scores(name).values()]
        return mean(found) if found else None


@dataclass(frozen=True)
class Book:
    """The variants in the order of the arms, the main one of each first."""

    variants: Sequence[Variant]

    def compared(self, variant: Variant) -> dict[str, Variant]:
        """What a variant is compared with, by arm; what is not there is left out."""
        wanted = variant.any.against
        found = {one.arm: one for one in self.variants if wanted.get(one.arm) == one.hash}
        return {arm: found[arm] for arm in wanted if arm in found}

    def difference(self, variant: Variant, arm: str, score: str) -> Difference | None:
        """To another arm; None where it, or a seed of both, is missing."""
        other = self.compared(variant).get(arm)
        return None if other is None else paired(variant.scores(score), other.scores(score))

    def main(self, arm: str) -> Variant | None:
        """The variant that the goals are asked of: most seeds, then the shipped configuration, then by name."""
        return next((variant for variant in self.variants if variant.arm == arm), None)


@dataclass(frozen=True)
class Goal:
    """What came out, None where nothing did yet, and whether that is enough."""

    name: str
    difference: Difference | None
    met: bool


def open_book(results: Sequence[Result]) -> Book:
    """Results as variants. Arms that are no longer known stand last."""
    groups: dict[tuple[str, str], list[Result]] = {}
    for result in results:
        groups.setdefault((result.arm, result.hash), []).append(result)
    order = list(DEPENDS)
    known = sorted({arm for arm, _ in groups}, key=lambda arm: (order.index(arm) if arm in order else len(order), arm))
    variants: list[Variant] = []
    for arm in known:
        shipped = result_hash(Experiment(), arm) if arm in order else None
        keys = [key for key in groups if key[0] == arm]
        keys.sort(key=lambda key: (-len(groups[key]), key[1] != shipped, key))
        main = groups[keys[0]][0]
        variants += [Variant(*key, _label(groups[key][0], main), by_seed(groups[key])) for key in keys]
    return Book(variants)


def _label(result: Result, main: Result) -> str:
    """The arm's name, and the settings in which it is not the main variant, as a person would give them."""
    names = dict.fromkeys((*main.settings, *result.settings))
    differing = [name for name in names if result.settings.get(name) != main.settings.get(name)]
    given = [f"{name.partition('.')[2] or name}={result.settings.get(name)}" for name in differing]
    return " ".join([result.arm, *given])


def goals(book: Book) -> list[Goal]:
    """What the experiment is to show. An interval over the items of one seed meets no goal."""
    found = []
    assessed = book.main(ORACLE)
    for control in CONTROLS:
        more = None if assessed is None else book.difference(assessed, control, "draw")
        seen = None if assessed is None else book.difference(assessed, control, "see")
        found.append(Goal(f"{ORACLE} draws better than {control} by {BEATS}", more, _counts(more) and beats(more)))
        found.append(Goal(f"{ORACLE} sees no worse than {control}", seen, _counts(seen) and keeps(seen)))
    best = best_extension(book)
    name = "the best extension" if best is None else best.arm
    gain = None if best is None else book.difference(best, "baseline", "draw")
    seen = None if best is None else book.difference(best, "baseline", "see")
    gained = gain is not None and _counts(gain) and gain.mean >= GAINS
    found.append(Goal(f"{name} draws better than the baseline by {GAINS}", gain, gained))
    return [*found, Goal(f"{name} sees no worse than the baseline", seen, _counts(seen) and keeps(seen))]


def best_extension(book: Book) -> Variant | None:
    """What came after the paper and gains most in drawing, of those that lose nothing in seeing or else of all."""
    found = [variant for variant in map(book.main, EXTENSIONS) if variant is not None]
    gains = {one.arm: book.difference(one, "baseline", "draw") for one in found}
    seen = {one.arm: book.difference(one, "baseline", "see") for one in found}
    compared = [one for one in found if gains[one.arm] is not None]
    lossless = [one for one in compared if keeps(seen[one.arm])]
    return max(lossless or compared, key=lambda one: getattr(gains[one.arm], "mean", 0.0), default=None)


def beats(difference: Difference | None) -> bool:
    """By enough, the whole interval above 0."""
    return difference is not None and difference.mean >= BEATS and difference.above


def keeps(difference: Difference | None) -> bool:
    """Without a loss."""
    return difference is not None and difference.mean >= -LOSS and not difference.below


def _counts(difference: Difference | None) -> bool:
    return difference is not None and difference.over == "seeds"
