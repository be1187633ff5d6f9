"""Which subnets fit a chip's memory and a frame rate, at which image size and outputs, by Vela itself.

A table of operators (hardware/vela_table.py) says which subnets are worth compiling; what is returned was compiled
as a whole and is within the budget.  For each image size and outputs the smallest subnet decides how Vela is asked:
mode ``performance``, the same kept to the budget's SRAM (``arena``), or mode ``size``; the first that fits is taken.
Where another subnet needs more SRAM, the ways that are left are tried for it.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeflownas.errors import ConfigError
from edgeflownas.hardware.costs import arch_digits, liveness, space_costs
from edgeflownas.hardware.targets import architecture
from edgeflownas.hardware.vela_table import Figures, Vela, VelaLatency
from edgeflownas.models.graph import Graph, Outputs, subnet_graph
from edgeflownas.run.run import run_network
from edgeflownas.run.weights import is_weights
from edgeflownas.search.candidates import choose_archs
from edgeflownas.search.choose import allowed
from edgeflownas.search.ranking import read_ranking
from edgeflownas.space import Arch, SearchSpace, get_space

SLACK = {"performance": 0.01, "size": 0.05}  # by which a time predicted from the smallest subnet may be wrong
FLASH_SLACK = 0.02  # the same of the flash: 1.3 % at most on 144 graphs of v1 and v3
BOLD, MOST_TRIED = 3, 8  # subnets of a case: while the prediction may be too high; in all
UNBOUNDED = 1.1  # peak of activations, of the SRAM: beyond that mode performance is not tried without a limit
FINEST: tuple[Outputs, ...] = ("flow", "half", "quarter")
Size = tuple[int, int]
Progress = Callable[[str, int], Any]


@dataclass(frozen=True)
class Budget:
    """Limits; None for none.  ``milliseconds``: of one run."""

    sram_kib: float
    milliseconds: float | None = None
    flash_kib: float | None = None

    def broken(self, figures: Figures) -> tuple[str, float, float] | None:
        """The first limit that does not hold: its name, the figure, the limit."""
        for name in ("sram_kib", "flash_kib", "milliseconds"):
            used, most = getattr(figures, name), getattr(self, name)
            if most is not None and used > most:
                return name, used, most
        return None


class Subnets:
    """What is chosen from: archs, and a score of each, the smallest the best.

    With a ``ranking`` scores are its errors, measured at ``size``.  Else larger networks come first: scores order the
    subnets of one case, the multiply-adds of the whole graph order the cases, and ``size`` is the usual one.

    Attributes:
        weights_kib: of every arch [A], uncompressed: the flash of another subnet is taken to be in proportion.
        macs: of every arch [A], at this size.
    """

    def __init__(
        self,
        space: SearchSpace,
        width: int,
        archs: Sequence[Arch],
        size: Size = (180, 240),
        scores: NDArray[np.float64] | None = None,
        ranking: Path | None = None,
    ) -> None:
        self.space, self.width, self.archs, self.size, self.ranking = space, width, archs, size, ranking
        costs = space_costs(space, width, size, archs)
        self.weights_kib, self.macs = costs["int8_weight_kib"], costs["macs"]
        self.scores = -self.macs.astype(float) if scores is None else scores


def read_subnets(path: Path | None, space: str | None, width: int | None, where: str) -> Subnets:
    """The subnets of a ranking, of a run (of its ranking where it has one), or of ``space``, that ``where`` allows.

    Raises:
        ConfigError: options that contradict the source, nothing left; DataError: a source that cannot be read.
    """
    if path is None:
        known = get_space(space or "v1")
        return Subnets(known, width or 32, choose_archs(known, None, where))
    if space is not None:
        raise ConfigError(f"--space {space}: {path} has its own; leave one of them out")
    if is_weights(path) or (path / "run_manifest.json").is_file():
        if not (path / "ranking" / "ranking.safetensors").is_file():
            if width is not None:
                raise ConfigError(f"--width {width}: {path} has its own; leave --width out, or the run")
            own, wide, size = run_network(path)
            return Subnets(own, wide, choose_archs(own, None, where), size)
        path /= "ranking"
    ranking = read_ranking(path)
    said = ranking.facts.get("width")
    if not ranking.space or said is None or (width is not None and int(said) != width):
        raise ConfigError(
            f"{path}: its space is {ranking.space or 'not said'}, its width {said or 'not said'}: give the folder that "
            "`edgeflownas rank` wrote, without --width"
        )
    epes = ranking.columns["epe"]
    places = np.flatnonzero(allowed(ranking, where) & np.isfinite(epes))
    if not len(places):
        raise ConfigError(f"{path}: no subnet has a finite EPE{' under ' + where if where else ''}")
    rows, columns = (int(side) for side in ranking.facts["size"].split("x"))
    own = get_space(ranking.space)
    archs = [own.parse(ranking.codes[place]) for place in places]
    return Subnets(own, int(said), archs, (rows, columns), epes[places], path)


@dataclass(eq=False)
class _Case:
    """An image size and outputs: how Vela is asked, and what the table and its own figures say of every subnet."""

    size: Size
    outputs: Outputs
    vela: Vela
    failed: dict[str, Any] | None = None
    table: NDArray[np.float64] = field(
        default_factory=lambda: np.zeros(1)
    )  # until it is known, one subnet stands for all
    predicted: NDArray[np.float64] = field(init=False)
    flash_kib: NDArray[np.float64] = field(init=False)
    queue: Iterator[int] = field(init=False)

    @property
    def smallest(self) -> int:
        """Place of the subnet that is the fastest by the table."""
        return int(self.table.argmin())

    @property
    def order(self) -> tuple[int, int]:
        """Fine outputs first, then large images."""
        return FINEST.index(self.outputs), -self.size[0] * self.size[1]


def sizes_of(shape: Size, sram_kib: float) -> list[Size]:
    """Sizes in multiples of 16 with the sides of ``shape``: from 96 rows until the images alone fill the SRAM."""
    sizes = ((rows, max(round(rows * shape[1] / shape[0] / 16), 1) * 16) for rows in itertools.count(96, 16))
    return list(itertools.takewhile(lambda size: 6 * size[0] * size[1] <= sram_kib * 1024, sizes))


def fit(
    subnets: Subnets,
    budget: Budget,
    sizes: Sequence[Size],
    outputs: Sequence[Outputs],
    vela: Vela,
    top: int,
    progress: Progress,
) -> dict[str, Any]:
    """The document of docs/fit_target.md: at most ``top`` rows that fit, and why the rest does not.

    There is one row for each of the ``sizes`` of the images (multiples of 16) and ``outputs`` of the graph; how
    ``vela`` is asked is decided here; ``progress`` opens a bar with a label and a total, as Console.task does.

    Raises:
        ConfigError: no Vela, or an operator that would run on the CPU.
    """
    search = _Search(subnets, budget, vela, progress)
    cases = search.cases(sizes, outputs)
    search.choose_ways([case for case in cases if case.failed is None])
    passed = [case for case in cases if case.failed is None]
    rows, ranked = search.verified(passed, top), subnets.ranking
    return {
        "facts": vela.facts | {"mode": "as each row says", "arena": "as each row says"},
        "space": subnets.space.name,
        "width": subnets.width,
        "budget": asdict(budget),
        "ranking": None if ranked is None else str(ranked),
        "ranked_at": None if ranked is None else list(subnets.size),
        "subnets": len(subnets.archs),
        "cases": len(cases),
        "fits": rows,
        "further": len(passed) - len(rows),
        "failed": [case.failed for case in cases if case.failed is not None],
        "too_slow": sum(int((case.predicted > search.limit).sum()) for case in passed),
    }


class _Search:
    """One search."""

    def __init__(self, subnets: Subnets, budget: Budget, vela: Vela, progress: Progress) -> None:
        self.subnets, self.budget, self.progress = subnets, budget, progress
        self.ways = (vela, replace(vela, arena_kib=int(budget.sram_kib)), replace(vela, mode="size"))
        self.limit = np.inf if budget.milliseconds is None else budget.milliseconds

    def cases(self, sizes: Sequence[Size], outputs: Sequence[Outputs]) -> list[_Case]:
        """Every size and outputs with its table; too slow already by the table where even the fastest subnet is."""
        network, vela = (self.subnets.space, self.subnets.width), self.ways[0]
        found = [_Case(size, out, vela) for out in outputs for size in sizes]
        chip, lightest = architecture(vela.target), int(self.subnets.macs.argmin())
        for case in found:  # what the lightest subnet takes if the accelerator never waits
            least = self._macs(case, lightest) / (chip.macs * chip.cores * chip.clock) * 1e3
            if least > self.limit:
                self._fail(case, ("milliseconds", least, self.limit), by="multiply-adds at full rate")
        models = [(case, VelaLatency(vela, case.outputs)) for case in found if case.failed is None]
        graphs = dict.fromkeys(g for case, model in models for g in model.entries(*network, case.size))
        with self.progress("table", len(graphs)) as meter:
            vela.figures(list(graphs), meter.advance)
        digits = arch_digits(self.subnets.space, self.subnets.archs)
        for case, model in models:
            case.table = model.milliseconds(*network, case.size, digits)
            least = float(case.table.min())
            if least > self.limit * (1 + SLACK["performance"]):
                self._fail(case, ("milliseconds", least, self.limit), by="table")
        return found

    def choose_ways(self, cases: Sequence[_Case]) -> None:
        """Compile the smallest subnet of every case the one way or the other, until it fits."""
        waiting = list(cases)
        for number, way in enumerate(self.ways):
            tried = [case for case in waiting if number or self._peak_kib(case) <= UNBOUNDED * self.budget.sram_kib]
            for case in tried:
                case.vela = way
            figures = self._compiled([(case, case.smallest, way) for case in tried], f"smallest subnets, {_mode(way)}")
            for case, found in zip(tried, figures, strict=True):
                self._settle(case, found)
            waiting = [case for case in waiting if case not in tried or (case.failed or {}).get("limit") == "sram_kib"]

    def _settle(self, case: _Case, found: Figures) -> None:
        """Whether the case fits at all, and what every subnet will take, predicted from the smallest."""
        case.failed = None
        if (broken := self.budget.broken(found)) is not None:
            self._fail(case, broken, by="vela")
        fastest, weights = case.table[case.smallest], self.subnets.weights_kib
        if case.vela.mode == "size":  # operators run interleaved
            case.predicted = case.table * (found.milliseconds / fastest)
        else:
            case.predicted = case.table + found.milliseconds - fastest
        case.flash_kib = weights * (found.flash_kib / weights[case.smallest])
        case.queue = itertools.chain(itertools.islice(self._candidates(case), MOST_TRIED), [case.smallest])

    def _candidates(self, case: _Case) -> Iterator[int]:
        """Places of subnets that may fit, the best first, none with the graph of another before it."""
        flash = np.inf if self.budget.flash_kib is None else self.budget.flash_kib
        slack, order, seen = SLACK[case.vela.mode], np.argsort(self.subnets.scores, kind="stable"), set[Graph]()
        of_limit = np.maximum((case.predicted / self.limit - 1) / slack, (case.flash_kib / flash - 1) / FLASH_SLACK)
        for place in order[of_limit[order] <= 1].tolist():
            if len(seen) >= BOLD and of_limit[place] > -1:
                continue
            graph = self._graph(case, place)
            if graph not in seen:
                seen.add(graph)
                yield place

    def verified(self, cases: Sequence[_Case], top: int) -> list[dict[str, Any]]:
        """Rows of the best subnet of each case that Vela finds within the budget, the best cases first."""
        heap: list[tuple[float, tuple[int, int], int, int, int]] = []
        rows: list[tuple[tuple[float, int, int], dict[str, Any]]] = []

        def push(number: int, place: int, way: int) -> None:
            case, ranked = cases[number], self.subnets.ranking is not None
            score = float(self.subnets.scores[place]) if ranked else -float(self._macs(case, place))
            heapq.heappush(heap, (score, case.order, number, place, way))

        def push_next(number: int) -> None:
            push(number, next(cases[number].queue), self.ways.index(cases[number].vela))  # the last one fits

        for number in range(len(cases)):
            push_next(number)
        with self.progress("verify", top) as meter:
            while heap and len(rows) < top:
                batch = [heapq.heappop(heap) for _ in range(min(top - len(rows), len(heap)))]
                figures = self._compiled([(cases[number], place, self.ways[way]) for *_, number, place, way in batch])
                for (score, order, number, place, way), found in zip(batch, figures, strict=True):
                    broken = self.budget.broken(found)
                    if broken is None:
                        rows.append(((score, *order), self._row(cases[number], place, self.ways[way], found)))
                        meter.advance()
                    elif broken[0] == "sram_kib" and way + 1 < len(self.ways):
                        push(number, place, way + 1)
                    else:
                        push_next(number)
        return [row for _, row in sorted(rows, key=lambda one: one[0])]

    def _compiled(self, wanted: Sequence[tuple[_Case, int, Vela]], label: str = "") -> list[Figures]:
        """Vela of the subnet at each place, asked the given way."""
        found: dict[int, Figures] = {}
        for way in self.ways:
            own = {n: self._graph(case, place) for n, (case, place, asked) in enumerate(wanted) if asked is way}
            with self.progress(label, len(own)) if label and own else nullcontext() as meter:
                advance = (lambda: None) if meter is None else meter.advance
                found |= zip(own, way.figures(list(own.values()), advance), strict=True)
        return [found[number] for number in range(len(wanted))]

    def _peak_kib(self, case: _Case) -> float:
        graph = self._graph(case, case.smallest)
        return max(moment.bytes for moment in liveness(graph.ops, graph.outputs)) / 1024

    def _graph(self, case: _Case, place: int) -> Graph:
        return subnet_graph(self.subnets.space, self.subnets.width, self.subnets.archs[place], case.size, case.outputs)

    def _macs(self, case: _Case, place: int) -> int:
        return sum(op.macs for op in self._graph(case, place).ops)

    def _fail(self, case: _Case, broken: tuple[str, float, float], by: str) -> None:
        limit, used, most = broken
        case.failed = {
            "size": list(case.size),
            "outputs": case.outputs,
            "mode": _mode(case.vela),
            "code": str(self.subnets.archs[case.smallest]),
            "limit": limit,
            "needs": float(used),
            "allowed": float(most),
            "by": by,
        }

    def _row(self, case: _Case, place: int, way: Vela, found: Figures) -> dict[str, Any]:
        row = {
            "code": str(self.subnets.archs[place]),
            "size": list(case.size),
            "outputs": case.outputs,
            "mode": _mode(way),
            "milliseconds": found.milliseconds,
            "sram_kib": found.sram_kib,
            "flash_kib": found.flash_kib,
            "fit_by_table": int((case.predicted <= self.limit).sum()),
        }
        if self.subnets.ranking is not None:
            grid = [side + -side % 16 for side in self.subnets.size]
            row["epe"] = float(self.subnets.scores[place])
            row["epe_measured_here"] = case.outputs == "flow" and row["size"] == grid
        return row | {"fps": 1e3 / found.milliseconds}


def _mode(vela: Vela) -> str:
    return vela.mode if vela.arena_kib is None else f"{vela.mode}, arena {vela.arena_kib} KiB"
