"""Which subnets are meant: conditions (``--where``), files of codes, draws; and what a search may propose, and by what.

A condition is ``COLUMN OP NUMBER`` with OP one of ``< <= > >= = !=``, or names an option of a block by its word,
``EB0=depth1``, ``H0Out!=k5``, ``E1=3x3+dilated3x3``, or by its digit, ``EB0#0``.  A number alone, ``EB0=1``, is
refused: tables print depth 1 for digit 0.  Several are joined by commas: a row is kept where all hold.
"""

from __future__ import annotations

import csv
import difflib
import hashlib
import itertools
import math
import operator
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgeflownas import limits
from edgeflownas.errors import ConfigError, DataError
from edgeflownas.files import read_file
from edgeflownas.randomness import words
from edgeflownas.search.ranking import ZERO_FLOW, Ranking, is_figure, option_words, read_ranking
from edgeflownas.space import Arch, SearchSpace, get_space

MOST_OBJECTIVES = 3
"""With more the exact hypervolume takes too long for the fronts of a whole space."""
MOST_SUBNETS = 1_000_000
"""More than that are not enumerated."""
BLOCK = 256  # random codes drawn at a time
ENUMERABLE = 2**17  # subnets whose conditions are checked one by one before a search, to see whether the budget fits
EMPTY_BLOCKS = 400  # so many draws (times BLOCK) without one new code, and the rest of the space counts as used up
OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "=": operator.eq,
    "!=": operator.ne,
}
_CONDITION = re.compile(r"\s*([^\s<>=!#]+)\s*([<>=!]+|#)\s*([^<>=!#]+?)\s*")

Columns = Mapping[str, NDArray[np.float64]]
Costs = Callable[[Sequence[Arch]], Mapping[str, NDArray[Any]]]


# ---- conditions ----


class Condition(NamedTuple):
    """One comparison of a column with a number, or the ``digits`` of a block that fulfil it."""

    name: str
    op: str
    value: float
    digits: tuple[int, ...] | None = None
    word: str = ""  # the option, as it is spelled

    def __str__(self) -> str:
        return f"{self.name}{self.op}{self.word or format(self.value, '.12g')}"


def did_you_mean(name: str, known: Collection[str]) -> str:
    """``; did you mean 'macs'?`` where one of the ``known`` names is near, else nothing."""
    near = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def parse_where(text: str, columns: Collection[str], blocks: Mapping[str, Sequence[str]]) -> list[Condition]:
    """Conditions of ``text``, such as ``"sram_kib<900,macs<=2e9,EB0=depth2"``; none for an empty one.

    ``blocks`` holds the options of each block in words, by digit.

    Raises:
        ConfigError: what is no condition, a name not among ``columns`` and ``blocks`` (with the nearest), a value that
            is no finite number, or no option of the block (with its options).
    """
    found: list[Condition] = []
    names = [*columns, *blocks]
    for part in text.split(",") if text.strip() else []:
        said, match = f"--where {part.strip()!r}", _CONDITION.fullmatch(part)
        op = "=" if match and match[2] == "==" else match[2] if match else ""
        if match is None or op not in (*OPERATORS, "#"):
            raise ConfigError(
                f"{said} is no condition: NAME, one of {' '.join(OPERATORS)}, and a number or an option, joined by "
                'commas, e.g. --where "macs<2e9,EB0=depth1"'
            )
        name, number = match[1], match[3]
        if name not in names:
            same = [known for known in names if known.lower() == name.lower()]
            hint = f"; did you mean {same[0]!r}?" if same else did_you_mean(name, names)
            raise ConfigError(f"{said}: there is no {name!r}{hint} (known: {', '.join(sorted(names))})")
        if name in blocks:
            found.append(_on_block(said, name, op, number, blocks[name]))
            continue
        try:
            value = float(number) if op != "#" else math.nan
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise ConfigError(f"{said}: {number!r} is not a number")
        found.append(Condition(name, op, value))
    return found


def check_options(text: str, space: SearchSpace) -> None:
    """Check what ``text`` says of blocks, whatever columns there are.  Raises ConfigError as :func:`parse_where`."""
    blocks = option_words(space)
    named = [match[1] for part in text.split(",") if (match := _CONDITION.fullmatch(part))]
    parse_where(text, [name for name in named if name not in blocks], blocks)


