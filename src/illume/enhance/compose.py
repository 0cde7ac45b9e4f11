"""Step 4: verdicts become dialogues to learn from (ILLUME, section 3); it asks nobody and opens no model.

A good picture gives its assessment; a bad one its assessment and then the correction, drawn or in words. A bad picture
is only ever looked at: `check_targets` refuses records that would have one drawn.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from posixpath import normpath
from typing import Any, Literal, get_args

from illume.core.errors import CheckpointError, DataError
from illume.core.streams import seed_of
from illume.data.examples import drawn_keys
from illume.data.records import Record, Turn, read_records, to_dict
from illume.enhance.propose import Prompt, lines, read_prompts
from illume.enhance.round import RoundFolder, key_of
from illume.judge.drawings import read_drawings
from illume.judge.protocol import Drawing, Failure, Identity, Outcome
from illume.judge.verdicts import latest, read_verdicts
from illume.tasks.prompts import ASSESS, EXPLAIN, correction
from illume.tasks.verdict import Verdict

Correction = Literal["image", "text", "none"]
CORRECTIONS: tuple[str, ...] = get_args(Correction)


@dataclass(frozen=True)
class Composing:
    """`correction`: what follows the assessment of a bad picture: the right one drawn, the same in words, or nothing.

    `good`: the share of good pictures among the records; those too many are left out, by chance (None: all as they
    came).
    """

    correction: Correction = "image"
    good: float | None = None

    def __post_init__(self) -> None:
        if self.correction not in CORRECTIONS:
            raise ValueError(f"correction {self.correction!r}: there are {', '.join(CORRECTIONS)}")
        if self.good is not None and not 0 <= self.good <= 1:
            raise ValueError(f"good ({self.good}) is a share from 0 to 1")


@dataclass(frozen=True)
class Assessed:
    """A drawing with what was said of it, and the prompt it belongs to (None: it was taken out by hand).

    `image` and `truth`, the prompt's true picture, are paths from the round's folder.
    """

    drawing: Drawing
    image: str
    outcome: Outcome | None
    prompt: Prompt | None
    truth: str | None = None


@dataclass(frozen=True)
class Composed:
    """What became of the drawings: records of good and bad ones, bad ones with their correction, and those left out."""

    good: int
    bad: int
    corrected: int
    left_out: Mapping[str, int]

    def to_dict(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)


def compose(folder: RoundFolder, composing: Composing | None = None) -> Composed:
    """Write records.jsonl. DataError where no drawing has a verdict, CheckpointError where records were edited since.

    Drawings without a verdict are left out and counted: nobody knows whether they are good.
    """
    composing = composing or Composing()
    found = judged(folder)
    of = made_of(folder, found) | asdict(composing)
    kept, left_out = _kept(found, composing.good)
    if not kept:
        told = ", ".join(f"{count} {why}" for why, count in left_out.items()) or "there are no drawings"
        raise DataError(f"{folder.verdicts}: nothing to learn from: {told}")
    targets = corrections(found)
    records = [to_record(one, targets.get(one.drawing.prompt), composing.correction) for one in kept]
    check_targets(records, bad_images(found))
    folder.settle("compose", of, lines(to_dict(record) for record in records))
    good = sum(passed(one) for one in kept)
    corrected = sum(record.task != "assess" or len(record.images) > 1 for record in records)
    return Composed(good, len(kept) - good, corrected, left_out)


def assessed(folder: RoundFolder, identity: Identity) -> list[Assessed]:
    """Every drawing of a round with what one judge said of it, in the order of the drawings."""
    prompts = {prompt.text: prompt for prompt in read_prompts(folder.prompts)}
    said = latest(read_verdicts(folder.verdicts), identity)
    outcomes = {content: line.outcome for content, line in said.items()}
    found = []
    for one in read_drawings(folder.drawings):
        prompt = prompts.get(one.prompt)
        truth = inner(prompt.image, folder.path) if prompt is not None and prompt.image is not None else None
        found.append(Assessed(one, inner(one.image, folder.path), outcomes.get(one.content), prompt, truth))
    return found


def judged(folder: RoundFolder) -> list[Assessed]:
    """Every drawing with what the judge said who judged last. CheckpointError where nobody did."""
    said = folder.made_of("assess")
    if said is None:
        raise CheckpointError(f"{folder.verdicts}: the drawings of this round were not judged: run the step 'assess'")
    return assessed(folder, Identity(said["judge"]["name"], said["judge"]["settings"]))


def made_of(folder: RoundFolder, found: Iterable[Assessed]) -> dict[str, Any]:
    """What a file of judged drawings is made of: not the lines of verdicts.jsonl, among which there may be older ones
    and another judge's, but those that hold."""
    held = [[one.drawing.key, None if one.outcome is None else asdict(one.outcome)] for one in found]
    return {name: folder.digest(name) for name in ("propose", "paint")} | {"assess": key_of(held)}


