"""The page of self-enhancement: what is shown of a round."""

from pathlib import Path
from typing import Any

import pytest

from fixtures.rounds import ByContent, prompts_file, small_illume, whole_round
from illume.enhance.compose import Composing, compose
from illume.enhance.propose import read_prompts
from illume.recipes.examples_page import drawn_examples, examples_of, write_page


@pytest.mark.parametrize("how", ["image", "text", "none"])
def test_bad_drawings_are_shown_with_their_correction(tmp_path: Path, how: Any) -> None:
    folder = whole_round(tmp_path / "round", prompts_file(tmp_path, truths=range(4)))
    folder.records.unlink()
    compose(folder, Composing(how))
    kinds = examples_of(folder)
    assert kinds["good"]
    assert kinds["without a verdict"]
    for example in kinds["bad"]:
        assert ("correction" in dict(example.pictures)) == (how == "image")
        assert ("It should show: " in example.answer) == (how == "text")
        assert "✗ colour: blue, not red" in example.answer
    write_page(tmp_path / "page.html", "title", [], [kinds])
    assert ("It should show: " in (tmp_path / "page.html").read_text("utf-8")) == (how == "text")


def test_prompts_are_shown_before_and_after_where_no_drawings_are_kept(tmp_path: Path) -> None:
    folder = whole_round(tmp_path / "round", prompts_file(tmp_path))
    prompts, illume = read_prompts(folder.prompts), small_illume()
    (examples,) = drawn_examples(prompts, illume, illume, ByContent(), limit=3).values()
    assert len(examples) == 3
    assert all([label for label, _ in one.pictures] == ["before", "after"] for one in examples)
    assert {one.passed for one in examples} <= {True, False, None}
    assert not any(one.answer == "not judged" for one in examples)
    (unjudged,) = drawn_examples(prompts, illume, illume, None, limit=3).values()
    assert {(one.answer, one.passed) for one in unjudged} == {("not judged", None)}