def _on_block(said: str, name: str, op: str, given: str, options: Sequence[str]) -> Condition:
    """A condition on the option of a block.  Raises ConfigError: a number alone, or none of its ``options``."""
    words, asked = [spelled(option) for option in options], spelled(given)
    range_of = f"{name} has {', '.join(words)} (digits #0 to #{len(words) - 1})"
    if op == "#":
        if not (given.isdecimal() and int(given) < len(words)):
            raise ConfigError(f"{said}: there is no digit {given!r}: {range_of}")
        op, asked = "=", words[int(given)]
    elif given.lstrip("+-").replace(".", "", 1).isdecimal():
        by_word = [f"{name}{op}{word}" for word in words if re.fullmatch(rf"[a-z]*{re.escape(given)}", word)]
        by_digit = []
        if given.isdecimal() and int(given) < len(words):
            own = words[int(given)]
            by_digit = [(f"{name}#{given}" if op == "=" else f"{name}{op}{own}") + f" (the digit of {own})"]
        remedy = f"write {' or '.join([*by_word, *by_digit])}; " if by_word or by_digit else ""
        raise ConfigError(f"{said}: {given} may be an option or its digit: {remedy}{range_of}")
    if asked not in words:
        raise ConfigError(f"{said}: there is no {given!r}: {range_of}")
    numbers = [re.fullmatch(r"[a-z]+([0-9]+)", word) for word in words]
    if op in ("=", "!="):
        digits = [digit for digit, word in enumerate(words) if OPERATORS[op](word, asked)]
    elif all(numbers):
        values = [int(number[1]) for number in numbers if number]
        digits = [digit for digit, value in enumerate(values) if OPERATORS[op](value, values[words.index(asked)])]
    else:
        raise ConfigError(f"{said}: the options of {name} have no order, {', '.join(words)}: use = or !=")
    return Condition(name, op, float(words.index(asked)), tuple(digits), asked)


def spelled(option: str) -> str:
    """An option as a condition spells it: ``depth1``, ``k5``, ``3x3+dilated3x3``."""
    return re.sub(r"^kernel(?=[0-9])", "k", re.sub(r"\s", "", option.lower()))


def holds(conditions: Sequence[Condition], values: Mapping[str, NDArray[Any]]) -> NDArray[np.bool_]:
    """Which rows of the columns ``values`` fulfil every condition: bool [A]; a nan (not known) fulfils none."""
    kept = np.ones(len(next(iter(values.values()))), dtype=np.bool_)
    for name, op, value, digits, _ in conditions:
        column = values[name]
        kept &= OPERATORS[op](column, value) & ~np.isnan(column) if digits is None else np.isin(column, digits)
    return kept


# ---- which subnets are ranked ----


def choose_archs(
    space: SearchSpace,
    codes: Sequence[Arch] | None = None,
    where: str = "",
    sample: int | None = None,
    seed: int = 0,
    costs: Mapping[str, Costs] = {},
) -> list[Arch]:
    """The chosen archs in the order of the space, each once.

    They are of the ``codes``, or of the whole space, and fulfil the conditions ``where`` on options of blocks and on
    ``costs``: by column, what gives it (and perhaps others) for some archs, asked only where a condition needs it.
    ``sample`` of those are drawn uniformly without repeats, the same with the same seed.

    Raises:
        ConfigError: a condition that is none, nothing left to evaluate, or a space too large to enumerate.
    """
    names = [choice.name for choice in space.choices]
    conditions = parse_where(where, costs, option_words(space))
    on_digits = [condition for condition in conditions if condition.name not in costs]
    if codes is None:
        count, at = _product(space, on_digits)
    else:
        digits = np.array(codes, dtype=np.int64).reshape(len(codes), len(names))
        listed = list(itertools.compress(codes, holds(on_digits, dict(zip(names, digits.T, strict=True)))))
        count, at = len(listed), listed.__getitem__
    if len(on_digits) < len(conditions) and 0 < count <= MOST_SUBNETS:
        archs = [at(position) for position in range(count)]
        for condition in conditions:
            if condition.name in costs and archs:
                archs = list(itertools.compress(archs, holds([condition], costs[condition.name](archs))))
        count, at = len(archs), archs.__getitem__
    if count == 0:
        among = f"space {space.name!r}" if codes is None else f"the {len(codes):,} given"
        raise ConfigError(f"--where {where!r} leaves no subnet of {among}")
    if sample is None and count > MOST_SUBNETS:
        raise ConfigError(
            f"{count:,} subnets are too many to evaluate one and all (limit {MOST_SUBNETS:,}): let `edgeflownas "
            "search` look for the good ones, rank a part with --where, or draw with --sample 1000"
        )
    if sample is not None and not 0 < sample <= min(count, MOST_SUBNETS):
        raise ConfigError(f"--sample {sample} must be 1 to {min(count, MOST_SUBNETS)}, the subnets to choose among")
    if sample is None:
        return sorted(map(at, range(count)))
    drawn: dict[int, None] = {}
    attempts = itertools.count()
    while len(drawn) < sample:
        draw = words(seed, "ranking.sample", next(attempts), count=sample)
        drawn |= dict.fromkeys((draw % np.uint64(count)).tolist())
    return sorted(map(at, itertools.islice(drawn, sample)))


