"""YAML text to plain data and back, by YAML 1.2's rules for plain words; it knows nothing of configurations' types.

PyYAML follows YAML 1.1, where `1e-3` is a string, `no` a bool, `1:30` a number of seconds and a repeated name silently
wins over the first: each of them a wrong training run.
"""

import re
from typing import Any

import yaml

from illume.core.errors import ConfigError

_PLAIN_WORDS = (
    ("tag:yaml.org,2002:null", r"^(?:~|null|Null|NULL|)$", ["~", "n", "N", ""]),
    ("tag:yaml.org,2002:bool", r"^(?:true|True|TRUE|false|False|FALSE)$", list("tTfF")),
    ("tag:yaml.org,2002:int", r"^[-+]?(?:[0-9]+|0x[0-9a-fA-F]+|0o[0-7]+)$", list("-+0123456789")),
    (
        "tag:yaml.org,2002:float",
        r"^(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$",
        list("-+.0123456789"),
    ),
)


def parse_plain(text: str, where: str) -> Any:
    """Read one YAML document. ConfigError begins with `where` and says line and column."""
    try:
        return yaml.load(text, _Loader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"{where}: not valid YAML: {error}") from error


def dump_plain(value: Any) -> str:
    """Write plain data as YAML, names in their order."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)


class _Loader(yaml.SafeLoader):
    def compose_node(self, parent: Any, index: Any) -> Any:
        tag = getattr(self.peek_event(), "tag", None)
        if tag is not None:  # PyYAML's own types of it fail in many ways, and a field knows its type
            problem = f"a value is written without a tag, such as {tag!r:.80}"
            raise yaml.composer.ComposerError(None, None, problem, self.peek_event().start_mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        names = [str(key.value) for key, _ in node.value]
        for i, (key, _) in enumerate(node.value):
            if names[i] in names[:i]:
                raise yaml.constructor.ConstructorError(None, None, f"{names[i]!r} stands twice", key.start_mark)
        return super().construct_mapping(node, deep)

    def integer(self, node: yaml.ScalarNode) -> int:
        text = str(self.construct_scalar(node))
        return int(text, 0) if text[:2] in ("0x", "0o") else int(text)


class _Dumper(yaml.SafeDumper):
    """Quotes what either version of YAML would take for something else than a string."""

    def text(self, value: str) -> yaml.ScalarNode:
        # PyYAML writes these line breaks bare, and reads them back as spaces.
        style = '"' if any(mark in value for mark in "\x85\u2028\u2029") else None
        return self.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Loader.yaml_implicit_resolvers = {}  # none of YAML 1.1's
for _tag, _pattern, _first in _PLAIN_WORDS:
    _Loader.add_implicit_resolver(_tag, re.compile(_pattern), _first)
    _Dumper.add_implicit_resolver(_tag, re.compile(_pattern), _first)
_Dumper.add_representer(str, _Dumper.text)
_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.integer)
