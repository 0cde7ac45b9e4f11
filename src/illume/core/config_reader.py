"""Plain data to typed values by the type hints of dataclasses; it does not know where the data came from."""

import dataclasses
import difflib
import math
import types
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from illume.core.errors import ConfigError

Names = tuple[str | int, ...]


@dataclasses.dataclass(frozen=True)
class Given:
    """A value of the command line: as YAML reads it, as it was typed, and the value it replaces."""

    value: Any
    text: str
    was: Any = None


@dataclasses.dataclass(frozen=True)
class Reader:
    """Plain data to typed values; `where` begins every message."""

    where: str

    def value(self, hint: Any, value: Any, path: Names) -> Any:
        if isinstance(value, Given):
            return self._given(hint, value, path)
        origin = get_origin(hint)
        if origin in (Union, types.UnionType):
            return self._union(hint, value, path)
        if origin is Literal:
            return self._literal(hint, value, path)
        if origin is tuple:
            return self._tuple(hint, value, path)
        if origin is dict:
            return self._dict(hint, value, path)
        if dataclasses.is_dataclass(hint):
            return self.dataclass(hint, value, path)
        return self._scalar(hint, value, path)

    def dataclass(self, cls: Any, value: Any, path: Names) -> Any:
        if not isinstance(value, Mapping):
            raise self._wrong(cls, value, path)
        hints = _hints(cls)
        for name in value:
            if name not in hints:
                raise self._unknown(name, hints, path)
        missing = [name for name in _required(cls) if name not in value]
        if missing:
            raise self._error(path, f"{cls.__name__} needs a value for {_listed(missing)}")
        found = {name: self.value(hints[name], item, (*path, name)) for name, item in value.items()}
        try:
            return cls(**found)
        except ValueError as error:
            raise self._error(path, str(error)) from error

    def _given(self, hint: Any, given: Given, path: Names) -> Any:
        try:
            return self.value(hint, given.value, path)
        except ConfigError as first:
            try:
                return self.value(hint, given.text, path)
            except ConfigError:
                raise first from None

    def _union(self, hint: Any, value: Any, path: Names) -> Any:
        members = [member for member in get_args(hint) if member is not type(None)]
        if value is None and len(members) < len(get_args(hint)):
            return None
        classes = [member for member in members if dataclasses.is_dataclass(member)]
        if isinstance(value, Mapping) and len(classes) > 1:
            cls = self._kind(classes, value, path)
            return self.dataclass(cls, _of_this_kind(value), path)
        if len(members) == 1:
            return self.value(members[0], value, path)
        for member in sorted(members, key=lambda member: member is not type(value)):
            try:
                return self.value(member, value, path)
            except ConfigError:
                # A mapping can only have meant the one dataclass: its own error says more than "none of these".
                if isinstance(value, Mapping) and member in classes:
                    raise
        raise self._wrong(hint, value, path)

    def _kind(self, classes: list[Any], value: Mapping[str, Any], path: Names) -> Any:
        kinds = {kind: cls for cls in classes for kind in get_args(_hints(cls).get("kind"))}
        kind = _bare(value.get("kind"))
        kindless = [cls for cls in classes if "kind" not in _hints(cls)]
        if "kind" not in value and len(kindless) == 1:
            return kindless[0]
        if not isinstance(kind, str) or kind not in kinds:
            got = "none is given" if kind is None else f"got {kind!r}{_near(kind, kinds)}"
            raise self._error((*path, "kind"), f"expected one of {_listed(kinds)}, {got}")
        return kinds[kind]

    def _literal(self, hint: Any, value: Any, path: Names) -> Any:
        choices = get_args(hint)
        if any(value == choice and type(value) is type(choice) for choice in choices):
            return value
        raise self._error(path, f"expected one of {_listed(choices)}, got {_shown(value)}{_near(value, choices)}")

    def _tuple(self, hint: Any, value: Any, path: Names) -> Any:
        args = get_args(hint)
        if not isinstance(value, list | tuple):
            raise self._wrong(hint, value, path)
        if len(args) == 2 and args[1] is Ellipsis:
            args = args[:1] * len(value)
        if len(args) != len(value):
            raise self._error(path, f"expected {len(args)} values ({_type_name(hint)}), got {len(value)}")
        return tuple(self.value(arg, item, (*path, i)) for i, (arg, item) in enumerate(zip(args, value, strict=True)))

    def _dict(self, hint: Any, value: Any, path: Names) -> Any:
        if not isinstance(value, Mapping):
            raise self._wrong(hint, value, path)
        for key in value:
            if not isinstance(key, str):
                raise self._error(path, f"expected names that are str, got {_shown(key)}")
        return {key: self.value(get_args(hint)[1], item, (*path, key)) for key, item in value.items()}

    def _scalar(self, hint: Any, value: Any, path: Names) -> Any:
        if hint not in (int, float, bool, str, type(None)):
            raise TypeError(f"{self.where}: {dotted(path)}: a configuration field cannot have the type {hint!r}")
        if hint is float and type(value) in (int, float):
            return self._finite(value, path)
        if type(value) is hint:
            return value
        raise self._wrong(hint, value, path)

    def _finite(self, value: float, path: Names) -> float:
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if math.isfinite(number):
            return number
        raise self._error(path, f"expected a finite number, got {value!r} (leave it out, or null where allowed)")

    def _unknown(self, name: Any, known: Iterable[str], path: Names) -> ConfigError:
        names = _listed(known) or "none"
        return self._error((*path, name), f"unknown name{_near(name, known)} (the names here: {names})")

    def _wrong(self, hint: Any, value: Any, path: Names) -> ConfigError:
        return self._error(path, f"expected {_type_name(hint)}, got {_shown(value)}")

    def _error(self, path: Names, problem: str) -> ConfigError:
        return ConfigError(": ".join(filter(None, (self.where, dotted(path), problem))))