def _product(space: SearchSpace, conditions: Sequence[Condition]) -> tuple[int, Callable[[int], Arch]]:
    """How many archs fulfil conditions on digits, and which is at a position.

    Each condition is on one block, so the archs are a product, of any size, that is never written out.
    """
    options = []
    for choice in space.choices:
        own = [condition for condition in conditions if condition.name == choice.name]
        digits = np.arange(len(choice.options))
        options.append(digits[holds(own, {choice.name: digits})].tolist())

    def at(position: int) -> Arch:
        digits = []
        for allowed in reversed(options):
            position, place = divmod(position, len(allowed))
            digits.append(allowed[place])
        return space.arch(digits[::-1])

    return math.prod(map(len, options)), at


def read_codes(path: Path, space: SearchSpace) -> tuple[list[Arch], int]:
    """Archs of a text file with a code a line, or of a CSV with a column ``code``; and how many were there again.

    Empty lines, and what follows a ``#`` in a text file, are left out.

    Raises:
        DataError: a file that cannot be read or names no arch; ConfigError: a code of another space (with its line).
    """
    found: list[Arch] = []

    def refuse(said: str) -> DataError:
        return DataError(f"--archs {said}; give a text file with a code a line")

    try:
        for number, cell in _cells(read_file(path, limits.LIST, refuse).decode("utf-8-sig").splitlines()):
            try:
                found.append(space.parse(cell))
            except ConfigError as error:
                raise ConfigError(f"--archs {path}, line {number}: {error}") from None
    except UnicodeDecodeError as error:
        raise refuse(f"{path}: cannot be read: it is no text ({error})") from None
    except csv.Error as error:
        raise DataError(f"--archs {path}: no sound CSV: {error}") from error
    if not found:
        raise DataError(
            f"--archs {path}: no arch code in it; give a text file with a code a line, or a CSV with `code`"
        )
    unique = list(dict.fromkeys(found))
    return unique, len(found) - len(unique)


def _cells(lines: Sequence[str]) -> Iterator[tuple[int, str]]:
    """Codes of a file with the numbers of their lines.  Raises csv.Error, also for a row without a code."""
    header = next(csv.reader(lines[:1]), [])
    if "code" not in header:
        codes = ((number, line.partition("#")[0].strip().strip('"')) for number, line in enumerate(lines, start=1))
        yield from ((number, code) for number, code in codes if code)
        return
    rows = csv.reader(lines[1:])
    for row in filter(None, rows):
        number = rows.line_num + 1
        if len(row) != len(header):
            raise csv.Error(f"line {number} has {len(row)} cells of {len(header)}; is the file cut off?")
        if not row[header.index("code")]:
            raise csv.Error(f"line {number} has no code")
        yield number, row[header.index("code")]


# ---- which subnets a search may propose ----


