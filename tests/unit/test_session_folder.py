"""A session's folder: whole or not at all, its schema kept, another model's refused, and every damage a clear error."""

import copy
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from fixtures.full_disk import file_size_limit
from fixtures.tiny_model_folder import SIZE
from fixtures.tiny_sessions import pictures_of, session_parts
from illume.api import Illume, load
from illume.core.errors import CheckpointError, DataError, IllumeError
from illume.session import folder as session_folder
from illume.session.folder import fingerprint, schema
from illume.session.session import Session

FEW = {"max_new_text": 3}


@pytest.fixture(scope="module")
def model() -> Illume:
    return Illume(session_parts(2))


@pytest.fixture(scope="module")
def session(model: Illume) -> Session:
    held = model.session(seed=5)
    held.say("draw, then speak", **FEW)
    held.draw("a red circle \U0001f534 {brace} <end>")
    held.ask("which of them?", [Image.new("RGB", SIZE), "picture-1"], **FEW)
    held.edit("make it blue")
    return held


@pytest.fixture(scope="module")
def saved(session: Session, tmp_path_factory: pytest.TempPathFactory) -> Path:
    where = tmp_path_factory.mktemp("saved") / "session"
    session.save(where)
    return where


@pytest.fixture
def damaged(saved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "session"))


