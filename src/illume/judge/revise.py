"""Revising at inference: a drawing that does not pass is drawn again, with the verdict in the context.

An extension: the paper has a model learn such dialogues (ILLUME, section 3), not draw by them. What is said is the
dialogue that it learns from: the drawing as it is seen, its assessment, the correction. It is always of one drawing,
the last, for longer ones are in no record.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from PIL import Image

from illume.api import Illume
from illume.core.errors import ContextError, FormatError, RequestError
from illume.core.streams import seed_of
from illume.generate.coded import Coder, coded
from illume.generate.request import Request
from illume.generate.sequence import Sequence as Conversation
from illume.generate.sequence import Walk
from illume.generate.shown import pixels_of
from illume.judge.best_of import judged
from illume.judge.choice import Candidate, Choice
from illume.judge.protocol import Drawing, Judge
from illume.tasks import prompts
from illume.tasks.verdict import CRITERIA, Criterion, Verdict
from illume.vocab.messages import ImagePart

Ended = Literal["passed", "unjudged", "no room", "enough"]
"""passed: the last drawing did. unjudged: there is no verdict of it. no room: it cannot be drawn again, for with its
verdict the dialogue is too long for the model. enough: it was drawn again as often as was asked for."""

SHORTEST = Verdict.of({name: Criterion(True, "", name != CRITERIA[0]) for name in CRITERIA})
"""The shortest verdict that a drawing does not pass by."""


@dataclass(frozen=True)
class Chain(Choice):
    """A picture's drawings, each a revision of the one before, and why there is no further one."""

    ended: Ended = "enough"

    def to_dict(self) -> dict[str, Any]:
        """As plain data, without the pictures."""
        return {**super().to_dict(), "ended": self.ended}


def revise(illume: Illume, judge: Judge, begun: Sequence[Choice], times: int, **settings: Any) -> list[Chain]:
    """Chains that begin with the drawings taken in `begun`, each drawn again until one passes, at most `times` times.

    `judge` is the one that looked at `begun`; a model's own assessment is `SelfJudge(illume)`, and `best_of` with 1
    draws and assesses to begin with. settings as in `Illume.draw`. All chains go on together: one run draws, one run
    judges. What is drawn depends on the drawing before, its verdict, and the seed of the first one.
    """
    if times < 1:
        raise RequestError(f"revising {times} times: it is once or more")
    chains = [[choice.candidates[choice.taken or 0]] for choice in begun]
    crowded: set[int] = set()
    for number in range(1, times + 1):
        going = [i for i, chain in enumerate(chains) if i not in crowded and _revisable(chain[-1])]
        if not going:
            break
        asked = [_revision(illume, chains[i], number, settings) for i in going]
        pictures = dict(zip(going, _drawn(illume, asked), strict=True))
        crowded |= {i for i, picture in pictures.items() if picture is None}
        _look(chains, {i: picture for i, picture in pictures.items() if picture is not None}, judge, number)
    return [Chain(tuple(chain), _ended(chain[-1], i in crowded)) for i, chain in enumerate(chains)]


def revision_request(
    illume: Illume, picture: Image.Image, prompt: str, verdict: Verdict, seed: int = 0, **settings: Any
) -> Request:
    """What asks for a drawing anew: the picture, what was said of it, and to draw it again correctly."""
    messages = prompts.correct(ImagePart(illume.frame, image="image"), prompt, verdict)
    return illume.request("draw", messages, {"image": pixels_of(illume.pixels(picture))}, seed, **settings)


def check_revising(illume: Illume, texts: Sequence[str]) -> None:
    """Before anything is drawn: RequestError where a model cannot look at its drawing of a text and draw it again.

    Its format has no way to show it one, or it has no room for the shortest such dialogue.
    """
    check, blank = _room(illume), Image.new("RGB", illume.parts.image_size[::-1])
    for text in texts:
        try:
            check(illume.assess_request(blank, text))
            check(revision_request(illume, blank, text, SHORTEST))
        except (RequestError, FormatError) as error:
            raise RequestError(f"this model cannot revise its drawing of {text!r:.80}: {error}") from error


def _room(illume: Illume) -> Callable[[Request], None]:
    """Raises, for a request, what the engine would: ContextError where it is too long for a row."""
    parts = illume.parts
    walk = Walk(parts.layout, parts.text, parts.reading)
    tokenize = Coder(parts.tokenizer) if parts.reading == "codes" else None

    def check(request: Request) -> None:
        shown = request if tokenize is None else coded(request, tokenize)
        Conversation(0, shown, walk).check_room(parts.generation.max_length)

    return check


def _revisable(last: Candidate) -> bool:
    return isinstance(last.outcome, Verdict) and not last.outcome.overall


def _revision(illume: Illume, chain: Sequence[Candidate], number: int, settings: dict[str, Any]) -> Request:
    last, verdict = chain[-1], chain[-1].outcome
    assert isinstance(verdict, Verdict)  # it is revisable
    picture = last.drawing.picture()
    return revision_request(illume, picture, last.drawing.prompt, verdict, revision_seed(chain, number), **settings)


def revision_seed(chain: Sequence[Candidate], number: int) -> int:
    """The seed of a chain's drawing, counted from 0: it follows from that of the first."""
    first = chain[0].seed
    return first if number == 0 else seed_of("revise", first, number) >> 11  # 53 bits: exact in any JSON reader


def _drawn(illume: Illume, requests: Sequence[Request]) -> list[Image.Image | None]:
    """Their pictures, drawn in one run; None for a dialogue that is too long for the model."""
    check = _room(illume)
    fit = [_fits(request, check) for request in requests]
    pictures = iter(illume.pictures([request for request, fits in zip(requests, fit, strict=True) if fits]))
    return [next(pictures) if fits else None for fits in fit]


def _fits(request: Request, check: Callable[[Request], None]) -> bool:
    try:
        check(request)
    except ContextError:
        return False
    return True


def _look(chains: list[list[Candidate]], pictures: dict[int, Image.Image], judge: Judge, number: int) -> None:
    """Judge what was drawn, and put it at the end of the chains."""
    drawings = {i: _again(chains[i][0].drawing, picture, number) for i, picture in pictures.items()}
    outcomes = judged(list(drawings.values()), judge)
    for i, drawing in drawings.items():
        chains[i].append(Candidate(drawing, revision_seed(chains[i], number), outcomes[drawing.content]))


def _again(first: Drawing, picture: Image.Image, number: int) -> Drawing:
    return Drawing(first.prompt, picture, f"{first.key}, revision {number}", first.spec)


def _ended(last: Candidate, crowded: bool) -> Ended:
    if crowded:
        return "no room"
    if not isinstance(last.outcome, Verdict):
        return "unjudged"
    return "passed" if last.passed else "enough"
