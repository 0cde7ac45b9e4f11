"""The world's benchmarks give 1 to whoever does everything right, and notice whoever does not."""

import json
from collections.abc import Callable, Sequence
from functools import cache

import numpy as np
import pytest

from fixtures.world_subjects import IdleSubject, NoisySubject, PerfectSubject
from illume.eval.runner import Outcome, run_tasks
from illume.eval.scorecard import ABILITIES, Scorecard
from illume.eval.task import Picture, Subject
from illume.eval.tasks import world_tasks
from illume.eval.tasks.assess import Assess
from illume.eval.tasks.draw import Draw
from illume.eval.tasks.edit import Edit
from illume.eval.tasks.edit_turns import EditTurns
from illume.eval.tasks.inpaint import Inpaint
from illume.eval.tasks.reconstruct import Reconstruct
from illume.eval.tasks.see import See
from illume.tasks.verdict import CRITERIA
from illume.world import CATEGORIES, PICO, QUESTION_KINDS, holds, oracle, text_split, verdict

N = 24
TASKS = world_tasks(PICO, N)
SEE, DRAW, RECONSTRUCT, EDIT, ASSESS = (kind(PICO, N) for kind in (See, Draw, Reconstruct, Edit, Assess))
TURNS, INPAINT = EditTurns(PICO, N), Inpaint(PICO, N)


@cache
def outcome(kind: type[PerfectSubject]) -> Outcome:
    return run_tasks(subject(kind), TASKS)


def subject(kind: type[PerfectSubject] = PerfectSubject) -> PerfectSubject:
    return kind(PICO, SEE, EDIT)


def scores(subject: Subject, only: str | None = None) -> dict[str, float]:
    """The scores of a subject by ability, and those of every group."""
    found = run_tasks(subject, [task for task in TASKS if only in (None, task.ability)]).rows
    return {name: row.score for name, row in found.items()}