def plain(folder: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((folder / "session.json").read_text(encoding="utf-8"))
    return loaded


def rewrite(folder: Path, value: Any) -> None:
    (folder / "session.json").write_text(value if isinstance(value, str) else json.dumps(value), encoding="utf-8")


def files(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file() and not path.is_symlink()}


def test_it_comes_back_as_it_went(model: Illume, session: Session, saved: Path) -> None:
    loaded = model.session(saved)
    assert loaded.turns == session.turns
    assert [part for message in loaded.messages for part in message.parts] == [
        part for message in session.messages for part in message.parts
    ]
    assert pictures_of(loaded) == pictures_of(session)
    jsonschema.Draft202012Validator.check_schema(schema())
    jsonschema.validate(plain(saved), schema())
    assert sorted(files(saved)) == sorted(
        [str(saved / "session.json"), *(str(saved / "pictures" / f"{name}.png") for name in session.pictures)]
    )
    assert all(Image.open(file).format == "PNG" for file in (saved / "pictures").iterdir())


def test_it_is_written_whole_or_not_at_all(session: Session, damaged: Path, model: Illume) -> None:
    before = files(damaged)
    longer = session.branch()
    longer.draw("more")
    with file_size_limit(100), pytest.raises(CheckpointError, match="could not be written"):
        longer.save(damaged)
    assert files(damaged) == before
    assert [path.name for path in damaged.parent.iterdir()] == ["session"]
    longer.save(damaged)
    assert model.session(damaged).turns == longer.turns


def test_nothing_but_a_session_is_replaced(session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "letter.txt").write_text("dear")
    (tmp_path / "file").write_text("x")
    (tmp_path / "empty").mkdir()
    (tmp_path / "pictures-only" / "pictures").mkdir(parents=True)
    (tmp_path / "pictures-only" / "pictures" / "picture-1.png").write_bytes(b"mine")
    session.save(tmp_path / "mixed")
    (tmp_path / "mixed" / "pictures" / "holiday.jpg").write_bytes(b"mine")
    monkeypatch.chdir(tmp_path / "empty")
    before = files(tmp_path)
    refused = {
        tmp_path / "home": "letter.txt", tmp_path / "file": "a file of this name", tmp_path: "the folder you are in",
        Path(): "the folder you are in", Path("/"): "the folder you are in", tmp_path / "mixed": "holiday.jpg",
        tmp_path / "pictures-only": "no part of a session", tmp_path / ("x" * 300): "", tmp_path / "a\0b": "null",
    }  # fmt: skip
    for path, words in refused.items():
        with pytest.raises((DataError, CheckpointError), match=words or "."):
            session.save(path)
    assert files(tmp_path) == before
    monkeypatch.chdir(tmp_path)
    session.save("empty")
    session.save("empty")
    assert (tmp_path / "empty" / "session.json").is_file()


def test_a_session_of_another_model_is_refused(saved: Path, model: Illume) -> None:
    for other, words in ((session_parts(1), "ids mean other things"), (session_parts(2, seed=1), "codes look other")):
        with pytest.raises(CheckpointError, match=f"another model.*{words}"):
            Illume(other).session(saved)
    assert fingerprint(model.parts) == fingerprint(session_parts(2))


def test_a_fingerprint_stays_when_a_model_is_saved_and_loaded(model: Illume, saved: Path, tmp_path: Path) -> None:
    model.save(tmp_path / "model")
    for dtype in ("float32", "bfloat16"):
        loaded = load(tmp_path / "model", device="cpu", dtype=dtype)
        assert fingerprint(loaded.parts) == fingerprint(model.parts)
        assert loaded.session(saved).turns
    loaded.session(saved).save(tmp_path / "again")
    assert plain(tmp_path / "again")["model"]["name"] == "model"


def test_another_version_is_refused(damaged: Path, model: Illume) -> None:
    rewrite(damaged, plain(damaged) | {"format_version": 2, "new": "field"})
    with pytest.raises(CheckpointError, match="format_version 2; this ILLUME reads 1"):
        model.session(damaged)


def at(path: str, value: Any) -> Callable[[dict[str, Any]], Any]:
    """Put a value at a dotted path of session.json."""

    def change(data: dict[str, Any]) -> Any:
        node: Any = data
        *steps, last = [int(step) if step.lstrip("-").isdigit() else step for step in path.split(".")]
        for step in steps:
            node = node[step]
        node[last] = value
        return data

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda _: [], "the whole"),
        (lambda _: "", "not JSON"),
        (lambda data: json.dumps(data)[:-40], "not JSON, or cut short"),
        (lambda _: "[" * 200_000, "nested too deeply|not JSON"),
        (lambda data: json.dumps(data).replace('"seed": 5', '"seed": 5, "seed": 6', 1), "names a key twice: seed"),
        (at("seed", 5.0), "whole numbers"),
        (at("seed", True), "seed"),
        (at("seed", 2**53), "seed"),
        (at("seed", float("nan")), "whole numbers"),
        (lambda data: json.dumps(data).replace('"seed": 5', f'"seed": {"9" * 5000}', 1), "digits"),
        (at("format_version", True), "format_version"),
        (at("extra", 1), "extra"),
        (at("turns.0.ability", "sing"), "turns.0.ability"),
        (at("turns.0.saw", 1), "turns.0: its answer saw 1"),
        (at("turns.1.answer", []), "turns.1: the answer to 'draw' is exactly one picture"),
        (at("turns.2.ability", "assess"), "turns.2: a verdict"),
        (at("turns.1.ability", "ask"), "turns.1: the answer to 'ask' has no picture"),
        (at("turns.0.asked", [{"text": "\ud800"}]), "turns.0: .*surrogate"),
        (at("turns.0.asked", [{"text": "x", "picture": "picture-1"}]), "turns.0.asked"),
        (at("turns.1.answer.0.codes", [[0] * 4]), "turns.1: .* codes"),
        (at("turns.1.answer.0.codes", [[99] * 4, [0] * 16]), "turns.1: .*no code 99"),
        (at("turns.1.answer.0.codes", None), "turns.1.answer"),
        (at("turns.1.answer.0.picture", "../../etc/passwd"), "turns.1.answer"),
        (at("turns.3.answer.0.picture", "picture-1"), "a second time"),
        (at("turns.1.answer.0.picture", "picture-999"), "numbered in this order"),
        (at("turns.3.asked.0.picture", "picture-99"), "numbered in this order"),
        (at("pictures.../../x", "0" * 32), "pictures"),
        (at("pictures.picture-1\n", "0" * 32), "disagree about"),
        (at("pictures.picture-77", "0" * 32), "disagree about picture-77"),
        (at("pictures.picture-1", "0" * 32), "not the picture that session.json speaks of"),
        (at("model.codes", "0" * 12), "another model"),
        (at("model", None), "model"),
    ],
)
def test_what_was_edited_into_invalidity_is_named(
    damaged: Path, model: Illume, change: Callable[[dict[str, Any]], Any], words: str
) -> None:
    data = plain(damaged)
    paths = words == "pictures"
    if paths:  # a name that leads out of the folder
        data["pictures"]["../../x"] = "0" * 32
    rewrite(damaged, data if paths else change(data))
    before = files(damaged.parent)
    with pytest.raises(IllumeError, match=words) as caught:
        model.session(damaged)
    assert "session" in str(caught.value)
    assert files(damaged.parent) == before


