"""Verdicts: JSON there and back in any key order, and everything malformed refused, with the schema agreeing."""

import json
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from illume.core.errors import DataError
from illume.tasks.verdict import CRITERIA, SCHEMA, Criterion, Verdict

CRITERION = st.builds(Criterion, st.booleans(), st.text(max_size=12), st.booleans())
VERDICTS = st.fixed_dictionaries(dict.fromkeys(CRITERIA, CRITERION)).map(Verdict.of)
VALIDATOR = Draft202012Validator(json.loads(SCHEMA.read_text("utf-8")))


def shuffled(value: Any, random: Random) -> Any:
    if not isinstance(value, dict):
        return value
    return {key: shuffled(value[key], random) for key in random.sample(list(value), len(value))}


@given(VERDICTS, st.integers())
def test_a_verdict_comes_back_in_any_order_and_fits_its_schema(verdict: Verdict, seed: int) -> None:
    said = json.loads(verdict.to_json())
    VALIDATOR.validate(said)
    assert Verdict.from_json(json.dumps(shuffled(said, Random(seed)), indent=seed % 3)) == verdict
    assert Verdict.from_json(verdict.to_json()).to_json() == verdict.to_json()
    assert verdict.overall == all(c.passed for c in verdict.criteria.values() if c.applicable)


def test_the_canonical_form_looks_before_it_decides() -> None:
    verdict = Verdict.of({name: Criterion(name != "colour", '2 "röde"', name != "relation") for name in CRITERIA})
    said = verdict.to_json()
    assert "\n" not in said
    assert said.startswith('{"object":{"applicable":true,"reason":"2 \\"röde\\"","passed":true},"counting":{')
    assert said.endswith('},"overall":false}')
    assert list(json.loads(said)) == [*CRITERIA, "overall"]


def _good() -> dict[str, Any]:
    return json.loads(Verdict.of(dict.fromkeys(CRITERIA, Criterion(True, "", True))).to_json())


def _without(*path: str) -> Any:
    value = _good()
    inner = value
    for key in path[:-1]:
        inner = inner[key]
    del inner[path[-1]]
    return value


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ([], "expected an object"),
        (None, "expected an object"),
        (_without("overall"), "overall is missing"),
        (_without("colour"), "colour is missing"),
        (_without("colour", "reason"), "colour: reason is missing"),
        (_good() | {"color": 1}, "'color' is unknown"),
        (_good() | {"overall": 1}, "overall: expected bool"),
        (_good() | {"object": True}, "object: expected an object"),
        (_good() | {"object": {"applicable": "yes", "reason": "", "passed": True}}, "object.applicable: expected bool"),
        (_good() | {"object": {"applicable": True, "reason": None, "passed": True}}, "object.reason: expected str"),
    ],
)
def test_a_malformed_verdict_is_refused_here_and_by_the_schema(value: Any, words: str) -> None:
    with pytest.raises(DataError, match=words):
        Verdict.from_json(json.dumps(value))
    assert not VALIDATOR.is_valid(value)


@pytest.mark.parametrize("text", ["", "yes", "{", '{"object":', '{"overall":true,"overall":false}', "[" * 100_000])
def test_what_is_no_json_is_refused(text: str) -> None:
    with pytest.raises(DataError):
        Verdict.from_json(text)


def test_overall_must_follow_from_the_criteria() -> None:
    with pytest.raises(DataError, match="overall false, but no criterion failed"):
        Verdict.from_json(json.dumps(_good() | {"overall": False}))
    failed = {"counting": {"applicable": True, "reason": "", "passed": False}}
    with pytest.raises(DataError, match="overall true, but counting failed"):
        Verdict.from_json(json.dumps(_good() | failed))
    Verdict.from_json(json.dumps(_good() | {"counting": {"applicable": False, "reason": "", "passed": False}}))


def test_all_four_criteria_are_needed() -> None:
    with pytest.raises(DataError, match="relation is missing"):
        Verdict.of({name: Criterion(True, "", True) for name in CRITERIA[:3]})
