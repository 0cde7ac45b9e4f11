"""The experiment of self-enhancement: intervals, what names a result, the table and its goals; nothing is trained."""

import dataclasses
import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from benchmarks.enhance import intervals
from benchmarks.enhance.__main__ import PAGE, PLOT, arms_of, main, publish, seeds_of
from benchmarks.enhance.arms import ARMS
from benchmarks.enhance.book import Book, goals, open_book
from benchmarks.enhance.depends import COMMON, DEPENDS, result_hash
from benchmarks.enhance.experiment import Experiment, base_hash, base_recipe
from benchmarks.enhance.given import Given
from benchmarks.enhance.intervals import T_975, over_items, over_seeds, paired
from benchmarks.enhance.measure import by_split, digits, kappa, score_of
from benchmarks.enhance.page import interval, line, number, page
from benchmarks.enhance.plot import digest, plot
from benchmarks.enhance.results import Score, read_result, read_results

from fixtures.enhance_results import ASKED, experiment, result, score
from fixtures.enhance_results import kappa as kappa_of
from fixtures.world_subjects import IdleSubject, NoisySubject, PerfectSubject
from illume.core.config import override, to_dict
from illume.core.errors import CheckpointError, ConfigError, DataError
from illume.core.statistics import cohen_kappa
from illume.eval.task import Score as ItemScore
from illume.eval.tasks.assess import Assess
from illume.eval.tasks.draw import Draw
from illume.eval.tasks.edit import Edit
from illume.eval.tasks.see import See
from illume.recipes.folder import part_hashes
from illume.recipes.pico import pico
from illume.recipes.retrain import Retraining, continued, mixed
from illume.world import PICO

ROOT = Path(__file__).parents[2]
CHANGED = {
    "stage3_steps": 221,
    "num_items": 2001,
    "extra_steps": 151,
    "rate": 0.31,
    "num_prompts": 1025,
    "per_prompt": 5,
    "share": 0.21,
    "good": 0.5,
    "correction": "none",
    "own_judge": "detector",
    "recipe": ("tokenizer_stage.steps=281",),
    "methods": {"reca": ("rate=0.5",)},
}
DRAWS = {"baseline": 0.6, "control-steps": 0.65, "control-pictures": 0.66, "assessment-oracle": 0.7}


# Intervals


def missed(repeats: int = 2000, seeds: int = 5) -> float:
    """How often the interval over seeds misses the true difference."""
    rng = np.random.default_rng(0)
    found = [over_seeds(list(rng.normal(0.1, 0.02, seeds))) for _ in range(repeats)]
    return float(np.mean([not one.low <= 0.1 <= one.high for one in found]))


def test_an_interval_over_seeds_misses_one_time_in_twenty(monkeypatch: pytest.MonkeyPatch) -> None:
    assert 0.035 < missed() < 0.065
    monkeypatch.setattr(intervals, "T_975", (1.96,) * len(T_975))  # as if the spread were known
    assert missed() > 0.1


def test_the_quantiles_are_those_of_t() -> None:
    below = []
    for degrees, quantile in enumerate(T_975, start=1):
        x = np.linspace(0, quantile, 200_001)
        density = (1 + x**2 / degrees) ** (-(degrees + 1) / 2)
        half = np.trapezoid(density, x)
        u = np.linspace(1e-9, 1, 200_001)  # the rest, with x = quantile / u
        rest = np.trapezoid((1 + (quantile / u) ** 2 / degrees) ** (-(degrees + 1) / 2) * quantile / u**2, u)
        below.append(0.5 + 0.5 * half / (half + rest))
    assert below == pytest.approx([0.975] * len(T_975), abs=1e-4)
    assert all(a > b for a, b in pairwise(T_975))


def pair(rng: np.random.Generator, n: int) -> tuple[Score, Score]:
    """Two scores of the same items, mostly right about the same ones; the first is better by .04 in truth."""
    hard = rng.random(n)
    ours, theirs = (Score(float(x.mean()), n, {}, digits(list(x))) for x in (hard < 0.74, hard < 0.70))
    return ours, theirs


def test_an_interval_over_items_is_paired() -> None:
    rng = np.random.default_rng(1)
    found = [over_items(*pair(rng, 500)) for _ in range(200)]
    assert np.mean([one.low <= 0.04 <= one.high for one in found]) > 0.88
    apart = 2 * 1.96 * (0.74 * 0.26 / 500 + 0.7 * 0.3 / 500) ** 0.5  # of items that have nothing to do with each other
    assert np.mean([one.high - one.low for one in found]) < 0.5 * apart
    assert {one.over for one in found} == {"items"}


