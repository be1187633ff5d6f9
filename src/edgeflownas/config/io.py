"""From a recipe and command-line overrides to a checked configuration, and back to YAML.

Recipe and overrides are merged first and validated once; every problem is reported, one line each, with the place
it comes from (``my.yaml:12: train.lr_schedule: must be one of ...`` or ``--train.lr: ...``).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from edgeflownas.config import Config
from edgeflownas.config.keys import key_table, nearest
from edgeflownas.config.yaml import NULL_WORDS, dump_yaml, parse_value, parse_yaml
from edgeflownas.errors import ConfigError

__all__ = [
    "dump_config",
    "explain",
    "find_recipe",
    "is_override",
    "load_config",
    "parse_overrides",
    "read_recipe",
    "recipe_names",
    "Usage",
]

RECIPES = Path(__file__).parents[1] / "recipes"
REMOVED = {"data.worker_kind": "loader workers are threads, which decode as fast as processes did"}
"""Keys of earlier versions, and why they went.  They are refused, but left out of a config.yaml that a run stored."""

_LARGEST_FILE = 1 << 20
Origins = dict[tuple[str, ...], str]


def recipe_names() -> list[str]:
    """Names of the packaged recipes, sorted."""
    return sorted(path.stem for path in RECIPES.glob("*.yaml"))


def find_recipe(name_or_path: str | Path) -> Path:
    """The file of a packaged recipe (``smoke``) or of a path (anything with a suffix or a slash).

    Raises:
        ConfigError: neither exists; names the known recipes and the nearest one.
    """
    text = str(name_or_path)
    if text in recipe_names():
        return RECIPES / f"{text}.yaml"
    path = Path(text)
    if path.is_dir():
        raise ConfigError(f"{text} is a directory: give a recipe file or one of the recipes {_listed()}")
    if path.exists():
        return path
    if path.suffix or len(path.parts) > 1:
        raise ConfigError(f"recipe file {text} not found: check the path, or give one of the recipes {_listed()}")
    close = nearest(text, recipe_names())
    hint = f"; did you mean {close!r}?" if close else ""
    raise ConfigError(f"no recipe {text!r} (known: {_listed()}; a file is given by its path){hint}")


def _listed() -> str:
    return ", ".join(recipe_names())


def load_config(
    name_or_path: str | Path | None, overrides: Sequence[str] = (), overlay: str | Path | None = None
) -> Config:
    """The configuration of a recipe (None: all defaults) with overrides (``--train.lr 5e-5``, ``--train.lr=5e-5``).

    The keys that ``overlay``, a second recipe, writes go over those of the first. What a recipe says of its use
    (:class:`Usage`) changes no configuration.

    Raises:
        ConfigError: every problem of file and overrides, one line each.
    """
    merged: dict[str, Any] = {}
    origins: Origins = {}
    if name_or_path is not None:
        merged, origins, _ = read_recipe(name_or_path)
    if overlay is not None:
        above, places, _ = read_recipe(overlay)
        for group, content in above.items():
            below = merged.get(group)
            both = isinstance(below, dict) and isinstance(content, dict)
            merged[group] = {**below, **content} if both else content  # type: ignore[dict-item]
        origins |= places
    pairs, rest = parse_overrides(overrides)
    if rest:
        raise ConfigError(f"{rest[0]} is not a configuration key: overrides look like --train.lr 5e-5")
    for key, text in pairs:
        _merge(merged, origins, key, text)
    try:
        return Config.model_validate(merged)
    except ValidationError as error:
        lines = explain(error, merged, origins)
        head = f"{len(lines)} problems in the configuration:\n  " if len(lines) > 1 else ""
        raise ConfigError(head + "\n  ".join(lines)) from None


class Usage(NamedTuple):
    """How a recipe is meant to be run, written beside its groups."""

    sweep: Any = None  # `sweep:`, the variants of `edgeflownas sweep`
    fork: bool = False  # `fork: true`, keys that go over those of the run that `train --fork` starts from


def read_recipe(name_or_path: str | Path) -> tuple[dict[str, Any], Origins, Usage]:
    """The groups that a recipe writes (not checked), where each key stands, and how the recipe is meant to be run.

    Raises:
        ConfigError: it cannot be found or read, or is no YAML mapping.
    """
    path = find_recipe(name_or_path)
    groups, origins = _read(path)
    fork = groups.pop("fork", False)
    if not isinstance(fork, bool):
        raise ConfigError(f"{origins[('fork',)]}fork: must be true or false (got {_shown(fork)})")
    return groups, origins, Usage(groups.pop("sweep", None), fork)


def _read(path: Path) -> tuple[dict[str, Any], Origins]:
    try:
        if not path.is_file():
            raise ConfigError(f"{path} is not a regular file: give a YAML recipe")
        if path.stat().st_size > _LARGEST_FILE:
            raise ConfigError(f"{path} has {path.stat().st_size} bytes: a recipe is YAML text of a few kilobytes")
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not text (byte {error.start} is not UTF-8): give a YAML recipe") from None
    value, lines = parse_yaml(text, str(path))
    if value is None:
        raise ConfigError(f"{path} is empty: a recipe needs at least one key, such as 'train: {{batch_size: 8}}'")
    if not isinstance(value, dict):
        raise ConfigError(
            f"{path} must be a mapping with the groups {', '.join(Config.model_fields)} (got {_shown(value)})"
        )
    # A group whose keys are all commented out reads as null; it means the defaults.
    groups = {str(name): {} if content is None else content for name, content in value.items()}
    if path.name == "config.yaml":
        for group, _, name in (key.partition(".") for key in REMOVED):
            if isinstance(groups.get(group), dict):
                groups[group].pop(name, None)
    return groups, {key: f"{path}:{line}: " for key, line in lines.items()}


def is_override(token: str) -> bool:
    """Whether a command-line token is ``--group.key`` or ``--group.key=value``."""
    return token.startswith("--") and "." in token.split("=", 1)[0]


def parse_overrides(tokens: Sequence[str]) -> tuple[list[tuple[str, str]], list[str]]:
    """Split tokens into (key, value) pairs in their order and the tokens that are no overrides.

    Raises:
        ConfigError: an override without a value.
    """
    pairs: list[tuple[str, str]] = []
    rest: list[str] = []
    remaining = list(tokens)
    while remaining:
        token = remaining.pop(0)
        if not is_override(token):
            rest.append(token)
            continue
        name, equals, value = token.partition("=")
        if not equals:
            if not remaining or remaining[0].startswith("--"):
                raise ConfigError(f"{name} needs a value: {_example(name)}")
            value = remaining.pop(0)
        if not value.strip():
            raise ConfigError(f"{name} has an empty value: {_example(name)}, or leave it out")
        pairs.append((name[2:], value))
    return pairs, rest


def _example(name: str) -> str:
    group, _, key = name[2:].partition(".")
    known = key_table().get(group, {}).get(key)
    return f"{name} takes {known.values}" if known else f"write {name} VALUE or {name}=VALUE"


def _merge(merged: dict[str, Any], origins: Origins, key: str, text: str) -> None:
    group, _, name = key.partition(".")
    table = key_table()
    if group not in table:
        origins[(group,)] = "--"
    known = table.get(group, {}).get(name)
    as_text = known is not None and known.takes_text and not (known.default is None and text in NULL_WORDS)
    content = merged.setdefault(group, {})
    if isinstance(content, dict):  # otherwise validation refuses the group as a whole
        if known is not None and known.repeats and not text.startswith("["):
            earlier = content.get(name) if origins.get((group, name)) == "--" else None
            content[name] = [*(earlier or []), text]
        else:
            content[name] = text if as_text else parse_value(text, f"--{key}")
        origins[(group, name)] = "--"


def explain(error: ValidationError, merged: dict[str, Any] | None = None, origins: Origins | None = None) -> list[str]:
    """One line per problem: where from, the key, what it must be, what was found, the nearest name."""
    lines: list[str] = []
    for problem in error.errors(include_url=False):
        location = tuple(str(part) for part in problem["loc"])[:2]
        where = (origins or {}).get(location) or _file_of(origins or {}, location)
        line = where + _explain_one(problem["type"], location, problem["msg"], _value(merged, location, problem))
        if line not in lines:  # one per key, though unions and lists report each member
            lines.append(line)
    return lines


def _file_of(origins: Origins, location: tuple[str, ...]) -> str:
    """A problem between keys (no line of its own) names the line of its group."""
    return origins.get(location[:1], "")


def _value(merged: dict[str, Any] | None, location: tuple[str, ...], problem: Any) -> Any:
    value: Any = merged
    for part in location:
        if not isinstance(value, dict) or part not in value:
            return problem["input"]
        value = value[part]
    return value


def _explain_one(kind: str, location: tuple[str, ...], message: str, value: Any) -> str:
    table = key_table()
    full = ".".join(location)
    if kind in ("extra_forbidden", "invalid_key"):
        if full in REMOVED:
            return f"{full}: was removed ({REMOVED[full]}): remove the key"
        return f"{full}: unknown key{_near_key(location)}"
    if len(location) < 2:
        if kind == "value_error":  # between keys of the group; the message names them
            return message.removeprefix("Value error, ")
        return f"{full}: must be a mapping with keys such as {', '.join(list(table[full])[:3])} (got {_shown(value)})"
    key = table[location[0]][location[1]]
    if kind == "value_error":
        return f"{full}: {message.removeprefix('Value error, ')} (got {_shown(value)})"
    line = f"{full}: must be {_article(key.values)} (got {_shown(value)})"
    if key.values.startswith("one of ") and isinstance(value, str):
        close = nearest(value, key.values.removeprefix("one of ").replace(", or", ",").split(", "))
        line += f"; did you mean {close!r}?" if close else ""
    return line


def _article(values: str) -> str:
    return f"a {values}" if values.startswith(("whole", "number", "list")) else values


def _near_key(location: tuple[str, ...]) -> str:
    table = key_table()
    name = location[-1]
    full = {key.full: key.name for group in table.values() for key in group.values()}
    if len(location) == 2 and (close := nearest(name, table[location[0]])):
        return f"; did you mean {location[0]}.{close}?"
    if len(location) == 1 and (close := nearest(name, table)):
        return f"; did you mean {close}? (groups: {', '.join(table)})"
    if close := nearest(name, full.values()):
        return f"; did you mean {next(key for key, short in full.items() if short == close)}?"
    known = table.get(location[0]) if len(location) == 2 else table
    return f" (known: {', '.join(known or table)})"


def _shown(value: Any) -> str:
    """The value as the user wrote it, cut to one short line."""
    words = {None: "null", True: "true", False: "false"}
    text = words[value] if value is None or isinstance(value, bool) else _short(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _short(value: Any) -> str:
    if isinstance(value, dict):
        return f"a mapping with {len(value)} keys"
    if isinstance(value, list):
        items = ["..." if isinstance(item, (list, dict)) else _shown(item) for item in value[:5]]
        return "[" + ", ".join(items) + (", ...]" if len(value) > 5 else "]")
    return repr(value)


def dump_config(config: Config) -> str:
    """The whole configuration as YAML; ``load_config`` of it gives the same configuration."""
    return dump_yaml(config.model_dump(mode="json"))
