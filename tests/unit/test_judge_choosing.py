"""Best of several, and revising: what is taken, what is asked, and that the same seeds give the same.

The judges are fakes; the model is a tiny random one that really draws.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import product
from typing import Any

import pytest

from fixtures.choosing import ByKey
from fixtures.drawings import picture
from fixtures.rounds import ByContent, verdict
from fixtures.tiny_model_folder import tiny_illume, tiny_parts
from fixtures.tiny_sessions import Recording, session_parts
from illume.api import Illume
from illume.core.errors import JudgeError, RequestError
from illume.data.examples import Pictures, messages
from illume.enhance.compose import Assessed, to_record
from illume.judge import choice as choice_module
from illume.judge import revise as revise_module
from illume.judge.best_of import best_of, choose, sketches
from illume.judge.choice import Candidate, Choice, best
from illume.judge.own import SelfJudge
from illume.judge.protocol import Drawing, Failure, Identity, Judgement, Outcome, passes
from illume.judge.revise import Chain, check_revising, revise
from illume.tasks import prompts
from illume.tasks.verdict import CRITERIA, Criterion, Verdict
from illume.vocab.format import render
from illume.vocab.messages import ImagePart

PROMPTS = ["a red circle", "two {blue} squares"]
NO = Failure("refused", "no")


class Saying:
    """Says these outcomes in turn, of each drawing the next one."""

    def __init__(self, *outcomes: Outcome) -> None:
        self.identity = Identity("saying")
        self.outcomes = iter(outcomes)
        self.runs = 0

    def judge(self, drawings: Iterable[Drawing]) -> Iterator[Judgement]:
        self.runs += 1
        return (Judgement(drawing, next(self.outcomes)) for drawing in drawings)


def drawer(strict: bool = True, levels: int = 1, **changes: Any) -> Illume:
    """A model with room for dialogues, that draws in few steps."""
    parts = session_parts(levels)
    return Illume(replace(parts, generation=replace(parts.generation, **changes)), strict=strict)


def seen(choices: Sequence[Choice]) -> list[Any]:
    """All that there is to a choice."""
    return [(one.to_dict(), [c.drawing.picture().tobytes() for c in one.candidates]) for one in choices]


# --- which one is taken


def judged(wrong: str = "", left_out: str = "") -> Verdict:
    """A verdict by letters: criteria that fail, and those that do not apply (whatever they say)."""
    letters = dict(zip("ocar", CRITERIA, strict=True))
    names = {letters[letter] for letter in wrong}, {letters[letter] for letter in left_out}
    return Verdict.of({name: Criterion(name not in names[1], "seen", name not in names[0]) for name in CRITERIA})


OUTCOMES: list[Outcome] = [NO, judged(), judged(left_out="ar"), judged("o"), judged("oc"), judged("o", left_out="car")]


def check_taken(take: Callable[[Sequence[Outcome]], int | None], longest: int = 3) -> None:
    """A passing one wherever there is one, then most applicable criteria passed, then the first; never a failure."""
    for length in range(longest + 1):
        for outcomes in product(OUTCOMES, repeat=length):
            verdicts = [one for one in outcomes if isinstance(one, Verdict)]
            taken = take(outcomes)
            assert (taken is None) == (not verdicts)
            if taken is None:
                continue
            found = outcomes[taken]
            assert isinstance(found, Verdict)
            assert found.overall == any(one.overall for one in verdicts)
            alike = [i for i, one in enumerate(outcomes) if isinstance(one, Verdict) and one.overall == found.overall]
            assert all(num_passed(outcomes[i]) <= num_passed(found) for i in alike)
            assert all(num_passed(outcomes[i]) < num_passed(found) for i in alike if i < taken)


def num_passed(outcome: Outcome) -> int:
    assert isinstance(outcome, Verdict)
    return len([one for one in outcome.criteria.values() if one.applicable and one.passed])


def test_the_best_is_taken() -> None:
    check_taken(best)


@pytest.mark.parametrize(
    "broken",
    [
        lambda outcomes: 0 if outcomes else None,
        lambda outcomes: next((i for i, one in enumerate(outcomes) if passes(one)), None),
        lambda outcomes: max(
            (i for i, one in enumerate(outcomes) if isinstance(one, Verdict)),
            key=lambda i: num_passed(outcomes[i]),
            default=None,
        ),
        lambda outcomes: max(
            (i for i, one in enumerate(outcomes) if isinstance(one, Verdict)),
            key=lambda i: (outcomes[i].overall, sum(one.passed for one in outcomes[i].criteria.values())),
            default=None,
        ),
        lambda outcomes: None if best(outcomes) is None else len(outcomes) - 1 - (best(outcomes[::-1]) or 0),
    ],
    ids=["the first", "only passing", "count alone", "not applicable", "the last"],
)
def test_the_check_catches_another_rule(broken: Callable[..., Any]) -> None:
    with pytest.raises(AssertionError):
        check_taken(broken)


# --- best of several


def check_plain(take: Callable[..., list[Choice]]) -> None:
    """The best of one is what `draw` draws, bit for bit, whatever the judge thinks of it."""
    choices = take(tiny_illume(), Saying(*[verdict(False)] * 4), PROMPTS, 1, n=2, seed=5, top_k=3)
    plain = tiny_illume().draw(PROMPTS, n=2, seed=5, top_k=3)
    assert [one.picture.tobytes() for one in choices] == [one.tobytes() for one in plain]
    assert [one.prompt for one in choices] == [PROMPTS[0], PROMPTS[0], PROMPTS[1], PROMPTS[1]]


def test_the_best_of_one_is_plain_drawing() -> None:
    check_plain(best_of)


def test_the_check_catches_other_seeds() -> None:
    def shifted(*asked: Any, seed: int, **settings: Any) -> list[Choice]:
        return best_of(*asked, seed=seed + 1, **settings)

    with pytest.raises(AssertionError):
        check_plain(shifted)


def check_best(choices: Sequence[Choice], judge: Any) -> int:
    """No failing picture is given where a passing one was drawn; how many of the choices that concerns."""
    mixed = 0
    for one in choices:
        outcomes = [judge.outcome(candidate.drawing) for candidate in one.candidates]
        assert outcomes == [candidate.outcome for candidate in one.candidates]
        if any(map(passes, outcomes)):
            shown = [c for c in one.candidates if c.drawing.picture().tobytes() == one.picture.tobytes()]
            assert any(map(passes, [judge.outcome(candidate.drawing) for candidate in shown]))
            mixed += not all(map(passes, outcomes))
    return mixed


def test_a_passing_candidate_is_taken_wherever_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    choices = best_of(tiny_illume(), ByKey(), [*PROMPTS, "x", "y"], 4, n=2)
    assert check_best(choices, ByKey()) >= 4
    monkeypatch.setattr(choice_module, "best", lambda outcomes: len(outcomes) - 1)
    with pytest.raises(AssertionError):
        check_best(choices, ByKey())


def test_everything_is_drawn_in_one_run_and_judged_in_one(monkeypatch: pytest.MonkeyPatch) -> None:
    model, judge = Recording(tiny_parts()), Saying(*[verdict(True)] * 12)
    runs: list[int] = []
    run = model.run

    def counted(requests: Any) -> Any:
        wanted = list(requests)
        runs.append(len(wanted))
        return run(wanted)

    monkeypatch.setattr(model, "run", counted)
    choices = best_of(model, judge, PROMPTS, 3, n=2, seed=7)
    assert (runs, judge.runs) == ([12], 1)
    assert [[c.seed for c in one.candidates] for one in choices] == [[7, 8, 9], [10, 11, 12]] * 2
    assert [held.request.seed for held in model.held] == [7, 8, 9, 10, 11, 12] * 2


def test_a_candidate_can_be_drawn_again_by_its_seed() -> None:
    model = tiny_illume(strict=True)
    for one in best_of(model, ByKey(), PROMPTS, 3, seed=2):
        for candidate in one.candidates:
            (again,) = model.draw(one.prompt, seed=candidate.seed)
            assert again.tobytes() == candidate.drawing.picture().tobytes()


def test_the_same_seeds_choose_the_same() -> None:
    choices = [best_of(tiny_illume(), ByKey(), PROMPTS, 4, seed=3) for _ in range(2)]
    assert seen(choices[0]) == seen(choices[1])
    other = best_of(tiny_illume(), ByKey(), PROMPTS, 4, seed=300)
    assert seen(other) != seen(choices[0])


def test_where_the_judge_fails_the_others_are_taken() -> None:
    choices = best_of(tiny_illume(), Saying(NO, verdict(False), NO, NO, NO, NO), PROMPTS, 3)
    assert [one.taken for one in choices] == [1, None]
    assert choices[0].to_dict()["candidates"][0] == {"seed": 0, "failure": {"kind": "refused", "reason": "no"}}
    with pytest.raises(JudgeError, match=r"no verdict of any of 3 drawings of 'two \{blue\} squares' \(refused: no\)"):
        _ = choices[1].picture


def test_one_content_is_asked_about_once() -> None:
    judge = ByContent()
    told: list[int] = []
    same = [(Drawing("x", picture(1), str(i)), i) for i in range(3)]
    (found,) = choose([same], judge, told.append)
    assert (list(judge.asked.values()), told, len(found.candidates)) == ([1], [3], 3)


def test_a_judge_that_says_nothing_is_an_error() -> None:
    class Silent(Saying):
        def judge(self, drawings: Iterable[Drawing]) -> Iterator[Judgement]:
            return iter(list(super().judge(drawings))[1:])

    with pytest.raises(JudgeError, match="said nothing of a drawing of 'a red circle'"):
        best_of(tiny_illume(), Silent(verdict(True), verdict(True)), PROMPTS[:1], 2)


def test_what_prompts_mean_reaches_the_judge() -> None:
    spec = {"tag": "single_object"}
    drawn = sketches(tiny_illume(), PROMPTS, 2, specs=[None, spec])
    assert [[drawing.spec for drawing, _ in group] for group in drawn] == [[None, None], [spec, spec]]


@pytest.mark.parametrize(("of", "n"), [(0, 1), (1, 0), (-2, 1)])
def test_numbers_below_one_are_refused(of: int, n: int) -> None:
    with pytest.raises(RequestError, match="1 or more"):
        best_of(tiny_illume(), ByKey(), PROMPTS, of, n)
    with pytest.raises(RequestError, match="once or more"):
        revise(tiny_illume(), ByKey(), [], 0)


# --- revising


def begun(model: Illume, judge: Any, **asked: Any) -> list[Choice]:
    return best_of(model, judge, PROMPTS, **{"of": 1, "n": 4, **asked})


def revised(model: Illume, times: int, judge: Any = None, **asked: Any) -> list[Chain]:
    judge = judge or ByKey()
    return revise(model, judge, begun(model, judge, **asked), times)


def check_chains(chains: Sequence[Chain], times: int) -> None:
    """Each goes on while it does not pass, is judged and may, and no longer; it gives what passed, if anything did."""
    for chain in chains:
        *before, last = (candidate.outcome for candidate in chain.candidates)
        assert all(isinstance(outcome, Verdict) and not outcome.overall for outcome in before)
        assert len(before) <= times
        expected = "passed" if passes(last) else "enough" if isinstance(last, Verdict) else "unjudged"
        assert chain.ended == expected
        assert chain.ended != "enough" or len(before) == times
        if passes(last):
            assert chain.taken == len(before)


@pytest.mark.parametrize("levels", [1, 2])
def test_a_chain_stops_at_the_first_that_passes(levels: int) -> None:
    chains = revised(drawer(strict=False, levels=levels), 3, n=12)
    check_chains(chains, 3)
    assert {"passed", "unjudged"} <= {chain.ended for chain in chains}
    assert max(len(chain.candidates) for chain in chains) > 2
    assert check_best(chains, ByKey()) > 0


def test_the_check_catches_chains_that_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(revise_module, "_revisable", lambda last: isinstance(last.outcome, Verdict))
    with pytest.raises(AssertionError):
        check_chains(revised(drawer(strict=False), 3), 3)


def test_the_check_catches_chains_that_give_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(revise_module, "_revisable", lambda last: False)
    with pytest.raises(AssertionError):
        check_chains(revised(drawer(strict=False), 3), 3)


def test_without_a_pass_the_best_of_the_chain_is_given() -> None:
    judge = Saying(judged("oc"), judged("o"), judged("oca"))
    (chain,) = revise(drawer(False), judge, best_of(drawer(False), judge, PROMPTS[:1], 1), 2)
    assert (chain.ended, chain.taken, judge.runs) == ("enough", 1, 3)
    assert chain.to_dict()["ended"] == "enough"


def test_a_drawing_without_a_verdict_is_not_drawn_again() -> None:
    (chain,) = _one_chain(Saying(NO), 3)
    assert (chain.ended, chain.taken, len(chain.candidates)) == ("unjudged", None, 1)
    (later,) = _one_chain(Saying(verdict(False), NO), 3)
    assert (later.ended, later.taken, len(later.candidates)) == ("unjudged", 0, 2)


def _one_chain(judge: Saying, times: int) -> list[Chain]:
    model = drawer(False)
    return revise(model, judge, best_of(model, judge, PROMPTS[:1], 1), times)


def test_the_winner_of_several_is_revised() -> None:
    model, judge = drawer(False), ByKey()
    first = begun(model, judge, of=3, n=2)
    chains = revise(model, judge, first, 2)
    for choice, chain in zip(first, chains, strict=True):
        assert chain.candidates[0] == choice.candidates[choice.taken or 0]
        assert chain.passed >= choice.passed
        assert not choice.passed or len(chain.candidates) == 1


def test_chains_together_are_chains_alone_and_the_same_again() -> None:
    model, judge = drawer(), ByKey()
    first = begun(model, judge)
    together = revise(model, judge, first, 2)
    alone = [revise(model, judge, [one], 2)[0] for one in first]
    assert seen(together) == seen(alone) == seen(revise(model, judge, first, 2))
    for chain in together:
        assert len({candidate.seed for candidate in chain.candidates}) == len(chain.candidates)
    assert max(len(chain.candidates) for chain in together) > 1


def check_context(model: Recording, chains: Sequence[Chain]) -> int:
    """What a revision is asked with is, id for id, how a record of that drawing begins; how many were looked at."""
    asked = [held for held in model.held if len(held.request.messages) > 1]
    parts, looked = model.parts, 0
    for chain in chains:
        for before, after in zip(chain.candidates, chain.candidates[1:], strict=False):
            one = Assessed(replace(before.drawing, key="k"), "bad.png", before.outcome, None)
            record = to_record(one, "good.png", "image")
            taught = messages(record, Pictures(model.frame, lambda key: ((0,) * 16,)))
            ids = render(taught, parts.layout, parts.text, parts.reading).ids
            said = prompts.ASSESS + chain.prompt
            mine = [held for held in asked if said in [getattr(p, "text", "") for p in held.request.messages[-3].parts]]
            (held,) = (held for held in mine if held.request.seed == after.seed)
            assert held.prompt == ids[: len(held.prompt)]
            assert parts.layout.region(ids[len(held.prompt)]) == "markers"  # there the drawing begins
            shown = model.pixels(before.drawing.picture())
            assert (held.request.images["image"] == revise_module.pixels_of(shown)).all()
            looked += 1
    return looked


def test_the_context_is_one_that_training_shows() -> None:
    model = Recording(session_parts())
    chains = revised(model, 2)
    assert check_context(model, chains) > 2


def test_the_check_catches_a_context_that_training_does_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    def longer(image: ImagePart, prompt: str, said: Verdict) -> Any:
        return [*prompts.draw(prompt), *correct(image, prompt, said)]

    correct = prompts.correct
    model = Recording(session_parts())
    with monkeypatch.context() as patch:
        patch.setattr("illume.judge.revise.prompts.correct", longer)
        chains = revised(model, 2)
    with pytest.raises(AssertionError):
        check_context(model, chains)


def test_a_verdict_too_long_for_the_model_ends_its_chain_alone() -> None:
    long = Verdict.of({name: Criterion(True, "x" * 3000, False) for name in CRITERIA})
    judge = Saying(verdict(False), long, verdict(True))
    model = Recording(session_parts())
    first, second = revise(model, judge, best_of(model, judge, PROMPTS, 1), 2)
    assert len(model.held) == 3
    assert (first.ended, first.taken) == ("passed", 1)
    assert (second.ended, second.taken, len(second.candidates)) == ("no room", 0, 1)


def test_a_model_without_room_to_look_is_refused_before_it_draws() -> None:
    check_revising(drawer(), PROMPTS)
    check_revising(Illume(replace(session_parts(), reading="codes")), PROMPTS)
    with pytest.raises(RequestError, match=r"cannot revise its drawing of 'a red circle'.*positions"):
        check_revising(tiny_illume(), PROMPTS)


def test_a_model_that_reads_codes_revises_too() -> None:
    model = Illume(replace(session_parts(), reading="codes"))
    check_chains(revised(model, 2, n=2), 2)


def test_the_model_itself_judges(monkeypatch: pytest.MonkeyPatch) -> None:
    """By its own words, of the picture as it sees it."""
    model = drawer(False)
    said = iter([verdict(False).to_json(), "no verdict", verdict(True).to_json()])
    run = model.run

    def saying(requests: Any) -> Any:
        wanted = list(requests)
        if any(request.mode == "image" for request in wanted):
            return run(wanted)
        return [type("Said", (), {"text": next(said)}) for _ in wanted]

    monkeypatch.setattr(model, "run", saying)
    judge = SelfJudge(model)
    first, second = revise(model, judge, best_of(model, judge, PROMPTS, 1), 2)
    assert (first.ended, first.taken, len(first.candidates)) == ("passed", 1, 2)
    assert (second.ended, second.taken) == ("unjudged", None)


def test_a_candidate_is_plain_data() -> None:
    candidate = Candidate(Drawing("x", picture(0)), 3, verdict(True))
    assert candidate.passed
    assert candidate.to_dict()["verdict"]["overall"] is True
