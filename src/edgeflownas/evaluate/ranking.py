"""The table of a ranked space: one row a subnet, as CSV for people and as safetensors for programs.

``ranking.safetensors`` holds everything (columns, digits, facts and, on request, the errors of every sample);
``ranking.csv`` the rows.  docs/ranking.md lists the columns.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeflownas.data.files import replace_file
from edgeflownas.errors import DataError
from edgeflownas.evaluate.rank_statistics import rank_order
from edgeflownas.evaluate.tensor_file import read_tensors, tensor_bytes
from edgeflownas.space import SPACES, Arch, SearchSpace

__all__ = [
    *("CSV", "TENSORS", "Ranking", "block_words", "csv_bytes", "is_figure", "ranks", "read_ranking", "write_ranking"),
]

CSV, TENSORS = "ranking.csv", "ranking.safetensors"
REMEDY = "give the folder that `edgeflownas rank` wrote, its ranking.csv or its ranking.safetensors"


@dataclass(frozen=True)
class Ranking:
    """Subnets in the order of their space, with what was measured and what is known of each."""

    space: str
    """Name of the search space; empty where a CSV's blocks are those of no declared one."""
    codes: tuple[str, ...]
    """Printed form, ``0,0,0,0,2,1,2,2,2``."""
    columns: dict[str, NDArray[Any]]
    """Numbers [A] by name, float64 or int64, in the order of the file; nan where nothing is known."""
    words: dict[str, tuple[str, ...]]
    """Option of every block in words [A]: ``words["EB0"][i] == "depth 3"``."""
    facts: dict[str, str]
    """What was measured and how; empty where the table was read from a CSV."""
    sample_epe: NDArray[np.float16] | None = None
    """[A, N] mean error of each sample of the first set, px; nan where a sample has no valid pixel."""
    valid_pixels: NDArray[np.int64] | None = None
    """[N], with ``sample_epe``."""

    def __len__(self) -> int:
        return len(self.codes)

    @property
    def digits(self) -> NDArray[np.int64]:
        """Digits of the codes [A, blocks]."""
        return np.array([[int(digit) for digit in code.split(",")] for code in self.codes], dtype=np.int64)

    @property
    def blocks(self) -> dict[str, NDArray[np.int64]]:
        """Digit of every subnet [A] by block, for conditions on blocks."""
        return dict(zip(self.words, self.digits.T, strict=True))


def block_words(space: SearchSpace, archs: Sequence[Arch]) -> dict[str, tuple[str, ...]]:
    """Option of every block in words, without the name of the block: ``{"EB0": ("depth 3", ...)}``."""
    options = [[choice.meaning(digit) for digit in range(len(choice.options))] for choice in space.choices]
    return {
        choice.name: tuple(options[place][arch[place]] for arch in archs) for place, choice in enumerate(space.choices)
    }


def ranks(epes: NDArray[np.float64]) -> NDArray[np.int64]:
    """Rank of every EPE [A]: 1 the smallest, ties in the order of the codes, nan last."""
    found = np.empty(len(epes), dtype=np.int64)
    found[rank_order(epes.tolist())] = np.arange(1, len(epes) + 1)
    return found


def write_ranking(directory: Path, ranking: Ranking) -> dict[str, Path]:
    """Write both files, each at once; returns them by name.  Raises StorageError.

    The safetensors file is the last: where it lies, the ranking is complete.
    """
    replace_file(directory / CSV, [csv_bytes(ranking)], durable=True)
    replace_file(directory / TENSORS, [_tensors(ranking)], durable=True)
    return {name: directory / name for name in (CSV, TENSORS)}


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
    except (OSError, ValueError, KeyError, TypeError, AttributeError, csv.Error) as error:
        raise DataError(f"{file}: not readable as a ranking ({error!r:.300}); {REMEDY}") from error
    return ranking


def is_figure(name: str) -> bool:
    """Whether a column stands before the blocks: rank, samples, and everything about the error."""
    return name in ("rank", "samples") or name.startswith("epe")


def csv_bytes(ranking: Ranking) -> bytes:
    """Content of ``ranking.csv``."""
    first = [name for name in ranking.columns if is_figure(name)]
    last = [name for name in ranking.columns if not is_figure(name)]
    numbers = {name: map(repr, column.tolist()) for name, column in ranking.columns.items()}
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["code", *first, *ranking.words, *last])
    columns = [*(numbers[name] for name in first), *ranking.words.values(), *(numbers[name] for name in last)]
    writer.writerows(zip(ranking.codes, *columns, strict=True))
    return text.getvalue().encode()


