"""The values that keys may have: numbers and texts with limits, mappings, the entries of eval.also."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

# Strict: without it pydantic reads true as 1 and "8" as 8.
Positive = Annotated[int, Field(gt=0, strict=True)]
Count = Annotated[int, Field(ge=0, strict=True)]
Fraction = Annotated[float, Field(ge=0.0, le=1.0, strict=True)]
Exponent = Annotated[float, Field(ge=-4.0, le=4.0, strict=True)]
PositiveFloat = Annotated[float, Field(gt=0.0, strict=True)]
NonNegativeFloat = Annotated[float, Field(ge=0.0, strict=True)]
SIZE = "^[0-9]+x[0-9]+$"
SizeText = Annotated[str, Field(pattern=SIZE, examples=["180x240"])]
SHARE = r"^\s*([0-9]*\.?[0-9]+)\s*([Nn%])\s*$"
ShareText = Annotated[str, Field(pattern=SHARE, examples=["0.5N or 50%"])]


def plain_name(value: str) -> str:
    """Check a name that becomes a directory's.  Raises ValueError."""
    allowed = all(c.isalnum() or c in "._-" for c in value)
    if not value or not allowed or value[0] in ".-" or len(value.encode()) > 200:
        raise ValueError("must be 1 to 200 letters, digits, '.', '-', '_', not starting with '.' or '-'")
    return value


PlainName = Annotated[str, AfterValidator(plain_name)]

ALSO = {"data": None, "every_epoch": 5, "protocol": "edgeflownet", "max_samples": None}
"""Keys of an entry of eval.also with their defaults; data has none."""
ALSO_PROTOCOLS = ("standard", "edgeflownet", "deploy", "training")


def also_name(entry: Mapping[str, Any]) -> str:
    """What an entry of eval.also is called: ``sintel_final`` of ``sintel:final@ROOT``, or the folder's name."""
    spec = str(entry["data"]).partition("@")[0].rstrip("/").rpartition("/")[2]
    return re.sub(r"[^\w.-]", "_", spec).lstrip(".-") or "data"


def _also(value: Any) -> Mapped:
    """Check an entry of eval.also and fill in its defaults.  Raises ValueError."""
    if not isinstance(value, dict) or not isinstance(value.get("data"), str) or not value["data"]:
        raise ValueError("each entry is a mapping with data, such as {data: sintel:final@ROOT, every_epoch: 5}")
    for name in value.keys() - ALSO.keys():
        near = difflib.get_close_matches(str(name), ALSO, n=1)
        raise ValueError(
            f"unknown key {name!r}" + (f"; did you mean {near[0]!r}?" if near else f" (known: {', '.join(ALSO)})")
        )
    entry = {**ALSO, **value}
    for name in ("every_epoch", "max_samples"):
        if not (isinstance(entry[name], int) and entry[name] > 0) and not (
            name == "max_samples" and entry[name] is None
        ):
            raise ValueError(f"{name} must be a whole number above 0 (got {entry[name]!r})")
    if entry["protocol"] not in ALSO_PROTOCOLS:
        raise ValueError(f"protocol must be one of {', '.join(ALSO_PROTOCOLS)} (got {entry['protocol']!r})")
    return Mapped(entry)


class Mapped(dict[str, Any]):
    """Hashable, as the frozen models that hold it are; never changed after it was made."""

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(frozenset(self.items()))


Roots = Annotated[dict[str, str], AfterValidator(Mapped)]

_ENTRY = {
    "type": "object",
    "title": "a mapping such as {data: 'sintel:final@ROOT', every_epoch: 5, protocol: edgeflownet}",
}
AlsoEntry = Annotated[dict[str, Any], BeforeValidator(_also), AfterValidator(Mapped), WithJsonSchema(_ENTRY)]


def is_text(schema: dict[str, Any]) -> bool:
    """Whether a JSON schema takes any text."""
    return schema.get("type") == "string" and not {"enum", "const", "pattern"} & schema.keys()


def in_words(schema: dict[str, Any]) -> str:
    """The values that a JSON schema accepts: ``whole number above 0, or null``."""
    if "anyOf" in schema:
        return ", or ".join(in_words(option) for option in schema["anyOf"])
    if "enum" in schema:
        return "one of " + ", ".join(map(str, schema["enum"]))
    if "const" in schema:
        return str(schema["const"])
    if "examples" in schema:
        return f"text such as {schema['examples'][0]}"
    if "prefixItems" in schema:
        return f"list of {schema['minItems']}, each a {in_words(schema['prefixItems'][0])}"
    if "items" in schema:
        return f"list, each a {in_words(schema['items']).removeprefix('a ')}"
    if schema["type"] == "object":
        return str(
            schema.get("title") if "such as" in schema.get("title", "") else "a mapping such as {sintel: /data/sintel}"
        )
    kinds = {"integer": "whole number", "boolean": "true or false", "string": "text"}
    least = "from" if {"maximum", "exclusiveMaximum"} & schema.keys() else "of at least"
    bounds = {"minimum": least, "exclusiveMinimum": "above", "maximum": "to", "exclusiveMaximum": "below"}
    return str(kinds.get(schema["type"], schema["type"])) + "".join(
        f" {word} {schema[bound]:g}" for bound, word in bounds.items() if bound in schema
    )
