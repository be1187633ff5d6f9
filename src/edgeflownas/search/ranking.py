"""The table of a ranked space: one row a subnet, as CSV for people and as safetensors for programs.

``ranking.safetensors`` holds everything (columns, digits, facts and, on request, the errors of every sample);
``ranking.csv`` the rows.  docs/ranking.md lists the columns.
"""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeflownas.errors import DataError, UserError
from edgeflownas.evaluate.columns import csv_file
from edgeflownas.evaluate.noise import paired_change, rank_order, student95
from edgeflownas.evaluate.results import read_tensors, tensor_bytes
from edgeflownas.files import replace_file
from edgeflownas.space import SPACES, Arch, SearchSpace

CSV, TENSORS = "ranking.csv", "ranking.safetensors"
ZERO_FLOW = "zero_flow_"
"""Before the name of a set's EPE: the column of what predicting no motion scores on the same pixels, px."""
NUMBERS = ("parameters", "macs", "_kib", "_ms")  # ends of columns that are numbers, beside those of the error
LARGEST = 1e100  # no figure is larger, not even of a network that diverged; squares of it are still numbers
REMEDY = "give the folder that `edgeflownas rank` wrote, its ranking.csv or its ranking.safetensors"
TIED = "within_noise_of_best"
"""Fact of a table: how many of its subnets are not worse than the best beyond noise (95 %), the best included."""

Part = dict[str, NDArray[Any]]
"""Columns [A] of a unit's subnets, and ``sample_epe`` (float32 [A, N]): the errors of every sample of the first set,
so that the table can say which subnets the best one is really better than, whatever of them it keeps itself."""


@dataclass(frozen=True)
class Ranking:
    """Subnets in the order of their space, with what was measured and what is known of each.

    Attributes:
        space: name of the search space; empty where a CSV's blocks are those of no declared one.
        codes: printed form, ``0,0,0,0,2,1,2,2,2``.
        columns: numbers [A] by name, float64 or int64, in the order of the file; nan where nothing is known.
        words: option of every block in words [A]: ``words["EB0"][i] == "depth 3"``.
        facts: what was measured and how; empty where a CSV was read that has not its safetensors file beside it.
        sample_epe: [A, N] mean error of each sample of the first set, px; nan where a sample has no valid pixel.
        valid_pixels: [N], with ``sample_epe``.
    """

    space: str
    codes: tuple[str, ...]
    columns: dict[str, NDArray[Any]]
    words: dict[str, tuple[str, ...]]
    facts: dict[str, str]
    sample_epe: NDArray[np.float16] | None = None
    valid_pixels: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.codes)

    @cached_property
    def digits(self) -> NDArray[np.int64]:
        """Digits of the codes [A, blocks]."""
        return np.array([[int(digit) for digit in code.split(",")] for code in self.codes], dtype=np.int64)

    @property
    def baseline(self) -> int | None:
        """Position of the space's baseline where the table holds it."""
        space = SPACES.get(self.space)
        code = str(space.parse(space.baseline)) if space and space.baseline else None
        return self.codes.index(code) if code in self.codes else None

    def zero_flow(self, name: str = "epe") -> float | None:
        """EPE (px) of predicting no motion on the pixels of column ``name``; None where the table does not say it."""
        column = self.columns.get(ZERO_FLOW + name)
        return None if column is None or not np.isfinite(column[0]) else float(column[0])

    @property
    def options(self) -> list[list[str]]:
        """Words of all options of every block, also of those that the table does not hold."""
        space = SPACES.get(self.space)
        if space is not None:
            return list(option_words(space).values())
        found = [dict(zip(digits.tolist(), self.words[name], strict=True)) for name, digits in self.blocks.items()]
        return [[words.get(digit, f"option {digit}") for digit in range(max(words) + 1)] for words in found]

    @property
    def blocks(self) -> dict[str, NDArray[np.int64]]:
        """Digit of every subnet [A] by block, for conditions on blocks."""
        return dict(zip(self.words, self.digits.T, strict=True))


