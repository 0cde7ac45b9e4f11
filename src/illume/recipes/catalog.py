"""How a recipe is named: built in, a function in a file, or a saved config.yaml; with overrides applied."""

import runpy
import traceback
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from illume.core.config import load_yaml, override
from illume.core.errors import ConfigError
from illume.recipes import ablations, illume_7b, nano, own, pico
from illume.recipes.recipe import Recipe

RECIPES: dict[str, Callable[[], Recipe]] = {
    "pico": pico.pico,
    "nano": nano.nano,
    "pico_reconstruction": ablations.pico_reconstruction,
    "pico_codes": ablations.pico_codes,
    "own": own.own,
    "illume_7b": illume_7b.illume_7b,
    "illume_7b_qwen": illume_7b.illume_7b_qwen,
}


def resolve(name: str, overrides: Sequence[str] = ()) -> Recipe:
    """The recipe of a built-in name, FILE.py:FUNCTION or a saved config.yaml, with `key=value` overrides applied.

    `data=PATH` is short for `data.path=PATH`. ConfigError names what was meant instead.
    """
    recipe = _named(name)
    return override(recipe, [_spelled_out(item) for item in overrides])


def _spelled_out(item: str) -> str:
    return "data.path=" + item.removeprefix("data=") if item.startswith("data=") else item


def _named(name: str) -> Recipe:
    if name in RECIPES:
        return RECIPES[name]()
    if name.endswith((".yaml", ".yml")):
        return load_yaml(name, Recipe)
    if ".py:" in name:
        return _from_file(*name.rsplit(":", 1))
    near = get_close_matches(name, RECIPES, n=2, cutoff=0.4)
    meant = f" (near: {' or '.join(near)})" if near else ""
    known = f"{', '.join(RECIPES)}, FILE.py:FUNCTION, or a run's config.yaml"
    raise ConfigError(f"no recipe is called {name!r}{meant}; give one of {known}")


def _from_file(file: str, function: str) -> Recipe:
    path = Path(file)
    if not path.is_file():
        raise ConfigError(f"{file}: no such recipe file")
    try:
        module = runpy.run_path(str(path))
    except Exception as error:
        raise ConfigError(f"{file}: cannot be run: {_said(error)}") from error
    made: Any = module.get(function)
    if not callable(made):
        defined = [n for n, value in module.items() if callable(value) and not n.startswith("_")]
        raise ConfigError(f"{file} has no function {function!r}; it has {', '.join(defined)}")
    try:
        recipe = made()
    except Exception as error:
        raise ConfigError(f"{file}:{function} failed: {_said(error)}") from error
    if not isinstance(recipe, Recipe):
        raise ConfigError(f"{file}:{function} returned {type(recipe).__name__}, not a Recipe")
    return recipe


def _said(error: Exception) -> str:
    """An error of a person's own Python: what it was, and the line it came from."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {error} ({last.filename}:{last.lineno})"
