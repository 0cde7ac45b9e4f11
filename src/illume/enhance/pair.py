"""Preference pairs of verdicts: of a prompt, a drawing that passes and one that fails; nobody is asked, nothing drawn.

A drawing that failed, or of which nobody knows, is never the preferred one: `check_pairs` refuses it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from posixpath import normpath

from illume.core.errors import DataError
from illume.core.streams import seed_of
from illume.data.pairs import Pair, read_pairs
from illume.enhance.compose import Assessed, bad_images, check_shown, judged, made_of, passed
from illume.enhance.propose import lines
from illume.enhance.round import RoundFolder, key_of
from illume.tasks.verdict import Verdict


@dataclass(frozen=True)
class Pairing:
    """`most` pairs of one prompt, chosen by chance among all. `truth`: where no drawing of a prompt passes, its true
    picture, if there is one, stands for one that does."""

    most: int = 4
    truth: bool = False

    def __post_init__(self) -> None:
        if self.most < 1:
            raise ValueError(f"most ({self.most}) is how many pairs a prompt may give, 1 or more")


def pair(folder: RoundFolder, pairing: Pairing | None = None) -> int:
    """Write pairs.jsonl; how many pairs there are. DataError where no prompt has a drawing of either kind.

    CheckpointError where nothing was judged, or the pairs were edited and what they were made of has changed since.
    """
    pairing = pairing or Pairing()
    found = judged(folder)
    pairs = pairs_of(found, pairing)
    if not pairs:
        raise DataError(
            f"{folder.verdicts}: no prompt has one drawing that passes and one that fails: draw more of each "
            "(--per-prompt), or let true pictures stand for those that pass (truth=true)"
        )
    check_pairs(pairs, found)
    of = made_of(folder, found) | asdict(pairing)
    folder.settle("pair", of, lines(one.to_dict() for one in pairs))
    return len(pairs)


def pairs_of(found: Iterable[Assessed], pairing: Pairing) -> list[Pair]:
    """The pairs of each prompt, in the order of the prompts."""
    by_prompt: dict[str, list[Assessed]] = {}
    for one in found:
        if one.prompt is not None and isinstance(one.outcome, Verdict):
            by_prompt.setdefault(one.drawing.prompt, []).append(one)
    return [made for prompt, drawings in by_prompt.items() for made in _of_prompt(prompt, drawings, pairing)]


def check_pairs(pairs: Iterable[Pair], found: Sequence[Assessed]) -> None:
    """DataError for the first pair that prefers a picture which did not pass, or one of another prompt."""
    bad, pairs = bad_images(found), list(pairs)
    for one in pairs:
        if normpath(one.chosen) in bad:
            raise DataError(f"the pair {one.key!r} prefers {one.chosen}, which did not pass")
    check_shown(((f"the pair {one.key!r}", one.prompt, one.chosen) for one in pairs), found)


def round_pairs(folder: RoundFolder) -> list[Pair]:
    """The pairs of a round, edited or not. DataError for whatever is wrong with them, bad preferred ones included."""
    pairs = read_pairs(folder.file("pair"))
    check_pairs(pairs, judged(folder))
    return pairs


def _of_prompt(prompt: str, drawings: Sequence[Assessed], pairing: Pairing) -> list[Pair]:
    good = [one.image for one in drawings if passed(one)]
    if not good and pairing.truth and drawings[0].truth is not None:
        good = [drawings[0].truth]
    bad = [one.image for one in drawings if not passed(one)]
    pairs = [Pair(key_of(prompt, chosen, rejected), prompt, chosen, rejected) for chosen in good for rejected in bad]
    chosen = {one.key for one in sorted(pairs, key=lambda one: seed_of("pair", one.key))[: pairing.most]}
    return [one for one in pairs if one.key in chosen]