def option_words(space: SearchSpace) -> dict[str, list[str]]:
    """All options of every block in words, without the name of the block: ``{"EB0": ["depth 1", ...]}``."""
    return {choice.name: [choice.meaning(digit) for digit in range(len(choice.options))] for choice in space.choices}


def block_words(space: SearchSpace, archs: Sequence[Arch]) -> dict[str, tuple[str, ...]]:
    """Option of every block in words for every arch: ``{"EB0": ("depth 3", ...)}``."""
    named = enumerate(option_words(space).items())
    return {name: tuple(options[arch[place]] for arch in archs) for place, (name, options) in named}


def ranks(epes: NDArray[np.float64]) -> NDArray[np.int64]:
    """Rank of every EPE [A]: 1 the smallest, ties in the order of the codes, nan last."""
    found = np.empty(len(epes), dtype=np.int64)
    found[rank_order(epes.tolist())] = np.arange(1, len(epes) + 1)
    return found


def is_figure(name: str) -> bool:
    """Whether a column stands before the blocks: rank, samples, and everything about the error."""
    return name in ("rank", "samples") or name.startswith(("epe", ZERO_FLOW))


def checksum(arrays: Mapping[str, NDArray[Any]], texts: Mapping[str, str]) -> str:
    """SHA-256 of all content of a safetensors file, whatever the order."""
    digest = hashlib.sha256(json.dumps(dict(texts), sort_keys=True).encode())
    for name, array in sorted(arrays.items()):
        digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


# ---- the table of all units ----


def set_columns(name: str) -> list[str]:
    """Columns of a set whose EPE is column ``name``, in their order; only the first set, ``epe``, has them all."""
    more = [f"{name}_median", f"{name}_p90", "samples"] if name == "epe" else []
    return [name, f"{name}_standard_error", *more]


def assemble(
    space: SearchSpace,
    archs: Sequence[Arch],
    units: Sequence[Sequence[int]],
    part: Callable[[int], Part],
    pixels: NDArray[np.int64],
    facts: Mapping[str, str],
    keep: bool,
) -> Ranking:
    """The table of all parts, without costs; never more than one part in memory beside it.

    ``units`` are positions in ``archs``, ``part`` gives the figures of a unit by its place there, ``pixels`` [N] are
    those of the samples of the first set; ``keep`` keeps the errors of the samples (float16).
    """
    columns: dict[str, NDArray[Any]] = {"rank": np.zeros(len(archs), dtype=np.int64)}
    errors = np.empty((len(archs), len(pixels)), dtype=np.float16) if keep else None
    for place, members in enumerate(units):
        for name, values in part(place).items():
            if name != "sample_epe":
                columns.setdefault(name, np.zeros(len(archs), dtype=values.dtype))[list(members)] = values
            elif errors is not None:
                with np.errstate(over="ignore"):
                    errors[list(members)] = values
    columns["rank"] = ranks(columns["epe"])
    facts = {**facts}
    if (samples := int((pixels > 0).sum())) > 1:
        best = int(np.argmin(columns["rank"]))
        home = next(place for place, members in enumerate(units) if best in members)
        row, bound = part(home)["sample_epe"][list(units[home]).index(best)][None], student95(samples)
        changes = (paired_change(row, part(place)["sample_epe"], pixels) for place in range(len(units)))
        facts[TIED] = str(sum(int((worse <= bound * error).sum()) for worse, error in changes))
    kept = (errors, pixels) if keep else (None, None)
    return Ranking(space.name, tuple(map(str, archs)), columns, block_words(space, archs), facts, *kept)


# ---- writing ----


