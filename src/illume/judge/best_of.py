"""Best of several drawings at inference: a model draws candidates, a judge looks, the best is taken.

An extension: the paper does not draw so. It does not know who judges.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from illume.api import Illume
from illume.core.errors import JudgeError, RequestError
from illume.judge.choice import Candidate, Choice
from illume.judge.protocol import Drawing, Judge, Outcome

Sketch = tuple[Drawing, int]
"""A drawing that nobody has judged, and its seed."""


def best_of(
    illume: Illume, judge: Judge, prompts: Sequence[str], of: int, n: int = 1, seed: int = 0, **settings: Any
) -> list[Choice]:
    """`n` pictures of each prompt, in the order of the prompts, each the best of `of` candidates.

    Everything is drawn in one run and judged in one. The candidates of a prompt are the pictures that `Illume.draw`
    draws with n * of and this seed, so that the best of one is plain drawing; settings as there. What the judge raises
    is raised; where it fails at single drawings, those are not taken.
    """
    return choose(sketches(illume, prompts, of, n, seed, **settings), judge)


def sketches(
    illume: Illume,
    prompts: Sequence[str],
    of: int,
    n: int = 1,
    seed: int = 0,
    *,
    specs: Sequence[Mapping[str, Any] | None] | None = None,
    **settings: Any,
) -> list[tuple[Sketch, ...]]:
    """The candidates of `best_of`, drawn and not judged yet; `specs` says what each prompt means, for judges that need
    it."""
    if of < 1 or n < 1:
        raise RequestError(f"the best of {of} candidates, {n} times: both are 1 or more")
    meant = [None] * len(prompts) if specs is None else specs
    pictures = iter(illume.draw(prompts, n=n * of, seed=seed, **settings))
    drawn: list[tuple[Sketch, ...]] = []
    for prompt, spec in zip(prompts, meant, strict=True):
        for first in range(seed, seed + n * of, of):
            numbers = range(first, first + of)
            drawn.append(tuple((Drawing(prompt, next(pictures), f"seed {s}", spec), s) for s in numbers))
    return drawn


def choose(
    drawn: Sequence[Sequence[Sketch]], judge: Judge, on_progress: Callable[[int], None] | None = None
) -> list[Choice]:
    """Judge all candidates in one run, and choose of each group. `on_progress` is given how many were judged.

    Candidates of one content are asked about once. JudgeError where the judge says nothing of one.
    """
    outcomes = judged([drawing for group in drawn for drawing, _ in group], judge, on_progress)
    return [Choice(tuple(Candidate(d, seed, outcomes[d.content]) for d, seed in group)) for group in drawn]


def judged(
    drawings: Sequence[Drawing], judge: Judge, on_progress: Callable[[int], None] | None = None
) -> dict[str, Outcome]:
    """Content -> what the judge says of it."""
    report = on_progress or (lambda drawings: None)
    many = Counter(drawing.content for drawing in drawings)
    questions = {drawing.content: drawing for drawing in drawings}
    outcomes: dict[str, Outcome] = {}
    for judgement in judge.judge(questions.values()):
        content = judgement.drawing.content
        outcomes[content] = judgement.outcome
        report(many[content])
    if missing := [drawing for content, drawing in questions.items() if content not in outcomes]:
        raise JudgeError(f"the judge {judge.identity} said nothing of a drawing of {missing[0].prompt!r:.80}")
    return outcomes
