"""Configuration overrides on the command line: ``train smoke --train.lr 5e-5 --data.crop_size=96x128``.

The command takes every token that is none of its options as ``*tokens``; what they mean is decided here.  cyclopts
cannot do it alone: the keys live in the configuration models, which are imported only when they are needed.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from typing import Annotated

from cyclopts import Parameter

from edgeflownas.errors import ConfigError

LARGEST = 10**12
UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "KI": 2**10, "MI": 2**20, "GI": 2**30}
OverrideTokens = Annotated[str, Parameter(allow_leading_hyphen=True, show=False)]
"""Type of ``*tokens`` in a command that takes a recipe and configuration overrides."""


def split_overrides(
    tokens: Iterable[str], options: Iterable[str], what: str = "recipe"
) -> tuple[str | None, list[str]]:
    """The recipe (``what``) among ``tokens`` (None: not given) and the overrides as ``--group.key=value``.

    Args:
        tokens: what cyclopts left over.
        options: names of the command's own options, for the hint when one is misspelt.
        what: the one thing expected, for the message.

    Raises:
        ConfigError: an override without value, two recipes, or an unknown option (with the nearest name).
    """
    rest, overrides = split_inputs(tokens, options)
    if len(rest) > 1:
        raise ConfigError(f"one {what} expected, got {' and '.join(rest)}: overrides look like --train.lr 5e-5")
    return (rest[0] if rest else None), overrides


def split_inputs(tokens: Iterable[str], options: Iterable[str]) -> tuple[list[str], list[str]]:
    """As :func:`split_overrides`, for a command that takes any number of inputs."""
    from edgeflownas.config.load import parse_overrides

    pairs, rest = parse_overrides(list(tokens))
    for token in rest:
        if token.startswith("-"):
            raise ConfigError(_unknown(token.partition("=")[0], list(options)))
    return rest, [f"--{key}={value}" for key, value in pairs]


def _unknown(option: str, options: list[str]) -> str:
    from edgeflownas.config.describe import groups, keys

    by_name = {key.name: f"--{full}" for full, key in keys().items()}
    name = option.lstrip("-").replace("-", "_")
    if name in groups():  # --train
        return f"{option} is a group of keys: set one as {option}.KEY VALUE (edgeflownas config keys {name}.)"
    if name in by_name:  # --lr
        return f"unknown option {option}; did you mean {by_name[name]}?"
    close = difflib.get_close_matches(option, options, n=1, cutoff=0.6)
    close = close or [by_name[match] for match in difflib.get_close_matches(name, by_name, n=1, cutoff=0.6)]
    hint = f"; did you mean {close[0]}?" if close else ""
    return f"unknown option {option} (options: {', '.join(options)}; keys: edgeflownas config keys){hint}"


def whole_numbers(options: dict[str, str | None], least: int = 1) -> dict[str, int]:
    """Those that are given, read; here, because cyclopts takes 1.5 for 2.  Raises ConfigError."""
    found = {}
    for name, text in options.items():
        if text is not None:
            found[name] = int(text) if text.isascii() and text.isdecimal() and len(text) < 20 else -1
            if not least <= found[name] <= LARGEST:
                raise ConfigError(f"--{name} {text} must be a whole number from {least} to {LARGEST}, such as 50")
    return found


def read_size(text: str, option: str = "size") -> tuple[int, int]:
    """Rows and columns of ``--size`` (or ``option``), px.  Raises ConfigError."""
    sides = text.split("x")
    if len(sides) != 2 or not all(side.isascii() and side.isdecimal() and len(side) < 10 for side in sides):
        raise ConfigError(f"--{option} {text!r} must be rows x columns in px, such as 180x240")
    return int(sides[0]), int(sides[1])


def whole_bytes(name: str, text: str | None) -> int | None:
    """Bytes of a size such as 900KiB, 8GB or 1.5 MiB.  Raises ConfigError."""
    if text is None:
        return None
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?) ?(?:([KMG]I?|T)B?)?", text.strip().upper())
    found = 0 if match is None else int(float(match[1]) * UNITS[match[2] or ""])
    if found < 1:
        raise ConfigError(f"--{name} {text!r} must be a size such as 8GB, 500MB or 900KiB")
    return found
