"""Frozen dataclass trees to plain data and back, strictly typed; it does not know what any of the fields mean.

A field is an int, float, bool, str, Literal, None, a tuple, a dict with str keys, a dataclass, or a union of these;
dataclasses in one union are told apart by their field `kind: Literal["..."] = "..."`; one of them may have none, and is
meant where no kind is given.
"""

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from illume.core.config_reader import Given, Names, Reader, dotted
from illume.core.config_yaml import dump_plain, parse_plain
from illume.core.errors import ConfigError

C = TypeVar("C")


def to_dict(cfg: Any) -> dict[str, Any]:
    """The tree as plain data: dicts, lists, numbers, strings, None. ConfigError where a value is none of these."""
    return {f.name: _plain(getattr(cfg, f.name), (f.name,)) for f in dataclasses.fields(cfg) if f.init}


def from_dict(cls: type[C], mapping: Any, where: str = "config") -> C:
    """Build `cls` from plain data; names left out take their defaults.

    Raises ConfigError, starting with `where` and the dotted path, for an unknown or missing name, a wrong type, or a
    ValueError of a `__post_init__`. An int is taken for a float; nothing else is converted.
    """
    built: C = Reader(where).dataclass(cls, mapping, ())
    return built


def override(cfg: C, items: Sequence[str]) -> C:
    """A copy with `path=value` items applied together: `a.b=1`, `stages.0.steps=10`, `mixture.draw=0.5`.

    Values are read as YAML; where that does not fit the field, the text itself is tried, so that a str field takes
    `123`. Another `kind` of a union starts from that kind's defaults, wherever it stands among the items.
    """
    plain = to_dict(cfg)
    for item in items:
        names, given = _split(item)
        _put(plain, names, given)
    return from_dict(type(cfg), plain, where="override")


def config_hash(cfg: Any) -> str:
    """12 hexadecimal digits naming the values of this tree, the same before and after a round trip through a file."""
    # A float field may hold an int until it is read back: hash what reading back gives.
    return plain_hash(to_dict(from_dict(type(cfg), to_dict(cfg))))


def plain_hash(plain: Mapping[str, Any]) -> str:
    """12 hexadecimal digits naming plain data, such as a part of a tree."""
    text = json.dumps(plain, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.blake2b(text.encode(), digest_size=6).hexdigest()


def load_yaml(path: str | Path, cls: type[C]) -> C:
    """Read a configuration file. ConfigError names the file, and the line where it is not YAML."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot read this configuration file: {error}") from error
    return from_dict(cls, parse_plain(text, str(path)), where=str(path))


def dump_yaml(cfg: Any) -> str:
    """The tree as YAML, fields in their order; `load_yaml` reads it back equal."""
    return dump_plain(to_dict(cfg))


def _plain(value: Any, path: Names) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: _plain(getattr(value, f.name), (*path, f.name)) for f in dataclasses.fields(value) if f.init}
    if isinstance(value, Mapping):
        return {key: _plain(item, (*path, key)) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(item, (*path, i)) for i, item in enumerate(value)]
    if value is None or type(value) in (bool, int, float, str):
        return value
    raise ConfigError(f"config: {dotted(path)}: {value!r} ({type(value).__name__}) has no place in a configuration")


def _split(item: str) -> tuple[list[str], Given]:
    name, equals, text = item.partition("=")
    names = name.strip().split(".")
    if not equals or not all(names):
        raise ConfigError(f"override: expected name=value with a dotted name, got {item!r}")
    return names, Given(parse_plain(text, f"override {item!r}"), text)


def _put(plain: dict[str, Any], names: list[str], given: Given) -> None:
    """Set the value at a dotted path of plain data, in place; reading it back judges names and types."""
    node: Any = plain
    for depth, name in enumerate(names[:-1]):
        node = _enter(node, name, ".".join(names[: depth + 1]))
    key = _key(node, names[-1], ".".join(names))
    old = node[key] if isinstance(node, list) else node.get(key)
    node[key] = dataclasses.replace(given, was=old.was if isinstance(old, Given) else old)


def _enter(node: Any, name: str, path: str) -> Any:
    """The dict or list under a name; None becomes a dict, for an optional dataclass may come to stand there."""
    key = _key(node, name, path)
    child = node[key] if isinstance(node, list) else node.get(key)
    child = child.value if isinstance(child, Given) else child
    child = {} if child is None else child
    if not isinstance(child, dict | list):
        raise ConfigError(f"override: {path} is {child!r}: there are no names inside it")
    node[key] = child
    return child


def _key(node: Any, name: str, path: str) -> Any:
    if not isinstance(node, list):
        return name
    if name.isdecimal() and int(name) < len(node):
        return int(name)
    raise ConfigError(f"override: {path}: expected an index below {len(node)}, counted from 0, got {name!r}")