def _bare(value: Any) -> Any:
    return value.value if isinstance(value, Given) else value


def _of_this_kind(value: Mapping[str, Any]) -> Mapping[str, Any]:
    """Without what belonged to the kind that an override replaced; what the overrides themselves gave stays."""
    kind = value.get("kind")
    if not isinstance(kind, Given) or kind.was == kind.value:
        return value
    return {name: item for name, item in value.items() if _holds_given(item)}


def _holds_given(value: Any) -> bool:
    if isinstance(value, dict | list):
        return any(map(_holds_given, value.values() if isinstance(value, dict) else value))
    return isinstance(value, Given)


@cache
def _hints(cls: Any) -> dict[str, Any]:
    hints = get_type_hints(cls)
    return {field.name: hints[field.name] for field in dataclasses.fields(cls) if field.init}


def _required(cls: Any) -> list[str]:
    free = (dataclasses.MISSING, dataclasses.MISSING)
    return [f.name for f in dataclasses.fields(cls) if f.init and (f.default, f.default_factory) == free]


def dotted(path: Names) -> str:
    return ".".join(str(name) for name in path)


def _listed(names: Iterable[Any]) -> str:
    return ", ".join(str(name) for name in names)


def _near(name: Any, known: Iterable[Any]) -> str:
    near = difflib.get_close_matches(str(name), [str(k) for k in known], n=3, cutoff=0.5)
    return f"; did you mean {' or '.join(near)}?" if near else ""


def _shown(value: Any) -> str:
    if isinstance(value, Mapping | list | tuple):  # what is inside may be long, or still unread
        return "a mapping" if isinstance(value, Mapping) else f"{len(value)} values"
    return "nothing" if value is None else f"{value!r} ({type(value).__name__})"


def _type_name(hint: Any) -> str:
    if get_origin(hint) in (Union, types.UnionType):
        return " or ".join(_type_name(member) for member in get_args(hint))
    if hint is type(None):
        return "null"
    if dataclasses.is_dataclass(hint):
        return f"a mapping ({getattr(hint, '__name__', hint)})"
    return hint.__name__ if isinstance(hint, type) and get_origin(hint) is None else str(hint)