def test_pictures_that_are_not_there_or_not_right_are_named(damaged: Path, model: Illume, tmp_path: Path) -> None:
    file = damaged / "pictures" / "picture-1.png"
    good = file.read_bytes()
    outside = tmp_path / "outside.png"
    outside.write_bytes(good)

    def check(words: str) -> None:
        with pytest.raises(DataError, match=words) as caught:
            model.session(damaged)
        assert "picture-1.png" in str(caught.value)

    file.write_bytes(b"")
    check("empty file")
    file.write_bytes(good[:-30])
    check("truncated|not the picture")
    file.write_bytes(b"GIF89a" + good)
    check("more than 64|not an image")
    Image.new("RGB", (8, 9)).save(file)
    check("more than 64")
    Image.new("RGB", (4, 8)).save(file)
    check("4 x 8 pixels")
    Image.new("RGB", (8, 8), (1, 2, 3)).save(file)
    check("not the picture")
    file.unlink()
    check("missing")
    file.symlink_to(outside)
    check("leads out")
    file.unlink()
    os.mkfifo(file)
    check("missing")  # nothing waits for what nobody writes
    file.unlink()
    file.mkdir()
    check("missing")


def test_a_folder_that_leads_elsewhere_is_refused(damaged: Path, model: Illume, tmp_path: Path) -> None:
    shutil.move(damaged / "pictures", tmp_path / "elsewhere")
    (damaged / "pictures").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DataError, match="leads out"):
        model.session(damaged)
    (damaged / "pictures").unlink()
    for wrong, words in ((tmp_path / "none", "no such session"), (tmp_path, "no whole session"), ("a\0b", "null")):
        with pytest.raises(DataError, match=words):
            model.session(wrong)


def test_a_huge_file_is_not_read(damaged: Path, model: Illume, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_folder, "MAX_BYTES", 100)
    with pytest.raises(DataError, match="more than the 100"):
        model.session(damaged)


def check_read_safely(folder: Path, model: Illume) -> Session | None:
    """It is a session, or an error of ours about this folder; nothing around it changes."""
    before, found, said = files(folder.parent), None, "session"
    try:
        found = model.session(folder)
    except IllumeError as error:
        said = str(error)
    assert "session" in said
    assert files(folder.parent) == before
    return found


def test_flipped_bits_are_errors_or_words(saved: Path, model: Illume, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = Path(shutil.copytree(saved, tmp_path_factory.mktemp("flipped") / "session"))
    whole = model.session(saved)
    refused = 0
    rng = np.random.default_rng(0)
    for file in (folder / "session.json", folder / "pictures" / "picture-1.png"):
        good = file.read_bytes()
        for _ in range(60):
            bad = bytearray(good)
            for _ in range(rng.integers(1, 4)):
                bad[rng.integers(len(bad))] ^= 1 << rng.integers(8)
            if rng.random() < 0.2:
                del bad[rng.integers(len(bad)) :]
            file.write_bytes(bytes(bad))
            found = check_read_safely(folder, model)
            refused += found is None
            assert found is None or pictures_of(found) == pictures_of(whole)
        file.write_bytes(good)
    assert refused > 60


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.just("picture-1")),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=8), inner, max_size=3)),
    max_leaves=6,
)


def places(node: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    return [path, *(place for key, inner in items for place in places(inner, (*path, key)))]


@settings(max_examples=50)
@given(data=st.data())
def test_anything_anywhere_is_an_error_or_a_session(
    saved: Path, model: Illume, tmp_path_factory: pytest.TempPathFactory, data: Any
) -> None:
    folder = saved.parent / "fuzzed"
    if not folder.exists():
        shutil.copytree(saved, folder)
    value = copy.deepcopy(plain(saved))
    for _ in range(data.draw(st.integers(1, 3))):
        *path, last = data.draw(st.sampled_from([place for place in places(value) if place]))
        node = value
        for step in path:
            node = node[step]
        if data.draw(st.booleans()) and isinstance(node, dict):
            del node[last]
        else:
            node[last] = data.draw(JSON)
    rewrite(folder, value)
    found = check_read_safely(folder, model)
    if found is not None:
        found.branch(memory=0).draw("it can be gone on with")


def test_the_fuzz_catches_a_reader_that_trusts(damaged: Path, model: Illume, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_folder, "_check_schema", lambda *_: None)
    rewrite(damaged, at("turns.0.asked", 3)(plain(damaged)))
    with pytest.raises(TypeError):
        check_read_safely(damaged, model)


def test_reading_runs_nothing(damaged: Path, model: Illume, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is unpickled, and no program started, whatever lies in the folder."""
    (damaged / "session.pkl").write_bytes(b"cos\nsystem\n(S'touch /tmp/never'\ntR.")

    def forbidden(*_: object, **__: object) -> None:
        raise AssertionError("must not be called")

    for name in ("pickle.load", "pickle.loads", "torch.load", "os.system", "subprocess.Popen"):
        monkeypatch.setattr(name, forbidden)
    assert isinstance(model.session(damaged), Session)
    assert isinstance(torch.tensor(0), torch.Tensor)
