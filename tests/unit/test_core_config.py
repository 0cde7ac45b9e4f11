"""Configuration trees: plain data and YAML give them back, and every mistake is named with its path."""

import re
from dataclasses import dataclass, field
from typing import Literal

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from illume.core.config import config_hash, dump_yaml, from_dict, load_yaml, override, to_dict
from illume.core.config_yaml import parse_plain
from illume.core.errors import ConfigError


@dataclass(frozen=True)
class VQ:
    kind: Literal["vq"] = "vq"
    size: int = 512
    decay: float = 0.98


@dataclass(frozen=True)
class SimVQ:
    kind: Literal["simvq"] = "simvq"
    size: int = 1024
    frozen: bool = True


@dataclass(frozen=True)
class Stage:
    name: str
    steps: int = 10
    lr: float = 1e-3
    schedule: Literal["constant", "cosine"] = "cosine"

    def __post_init__(self):
        if self.steps < 0:
            raise ValueError(f"steps must not be negative, got {self.steps}")


@dataclass(frozen=True)
class Kindly:
    kind: Literal["constant", "cosine"] = "cosine"
    warmup: float = 0.1


@dataclass(frozen=True)
class Run:
    quantizer: VQ | SimVQ = VQ()
    stages: tuple[Stage, ...] = (Stage("align"), Stage("tune"))
    grid: tuple[int, int] = (4, 4)
    mixture: dict[str, float] = field(default_factory=lambda: {"draw": 1.0})
    clip: float | None = None
    size: int | tuple[int, int] = 32
    extra: Stage | None = None
    schedule: Kindly = Kindly()
    note: str = "no"
    reread: bool = True


TRICKY = ["1e-3", "no", "1:30", "2020-01-01", "null", "~", "0x1F", ".nan", "<<", "=", "\x85", "a\u2028b"]
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
STAGES = st.builds(Stage, st.text(), st.integers(min_value=0), NUMBERS, st.sampled_from(["constant", "cosine"]))
RUNS = st.builds(
    Run,
    quantizer=st.one_of(st.builds(VQ, size=st.integers(), decay=NUMBERS), st.builds(SimVQ, frozen=st.booleans())),
    stages=st.lists(STAGES, max_size=2).map(tuple),
    grid=st.tuples(st.integers(), st.integers()),
    mixture=st.dictionaries(st.text(), NUMBERS, max_size=3),
    clip=st.none() | NUMBERS,
    size=st.integers() | st.tuples(st.integers(), st.integers()),
    extra=st.none() | STAGES,
    note=st.text() | st.sampled_from(TRICKY),
    reread=st.booleans(),
)


def check_round_trip(cfg, dump, tmp_path_factory):
    assert from_dict(Run, to_dict(cfg)) == cfg
    path = tmp_path_factory.mktemp("config") / "run.yaml"
    path.write_text(dump(cfg), encoding="utf-8")
    back = load_yaml(path, Run)
    assert back == cfg
    assert config_hash(back) == config_hash(cfg)


@given(cfg=RUNS)
def test_core_config_round_trips_through_plain_data_and_yaml(cfg, tmp_path_factory):
    check_round_trip(cfg, dump_yaml, tmp_path_factory)


def test_core_config_round_trip_catches_a_yaml_writer_that_does_not_quote(tmp_path_factory):
    def unquoted(cfg):
        return dump_yaml(cfg).replace("'", "")

    with pytest.raises((AssertionError, ConfigError)):
        check_round_trip(Run(note="1e-3"), unquoted, tmp_path_factory)


def test_core_config_yaml_is_read_alike_by_an_ordinary_reader():
    assert yaml.safe_load(dump_yaml(Run())) == to_dict(Run())


def test_core_config_hash_sees_values_not_how_they_were_written():
    assert config_hash(Run(clip=1)) == config_hash(Run(clip=1.0))
    assert config_hash(Run(clip=1)) != config_hash(Run(clip=2))
    assert re.fullmatch("[0-9a-f]{12}", config_hash(Run()))


@given(cfg=RUNS)
def test_core_config_overrides_set_what_they_name_and_nothing_else(cfg):
    changed = override(cfg, ["reread=false", "clip=1e-5", "note=123", "size=[8, 16]", "mixture.edit=2"])
    expected = {"reread": False, "clip": 1e-5, "note": "123", "size": (8, 16), "mixture": {**cfg.mixture, "edit": 2.0}}
    for name in to_dict(cfg):
        assert getattr(changed, name) == expected.get(name, getattr(cfg, name))