def write_ranking(directory: Path, ranking: Ranking) -> dict[str, Path]:
    """Write both files, each at once; returns them by name.  Raises StorageError.

    The safetensors file is the last: where it lies, the ranking is complete.
    """
    words = {
        name: {str(digit): word for digit, word in sorted(set(zip(digits.tolist(), ranking.words[name], strict=True)))}
        for name, digits in ranking.blocks.items()
    }
    parts = {"words": words, "facts": ranking.facts, "columns": list(ranking.columns)}
    texts = {"space": ranking.space, **{name: json.dumps(part) for name, part in parts.items()}}
    arrays = {f"column.{name}": column for name, column in ranking.columns.items()}
    arrays["digits"] = ranking.digits.astype(np.uint8)
    if ranking.sample_epe is not None and ranking.valid_pixels is not None:
        arrays |= {"sample_epe": ranking.sample_epe, "valid_pixels": ranking.valid_pixels}
    tensors = tensor_bytes(arrays, texts | {"checksum": checksum(arrays, texts)})
    replace_file(directory / CSV, [csv_bytes(ranking)], durable=True)
    replace_file(directory / TENSORS, [tensors], durable=True)
    return {name: directory / name for name in (CSV, TENSORS)}


def csv_bytes(ranking: Ranking) -> bytes:
    """Content of ``ranking.csv``: the figures, the options in words, the costs."""
    numbers = {name: list(map(repr, column.tolist())) for name, column in ranking.columns.items()}
    figures = {name: cells for name, cells in numbers.items() if is_figure(name)}
    columns = {"code": ranking.codes, **figures, **ranking.words, **numbers}
    return csv_file([tuple(columns), *zip(*columns.values(), strict=True)])


# ---- reading ----


def read_ranking(path: Path) -> Ranking:
    """The table of a folder (its safetensors file), of a ``.safetensors`` or of a ``.csv`` file.

    Raises:
        DataError: a path that is none of these, or a file that is damaged or is no ranking.
    """
    file = path / TENSORS if path.is_dir() else path
    if path.is_dir() and (path / "parts" / "plan.json").exists() and not file.exists():
        raise DataError(f"{path}: this ranking is not finished; give the command that began it again")
    if not file.is_file():
        raise DataError(f"{file}: no ranking is here; {REMEDY}")
    try:
        ranking = _from_csv(file) if file.suffix == ".csv" else _from_tensors(file)
        _require_sound(ranking)
        return ranking
    except UserError:  # said already
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError, csv.Error) as error:
        raise DataError(f"{file}: not readable as a ranking ({error!r:.300}); {REMEDY}") from error


def _from_tensors(path: Path) -> Ranking:
    arrays, texts = read_tensors(path)
    found = texts.pop("checksum", None)  # tables from before there was one are read as well
    if found is not None and found != checksum(arrays, texts):
        raise ValueError("it is damaged: its content is not that of its checksum")
    digits = arrays["digits"].tolist()
    options = enumerate(json.loads(texts["words"]).items())
    words = {name: tuple(own[str(row[place])] for row in digits) for place, (name, own) in options}
    columns = {name: arrays[f"column.{name}"] for name in json.loads(texts["columns"])}
    facts = {str(name): str(value) for name, value in json.loads(texts["facts"]).items()}
    codes = tuple(",".join(map(str, row)) for row in digits)
    known = [texts["space"], *SPACES] if texts["space"] in SPACES else []
    return Ranking(
        _space_of(known, words, codes) or texts["space"],
        codes,
        columns,
        words,
        facts,
        arrays.get("sample_epe"),
        arrays.get("valid_pixels"),
    )


def _from_csv(path: Path) -> Ranking:
    with path.open(newline="", encoding="utf-8-sig") as file:
        header, *rows = csv.reader(file)
    if len(set(header)) != len(header) or "code" not in header:
        raise ValueError("its first line must name every column once, and one of them `code`")
    if {"kind", "shortlist"} <= set(header):
        raise ValueError("it is what `edgeflownas pareto` chose from a ranking, and no ranking")
    if not rows:
        raise ValueError("it has no row")
    for number, row in enumerate(rows, start=2):
        if len(row) != len(header):
            raise ValueError(f"line {number} has not {len(header)} cells")
    cells = dict(zip(header, zip(*rows, strict=True), strict=True))
    codes = tuple(code if "," in code else ",".join(code) for code in cells.pop("code"))
    for code in codes:
        if len(code) != len(codes[0]):
            raise ValueError(f"code {code} is not as long as {codes[0]}")
    parsed = {name: _numbers(name, values) for name, values in cells.items()}
    columns = {name: column for name, column in parsed.items() if column is not None}
    space = _space_of(SPACES, cells, codes)
    blocks = list(option_words(SPACES[space])) if space else [n for n, column in parsed.items() if column is None]
    found = Ranking(space, codes, columns, {name: cells[name] for name in blocks}, {})
    with suppress(DataError):  # of the safetensors file in the same folder, where it holds the same rows and figures
        whole = read_ranking(path.parent / TENSORS)
        equal = (np.array_equal(own, columns.get(name, ()), equal_nan=True) for name, own in whole.columns.items())
        if whole.codes == codes and all(equal):
            return replace(found, facts=whole.facts)
    return found


