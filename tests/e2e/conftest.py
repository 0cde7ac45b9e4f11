"""One tiny run of the whole recipe, shared by the tests that look at what it leaves."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from fixtures.imagefolder import make_image_folder
from fixtures.tiny_recipe import tiny_pico
from illume import cli
from illume.core.config import dump_yaml


class Said(NamedTuple):
    """What a command answered."""

    code: int
    out: str
    err: str


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished tiny run, trained through the command line's own code."""
    out = tmp_path_factory.mktemp("run") / "tiny"
    config = out.with_suffix(".yaml")
    config.write_text(dump_yaml(tiny_pico(out)), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["illume", "train", str(config)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
    assert ended.value.code in (0, None)
    return out


@pytest.fixture
def here(run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to be in, with what the commands of the README and of docs/ name."""
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "demo").symlink_to(run_folder)
    make_image_folder(tmp_path / "FOLDER", n=24)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def illume(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Said]:
    """Call the command line in this process: illume("draw", model, "a red circle") -> (code, out, err)."""

    def call(*arguments: object) -> Said:
        monkeypatch.setattr(sys, "argv", ["illume", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out, err = capsys.readouterr()
        code = ended.value.code
        return Said(code if isinstance(code, int) else 0, out, err)

    return call