def _from_csv(path: Path) -> Ranking:
    with path.open(newline="", encoding="utf-8-sig") as file:
        header, *rows = csv.reader(file)
    if len(set(header)) != len(header) or "code" not in header:
        raise ValueError("its first line must name every column once, and one of them `code`")
    uneven = next((number for number, row in enumerate(rows, start=2) if len(row) != len(header)), None)
    if uneven is not None:
        raise ValueError(f"line {uneven} has not {len(header)} cells")
    cells = {name: tuple(row[place] for row in rows) for place, name in enumerate(header)}
    codes = tuple(code if "," in code else ",".join(code) for code in cells.pop("code"))
    columns = {name: _numbers(values) for name, values in cells.items()}
    spaces = {name: [choice.name for choice in known.choices] for name, known in SPACES.items()}
    space = next((name for name, blocks in spaces.items() if set(blocks) <= set(cells) and _digits(codes, blocks)), "")
    blocks = spaces.get(space) or [name for name, column in columns.items() if column is None]
    words = {name: cells[name] for name in blocks}
    return Ranking(space, codes, {name: col for name, col in columns.items() if col is not None}, words, {})


def _digits(codes: Sequence[str], blocks: Sequence[str]) -> bool:
    return len(codes[0].split(",")) == len(blocks)


def _numbers(cells: Sequence[str]) -> NDArray[Any] | None:
    """Int64 or float64 (an empty cell is nan); None where the cells are words."""
    for kind in (int, float):
        try:
            return np.array([kind(cell or "nan") for cell in cells], dtype=np.int64 if kind is int else np.float64)
        except ValueError:
            continue
    return None


def _tensors(ranking: Ranking) -> bytes:
    digits = ranking.digits
    words = {
        name: {str(digit): word for digit, word in sorted(set(zip(digits[:, place].tolist(), column, strict=True)))}
        for place, (name, column) in enumerate(ranking.words.items())
    }
    texts = {"space": ranking.space, "words": json.dumps(words), "facts": json.dumps(ranking.facts)}
    texts["columns"] = json.dumps(list(ranking.columns))
    arrays = {f"column.{name}": column for name, column in ranking.columns.items()}
    arrays["digits"] = digits.astype(np.uint8)
    if ranking.sample_epe is not None and ranking.valid_pixels is not None:
        arrays |= {"sample_epe": ranking.sample_epe, "valid_pixels": ranking.valid_pixels}
    return tensor_bytes(arrays, texts)


def _from_tensors(path: Path) -> Ranking:
    arrays, texts = read_tensors(path)
    digits = arrays["digits"].tolist()
    names = json.loads(texts["words"])
    words = {
        name: tuple(options[str(row[place])] for row in digits) for place, (name, options) in enumerate(names.items())
    }
    columns = {name: arrays[f"column.{name}"] for name in json.loads(texts["columns"])}
    facts = {str(name): str(value) for name, value in json.loads(texts["facts"]).items()}
    codes = tuple(",".join(map(str, row)) for row in digits)
    return Ranking(texts["space"], codes, columns, words, facts, arrays.get("sample_epe"), arrays.get("valid_pixels"))


def _require_sound(ranking: Ranking) -> None:
    """Raises ValueError for a table whose parts do not fit each other."""
    count = len(ranking)
    if count == 0 or len(set(ranking.codes)) != count:
        raise ValueError("it has no row, or a code twice")
    digits = ranking.digits
    if digits.shape != (count, len(ranking.words)):
        raise ValueError(f"codes of {digits.shape[1]} digits beside {len(ranking.words)} blocks")
    if any(column.shape != (count,) for column in ranking.columns.values()) or "epe" not in ranking.columns:
        raise ValueError("a column of another length, or no column `epe`")
    errors, pixels = ranking.sample_epe, ranking.valid_pixels
    if (errors is None) != (pixels is None) or (
        errors is not None and pixels is not None and errors.shape != (count, *pixels.shape)
    ):
        raise ValueError("sample errors that do not fit the rows")
