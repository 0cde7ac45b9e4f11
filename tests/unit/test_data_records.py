"""Records: what is accepted, what is refused and how it says so, and that the JSON Schema agrees."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

import illume.data.records as module
from illume.core.errors import DataError
from illume.data.problems import Problem
from illume.data.records import Record, read_records, to_dict, validate

GOLDEN = json.loads((Path(__file__).parent / "golden" / "record.json").read_text(encoding="utf-8"))
SCHEMA = json.loads(Path(module.__file__).with_name("record.schema.json").read_text(encoding="utf-8"))
GOOD = '{"task": "text", "text": "words"}'


@pytest.mark.parametrize("plain", GOLDEN["valid"])
def test_valid_records_are_read_and_written_unchanged(plain: dict[str, Any]) -> None:
    record = validate(plain, "here")
    assert to_dict(record) == plain
    assert record.where == "here"
    jsonschema.validate(plain, SCHEMA)


@pytest.mark.parametrize("case", GOLDEN["invalid"], ids=lambda case: case["says"])
def test_invalid_records_say_where_and_what(case: dict[str, Any]) -> None:
    with pytest.raises(DataError) as error:
        validate(case["record"], "file:7")
    assert str(error.value).startswith("file:7: ")
    assert case["says"] in str(error.value)
    seen = not jsonschema.Draft202012Validator(SCHEMA).is_valid(case["record"])
    assert seen == case["schema_sees_it"]


def test_the_verdict_in_the_schema_is_the_verdicts_own() -> None:
    from illume.tasks.verdict import SCHEMA as VERDICT

    verdict = json.loads(VERDICT.read_text(encoding="utf-8"))
    assert SCHEMA["$defs"]["verdict"]["properties"] == verdict["properties"]
    assert SCHEMA["$defs"]["criterion"] == verdict["$defs"]["criterion"]


def test_half_a_surrogate_pair_is_no_text() -> None:
    with pytest.raises(DataError, match="surrogate"):
        validate({"task": "text", "text": "\ud800"}, "here")


LINES = {
    "not JSON": (b"{task}", "not JSON"),
    "empty line": (b"", "the line is empty"),
    "not UTF-8": (b'{"task": "text", "text": "\xff"}', "not UTF-8"),
    "a field twice": (b'{"task": "text", "text": "a", "text": "b"}', "'text' stands twice"),
    "deep": (b"[" * 100_000, "brackets"),
}


@pytest.mark.parametrize("name", LINES)
def test_a_bad_line_is_named_or_skipped(name: str, tmp_path: Path) -> None:
    line, says = LINES[name]
    path = tmp_path / "records.jsonl"
    path.write_bytes(GOOD.encode() + b"\r\n" + line + b"\n" + GOOD.encode())
    with pytest.raises(DataError, match=f"{path}:2: .*{says}"):
        read_records(path)
    records, problems = read_records(path, on_invalid="skip")
    assert records == [Record("text", text="words")] * 2
    assert [problem.where for problem in problems] == [f"{path}:2"]
    assert says in problems[0].message


@pytest.mark.parametrize(
    ("content", "says"), [(None, "no such file"), (b"", "is empty"), (b"\x89PNG\x00\x01", "binary file")]
)
def test_a_file_without_text_is_an_error_either_way(content: bytes | None, says: str, tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    if content is not None:
        path.write_bytes(content)
    for on_invalid in ("raise", "skip"):
        with pytest.raises(DataError, match=says):
            read_records(path, on_invalid)  # type: ignore[arg-type]


def test_an_id_is_given_once(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    path.write_text('{"task": "text", "text": "a", "id": "x"}\n{"task": "text", "text": "b", "id": "x"}\n')
    with pytest.raises(DataError, match=f"{path}:2: the id 'x' is taken by {path}:1"):
        read_records(path)
    records, problems = read_records(path, on_invalid="skip")
    assert [record.text for record in records] == ["a"]
    assert problems == [Problem(f"{path}:2", f"the id 'x' is taken by {path}:1")]
