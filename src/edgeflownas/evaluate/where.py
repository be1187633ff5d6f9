"""Conditions over named columns, as ``--where "sram_kib<900,EB0=1"`` writes them.

The grammar is ``NAME OP NUMBER`` with OP one of ``< <= > >= = !=``, joined by commas: a row is kept where all hold.
A name is a column, or a block of the space, whose value is the digit of the arch code.
"""

from __future__ import annotations

import difflib
import math
import operator
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgeflownas.errors import ConfigError

OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "=": operator.eq,
    "!=": operator.ne,
}
_CONDITION = re.compile(r"\s*([^\s<>=!]+)\s*([<>=!]+)\s*(\S+)\s*")


class Condition(NamedTuple):
    """One comparison of a column with a number."""

    name: str
    op: str
    value: float

    def __str__(self) -> str:
        return f"{self.name}{self.op}{self.value:.12g}"


def parse_where(text: str, names: Collection[str]) -> list[Condition]:
    """Conditions of ``text``; none for an empty one.

    Args:
        text: such as ``"sram_kib<900,macs<=2e9,EB0=1"``.
        names: what may be compared, spelt as there.

    Raises:
        ConfigError: what is no condition, an unknown name (with the nearest), or a value that is no finite number.
    """
    return [_condition(part, names) for part in text.split(",")] if text.strip() else []


def holds(conditions: Sequence[Condition], values: Mapping[str, NDArray[Any]]) -> NDArray[np.bool_]:
    """Which rows fulfil every condition: bool [A]; a row whose value is nan (not known) does not.

    Args:
        conditions: over names that ``values`` has.
        values: numbers [A] by name, at least one column.
    """
    kept = np.ones(len(next(iter(values.values()))), dtype=np.bool_)
    for name, op, value in conditions:
        column = values[name]
        kept &= OPERATORS[op](column, value) & ~np.isnan(column)
    return kept


def _condition(part: str, names: Collection[str]) -> Condition:
    match = _CONDITION.fullmatch(part)
    op = "=" if match and match[2] == "==" else match[2] if match else ""
    if match is None or op not in OPERATORS:
        raise ConfigError(
            f"--where {part.strip()!r} is no condition: NAME, one of {' '.join(OPERATORS)}, and a number, joined by "
            'commas, e.g. --where "macs<2e9,EB0=1"'
        )
    name = match[1]
    if name not in names:
        same = [known for known in names if known.lower() == name.lower()]
        near = same or difflib.get_close_matches(name, list(names), n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ConfigError(f"--where {part.strip()!r}: there is no {name!r}{hint} (known: {', '.join(sorted(names))})")
    try:
        value = float(match[3])
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ConfigError(f"--where {part.strip()!r}: {match[3]!r} is not a number")
    return Condition(name, op, value)
