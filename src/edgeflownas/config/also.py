"""The entries of eval.also: further data sets that a run evaluates while it trains."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, WithJsonSchema

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


_ENTRY = {
    "type": "object",
    "title": "a mapping such as {data: 'sintel:final@ROOT', every_epoch: 5, protocol: edgeflownet}",
}
AlsoEntry = Annotated[dict[str, Any], BeforeValidator(_also), AfterValidator(Mapped), WithJsonSchema(_ENTRY)]