def test_the_kappa_of_a_table_is_that_of_its_items() -> None:
    ours, theirs = kappa_of(0.85, 1, 300), kappa_of(0.75, 2, 300)
    table = intervals._table(ours, theirs)[None]
    for one, bit in ((ours, 1), (theirs, 0)):
        said, true = ([digit == "1" for digit in digits] for digits in (one.items, one.true))
        assert intervals._kappa(table, bit)[0] == pytest.approx(cohen_kappa(said, true))
    found = over_items(ours, theirs)
    assert found.low < found.mean < found.high
    assert found.low == pytest.approx(found.mean - 0.13, abs=0.06)


def test_pairing_takes_the_seeds_of_both_and_refuses_other_items() -> None:
    ours, theirs = ({seed: score(0.6, seed) for seed in seeds} for seeds in ((0, 1, 2), (1, 2, 3)))
    found = paired(ours, theirs)
    assert found is not None
    assert (found.seeds, found.mean, found.over) == (2, 0.0, "seeds")
    assert paired(ours, {7: score(0.5)}) is None
    one = paired({1: score(0.7, 5)}, {1: score(0.6, 6)})
    assert one is not None
    assert (one.seeds, one.over, one.above) == (1, "items", True)
    with pytest.raises(ValueError, match="different items"):
        paired(ours, {1: score(0.5, n=500)})
    with pytest.raises(ValueError, match="different items"):
        paired({0: kappa_of(0.7)}, {0: score(0.7)})


# What names a result


def undeclared(arm: str, tmp_path: Path) -> set[str]:
    """Fields on which what is asked of `illume enhance` depends, and not the arm's name."""
    found = set()
    for name, value in CHANGED.items():
        other = dataclasses.replace(ASKED, **{name: value})
        asked = [to_dict(Given(one, 0, None, tmp_path).settings("oracle")) for one in (ASKED, other)]  # type: ignore[arg-type]
        if asked[0] != asked[1] and result_hash(other, arm) == result_hash(ASKED, arm):
            found.add(name)
    return found


def test_every_field_of_the_experiment_is_tried() -> None:
    assert CHANGED.keys() == {field.name for field in dataclasses.fields(Experiment)}


@pytest.mark.parametrize("arm", ARMS)
def test_a_name_follows_from_what_the_arm_depends_on(arm: str) -> None:
    for name, value in CHANGED.items():
        changed = result_hash(dataclasses.replace(ASKED, **{name: value}), arm) != result_hash(ASKED, arm)
        own = name == "methods" and arm == "reca"
        assert changed == (own or name in (*DEPENDS[arm], *COMMON)), name


def test_arms_of_dialogues_are_named_by_all_that_they_ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for arm in ("assessment-oracle", "assessment-self", "two-rounds", "control-pictures"):
        assert undeclared(arm, tmp_path) == set()
    short = tuple(name for name in DEPENDS["assessment-oracle"] if name != "share")
    monkeypatch.setitem(DEPENDS, "assessment-oracle", short)  # type: ignore[arg-type]
    assert undeclared("assessment-oracle", tmp_path) == {"share"}


def test_names_differ_by_arm_and_not_by_number_type() -> None:
    assert len({result_hash(ASKED, arm) for arm in ARMS}) == len(ARMS)
    one, two = (dataclasses.replace(ASKED, rate=rate) for rate in (1, 1.0))
    assert result_hash(one, "control-steps") == result_hash(two, "control-steps")


def test_the_baseline_has_picos_image_parts_and_a_shorter_last_stage() -> None:
    for seed in (0, 3):
        ours = part_hashes(base_recipe(ASKED, seed))
        theirs = part_hashes(dataclasses.replace(pico(), seed=seed))
        assert {part: ours[part] == theirs[part] for part in ours} == {
            **dict.fromkeys(("encoder", "tokenizer", "pixel_decoder"), True),
            "stage1": seed == 0,  # another seed has other data
            **dict.fromkeys(("stage2", "stage3"), False),
        }


def test_tuning_picos_last_stages_leaves_the_results_what_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    before = base_hash(ASKED)
    tuned = override(pico(), ["stages.1.steps=77", "stages.2.mixture={draw: 1.0}"])
    monkeypatch.setattr("benchmarks.enhance.experiment.pico", lambda: tuned)
    assert base_hash(ASKED) == before
    monkeypatch.setattr("benchmarks.enhance.experiment.BEGAN", ())
    assert base_hash(ASKED) != before


def test_a_control_goes_on_with_all_of_its_mixture_on_other_samples() -> None:
    last = pico().stages[-1]
    stage = continued(last, {}, Retraining(0.2, 7), ())
    assert stage.mixture == pytest.approx({name: w / sum(last.mixture.values()) for name, w in last.mixture.items()})
    assert (stage.steps, stage.batch_size, stage.seed == last.seed) == (7, last.batch_size, False)
    assert sum(w for name, w in mixed(last, {"r": Path()}, 0.2).mixture.items() if name != "r") == pytest.approx(0.8)