class Candidates:
    """Hands out each code of a space at most once.

    Args:
        space: where codes come from.
        fits: which of some archs may be evaluated at all, bool [A] (``--where``; costs are known beforehand).
        seed: of :meth:`random`; all strategies with one seed begin with the same codes.
    """

    def __init__(
        self, space: SearchSpace, fits: Callable[[Sequence[Arch]], NDArray[np.bool_]] | None = None, seed: int = 0
    ) -> None:
        self.space, self._fits, self._seed = space, fits, seed
        self._blocks = 0
        self._taken: set[tuple[int, ...]] = set()

    def take(self, codes: Iterable[Sequence[int]], count: int) -> list[Arch]:
        """The first ``count`` of ``codes`` that are new and fit; from here on they are not new."""
        new = [self.space.arch(code) for code in dict.fromkeys(map(tuple, codes)) if code not in self._taken]
        if new and self._fits is not None:
            new = list(itertools.compress(new, self._fits(new)))
        self._taken.update(new[:count])
        return new[:count]

    def random(self, count: int) -> list[Arch]:
        """``count`` new uniform codes; fewer where no more were found in a hundred thousand draws."""
        options = np.array([len(choice.options) for choice in self.space.choices], np.uint64)
        found: list[Arch] = []
        empty = 0
        while len(found) < count and empty < EMPTY_BLOCKS and len(self._taken) < len(self.space):
            drawn = words(self._seed, "search.random", self._blocks, count=BLOCK * len(options))
            self._blocks += 1
            taken = self.take((drawn.reshape(BLOCK, -1) % options).astype(int).tolist(), count - len(found))
            empty = 0 if taken else empty + 1
            found += taken
        return found


# ---- what is searched ----


@dataclass(frozen=True)
class Problem:
    """Objectives over a space, all to be minimised.

    ``costs`` gives the columns [A] that are known without an evaluation, ``measure`` those that are not; both of any
    archs of the space.  ``where`` are conditions on costs and digits.
    """

    space: SearchSpace
    objectives: tuple[str, ...]
    where: tuple[Condition, ...]
    costs: Callable[[Sequence[Arch]], Columns]
    measure: Callable[[Sequence[Arch]], Columns]
    facts: Mapping[str, Any] = field(default_factory=dict)
    """What decides the values, for the journal."""
    seconds: Callable[[Sequence[Arch]], float] | None = None
    """What evaluating some archs together will take, estimated; None where it is only a look-up."""
    zero_flow_epe: float | None = None
    """What predicting no motion scores on the pixels of ``epe``, px; None where it is not known."""

    def fits(self, archs: Sequence[Arch]) -> NDArray[np.bool_]:
        """Which archs fulfil every condition: bool [A]."""
        if not self.where:
            return np.ones(len(archs), dtype=np.bool_)
        names = [choice.name for choice in self.space.choices]
        digits = dict(zip(names, np.array(archs, dtype=np.float64).T, strict=True))
        asked = {condition.name for condition in self.where}
        return holds(self.where, digits if asked <= digits.keys() else {**digits, **self.costs(archs)})

    def values(self, archs: Sequence[Arch]) -> NDArray[np.float64]:
        """The objectives of archs, by evaluation: [A, objectives]."""
        columns = {**self.costs(archs), **self.measure(archs)}
        return np.array([columns[name] for name in self.objectives], dtype=np.float64).T

    def require_room(self, budget: int) -> None:
        """Raises ConfigError for a budget of more evaluations than there are subnets to evaluate."""
        size = len(self.space)
        if self.where and size <= ENUMERABLE:
            size = int(self.fits(list(self.space)).sum())
        if budget > size:
            which = " that fit --where" if self.where else ""
            raise ConfigError(
                f"--budget {budget}: space {self.space.name!r} has {size} subnets{which}; lower it, or rank them all "
                "with `edgeflownas rank`"
            )

    def require_varied(self) -> None:
        """Raises ConfigError for a cost that is the same for all of many subnets: it would decide nothing."""
        archs = list(self.space) if len(self.space) <= ENUMERABLE else Candidates(self.space).random(1000)
        for name, column in self.costs(archs).items():
            if name in self.objectives and len(archs) > 1 and column.min() == column.max():
                raise ConfigError(
                    f"--minimise {name}: it is {column[0]:g} for every subnet and decides nothing here (docs/cost.md); "
                    "leave it out, or take macs or int8_weight_kib"
                )


def run_problem(
    path: Path, overrides: Sequence[str], checkpoint: str, minimise: str, where: str, note: Callable[[str], None]
) -> Problem:
    """A search that evaluates subnets of a run on its frozen sets.  Raises as open_job and a bad objective."""
    from edgeflownas.hardware.costs import COLUMNS, space_costs  # here: a look-up needs no network
    from edgeflownas.search.rank import open_job

    job = open_job(path, overrides, note, checkpoint=checkpoint, where=where)
    tree, space = job.tree(), job.net.space
    objectives, conditions = _parsed(minimise, where, space, list(job.sets), COLUMNS)
    return Problem(
        space,
        objectives,
        conditions,
        lambda archs: space_costs(*job.network, archs),
        lambda archs: {"epe": tree.epes(archs).numpy()},
        {"source": "run", **{key: value for key, value in job.facts.items() if key != "run"}},
        lambda archs: tree.estimate(archs).seconds,
        tree.zero_flow_epes[0],
    )