def test_core_config_overrides_reach_tuples_and_optional_trees():
    changed = override(Run(), ["stages.1.steps=7", "extra.name=late", "extra.steps=3", "grid=[9, 16]"])
    assert changed.stages == (Stage("align"), Stage("tune", steps=7))
    assert changed.extra == Stage("late", steps=3)
    assert changed.grid == (9, 16)


@pytest.mark.parametrize(
    "items", [["quantizer.kind=simvq", "quantizer.size=8"], ["quantizer.size=8", "quantizer.kind=simvq"]]
)
def test_core_config_another_kind_starts_from_its_own_defaults(items):
    assert override(Run(), items).quantizer == SimVQ(size=8)


def test_core_config_a_kind_that_is_no_union_keeps_its_fields():
    run = Run(schedule=Kindly("cosine", 0.3))
    assert override(run, ["schedule.kind=constant"]).schedule == Kindly("constant", 0.3)


@pytest.mark.parametrize(
    ("item", "words"),
    [
        ("stagse.0.steps=1", ["stagse", "did you mean stages?"]),
        ("stages.0.stesp=1", ["stages.0.stesp", "did you mean steps?"]),
        ("stages.7.steps=1", ["stages.7", "below 2"]),
        ("stages.0.steps=true", ["stages.0.steps", "expected int", "True (bool)"]),
        ("stages.0.steps=1.5", ["stages.0.steps", "expected int", "1.5 (float)"]),
        ("stages.0.steps=-1", ["stages.0", "steps must not be negative, got -1"]),
        ("stages.0.schedule=cosin", ["stages.0.schedule", "constant, cosine", "did you mean cosine?"]),
        ("stages.0.lr=.inf", ["stages.0.lr", "finite"]),
        ("reread=1", ["reread", "expected bool", "1 (int)"]),
        ("grid=[1, 2, 3]", ["grid", "expected 2 values", "got 3"]),
        ("size=[1, x]", ["size", "int or tuple[int, int]"]),
        ("mixture.draw=lots", ["mixture.draw", "expected float", "'lots'"]),
        ("quantizer.kind=simvk", ["quantizer.kind", "vq, simvq", "did you mean simvq"]),
        ("quantizer=3", ["quantizer", "expected a mapping (VQ) or a mapping (SimVQ)"]),
        ("extra.steps=3", ["extra", "Stage needs a value for name"]),
        ("note.x=3", ["note is 'no'"]),
        ("note=[1", ["not valid YAML"]),
        ("note", ["name=value"]),
        ("=3", ["name=value"]),
    ],
)
def test_core_config_mistakes_are_named(item, words):
    with pytest.raises(ConfigError) as caught:
        override(Run(), [item])
    assert [word for word in words if word not in str(caught.value)] == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("note: [", ["line 1"]),
        ("note: a\nnote: b", ["'note' stands twice", "line 2"]),
        ("", ["expected a mapping (Run), got nothing"]),
        ("- 1", ["expected a mapping"]),
        ("mixture: {1: 2.0}", ["mixture", "1 (int)"]),
        ("quantizer: {size: 3}", ["quantizer.kind", "none is given"]),
        ("nota: 1", ["nota", "did you mean note?"]),
    ],
)
def test_core_config_files_are_named_in_their_errors(text, words, tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_yaml(path, Run)
    assert [word for word in [str(path), *words] if word not in str(caught.value)] == []


@pytest.mark.parametrize(
    "value", ["!!bool x", "!!timestamp x", "!!float ''", "!!int a", "!!null x", "!!set {a: 1}", "!mine 3", "!<x> 3"]
)
def test_core_config_a_tag_is_refused_wherever_it_stands(value):
    for text in (value, f"a: {value}", f"{value}: 1", f"a: [1, {value}]", f"a: {{b: {value}}}"):
        with pytest.raises(ConfigError, match=r"here: not valid YAML: a value is written without a tag"):
            parse_plain(text, "here")
    with pytest.raises(ConfigError, match="override"):
        override(Run(), [f"note={value}"])


def test_core_config_missing_or_binary_file_is_named(tmp_path):
    (tmp_path / "b.yaml").write_bytes(b"\xff\xfe\x00")
    for name in ("none.yaml", "b.yaml"):
        with pytest.raises(ConfigError, match=name):
            load_yaml(tmp_path / name, Run)


def test_core_config_refuses_to_write_what_it_could_not_read():
    with pytest.raises(ConfigError, match="note"):
        to_dict(Run(note=object()))  # type: ignore[arg-type]


def test_core_config_an_unsupported_field_type_is_a_programming_error():
    @dataclass(frozen=True)
    class Odd:
        path: bytes = b""

    with pytest.raises(TypeError, match="path"):
        from_dict(Odd, {"path": "x"})