# Files


def test_a_result_comes_back_as_it_was_and_is_small(tmp_path: Path) -> None:
    for arm in ARMS:
        one = result(arm)
        path = one.save(tmp_path)
        assert read_result(path) == one
        assert path.stat().st_size < 30_000
    assert len(read_results(tmp_path)) == len(ARMS)


def test_damaged_and_renamed_results_are_refused(tmp_path: Path) -> None:
    path = result("baseline").save(tmp_path)
    plain = json.loads(path.read_text())
    for change in ({"format_version": 9}, {"seed": 1}, {"scores": {"draw": {}}}, {"more": 1}, {"settings": None}):
        path.write_text(json.dumps(plain | change))
        with pytest.raises(DataError, match=path.name):
            read_result(path)
    path.write_text("{")
    with pytest.raises(CheckpointError):
        read_result(path)
    bits = plain["scores"]["draw"]
    path.write_text(json.dumps(plain | {"scores": {"draw": bits | {"items": bits["items"][1:]}}}))
    with pytest.raises(DataError, match="2000 digits"):
        read_result(path)


# Scores


SEEN, DRAWN, EDITED, ASSESSED = See(PICO, 12), Draw(PICO, 12), Edit(PICO, 6), Assess(PICO, 12)


@pytest.mark.parametrize("kind", [PerfectSubject, IdleSubject, NoisySubject])
def test_scores_are_those_of_the_scorecard(kind: Callable[..., PerfectSubject]) -> None:
    subject = kind(PICO, SEEN, EDITED)
    for task in (SEEN, DRAWN, EDITED, ASSESSED):
        items = task.items()
        values = [task.score(i, a) for i, a in zip(items, task.answer(subject, items), strict=True)]  # type: ignore[arg-type]
        row = task.aggregate(values, {})
        if task is ASSESSED:
            found = kappa(task, values)
            assert (found.score, found.n) == (row.by["kappa"].score, 12)
            continue
        splits = by_split(task.ability, values)
        whole = splits[task.ability]
        assert (whole.score, whole.n) == (pytest.approx(row.score, abs=1e-4), row.n)
        for name, group in whole.by.items():
            assert (group.score, group.n) == (pytest.approx(row.by[name].score, abs=1e-4), row.by[name].n)
        if "novel" in row.by:
            novel = splits[f"{task.ability} novel"]
            assert (novel.score, novel.n) == (pytest.approx(row.by["novel"].score, abs=1e-4), row.by["novel"].n)


def test_items_keep_their_order_and_are_right_or_wrong() -> None:
    assert score_of([ItemScore(1), ItemScore(0), ItemScore(1)]).items == "101"
    with pytest.raises(ValueError, match="right or wrong"):
        score_of([ItemScore(0.5)])


# The book


def met(book: Book) -> list[bool]:
    return [goal.met for goal in goals(book)]


def test_goals_are_met_by_enough_over_both_controls_and_without_loss() -> None:
    book = open_book(experiment(DRAWS))
    assert met(book)[:4] == [True] * 4
    assert met(open_book(experiment(DRAWS | {"control-pictures": 0.68})))[:4] == [True, True, False, True]
    blind = [dataclasses.replace(r, scores=r.scores | {"see": score(0.85, r.seed)}) for r in experiment(DRAWS)]
    kept = [r for r in experiment(DRAWS) if r.arm != "assessment-oracle"]
    assert met(open_book([*kept, *(r for r in blind if r.arm == "assessment-oracle")]))[:4] == [
        True,
        False,
        True,
        False,
    ]


def test_an_interval_that_reaches_0_meets_no_goal() -> None:
    spread = [0.0, 0.0, 0.0, 0.0, 0.4]
    found = [r for r in experiment(DRAWS) if r.arm != "assessment-oracle"]
    found += [result("assessment-oracle", seed, 0.65 + 0.01 * seed + more) for seed, more in enumerate(spread)]
    first = goals(open_book(found))[0]
    assert first.difference is not None
    assert (first.difference.mean > 0.03, first.difference.above, first.met) == (True, False, False)


def test_one_seed_has_intervals_over_items_and_meets_no_goal() -> None:
    book = open_book(experiment(DRAWS, seeds=1))
    assert met(book) == [False] * 6
    assert {goal.difference.over for goal in goals(book)[:4] if goal.difference} == {"items"}
    text = page(book)
    assert "¹ |" in text
    assert line(book, smoke=False)["goals_met"] is False
    assert "¹ |" not in page(open_book(experiment(DRAWS)))