def _space_of(names: Iterable[str], words: Mapping[str, Sequence[str]], codes: Sequence[str]) -> str:
    """Of the spaces ``names`` with these blocks the first that calls every option so, else the first; "" without any.

    Spaces share their blocks, and what is called v3 in a table of before is v3_nobias now.
    """
    digits = list(zip(*(code.split(",") for code in codes), strict=True))
    options = {name: option_words(SPACES[name]) for name in names}
    alike = [name for name, own in options.items() if own.keys() <= words.keys() and len(own) == len(digits)]
    for name in alike:
        own = zip(options[name].items(), digits, strict=True)
        if all(
            set(zip(column, words[b], strict=True)) <= {(str(i), w) for i, w in enumerate(o)} for (b, o), column in own
        ):
            return name
    return alike[0] if alike else ""


def _numbers(name: str, cells: Sequence[str]) -> NDArray[Any] | None:
    """Int64 or float64 (an empty cell is nan); None where the cells are words.  ValueError: a figure that is a word."""
    for kind in (int, float):
        try:
            return np.array([kind(cell or "nan") for cell in cells], dtype=np.int64 if kind is int else np.float64)
        except (ValueError, OverflowError):
            continue
    if not is_figure(name) and not name.endswith(NUMBERS):
        return None
    for line, cell in enumerate(cells, start=2):
        try:
            float(cell or "nan")
        except ValueError:
            raise ValueError(f"line {line}: {name} {cell!r} is not a number (such as 1.05 or 2e9)") from None
    return None


def _require_sound(ranking: Ranking) -> None:
    """Raises ValueError for a table whose parts do not fit each other, such as codes and their options in words."""
    count = len(ranking)
    if count == 0 or len(set(ranking.codes)) != count:
        raise ValueError("it has no row, or a code twice")
    if "epe" not in ranking.columns:
        raise ValueError("it has no column `epe`")
    for name, column in ranking.columns.items():
        if column.shape != (count,):
            raise ValueError(f"column {name} has not one figure a row")
        wrong = np.isfinite(column) & (np.abs(column) > LARGEST)
        if name.startswith("epe"):
            wrong |= column < 0
        if wrong.any():
            raise ValueError(f"subnet {ranking.codes[wrong.argmax()]}: {name} {column[wrong.argmax()]} cannot be")
    digits, space = ranking.digits.shape[1], SPACES.get(ranking.space)
    if digits != len(ranking.words):
        raise ValueError(f"codes of {digits} digits beside {len(ranking.words)} blocks")
    known = option_words(space) if space is not None else {}
    for name, column in ranking.blocks.items():
        options = dict(enumerate(known.get(name, ())))
        for code, digit, word in zip(ranking.codes, column.tolist(), ranking.words[name], strict=True):
            if not (digit in options if known else 0 <= digit <= 9):
                raise ValueError(f"code {code}: {name} has no option {digit}")
            if options.setdefault(digit, word) != word:
                raise ValueError(f"code {code}: {name} is {options[digit]!r} by its digit and {word!r} in its column")
    errors, pixels = ranking.sample_epe, ranking.valid_pixels
    if (None if errors is None else errors.shape) != (None if pixels is None else (count, *pixels.shape)):
        raise ValueError("sample errors that do not fit the rows")
