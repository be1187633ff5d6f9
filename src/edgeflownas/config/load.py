"""From a recipe and command-line overrides to a checked configuration, and back to YAML.

Recipe and overrides are merged first and validated once; every problem is reported, one line each, with the place
it comes from (``my.yaml:12: train.lr_schedule: must be one of ...`` or ``--train.lr: ...``).
"""

import io
import itertools
import json
import re
from collections.abc import Collection, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, ScalarNode, SequenceNode
from ruamel.yaml.representer import SafeRepresenter
from ruamel.yaml.resolver import VersionedResolver

from edgeflownas.config.keys import Config, groups, keys, nearest
from edgeflownas.errors import ConfigError
from edgeflownas.space import declared_space

RECIPES = Path(__file__).parents[1] / "recipes"
NULL_WORDS = ("null", "Null", "NULL", "none", "None", "NONE", "~")
REMOVED = {
    "data.worker_kind": ("loader workers are threads, which decode as fast as processes did", "thread"),
    "train.qat_calibrate": ("it belonged to task qat, which is gone", "minmax"),
}
"""Keys of earlier versions, why they went, and the value that means no change to a run that stored it.

They are refused, but left out of a config.yaml that a run stored."""
FORMER = {"eval.batch_size": 8}
"""Defaults that have changed: what a run whose config.yaml lacks the key was made with."""
_LARGEST_FILE = 1 << 20
Origins = dict[tuple[str, ...], str]
"""Where each key is written, as the beginning of a message about it: ``my.yaml:12: `` or ``--``."""


class Usage(NamedTuple):
    """How a recipe is meant to be run, written beside its groups."""

    sweep: Any = None  # `sweep:`, the variants of `edgeflownas sweep`
    fork: bool = False  # `fork: true`, keys that go over those of the run that `train --fork` starts from


def load_config(
    name_or_path: str | Path | None, overrides: Sequence[str] = (), overlay: str | Path | None = None
) -> Config:
    """The configuration of a recipe (None: all defaults) with overrides (``--train.lr 5e-5``, ``--train.lr=5e-5``).

    The keys that ``overlay``, a second recipe, writes go over those of the first. What a recipe says of its use
    (:class:`Usage`) changes no configuration.  Raises ConfigError with every problem of both, one line each.
    """
    merged: dict[str, Any] = {}
    origins: Origins = {}
    for recipe in (name_or_path, overlay):
        if recipe is None:
            continue
        written, places, _ = read_recipe(recipe)
        for group, content in written.items():
            below = merged.get(group)
            both = isinstance(below, dict) and isinstance(content, dict)
            merged[group] = {**below, **content} if both else content  # type: ignore[dict-item]
        origins |= places
    pairs, rest = parse_overrides(overrides)
    if rest:
        raise ConfigError(f"{rest[0]} is not a configuration key: overrides look like --train.lr 5e-5")
    for key, text in pairs:
        _override(merged, origins, key, text)
    try:
        return Config.model_validate(merged)
    except ValidationError as error:
        lines = explain(error, merged, origins)
        head = f"{len(lines)} problems in the configuration:\n  " if len(lines) > 1 else ""
        raise ConfigError(head + "\n  ".join(lines)) from None


def dump_config(config: Config) -> str:
    """The whole configuration as YAML; ``load_config`` of it gives the same configuration."""
    return dump_yaml(config.model_dump(mode="json"))


# Recipes


def recipe_names() -> list[str]:
    """Names of the packaged recipes, sorted."""
    return sorted(path.stem for path in RECIPES.glob("*.yaml"))


def find_recipe(name_or_path: str | Path) -> Path:
    """The file of a packaged recipe (``smoke``) or of a path (with a suffix or a slash).  Raises ConfigError."""
    text, path, names = str(name_or_path), Path(name_or_path), recipe_names()
    known = ", ".join(names)
    if text in names:
        return RECIPES / f"{text}.yaml"
    if path.is_dir():
        raise ConfigError(f"{text} is a directory: give a recipe file or one of the recipes {known}")
    if path.exists():
        return path
    if path.suffix or len(path.parts) > 1:
        raise ConfigError(f"recipe file {text} not found: check the path, or give one of the recipes {known}")
    close = nearest(text, names)
    hint = f"; did you mean {close!r}?" if close else ""
    raise ConfigError(f"no recipe {text!r} (known: {known}; a file is given by its path){hint}")


