"""The list of configuration keys, and what is generated from it: value descriptions, JSON schema, the docs page."""

from __future__ import annotations

import difflib
import functools
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from edgeflownas.config import Config

__all__ = ["Key", "configuration_markdown", "json_schema", "key_table", "keys", "nearest"]


USAGE: dict[str, tuple[str, dict[str, Any]]] = {  # how a recipe is meant to be run, beside its groups
    "sweep": (
        "Makes it a recipe of `edgeflownas sweep`: `train.lr: [1e-4, 5e-5]` varies a key, `NAME: {train.lr: 5e-5}` "
        "names a variant that changes one or several (`{}`: none), `seeds: [0, 1, 2]` repeats each.",
        {"type": "object"},
    ),
    "fork": (
        "true: its keys go over those of a run that exists, `edgeflownas train RECIPE --resume RUN --fork NEW_NAME`.",
        {"type": "boolean"},
    ),
}


@dataclass(frozen=True)
class Key:
    """One configuration key."""

    group: str
    name: str
    kind: str
    """identity, dynamics or observation: what a resume may change."""
    values: str
    """The accepted values, in words."""
    default: Any
    help: str
    takes_text: bool
    """A command-line value is taken as it stands, not read as YAML (names and paths)."""
    repeats: bool
    """A list of texts: on the command line every occurrence of the option adds one."""

    @property
    def full(self) -> str:
        """``group.name``."""
        return f"{self.group}.{self.name}"


@functools.cache
def keys() -> tuple[Key, ...]:
    """Every key in the order of declaration."""
    definitions = json_schema()["$defs"]
    found = []
    for group, field in Config.model_fields.items():
        assert field.annotation is not None
        for name, schema in definitions[field.annotation.__name__]["properties"].items():
            found.append(
                Key(
                    group=group,
                    name=name,
                    kind=schema["kind"],
                    values=describe(schema),
                    default=schema["default"],
                    help=schema["description"],
                    takes_text=any(_is_text(option) for option in schema.get("anyOf", [schema])),
                    repeats=schema.get("type") == "array" and _is_text(schema.get("items", {})),
                )
            )
    return tuple(found)


def key_table() -> dict[str, dict[str, Key]]:
    """Group name -> key name -> Key."""
    table: dict[str, dict[str, Key]] = {group: {} for group in Config.model_fields}
    for key in keys():
        table[key.group][key.name] = key
    return table


def json_schema() -> dict[str, Any]:
    """JSON schema of a recipe, for editors (``edgeflownas config schema``)."""
    schema = Config.model_json_schema()
    schema["properties"] |= {name: {"description": text, **kind} for name, (text, kind) in USAGE.items()}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "EdgeFlowNAS configuration"}


def nearest(name: str, candidates: Iterable[str]) -> str | None:
    """The candidate that a misspelt ``name`` most likely means, or None."""
    close = difflib.get_close_matches(name.lower().replace("-", "_"), list(candidates), n=1, cutoff=0.6)
    return close[0] if close else None


def _is_text(schema: dict[str, Any]) -> bool:
    return schema.get("type") == "string" and not {"enum", "const", "pattern"} & schema.keys()


def describe(schema: dict[str, Any]) -> str:
    """The values that a JSON schema accepts, in words: ``whole number above 0, or null``."""
    if "anyOf" in schema:
        options = [describe(option) for option in schema["anyOf"]]
        return ", or ".join(options)
    if "enum" in schema:
        return "one of " + ", ".join(str(value) for value in schema["enum"])
    if "const" in schema:
        return str(schema["const"])
    kind: str = schema["type"]
    if kind == "object":
        return "a mapping such as {sintel: /data/sintel}"
    if kind == "array":
        return _describe_list(schema)
    if kind == "string" and "examples" in schema:
        return f"text such as {schema['examples'][0]}"
    words = {"integer": "whole number", "boolean": "true or false", "string": "text"}
    return words.get(kind, kind) + _describe_range(schema)


def _describe_list(schema: dict[str, Any]) -> str:
    if "prefixItems" in schema:
        return f"list of {schema['minItems']}, each a {describe(schema['prefixItems'][0])}"
    return f"list, each a {describe(schema['items'])}"


def _describe_range(schema: dict[str, Any]) -> str:
    bounded = {"maximum", "exclusiveMaximum"} & schema.keys()
    words = {
        "minimum": "from" if bounded else "of at least",
        "exclusiveMinimum": "above",
        "maximum": "to",
        "exclusiveMaximum": "below",
    }
    return "".join(f" {word} {schema[bound]:g}" for bound, word in words.items() if bound in schema)


_INTRODUCTION = """\
<!-- Generated by `edgeflownas config docs`. Edit the models in src/edgeflownas/config/, not this page. -->
# Configuration

A run is described by a YAML recipe with five groups; every key may be left out and has the default below.
`edgeflownas train smoke` takes a packaged recipe by name (`edgeflownas recipes list`),
`edgeflownas train my.yaml` a file. Any key is overridden on the command line; the last one wins:

    edgeflownas train smoke --train.lr 5e-5 --data.crop_size=96x128 --train.micro_batch_size null

Values are YAML 1.2 (`5e-5` is a number; `true`, `false`; `null` or `none` switches off); names and paths are taken
as they stand. Unknown keys, keys given twice in a file and values out of range are refused with exit code 64.
`--print-config` shows the result. `edgeflownas config schema > edgeflownas.schema.json` makes the schema that editors
complete from (`# yaml-language-server: $schema=edgeflownas.schema.json` on the first line of a recipe).

The *kind* says what `--resume` may change: **identity** keys say what the run is (a change is refused), **dynamics**
keys how its weights evolve (a change needs `--fork NEW_NAME`), **observation** keys how it is watched, stored or
executed (free).

Beside the groups a recipe may say how it is meant to be run:

{usage}
"""


def configuration_markdown() -> str:
    """The page docs/configuration.md."""
    usage = "\n".join(f"- `{name}`: {text}" for name, (text, _) in USAGE.items())
    parts = [_INTRODUCTION.replace("{usage}", usage)]
    for group, table in key_table().items():
        model = Config.model_fields[group].annotation
        assert model is not None
        parts.append(f"\n## {group}\n\n{(model.__doc__ or '').strip()}\n\n| key | values | default | kind | meaning |")
        parts.append("|---|---|---|---|---|")
        for key in table.values():
            cells = [f"`{key.full}`", key.values, f"`{json.dumps(key.default)}`", key.kind, " ".join(key.help.split())]
            parts.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(parts) + "\n"