def test_variants_are_told_apart_and_compared_with_their_own_controls() -> None:
    other = dataclasses.replace(ASKED, share=0.4)
    found = experiment(DRAWS) + experiment({"control-pictures": 0.5, "assessment-oracle": 0.75}, 3, other)
    book = open_book(found)
    labels = [variant.label for variant in book.variants]
    assert labels == sorted(labels, key=lambda label: list(ARMS).index(label.split()[0]))
    assert {"assessment-oracle", "assessment-oracle share=0.4", "control-steps"} <= set(labels)
    two = next(v for v in book.variants if v.label == "assessment-oracle share=0.4")
    over = [book.difference(two, control, "draw") for control in ("control-steps", "control-pictures")]
    assert [round(one.mean, 3) for one in over if one] == [0.1, 0.25]
    chosen = book.main("assessment-oracle")
    assert chosen is not None
    assert chosen.label == "assessment-oracle"  # more seeds, not the better figure


# The page


def test_the_page_does_not_depend_on_the_order_of_the_files() -> None:
    found = experiment(DRAWS)
    assert page(open_book(found)) == page(open_book(found[::-1]))
    changed = [dataclasses.replace(one, drawings=7) for one in found]
    assert page(open_book(found)) != page(open_book(changed))


def stale(results: Path, docs: Path) -> list[str]:
    """What stands in docs and is not what the results give."""
    book = open_book(read_results(results))
    wanted = page(book, PLOT if book.variants else None)
    found = [] if (docs / PAGE).read_text(encoding="utf-8") == wanted else [PAGE]
    if book.variants and digest(book) not in (docs / PLOT).read_text(encoding="utf-8"):
        found.append(PLOT)
    return found


def test_the_committed_page_is_what_the_results_give() -> None:
    assert stale(ROOT / "results" / "enhance", ROOT / "docs") == []


def test_the_check_catches_a_page_that_is_not_of_the_results(tmp_path: Path) -> None:
    results, docs = tmp_path / "results", tmp_path / "docs"
    for one in experiment(DRAWS, 2):
        one.save(results)
    publish(results, docs)
    assert stale(results, docs) == []
    result("assessment-oracle", 2, 0.7).save(results)
    assert stale(results, docs) == [PAGE, PLOT]
    publish(results, docs)
    (docs / PAGE).write_text((docs / PAGE).read_text("utf-8").replace(".700", ".800"), "utf-8")
    assert stale(results, docs) == [PAGE]


def test_without_results_the_page_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    book, text = publish(tmp_path / "results", tmp_path / "docs")
    assert "no results yet" in text
    assert not (tmp_path / "docs" / PLOT).exists()
    assert line(book, smoke=False)["goals_met"] is False


def test_results_of_a_smoke_run_are_kept_apart(tmp_path: Path) -> None:
    dataclasses.replace(result("baseline"), smoke=True).save(tmp_path / "results")
    with pytest.raises(ConfigError, match="smoke"):
        publish(tmp_path / "results", tmp_path / "docs")
    assert "smoke run" in publish(tmp_path / "results", tmp_path / "docs", smoke=True)[1]


def test_the_plot_is_the_same_at_every_call_and_names_its_figures() -> None:
    book = open_book(experiment(DRAWS, 2))
    assert plot(book) == plot(book)
    assert digest(book) in plot(book)
    assert digest(book) != digest(open_book(experiment(DRAWS, 3)))


def test_figures_are_short() -> None:
    assert [number(v) for v in (0.5, 0.0, 1.0, -0.25, None)] == [".500", ".000", "1.000", "-.250", "-"]
    assert interval(over_seeds([0.1, 0.1])) == "+.100 [+.100, +.100]"


def test_a_baseline_without_room_is_named() -> None:
    assert "leave room" in page(open_book(experiment({"baseline": 0.9}, 2)))
    assert "leave room" not in page(open_book(experiment({"baseline": 0.6}, 2)))


# The command


def test_seeds_and_arms_as_a_person_names_them() -> None:
    assert (seeds_of("0-4"), seeds_of("0,2"), seeds_of("3")) == ([0, 1, 2, 3, 4], [0, 2], [3])
    assert arms_of("two-rounds,baseline") == ["baseline", "two-rounds"]
    for wrong in ("4-1", "x", "-1", ""):
        with pytest.raises(ValueError):  # noqa: PT011
            seeds_of(wrong)


@pytest.mark.parametrize("words", [["--arms", "wise"], ["--seeds", "x"]])
def test_what_is_wrong_is_said(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2
    assert words[1] in capsys.readouterr().err


def test_an_unknown_setting_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sharing=1"]) == 1
    assert "share" in capsys.readouterr().err


def test_a_base_of_no_asked_seed_is_refused(tmp_path: Path) -> None:
    from benchmarks.enhance.baseline import check_given

    from illume.core.config import dump_yaml

    (tmp_path / "config.yaml").write_text(dump_yaml(dataclasses.replace(pico(), seed=3)))
    check_given([tmp_path], [0, 3])
    with pytest.raises(ConfigError, match="seed 3"):
        check_given([tmp_path], [0, 1])