def read_recipe(name_or_path: str | Path) -> tuple[dict[str, Any], Origins, Usage]:
    """The groups that a recipe writes (not checked), where each key stands, and its use.  Raises ConfigError."""
    path = find_recipe(name_or_path)
    value, lines = read_yaml(path, "a YAML recipe")
    if value is None:
        raise ConfigError(f"{path} is empty: a recipe needs at least one key, such as 'train: {{batch_size: 8}}'")
    if not isinstance(value, dict):
        raise ConfigError(f"{path} must be a mapping with the groups {', '.join(groups())} (got {_shown(value)})")
    origins = {key: f"{path}:{line}: " for key, line in lines.items()}
    from edgeflownas.config.foreign import foreign_file  # it reads files by this one

    if len(theirs := foreign_file(value)) > 1:
        raise ConfigError(
            f"{path}: a configuration of the TF1 tool ({', '.join(theirs[:3])}): translate it with edgeflownas "
            f"import-config {path} --out mine.yaml"
        )
    # A group whose keys are all commented out reads as null; it means the defaults.
    written = {str(name): {} if content is None else content for name, content in value.items()}
    for group, _, name in (key.partition(".") for key in REMOVED if path.name == "config.yaml"):
        if isinstance(written.get(group), dict):
            written[group].pop(name, None)
    if path.name == "config.yaml":
        read_as_today(written, path.parent)
    usage = Usage(written.pop("sweep", None), written.pop("fork", False))
    if not isinstance(usage.fork, bool):
        raise ConfigError(f"{origins[('fork',)]}fork: must be true or false (got {_shown(usage.fork)})")
    return written, origins, usage


