"""YAML as people expect it: the YAML 1.2 core schema, no duplicate keys, a line number for every key.

YAML 1.1, which PyYAML speaks, reads ``5e-5`` as text, ``010`` as 8, ``on`` as true and ``1:30`` as 90.
"""

from __future__ import annotations

import re
from typing import Any

import yaml

from edgeflownas.errors import ConfigError

__all__ = ["NULL_WORDS", "dump_yaml", "parse_value", "parse_yaml"]

NULL_WORDS = ("null", "Null", "NULL", "none", "None", "NONE", "~")

_RESOLVERS = (
    ("bool", "(?:true|True|TRUE|false|False|FALSE)", "tTfF"),
    ("null", "(?:null|Null|NULL|none|None|NONE|~|)", ["n", "N", "~", ""]),
    ("int", "[-+]?(?:0|[1-9][0-9_]*)", "-+0123456789"),
    ("float", r"(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.inf|\.nan)", "-+.0123456789"),
)


def _table() -> dict[str, list[tuple[str, re.Pattern[str]]]]:
    table: dict[str, list[tuple[str, re.Pattern[str]]]] = {}
    for tag, pattern, first in _RESOLVERS:
        for character in first:
            table.setdefault(character, []).append((f"tag:yaml.org,2002:{tag}", re.compile(f"^{pattern}$")))
    return table


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers = _table()


class _Dumper(yaml.SafeDumper):
    yaml_implicit_resolvers = _table()  # the same, so that the text 'none' comes back as text

    def ignore_aliases(self, data: Any) -> bool:
        return True


# Lists on one line ([180, 240]), groups as blocks.
_Dumper.add_representer(
    list, lambda dumper, value: dumper.represent_sequence("tag:yaml.org,2002:seq", value, flow_style=True)
)


def dump_yaml(value: Any) -> str:
    """``value`` as YAML text that :func:`parse_yaml` reads back unchanged."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)


def parse_value(text: str, name: str) -> Any:
    """One command-line value (``5e-5``, ``null``, ``[180, 240]``) as YAML reads it.

    Raises:
        ConfigError: the text is no YAML value; ``name`` is the option it belongs to.
    """
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506 (a SafeLoader)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise ConfigError(f"{name}: {text!r} is not a YAML value ({_problem(error)}): quote it") from None


def parse_yaml(text: str, source: str) -> tuple[Any, dict[tuple[str, ...], int]]:
    """The value of a YAML document and the line (from 1) of every key path in it.

    Raises:
        ConfigError: not YAML, or a key given twice; names ``source`` and the line.
    """
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        lines: dict[tuple[str, ...], int] = {}
        _walk(node, (), lines, source, set())
        return (None if node is None else loader.construct_document(node)), lines
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{source}:{mark.line + 1}" if mark else source
        raise ConfigError(f"{where}: not valid YAML: {_problem(error)}") from None


def _problem(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "nested too deeply"
    text = getattr(error, "problem", None) or getattr(error, "reason", None) or str(error)
    return " ".join(str(text).split())


def _walk(
    node: yaml.Node | None, path: tuple[str, ...], lines: dict[tuple[str, ...], int], source: str, done: set[int]
) -> None:
    if id(node) in done:  # an alias; following each one could take for ever
        return
    done.add(id(node))
    if isinstance(node, yaml.SequenceNode):
        for child in node.value:
            _walk(child, path, lines, source, done)
    if not isinstance(node, yaml.MappingNode):
        return
    seen: dict[str, int] = {}
    for key, child in node.value:
        name, line = str(key.value), key.start_mark.line + 1
        if name in seen:
            full = ".".join((*path, name))
            raise ConfigError(f"{source}:{line}: {full} is given twice (first on line {seen[name]}): remove one")
        seen[name] = line
        lines[(*path, name)] = line
        _walk(child, (*path, name), lines, source, done)