def corrections(found: Iterable[Assessed]) -> dict[str, str]:
    """Prompt -> the picture that a correction draws: the true one, else the first drawing that passes."""
    targets: dict[str, str] = {}
    for one in found:
        if one.truth is not None:
            targets[one.drawing.prompt] = one.truth
        elif passed(one):
            targets.setdefault(one.drawing.prompt, one.image)
    return targets


def to_record(one: Assessed, target: str | None, how: Correction) -> Record:
    """The dialogue that a judged drawing teaches; `target` is the right picture, where there is one."""
    verdict, prompt = one.outcome, one.drawing.prompt
    assert isinstance(verdict, Verdict)  # the others were left out
    if not verdict.overall and how == "text":
        asked = Turn("user", (0, ASSESS + prompt))
        said, told = (Turn("assistant", (text,)) for text in (verdict.to_json(), correction(prompt, verdict)))
        messages = (asked, said, Turn("user", (EXPLAIN,)), told)
        return Record("chat", images=(one.image,), messages=messages, id=one.drawing.key)
    drawn = (target,) if target is not None and how == "image" and not verdict.overall else ()
    return Record("assess", images=(one.image, *drawn), text=prompt, verdict=verdict, id=one.drawing.key)


def bad_images(found: Iterable[Assessed]) -> set[str]:
    """The pictures that nobody may learn to draw: those that failed, and those of which nobody knows."""
    return {one.image for one in found if not passed(one)}


def bad_of(folder: RoundFolder) -> set[str]:
    """The same of a round: all of its drawings, where nobody judged them."""
    if not folder.drawings.is_file():
        return set()
    if folder.made_of("assess") is None:
        return {inner(one.image, folder.path) for one in read_drawings(folder.drawings)}
    return bad_images(judged(folder))


def check_targets(records: Iterable[Record], bad: Collection[str]) -> None:
    """DataError for the first record that has a bad picture drawn, however the record spells its path."""
    for record in records:
        if drawn := [image for image in drawn_keys(record) if normpath(image) in bad]:
            raise DataError(f"{record.where or record.id}: {drawn[0]} did not pass, and would be learnt to be drawn")


def check_shown(drawn: Iterable[tuple[str, str, str]], found: Iterable[Assessed]) -> None:
    """DataError for the first picture that was made for another prompt, of (where, prompt, picture): that it shows this
    one nobody has said."""
    prompts = defaultdict(set)
    for one in found:
        for image in filter(None, (one.image, one.truth)):
            prompts[image].add(one.drawing.prompt)
    for where, prompt, image in drawn:
        known = prompts.get(normpath(image))
        if known is not None and prompt not in known:
            raise DataError(f"{where}: {image} was made for {min(known)!r}, and would be learnt to be {prompt!r}")


def check_round(folder: RoundFolder) -> list[Record]:
    """The records of a round, edited or not. DataError for whatever is wrong with them, bad targets included."""
    records, _ = read_records(folder.records)
    check_targets(records, bad_of(folder))
    if folder.made_of("assess") is not None:
        texts = [record for record in records if record.task in ("assess", "draw")]
        drawn = ((one.where or str(one.id), one.text, image) for one in texts for image in drawn_keys(one))
        check_shown(drawn, judged(folder))
    return records


def passed(one: Assessed) -> bool:
    """Whether there is a verdict, and it is good."""
    return isinstance(one.outcome, Verdict) and one.outcome.overall


def inner(image: object, folder: Path) -> str:
    """A picture's path from the round's folder, in its one spelling. DataError where it is elsewhere: records name none
    such."""
    try:
        name = normpath(Path(str(image)).relative_to(folder).as_posix())
    except ValueError:
        name = ".."
    if name.startswith(".."):
        raise DataError(f"{image} is not in {folder}: copy it there, records of a round name its own pictures")
    return name


def _kept(found: Sequence[Assessed], good: float | None) -> tuple[list[Assessed], dict[str, int]]:
    """The drawings to make records of, in their order, and how many were left out why."""
    why = [_fault(one) for one in found]
    left_out = Counter(reason for reason in why if reason)
    kept = [one for one, reason in zip(found, why, strict=True) if not reason]
    if good is not None:
        balanced = _balanced(kept, good)
        left_out["to balance good and bad"] += len(kept) - len(balanced)
        kept = balanced
    return kept, {reason: count for reason, count in left_out.items() if count}


def _fault(one: Assessed) -> str | None:
    if one.prompt is None:
        return "without a prompt"
    if one.outcome is None:
        return "not judged"
    return one.outcome.kind if isinstance(one.outcome, Failure) else None


def _balanced(kept: Sequence[Assessed], good: float) -> list[Assessed]:
    """As many as there can be with this share of good ones; which, follows from their keys alone."""
    sides = [[one for one in kept if passed(one) == side] for side in (True, False)]
    shares = (good, 1 - good)
    whole = min(len(side) / share for side, share in zip(sides, shares, strict=True) if share)
    chosen: set[str] = set()
    for side, share in zip(sides, shares, strict=True):
        by_chance = sorted(side, key=lambda one: seed_of("balance", one.drawing.key))
        chosen |= {one.drawing.key for one in by_chance[: round(whole * share)]}
    return [one for one in kept if one.drawing.key in chosen]