def read_as_today(written: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The groups of the config.yaml of a run as they are meant: a default, or a space, may have changed since.

    A file with no manifest of a run beside it (or below, in a group) is left alone.
    """
    files = [
        folder / "run_manifest.json",
        *(folder.glob("*/run_manifest.json") if (folder / "group.json").is_file() else ()),
    ]
    file = next((file for file in files if file.is_file()), None)
    if file is None:
        return written
    for full, value in FORMER.items():
        group, _, name = full.partition(".")
        if isinstance(content := written.get(group), dict):
            content.setdefault(name, value)
    train = written.get("train")
    if isinstance(train, dict) and train.get("space") == "v3":
        with suppress(OSError, ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError):
            train["space"] = declared_space(json.loads(file.read_bytes())["manifest"]["space"])  # else said elsewhere
    return written


# Overrides on the command line


def parse_overrides(tokens: Sequence[str]) -> tuple[list[tuple[str, str]], list[str]]:
    """(key, value) pairs in their order and the tokens that are no overrides.  Raises ConfigError: one has no value."""
    pairs: list[tuple[str, str]] = []
    rest: list[str] = []
    remaining = list(tokens)
    while remaining:
        token = remaining.pop(0)
        name, equals, value = token.partition("=")
        if not (name.startswith("--") and "." in name):
            rest.append(token)
            continue
        known = keys().get(name[2:])
        example = f"{name} takes {known.values}" if known else f"write {name} VALUE or {name}=VALUE"
        if not equals:
            if not remaining or remaining[0].startswith("--"):
                raise ConfigError(f"{name} needs a value: {example}")
            value = remaining.pop(0)
        if not value.strip():
            raise ConfigError(f"{name} has an empty value: {example}, or leave it out")
        pairs.append((name[2:], value))
    return pairs, rest


def set_key(merged: dict[str, Any], full: str, text: str) -> None:
    """Write one command-line value into the groups."""
    _override(merged, {}, full, text)


def _override(merged: dict[str, Any], origins: Origins, full: str, text: str) -> None:
    """Write one command-line value into the groups."""
    group, _, name = full.partition(".")
    if group not in groups():
        origins[(group,)] = "--"
    content = merged.setdefault(group, {})
    if not isinstance(content, dict):  # validation refuses the group as a whole
        return
    key = keys().get(full)
    if key is not None and key.repeats and not text.startswith("["):
        earlier = content[name] if origins.get((group, name)) == "--" else []
        content[name] = [*earlier, text]
    elif key is not None and key.takes_text and not (key.default is None and text in NULL_WORDS):
        content[name] = text
    else:
        try:
            content[name] = _construct(text, (group, name))[0]
        except _UNREADABLE as error:
            raise ConfigError(f"--{full}: {text!r} is not a YAML value ({_problem(error)}): quote it") from None
    origins[(group, name)] = "--"


# Problems in words


def explain(error: ValidationError, merged: dict[str, Any] | None = None, origins: Origins | None = None) -> list[str]:
    """One line per problem: where from, the key, what it must be, what was found, the nearest name."""
    lines: dict[str, None] = {}  # one per key, though unions and lists report each member
    places = origins or {}
    for problem in error.errors(include_url=False):
        location = tuple(map(str, problem["loc"]))[:2]
        value: Any = merged
        for part in location:
            value = value[part] if isinstance(value, dict) and part in value else problem["input"]
        message = problem["msg"].removeprefix("Value error, ")
        # A problem between keys has no line of its own: that of its group is named, or the command line where a key of
        # it is one of those that the message names.
        where = places.get(location) or places.get(location[:1], "")
        named = [] if len(location) == 2 else re.findall(r"\b([a-z]+)\.([a-z0-9_]+)", message)
        if given := [f"--{'.'.join(key)}" for key in dict.fromkeys(named) if places.get(key) == "--"]:
            where = f"command line ({', '.join(given)}): "
        lines[where + _explain_one(problem["type"], location, message, value)] = None
    return list(lines)


def _explain_one(kind: str, location: tuple[str, ...], message: str, value: Any) -> str:
    full = ".".join(location)
    if kind in ("extra_forbidden", "invalid_key"):
        if full in REMOVED:
            return f"{full}: was removed ({REMOVED[full][0]}): remove the key"
        return f"{full}: unknown key{_nearest_key(location)}"
    if len(location) < 2:
        if kind == "value_error":  # between keys of the group; the message names them
            return message
        first = ", ".join(list(groups()[full].model_fields)[:3])
        return f"{full}: must be a mapping with keys such as {first} (got {_shown(value)})"
    if kind == "value_error":
        return f"{full}: {message} (got {_shown(value)})"
    values = keys()[full].values
    article = "a " if values.startswith(("whole", "number", "list")) else ""
    close = None
    if values.startswith("one of ") and isinstance(value, str):
        close = nearest(value, values.removeprefix("one of ").replace(", or", ",").split(", "))
    hint = f"; did you mean {close!r}?" if close else ""
    return f"{full}: must be {article}{values} (got {_shown(value)}){hint}"


def _nearest_key(location: tuple[str, ...]) -> str:
    """What an unknown group, or key of a known group, may have meant."""
    name = location[-1]
    siblings = list(groups() if len(location) == 1 else groups()[location[0]].model_fields)
    if close := nearest(name, siblings):
        known = f" (groups: {', '.join(siblings)})" if len(location) == 1 else ""
        return f"; did you mean {'.'.join((*location[:-1], close))}?{known}"
    full = {key.name: full for full, key in reversed(keys().items())}  # the first group that has the name
    if close := nearest(name, [key.name for key in keys().values()]):
        return f"; did you mean {full[close]}?"
    return f" (known: {', '.join(siblings)})"


def _shown(value: Any) -> str:
    """The value as the user wrote it, cut to one short line."""
    if isinstance(value, dict):
        text = f"a mapping with {len(value)} keys"
    elif isinstance(value, Collection) and not isinstance(value, str | bytes):
        # In full it can be longer than any memory: aliases of aliases.
        few = itertools.islice(value, 5)
        items = ["..." if isinstance(item, Collection) and not isinstance(item, str) else _shown(item) for item in few]
        text = "[" + ", ".join(items) + (", ...]" if len(value) > 5 else "]")
    elif value is None or isinstance(value, bool):
        text = {None: "null", True: "true", False: "false"}[value]
    elif isinstance(value, int) and value.bit_length() > 256:  # Python refuses to write more than 4,300 digits
        text = f"a whole number of {value.bit_length()} bits"
    else:
        text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


# YAML as people expect it: version 1.2, no duplicate keys, a line number for every key


class _Resolver(VersionedResolver):
    """What a word without quotes means: the core schema of YAML 1.2, and ``none``.

    ruamel.yaml itself also takes ``000021222`` and ``0x1F`` for numbers, ``2026-01-01`` for a date, ``<<`` for a merge.
    """

    processing_version = (1, 2)  # whatever a %YAML line says
    versioned_resolver = dict.fromkeys(
        ["", *"~+-.0123456789fFnNtT"],  # first characters
        [
            (f"tag:yaml.org,2002:{tag}", re.compile(rf"(?:{pattern})\Z"))
            for tag, pattern in {
                "bool": "true|True|TRUE|false|False|FALSE",
                "null": "|".join((*NULL_WORDS, "")),
                "int": "[-+]?(?:0|[1-9][0-9_]*)",
                "float": r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.inf|\.nan",
            }.items()
        ],
    )


class _Representer(SafeRepresenter):
    """Lists on one line ([180, 240]), groups as blocks, every value written out."""

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def represent_str(self, data: str) -> ScalarNode:
        # ruamel.yaml would write these without quotes, or not escaped, and not read them back.
        unsafe = re.search("^[?:]|[\x85\u2028\u2029\ufeff]", data)
        return self.represent_scalar("tag:yaml.org,2002:str", data, style='"' if unsafe else None)

    def represent_list(self, data: Any) -> SequenceNode:
        return self.represent_sequence("tag:yaml.org,2002:seq", data, flow_style=True)

    def represent_float(self, data: Any) -> ScalarNode:
        node = super().represent_float(data)
        if "." not in node.value:  # readers of YAML 1.1 take 4e-05 for text
            node.value = node.value.replace("e", ".0e")
        return node


_Representer.add_representer(str, _Representer.represent_str)
_Representer.add_representer(list, _Representer.represent_list)
_Representer.add_representer(float, _Representer.represent_float)
_NUMBERS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")


def _yaml() -> YAML:
    yaml = YAML(typ="safe", pure=True)
    yaml.Resolver, yaml.Representer = _Resolver, _Representer
    yaml.composer.warn_double_anchors = False
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    yaml.brace_single_entry_mapping_in_flow_sequence = True
    yaml.width = 1 << 20  # one key, one line
    return yaml


def dump_yaml(value: Any) -> str:
    """``value`` as YAML text that :func:`parse_yaml` reads back unchanged."""
    text = io.StringIO()
    _yaml().dump(value, text)
    return text.getvalue()


def read_yaml(path: Path, expected: str) -> tuple[Any, dict[tuple[str, ...], int]]:
    """As :func:`parse_yaml`, of a file that should hold what ``expected`` says.  Raises ConfigError."""
    try:
        if not path.is_file():
            raise ConfigError(f"{path} is not a regular file: give {expected}")
        if path.stat().st_size > _LARGEST_FILE:
            raise ConfigError(f"{path} has {path.stat().st_size} bytes: give {expected}, text of a few kilobytes")
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not text (byte {error.start} is not UTF-8): give {expected}") from None
    return parse_yaml(text, str(path))


def parse_yaml(text: str, source: str) -> tuple[Any, dict[tuple[str, ...], int]]:
    """The value of a YAML document, and the line (from 1) of every key path.  Raises ConfigError: ``source``:line."""
    try:
        return _construct(text, ())
    except _UNREADABLE as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{source}:{mark.line + 1}" if mark else source
        what = "" if isinstance(error, _GivenTwice) else "not valid YAML: "
        raise ConfigError(f"{where}: {what}{_problem(error)}") from None


class _GivenTwice(MarkedYAMLError):
    """A key that stands twice in one mapping."""


_UNREADABLE = (YAMLError, RecursionError, ValueError, LookupError, AssertionError)  # the last three: `!!int word`


def _problem(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "nested too deeply"
    text = getattr(error, "problem", None) or getattr(error, "reason", None) or str(error)
    return " ".join(str(text).split())


def _construct(text: str, place: tuple[str, ...]) -> tuple[Any, dict[tuple[str, ...], int]]:
    """The value of a text that stands at the key path ``place``, and the lines of the keys in it."""
    yaml = _yaml()
    root = yaml.compose(text)
    lines: dict[tuple[str, ...], int] = {}
    nodes: list[tuple[tuple[str, ...], Any]] = [(place, root)]
    seen = set()
    for path, node in nodes:  # grows
        if id(node) in seen:  # an alias; following each one could take for ever
            continue
        seen.add(id(node))
        if isinstance(node, ScalarNode) and node.tag in _NUMBERS and _holds_text(path):
            node.tag = "tag:yaml.org,2002:str"
        elif isinstance(node, SequenceNode):
            nodes += [(path, child) for child in node.value]
        elif isinstance(node, MappingNode):
            own: dict[str, int] = {}
            for key, child in node.value:
                name, line = str(key.value), key.start_mark.line + 1
                if not isinstance(key, ScalarNode):
                    raise MarkedYAMLError(problem="found unhashable key", problem_mark=key.start_mark)
                if name in own:
                    told = f"{'.'.join((*path, name))} is given twice (first on line {own[name]}): remove one"
                    raise _GivenTwice(problem=told, problem_mark=key.start_mark)
                lines[(*path, name)] = own[name] = line
                nodes.append(((*path, name), child))
    return None if root is None else yaml.constructor.construct_document(root), lines


def _holds_text(path: tuple[str, ...]) -> bool:
    """Whether the key takes text (``train.arch``, in its group or in a sweep), so that 0042 stays 0042."""
    key = keys().get(".".join(path)) or keys().get(path[-1] if path else "")
    return key is not None and (key.takes_text or key.repeats)
