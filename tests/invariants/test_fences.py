"""The fences of the design that import-linter cannot see: parts of packages outside, names, docstrings."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import illume

SOURCE = Path(illume.__file__).parent
MODULES = {str(path.relative_to(SOURCE)): path.read_text(encoding="utf-8") for path in SOURCE.rglob("*.py")}
FENCES = {
    "torch.distributed": ("core/dist.py", "core/checkpoint.py", "train/parallel.py"),
    "transformers": ("models/", "vocab/text.py", "eval/"),
    "diffusers": ("models/", "eval/"),
}
NAMELESS = {"utils", "util", "common", "misc", "helpers", "helper", "base"}


def imports(text: str) -> Iterator[str]:
    """Every name that a module imports, dotted: `from torch import distributed` is `torch.distributed`."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{name.name}" for name in node.names)


def check_fence(outside: str, modules: dict[str, str]) -> None:
    """What is fenced in is imported where the design says, and nowhere else."""
    for name, text in modules.items():
        found = [one for one in imports(text) if f"{one}.".startswith(f"{outside}.")]
        assert not found or name.startswith(FENCES[outside]), f"{name} imports {found[0]}"


@pytest.mark.parametrize("outside", FENCES)
def test_what_is_fenced_in_stays_there(outside: str) -> None:
    check_fence(outside, MODULES)


@pytest.mark.parametrize(
    "line",
    ["import torch.distributed as dist", "from torch import distributed", "def f():\n import torch.distributed.rpc"],
)
def test_the_check_catches_a_hole_in_the_fence(line: str) -> None:
    with pytest.raises(AssertionError, match=r"data/new\.py imports torch\.distributed"):
        check_fence("torch.distributed", {"data/new.py": line})


@pytest.mark.parametrize("name", sorted(MODULES))
def test_a_module_says_what_it_does_by_name_and_docstring(name: str) -> None:
    assert Path(name).stem not in NAMELESS
    assert ast.get_docstring(ast.parse(MODULES[name])), f"{name} has no docstring"
