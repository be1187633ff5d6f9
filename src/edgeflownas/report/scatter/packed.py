"""The table of a space for the page's scripts: small, and without the loss of a digit that could change a front."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeflownas.search.candidates import holds, parse_where

MILLIONS = 1e6
ERROR = "_standard_error"


@dataclass(frozen=True, eq=False)
class Column:
    """Numbers [A] by subnet, nan where not measured, with how they are written."""

    name: str
    unit: str
    minimise: bool
    values: NDArray[np.float64]
    errors: NDArray[np.float64] | None = None
    """Standard errors [A]."""

    @property
    def digits(self) -> int:
        """Decimals: none for whole numbers, else as many as give the largest five significant digits."""
        known = self.values[np.isfinite(self.values)]
        if not known.size or (known == np.floor(known)).all():
            return 0
        return int(np.clip(4 - math.floor(math.log10(np.abs(known).max())), 0, 6))

    @property
    def scale(self) -> float:
        """What axes and budgets count in: 1, or a million where the numbers are larger than that."""
        known = self.values[np.isfinite(self.values)]
        return MILLIONS if known.size and np.abs(known).max() >= MILLIONS else 1.0

    def label(self) -> str:
        """``epe (px)``."""
        return f"{self.name} ({self.unit})" if self.unit else self.name

    def words(self, value: float | None) -> str:
        """``8.2134``, ``1 650 321 000``; ``not measured``."""
        return grouped(f"{value:.{self.digits}f}") if value is not None and math.isfinite(value) else "not measured"

    def short(self, value: float) -> str:
        """``8.2134 px``, ``1 650.3 million MAC``."""
        if self.scale == 1.0 or not math.isfinite(value):
            return f"{self.words(value)}\u00a0{self.unit}".rstrip()
        return f"{grouped(f'{value / self.scale:.1f}')}\u00a0million {self.unit}".rstrip()


def grouped(text: str) -> str:
    """A number in digits with a thin space between thousands and a real minus sign."""
    sign, digits = ("\u2212", text[1:]) if text.startswith("-") else ("", text)
    whole, point, rest = digits.partition(".")
    return f"{sign}{int(whole):,}".replace(",", "\u202f") + point + rest


def columns_of(document: Mapping[str, Any]) -> list[Column]:
    """Columns of the document, in its order; null is nan.

    Standard errors stand with the column they are of, unless they are an objective themselves.  Where the noise is
    paired, the error of a subnet alone would mislead: there are none.
    """
    values = {name: _numbers(column) for name, column in document["values"].items()}
    errors = {name: values[f"{name}{ERROR}"] for name in values if f"{name}{ERROR}" in values}
    if document.get("standard_error"):
        errors.setdefault(document["objectives"][0], _numbers(document["standard_error"]))
    shown, noisy = set(errors), document.get("confidence", {}).get("noisy", {})
    errors = {name: column for name, column in errors.items() if noisy.get(name) != "paired"}
    return [
        Column(c["name"], c.get("unit") or "", c.get("minimise") is not False, values[c["name"]], errors.get(c["name"]))
        for c in document["columns"]
        if not (c["name"].endswith(ERROR) and c["name"].removesuffix(ERROR) in shown)
        or c["name"] in document["objectives"]
    ]


def inside(document: Mapping[str, Any]) -> NDArray[np.bool_] | None:
    """Which subnets fulfil the document's ``where``: bool [A]; None where there is none.

    Raises:
        ConfigError: a condition that cannot be read.
    """
    if not document.get("where"):
        return None
    digits = np.array([list(code) for code in document["codes"]], dtype=np.float64)
    values = {block["name"]: digits[:, place] for place, block in enumerate(document["blocks"])}
    values.update((name, _numbers(column)) for name, column in document["values"].items())
    return holds(parse_where(document["where"], list(values)), values)


def packed(document: Mapping[str, Any], columns: Sequence[Column]) -> dict[str, Any]:
    """What the scripts read: codes as one string of digits, numbers as base64 of little-endian floats."""
    where, names = inside(document), [column.name for column in columns]
    lists = ("front", "sure", "ties", "shortlist", "shortlist_names")
    return {
        "count": len(document["codes"]),
        "codes": "".join(document["codes"]),
        "blocks": document["blocks"],
        "columns": [
            {"name": c.name, "unit": c.unit, "minimise": c.minimise, "digits": c.digits, "scale": c.scale}
            | {"errors": None if c.errors is None else _floats(c.errors.astype(np.float32))}
            | _floats(c.values)
            for c in columns
        ],
        "objectives": [names.index(name) for name in document["objectives"]],
        "where": document.get("where") or "",
        "inside": None if where is None else "".join("01"[kept] for kept in where.tolist()),
        "given": {name: document.get(name) or [] for name in lists}
        | {name: document.get(name) for name in ("knee", "baseline")}
        | {"judged": document.get("sure") is not None},
    }


def _numbers(values: Sequence[float | None]) -> NDArray[np.float64]:
    found = np.array(values, dtype=np.float64)  # None becomes nan
    found[~np.isfinite(found)] = np.nan
    return found


def _floats(values: NDArray[Any]) -> dict[str, str]:
    """Four bytes a number where that loses nothing, else eight: equal and different numbers stay what they are."""
    short = values.astype("<f4")
    exact = np.array_equal(short.astype(np.float64), values, equal_nan=True)
    data = short if exact else values.astype("<f8")
    return {"type": "f4" if exact else "f8", "data": base64.b64encode(data.tobytes()).decode()}