def table_problem(path: Path, minimise: str, where: str) -> Problem:
    """A search that looks values up in a ranking of the whole space.  Raises ConfigError, DataError."""
    ranking, space = _whole_ranking(path)
    names = [name for name in ranking.columns if name not in ("rank", "samples") and not name.startswith(ZERO_FLOW)]
    measured, costs = list(filter(is_figure, names)), [name for name in names if not is_figure(name)]
    objectives, conditions = _parsed(minimise, where, space, measured, costs)
    places = {space.parse(code): place for place, code in enumerate(ranking.codes)}

    def columns(wanted: Sequence[str]) -> Callable[[Sequence[Arch]], Columns]:
        return lambda archs: {name: ranking.columns[name][[places[arch] for arch in archs]] for name in wanted}

    digest = hashlib.sha256("\n".join(ranking.codes).encode())
    for name in sorted({*objectives, *(c.name for c in conditions if c.name in costs)}):
        digest.update(np.ascontiguousarray(ranking.columns[name], dtype="<f8").tobytes())
    facts = {"source": "table", "space": space.name, "table": digest.hexdigest()[:16]}
    return Problem(space, objectives, conditions, columns(costs), columns(measured), facts, None, ranking.zero_flow())


def _parsed(
    minimise: str, where: str, space: SearchSpace, measured: Sequence[str], costs: Sequence[str]
) -> tuple[tuple[str, ...], tuple[Condition, ...]]:
    """``--minimise`` and ``--where`` against the columns there are.  Raises ConfigError."""
    objectives, known = tuple(name.strip() for name in minimise.split(",")), [*measured, *costs]
    for name in objectives:
        if name not in known:
            hint = did_you_mean(name, known)
            raise ConfigError(f"--minimise {name!r}: there is no such column{hint} (known: {', '.join(known)})")
    if len(set(objectives)) < len(objectives) or not set(objectives) & set(measured):
        raise ConfigError(
            f"--minimise {minimise}: name each column once, and {' or '.join(measured[:2])} among them: costs "
            "alone need no search"
        )
    if len(objectives) > MOST_OBJECTIVES:
        raise ConfigError(f"--minimise {minimise}: at most {MOST_OBJECTIVES} columns; make others a --where")
    conditions = parse_where(where, known, option_words(space))
    for condition in conditions:
        if condition.name in measured:
            raise ConfigError(
                f"--where {condition}: {condition.name} is known only after the evaluation; conditions are over "
                f"costs ({', '.join(costs)}) and options of blocks. `edgeflownas pareto` takes it"
            )
    return objectives, tuple(conditions)


def _whole_ranking(path: Path) -> tuple[Ranking, SearchSpace]:
    """A ranking that holds every subnet of its space.  Raises DataError."""
    ranking = read_ranking(path)
    if not ranking.space:
        raise DataError(f"{path}: its blocks are those of no known search space")
    space = get_space(ranking.space)
    if len(ranking) != len(space):
        raise DataError(
            f"{path}: {len(ranking)} of the {len(space)} subnets of space {space.name!r}: a ranking of the whole space "
            "is needed (edgeflownas rank RUN)"
        )
    return ranking, space


def exact_values(path: Path, problem: Problem) -> dict[Arch, NDArray[np.float64]]:
    """Objectives [K] of every subnet that fits the conditions, by a ranking of the whole space.

    Raises:
        ConfigError: a ranking of another space, or without an objective.
        DataError: no ranking, or not of the whole space.
    """
    ranking, space = _whole_ranking(path)
    if space.name != problem.space.name:
        other = f"a ranking of space {space.name!r}, the search is in {problem.space.name!r}"
        raise ConfigError(f"--compare {path}: {other}")
    if missing := sorted({*problem.objectives} - ranking.columns.keys()):
        raise ConfigError(f"--compare {path}: it has no column {', '.join(missing)}")
    archs = [space.parse(code) for code in ranking.codes]
    table = np.array([ranking.columns[name] for name in problem.objectives], np.float64).T
    return {arch: row for arch, row, fits in zip(archs, table, problem.fits(archs), strict=True) if fits}
