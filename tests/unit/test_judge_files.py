"""drawings.jsonl and verdicts.jsonl: there and back, schemas and readers agree, the files are as settled."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from fixtures.drawings import drawings_file, picture
from illume.cli.judging import _side
from illume.core.errors import DataError
from illume.judge import drawings as drawings_module
from illume.judge import verdicts as verdicts_module
from illume.judge.drawings import drawing_row, open_all, parse_drawing, read_drawings
from illume.judge.protocol import FAILURES, Drawing, Failure, Identity
from illume.judge.verdicts import Judged, latest, parse_rows, read_verdicts, said_by, to_row
from illume.tasks.verdict import CRITERIA, SCHEMA, Criterion, Verdict

GOLDEN = Path(__file__).parent / "golden" / "judged.json"
DRAWING = Draft202012Validator(json.loads(drawings_module.SCHEMA.read_text("utf-8")))
JUDGED = Draft202012Validator(json.loads(verdicts_module.SCHEMA.read_text("utf-8")))

TEXT = st.text(min_size=1).filter(str.strip)
CRITERION = st.builds(Criterion, st.booleans(), st.text(max_size=9), st.booleans())
OUTCOMES = st.builds(Failure, st.sampled_from(FAILURES), TEXT) | st.fixed_dictionaries(
    dict.fromkeys(CRITERIA, CRITERION)
).map(Verdict.of)
IDENTITIES = st.builds(Identity, TEXT, st.dictionaries(st.text(), st.integers() | st.text() | st.none(), max_size=3))
LINES = st.builds(Judged, TEXT, TEXT, TEXT, IDENTITIES, OUTCOMES)


@given(LINES)
def test_a_judged_drawing_comes_back_and_fits_its_schema(line: Judged) -> None:
    row = json.loads(json.dumps(to_row(line)))
    JUDGED.validate(row)
    (back,) = parse_rows([("here", row)])
    assert back == line
    assert back.judge.fingerprint == line.judge.fingerprint


def test_the_files_are_as_settled() -> None:
    """A change to a format bumps its version and brings a migration; new cases may be added."""
    for case in json.loads(GOLDEN.read_text("utf-8"))["verdicts"]:
        (line,) = parse_rows([("golden", case["row"])])
        assert to_row(line) == case["row"]
        assert line.judge.fingerprint == case["fingerprint"]
        assert line.passed == case["passed"]


def good() -> dict[str, Any]:
    verdict = Verdict.of(dict.fromkeys(CRITERIA, Criterion(True, "", True)))
    return to_row(Judged("k", "c", "p", Identity("oracle", {"world": "pico"}), verdict))


def changed(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in {**good(), **fields}.items() if value != "GONE"}


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (changed(key="GONE"), "'key' is missing"),
        (changed(content=" "), "content is empty"),
        (changed(prompt=3), "prompt has to be a text"),
        (changed(more=1), "'more' is unknown"),
        (changed(verdict="GONE"), "'verdict' is missing"),
        (changed(failure={"kind": "refused", "reason": "no"}), "'verdict' is unknown"),
        (changed(verdict={}), "object is missing"),
        (changed(verdict="GONE", failure={"kind": "lazy", "reason": "no"}), "unknown kind of failure 'lazy'"),
        (changed(verdict="GONE", failure={"kind": "refused"}), "'reason' is missing"),
        (changed(judge="oracle"), "judge has to be an object"),
        (changed(judge={"name": "oracle"}), "'settings' is missing"),
    ],
)
def test_a_malformed_line_is_refused_as_the_schema_refuses_it(row: dict[str, Any], words: str) -> None:
    assert not JUDGED.is_valid(row)
    with pytest.raises(DataError, match=words) as refused:
        parse_rows([("verdicts.jsonl:3", row)])
    assert str(refused.value).startswith("verdicts.jsonl:3: ")


def test_a_verdict_edited_into_a_contradiction_is_refused(tmp_path: Path) -> None:
    row = good()
    row["verdict"]["colour"]["passed"] = False
    path = tmp_path / "verdicts.jsonl"
    path.write_text(json.dumps(good()) + "\n" + json.dumps(row) + "\n")
    with pytest.raises(DataError, match=r"verdicts\.jsonl:2: .*colour failed"):
        read_verdicts(path)


def test_the_schemas_hold_the_verdicts_own() -> None:
    own = json.loads(SCHEMA.read_text("utf-8"))
    whole: Any = JUDGED.schema
    assert whole["properties"]["verdict"]["properties"] == own["properties"]
    assert whole["properties"]["verdict"]["required"] == own["required"]
    assert whole["$defs"]["criterion"] == own["$defs"]["criterion"]
    assert tuple(whole["properties"]["failure"]["properties"]["kind"]["enum"]) == FAILURES


def test_the_last_line_of_a_content_holds_and_judges_are_not_mixed() -> None:
    (line,) = parse_rows([("", good())])
    later = replace(line, outcome=Failure("refused", "no"))
    assert latest([line, later]) == {"c": later}
    other = replace(line, judge=Identity("api"))
    assert latest([line, other], line.judge) == {"c": line}
    with pytest.raises(DataError, match="several judges"):
        latest([line, other])
    assert said_by([line, other], "api") == said_by([line, other], str(other.judge)) == [other]
    with pytest.raises(DataError, match=f"no verdict of 'self' here, but of .*{other.judge}"):
        said_by([line, other], "self")


def test_a_judge_is_compared_with_another_of_the_same_file(tmp_path: Path) -> None:
    (line,) = parse_rows([("", good())])
    other = replace(line, judge=Identity("api"))
    path = tmp_path / "verdicts.jsonl"
    path.write_text("".join(json.dumps(to_row(one)) + "\n" for one in (line, other)))
    names = [f"{path}:{one.judge.name}" for one in (line, other)]
    assert [_side(name, letter, None, None, []) for name, letter in zip(names, ("a.", "b."), strict=True)] == [
        {"c": line},
        {"c": other},
    ]


def test_drawings_come_back(tmp_path: Path) -> None:
    path = drawings_file(tmp_path, ["a red circle", "two {blue} squares"])
    for row in path.read_text().splitlines():
        DRAWING.validate(json.loads(row))
    first, second = read_drawings(path)
    assert (first.key, first.prompt, first.spec) == ("d0", "a red circle", None)
    assert second.picture().tobytes() == picture(1).tobytes()


def test_content_is_prompt_spec_and_pixels(tmp_path: Path) -> None:
    one = Drawing("a", picture(1))
    picture(1).save(tmp_path / "a.png")
    assert Drawing("a", tmp_path / "a.png", "other key").content == one.content
    others = [Drawing("b", picture(1)), Drawing("a", picture(2)), Drawing("a", picture(1), spec={"tag": "x"})]
    wide = picture(1).resize((16, 4))
    contents = {one.content, *(other.content for other in others), Drawing("a", wide).content}
    assert len(contents) == 5


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"prompt": "p", "image": "images/d0.png"}, "'key' is missing"),
        (drawing_row("k", " ", "images/d0.png"), "prompt is empty"),
        (drawing_row("k", "p", "images/none.png"), r"none\.png is not there"),
        (drawing_row("k", "p", "images/d0.png") | {"seed": "1"}, "seed has to be a whole number"),
        (drawing_row("k", "p", "images/d0.png") | {"seed": True}, "seed has to be a whole number"),
        (drawing_row("k", "p", "images/d0.png") | {"spec": [1]}, "spec has to be an object"),
        (drawing_row("k", "p", "images/d0.png") | {"colour": "red"}, "unknown field 'colour'"),
        (drawing_row("d0", "p", "images/d0.png"), r"the key 'd0' is taken by .*drawings\.jsonl:1"),
    ],
)
def test_a_malformed_drawing_is_refused(tmp_path: Path, row: dict[str, Any], words: str) -> None:
    path = drawings_file(tmp_path, ["a red circle"])
    path.write_text(path.read_text() + json.dumps(row) + "\n")
    with pytest.raises(DataError, match=words) as refused:
        read_drawings(path)
    assert f"{path}:2: " in str(refused.value)


@given(
    st.dictionaries(st.sampled_from(["key", "prompt", "image", "seed", "spec", "drawer", "x"]), st.text() | st.none())
)
def test_the_schema_of_a_drawing_refuses_what_the_reader_refuses(row: dict[str, Any]) -> None:
    try:
        parse_drawing(row, Path("/nowhere"))
        read = True
    except DataError as error:
        read = "is not there" in str(error)
    assert DRAWING.is_valid(row) == read


def test_no_drawings_and_damaged_pictures_are_said(tmp_path: Path) -> None:
    (tmp_path / "drawings.jsonl").touch()
    with pytest.raises(DataError, match="holds no drawing"):
        read_drawings(tmp_path / "drawings.jsonl")
    path = drawings_file(tmp_path, ["a", "b"])
    (tmp_path / "images" / "d1.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"the drawing 'd1': .*d1\.png"):
        open_all(read_drawings(path))
