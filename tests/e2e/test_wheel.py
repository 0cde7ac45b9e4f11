"""The wheel: built, installed into a fresh environment and without the source tree, it draws; its data are inside."""

import json
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path
from typing import NamedTuple

import pytest

import illume
from fixtures.tiny_model_folder import tiny_illume
from illume.generate import named

ROOT = Path(__file__).parents[2]
DATA = (
    "py.typed",
    "data/record.schema.json",
    "tasks/verdict.schema.json",
    "eval/scorecard.schema.json",
    "eval/report.html.jinja",
    "serve/static/index.html",
    "serve/static/style.css",
    "serve/static/main.js",
)
WEIGHTS = {".safetensors", ".json", ".yaml", ".md"}  # what a packed model has
DRAW = """
import json, sys, illume
model = illume.load(sys.argv[1], device="cpu")
model.draw("a red circle")[0].save(sys.argv[2])
import illume.cli, illume.recipes.run
print(json.dumps([illume.__version__, illume.__file__]))
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy: building leaves traces where it works."""
    folder = tmp_path_factory.mktemp("wheel")
    tree = folder / "tree"
    skip = shutil.ignore_patterns("__pycache__", "*.egg-info")
    shutil.copytree(ROOT / "src", tree / "src", ignore=skip)
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, tree)
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", str(folder)]
    subprocess.run([*pip, str(tree)], check=True)
    (built,) = folder.glob("*.whl")
    return built


def check_whole(names: list[str]) -> None:
    """All the modules, and what is no Python but read at run time."""
    modules = {str(path.relative_to(ROOT / "src").as_posix()) for path in (ROOT / "src" / "illume").rglob("*.py")}
    weights = {str(path.relative_to(ROOT / "src").as_posix()) for path in named.WEIGHTS.rglob("*") if path.is_file()}
    assert modules | weights | {f"illume/{name}" for name in DATA} <= set(names)


def test_all_that_is_needed_is_inside(wheel: Path) -> None:
    assert wheel.name.startswith(f"illume-{illume.__version__}-py3-")
    names = zipfile.ZipFile(wheel).namelist()
    check_whole(names)
    unread = {path.suffix for path in (ROOT / "src" / "illume").rglob("*") if path.is_file()}
    assert unread <= {".py", ".typed", ".json", ".jinja", ".html", ".css", ".js", ".pyc"} | WEIGHTS, unread
    assert not [name for name in names if "test" in Path(name).parts]


@pytest.mark.parametrize("name", DATA)
def test_the_check_catches_a_wheel_without_its_data(wheel: Path, name: str) -> None:
    names = [inside for inside in zipfile.ZipFile(wheel).namelist() if inside != f"illume/{name}"]
    with pytest.raises(AssertionError):
        check_whole(names)


class Installed(NamedTuple):
    """An environment that has the wheel: its Python, and where its packages are."""

    python: Path
    site: Path


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """The dependencies are lent by this environment; ILLUME itself can only come from the wheel."""
    venv = tmp_path_factory.mktemp("fresh") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True)
    scheme = {"base": str(venv), "platbase": str(venv)}
    python = Path(sysconfig.get_path("scripts", "venv", scheme)) / Path(sys.executable).name
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-deps", str(wheel)]
    subprocess.run(pip, check=True)
    site = Path(sysconfig.get_path("purelib", "venv", scheme))
    lent = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    (site / "lent.pth").write_text("\n".join(sorted(lent)), encoding="utf-8")
    return Installed(python, site)


def check_drawing(installed: Installed, model: str, folder: Path) -> None:
    """It draws a picture by the code of the wheel."""
    command = [str(installed.python), "-I", "-c", DRAW, model, str(folder / "out.png")]
    said = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout
    version, where = json.loads(said.splitlines()[-1])
    assert (version, Path(where).is_relative_to(installed.site)) == (illume.__version__, True)
    assert (folder / "out.png").stat().st_size > 50


def test_installed_in_a_fresh_environment_it_draws(installed: Installed, tmp_path: Path) -> None:
    tiny_illume().save(tmp_path / "model")
    check_drawing(installed, str(tmp_path / "model"), tmp_path)
    assert (installed.python.parent / "illume").exists() or (installed.python.parent / "illume.exe").exists()


def test_installed_in_a_fresh_environment_nano_draws(installed: Installed, tmp_path: Path) -> None:
    check_drawing(installed, "nano", tmp_path)