def check_perfect(kind: type[PerfectSubject]) -> None:
    """Everything a perfect subject can reach is reached, in every group."""
    for name, row in outcome(kind).rows.items():
        assert row.score == 1, name
        assert row.n == (N // 2 if name == "edit_turns" else N)
        assert all(figure.score == 1 for group, figure in row.by.items() if group != "psnr_db"), (name, row.by)


def test_whoever_does_everything_right_reaches_the_top() -> None:
    check_perfect(PerfectSubject)
    assert outcome(PerfectSubject).rows["reconstruct"].by["psnr_db"].score == 60


@pytest.mark.parametrize("kind", [IdleSubject, NoisySubject])
def test_the_check_catches_whoever_does_nothing(kind: type[PerfectSubject]) -> None:
    with pytest.raises(AssertionError):
        check_perfect(kind)


def test_noise_and_idling_are_worth_nothing() -> None:
    noisy, idle = ({n: row.score for n, row in outcome(kind).rows.items()} for kind in (NoisySubject, IdleSubject))
    assert noisy == dict.fromkeys(ABILITIES, 0.0)
    assert idle == dict.fromkeys(ABILITIES, 0.0) | {"assess": 0.5}


def test_answers_given_to_the_wrong_item_are_noticed() -> None:
    """A perfect subject's answers turned by one: a good answer is not the right one."""
    for name in ("ask", "draw", "edit", "reconstruct", "assess"):
        turned = subject()
        method: Callable[..., list[object]] = getattr(turned, name)

        def late(*asked: Sequence[object], method: Callable[..., list[object]] = method) -> list[object]:
            found = method(*asked)
            return found[1:] + found[:1]

        setattr(turned, name, late)
        ability = "see" if name == "ask" else name
        assert scores(turned, ability)[ability] < 0.7, name


def test_an_edit_must_keep_the_rest() -> None:
    class Careless(PerfectSubject):
        """Does what it is told, and loses or shifts something else."""

        def edit(self, pictures: Sequence[Picture], instructions: Sequence[str]) -> list[Picture]:
            return [np.roll(picture, 4, axis=1) for picture in super().edit(pictures, instructions)]

    assert scores(subject(Careless), "edit")["edit"] == 0


def test_turns_are_scored_one_by_one_on_what_the_last_one_gave() -> None:
    class Tired(PerfectSubject):
        """Does the first two edits of a row, and gives the picture back at the third."""

        turn = 0

        def edit(self, pictures: Sequence[Picture], instructions: Sequence[str]) -> list[Picture]:
            self.turn += 1
            return list(pictures) if self.turn == 3 else super().edit(pictures, instructions)

    row = run_tasks(subject(Tired), [TURNS]).rows["edit_turns"]
    assert row.score == row.by["turn 3"].score == 0
    assert row.by["turn 1"].score == row.by["turn 2"].score == 1
    assert row.n == row.by["turn 1"].n == N // 2


def test_inpainting_is_scored_by_kind_as_drawn_and_as_pasted() -> None:
    class Sloppy(PerfectSubject):
        """Restores everything, shifts what is around, and fills nothing in."""

        def inpaint(self, masked: Sequence[Picture], instructions: Sequence[str | None]) -> list[Picture]:
            drawn = super().inpaint(masked, instructions)
            blank = np.full_like(drawn[0], 240)
            return [blank if text else np.roll(p, 16, axis=1) for p, text in zip(drawn, instructions, strict=True)]

    row = run_tasks(subject(Sloppy), [INPAINT]).rows["inpaint"]
    assert row.by["fill"].score == 0
    assert 0 < row.by["restore"].score < 1
    assert row.by["as drawn"].score < row.score


def test_inpainting_and_text_are_asked_only_of_who_learnt_them() -> None:
    asked = {task.ability for task in TASKS}
    assert asked - {task.ability for task in world_tasks(PICO, N, learnt=("draw", "edit"))} == {"inpaint", "text"}


def test_an_answer_that_is_no_verdict_is_wrong_whatever_it_decides() -> None:
    class Torn(PerfectSubject):
        """Says the right thing in JSON that does not close, or contradicts itself."""

        def assess(self, pictures: Sequence[Picture], prompts: Sequence[str]) -> list[str]:
            said = super().assess(pictures, prompts)
            turned = [json.dumps({**json.loads(one), "overall": not json.loads(one)["overall"]}) for one in said]
            return [one[:-1] if i % 2 else turned[i] for i, one in enumerate(said)]

    row = run_tasks(subject(Torn), [ASSESS]).rows["assess"]
    assert row.score == row.by["valid_json"].score == 0
    assert row.by["kappa"].score == -1


def test_items_are_balanced_of_their_split_and_the_same_at_every_call() -> None:
    prompts = [item for item in DRAW.items() if item.split == "test"]
    assert [item.prompt.category for item in prompts] == list(CATEGORIES) * (N // len(CATEGORIES))
    for item in DRAW.items():
        assert text_split(item.prompt.text, item.prompt.spec, PICO) == item.split
    kinds = [item.question.kind for item in SEE.items() if item.split == "test"]
    assert kinds == list(QUESTION_KINDS) * (N // len(QUESTION_KINDS))
    pairs = ASSESS.items()
    assert [item.wrong for item in pairs] == [w for c in CRITERIA for w in (None, c)] * (N // 8)
    assert all((a.picture == b.picture).all() for a, b in zip(pairs[::2], pairs[1::2], strict=True))
    for item in pairs:
        findings = verdict(item.prompt.spec, oracle.read(item.picture, PICO).scene)
        failed = {name for name, f in findings.items() if f.applicable and not f.passed}
        assert failed == (set() if item.wrong is None else {item.wrong})
        assert holds(findings) == (item.wrong is None)
    assert [i.question for i in SEE.items()] == [i.question for i in SEE.items()]
    fewer = Reconstruct(PICO, 3).items()
    assert [i.scene for i in RECONSTRUCT.items()][:3] == [i.scene for i in fewer][:3]


def test_baselines_are_what_they_say() -> None:
    rows = outcome(PerfectSubject).rows
    assert rows["see"].baseline["without image"] == 0
    assert 0.2 < rows["see"].baseline["commonest answer"] < 0.8
    assert rows["draw"].baseline["shuffled"] < 0.3
    assert rows["edit"].baseline["copy the input"] == 0
    assert rows["edit"].baseline["redraw"] < 0.3
    assert rows["reconstruct"].baseline["mean image"] == 0
    assert rows["reconstruct"].baseline["mean image psnr_db"] < 25
    assert rows["assess"].baseline["always pass"] == 0.5
    turns = rows["edit_turns"]
    assert turns.baseline["copy the input"] == turns.baseline["without the last turn"] == 0
    assert rows["inpaint"].baseline["copy the input"] == 0
    assert rows["inpaint"].baseline["background"] == 0.5  # restoring asks for nothing else
    assert rows["inpaint"].baseline["redraw"] < 0.4
    assert 0.1 < rows["text"].baseline["trigrams"] < 0.5
    assert outcome(IdleSubject).rows["assess"].by["kappa"].score == 0
    assert outcome(IdleSubject).rows["assess"].by["right"].score == 1


def test_novel_items_are_reported_apart() -> None:
    class Parrot(PerfectSubject):
        """Fails exactly where a held-out pair is named."""

        def draw(self, prompts: Sequence[str]) -> list[Picture]:
            novel = {item.prompt.text for item in DRAW.items() if item.split == "novel"}
            blank = np.full((PICO.size, PICO.size, 3), 240, np.uint8)
            return [blank if p in novel else one for p, one in zip(prompts, super().draw(prompts), strict=True)]

    row = run_tasks(subject(Parrot), [DRAW]).rows["draw"]
    assert (row.score, row.n, row.by["novel"].score, row.by["novel"].n) == (1, N, 0, N)
    assert {name for name in row.by if not name.startswith("novel")} == set(CATEGORIES)


def test_an_outcome_becomes_a_valid_scorecard_with_examples_of_every_ability() -> None:
    found = outcome(PerfectSubject)
    card = Scorecard(found.rows, found.seconds, 1.0, "0123456789ab", 0).to_dict()
    assert set(ABILITIES) < set(card)
    assert set(found.seconds) == {f"score {ability}" for ability in ABILITIES}
    for name, examples in found.examples.items():
        assert examples, name
        assert name == "text" or all(example.passed and example.pictures for example in examples), name
