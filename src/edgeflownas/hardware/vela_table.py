"""Vela's figures of many graphs, and the time of a subnet from a table of operators.

Figures: made-up kernels, several processes, and a folder that keeps each under its hash.

The table: in mode ``performance`` the cycles of a model are the sum of those of its operators.  An operator's depend on
its own shape, on how its input and output lie in memory, and on how long the operator before it runs, while its kernel
is fetched from flash.  So each is compiled behind the operator that makes its input, and both between two ADDs, which
stand for the rest of the network.  docs/cost.md has the error.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache, partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeflownas.data.parallel import WorkerDied, in_processes
from edgeflownas.errors import ConfigError, StorageError
from edgeflownas.files import read_json, replace_file
from edgeflownas.hardware.costs import arch_digits
from edgeflownas.hardware.extras import need
from edgeflownas.hardware.targets import Target, architecture, named_target, require_column, slug_of
from edgeflownas.hardware.tflite import cost_model_bytes
from edgeflownas.hardware.vela import Mode, arena_limit, compile_tflite, facts_of
from edgeflownas.models.graph import Graph, Op, Outputs, subnet_graph
from edgeflownas.space import Arch, SearchSpace

LEAST_SHARE = 300  # operators that are worth a process of its own: it takes about two seconds to start
OWN, AROUND = "own", "around"  # names in the little graphs: the operator, and what it is compiled with


@dataclass(frozen=True)
class Figures:
    """What Vela says of a graph; ``layers``: the name of the tensor that each operator writes, and its cycles."""

    milliseconds: float
    cycles: int
    sram_kib: float
    flash_kib: float
    layers: tuple[tuple[str, int], ...]


def cache_folder() -> Path:
    """Where figures are kept: ``$EDGEFLOWNAS_CACHE``, else ``edgeflownas`` in the user's folder for caches."""
    own, users = os.environ.get("EDGEFLOWNAS_CACHE"), os.environ.get("XDG_CACHE_HOME")
    return Path(own) if own else (Path(users) if users else Path.home() / ".cache") / "edgeflownas"


@dataclass
class Vela:
    """Vela for one target in one mode; in mode performance ``arena_kib`` is the SRAM it may use, KiB.

    ``note`` is told of a damaged entry of the cache and of a cache that cannot be written, ``folder`` is the cache, a
    file an entry, ``processes`` how many there are at most (default: one a core).
    """

    target: Target
    mode: Mode = "performance"
    arena_kib: int | None = None
    note: Callable[[str], object] = lambda text: None
    folder: Path = field(default_factory=lambda: cache_folder() / "vela")
    processes: int = field(default_factory=lambda: len(os.sched_getaffinity(0)))
    _told: bool = field(default=False, init=False)

    @property
    def slug(self) -> str:
        """The target's name in columns: ``grove_vision_ai_v2``."""
        return slug_of(self.target)

    @property
    def facts(self) -> dict[str, str]:
        """What decides the figures.  Raises ConfigError: no Vela, or an ini that it cannot use."""
        return facts_of(self.target, self.mode, self.arena_kib)

    @property
    def limit_kib(self) -> float | None:
        """SRAM it may use, KiB, by ``arena_kib`` or the target's memory mode.  Raises ConfigError as ``facts``."""
        return arena_limit(architecture(self.target), self.arena_kib)

    @property
    def words(self) -> str:
        """The facts in a line."""
        facts = self.facts
        arena = "" if self.limit_kib is None else f" in {facts['arena']}"
        weights = "" if "Flash" in facts["constants"] else f"weights in {facts['constants']}, "
        return (
            f"Vela {facts['version']}, mode {self.mode}{arena}, {facts['accelerator']} at {facts['clock']}, "
            f"{weights}ini {facts['ini_sha256'][:12]}"
        )

    def figures(self, graphs: Sequence[Graph], advance: Callable[[], object] = lambda: None) -> list[Figures]:
        """Figures of every graph, from the cache or compiled now; equal graphs are compiled once.

        Kernels are made up: for three subnets at widths 8 and 32 the time was at most 0.15 % from that of files
        with quantised random weights (experiments/crosscheck); the flash differs by how well real ones compress.

        ``advance`` is called for each different graph.

        Raises:
            ConfigError: an operator that would run on the CPU, a missing package, a target that Vela cannot use.
        """
        prefix = json.dumps([version("edgeflownas"), self.facts])
        keys = {graph: hashlib.sha256(f"{prefix} {graph!r}".encode()).hexdigest() for graph in dict.fromkeys(graphs)}
        damaged: list[str] = []
        found = {graph: figures for graph, key in keys.items() if (figures := self._kept(key, damaged)) is not None}
        if damaged:
            others = f", and {len(damaged) - 1} more" if len(damaged) > 1 else ""
            self.note(f"{damaged[0]}{others}; compiled again")
        for _ in found:
            advance()
        missing = [graph for graph in keys if graph not in found]
        for graph, figures in zip(missing, self._compiled(missing), strict=False):
            found[graph] = figures
            self._keep(keys[graph], figures)
            advance()
        return [found[graph] for graph in graphs]

    def _compiled(self, graphs: Sequence[Graph]) -> Iterator[Figures]:
        """Figures in order, by as many processes as the work is worth."""
        work = partial(_figures_of, tuple(graphs), self.target, self.mode, self.arena_kib)
        count = min(self.processes, len(graphs), sum(len(graph.ops) for graph in graphs) // LEAST_SHARE)
        if count < 2:
            yield from (work(place) for place in range(len(graphs)))
            return
        try:
            yield from in_processes(work, range(len(graphs)), count)
        except WorkerDied as error:
            raise StorageError(f"Vela for {self.target.name}: {error}; is there enough memory?") from None

    def _kept(self, key: str, damaged: list[str]) -> Figures | None:
        """An entry of the cache; None where there is none that is sound, with what is ``damaged`` added."""
        path = self.folder / f"{key}.json"
        if not path.exists():
            return None
        try:
            entry = read_json(path)
            figures = Figures(**entry["figures"])
            if entry["sha256"] != _digest(entry["figures"]):
                raise ValueError("its content is not that of its checksum")
            return replace(figures, layers=tuple((str(name), int(cycles)) for name, cycles in figures.layers))
        except (StorageError, ValueError, KeyError, TypeError) as error:
            damaged.append(f"{path}: damaged ({error})")
            return None

    def _keep(self, key: str, figures: Figures) -> None:
        content = json.loads(json.dumps(asdict(figures)))
        entry = json.dumps({"figures": content, "sha256": _digest(content)}).encode()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            replace_file(self.folder / f"{key}.json", entry)
        except (OSError, StorageError) as error:
            if not self._told:
                self.note(f"Vela's figures are not kept ({error}); $EDGEFLOWNAS_CACHE may name another folder")
            self._told = True


def vela_of(
    target: str,
    mode: str = "performance",
    arena_kib: int | None = None,
    note: Callable[[str], object] = lambda text: None,
) -> Vela:
    """Vela for what --target, --mode and --arena say, with the user's cache.

    Raises errors as ``named_target``; ConfigError for an unknown mode, an arena of no use, a missing package.
    """
    need("litert")
    if mode not in ("performance", "size"):
        raise ConfigError(f"--mode {mode}: performance or size")
    if arena_kib is not None and mode == "size":
        raise ConfigError(f"--arena {arena_kib} belongs to mode performance: mode size ignores it")
    chip = named_target(target)
    require_column(chip)
    return Vela(chip, "size" if mode == "size" else "performance", arena_kib, note)


def _figures_of(graphs: Sequence[Graph], target: Target, mode: Mode, arena_kib: int | None, place: int) -> Figures:
    """Of one of ``graphs``: the worker processes are sent all of them, and asked with a place."""
    found = compile_tflite(cost_model_bytes(graphs[place]), target, mode, arena_kib)
    layers = tuple((layer.name, layer.cycles) for layer in found.layers)
    return Figures(found.milliseconds, found.cycles, found.sram_kib, found.flash_kib, layers)


def _digest(figures: object) -> str:
    return hashlib.sha256(json.dumps(figures, sort_keys=True).encode()).hexdigest()


@dataclass
class VelaLatency:
    """Column ``<target>_ms``: milliseconds of a subnet by the table; benchmarks/latency_table.py gives its error.

    ``vela`` is in mode ``performance`` and without a limit; ``outputs`` are what leaves the graph.
    """

    vela: Vela
    outputs: Outputs = "flow"

    def __post_init__(self) -> None:
        if self.vela.mode != "performance" or self.vela.limit_kib is not None:
            whose = "" if self.vela.arena_kib is not None else f" (memory mode {self.vela.target.memory_mode})"
            raise ConfigError(
                f"mode {self.vela.mode}, arena {self.vela.facts['arena']}{whose}: the time of a subnet is the sum of "
                "its operators' in mode performance without a limit only (else they run interleaved); choose a memory "
                "mode without arena_cache_size, or compile the subnets themselves: edgeflownas vela, or pareto --target"
            )

        self.name = self.vela.target.name
        self.column = f"{self.vela.slug}_ms"

    @property
    def facts(self) -> dict[str, str]:
        """Version, mode, accelerator, clock and ini, by the column."""
        return {self.column: f"table of operators, {self.vela.words}, outputs {self.outputs}"}

    def entries(self, space: SearchSpace, width: int, size: tuple[int, int]) -> list[Graph]:
        """What the table compiles, each once.  Raises ConfigError."""
        return _distinct(_terms(space, width, size, self.outputs))

    def costs(
        self, space: SearchSpace, width: int, size: tuple[int, int], archs: Sequence[Arch] | None
    ) -> dict[str, NDArray[np.float64]]:
        """Milliseconds of every arch [A] (None: of the whole space).  Raises ConfigError as ``Vela.figures``."""
        return {self.column: self.milliseconds(space, width, size, arch_digits(space, archs))}

    def milliseconds(
        self, space: SearchSpace, width: int, size: tuple[int, int], digits: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """As :meth:`costs` [A], of codes given by their digits [A, choices]."""
        digits = np.pad(digits, ((0, 0), (0, 1)))  # position -1: a stage without choice
        terms = _terms(space, width, size, self.outputs)
        entries = _distinct(terms)
        figures = self.vela.figures(entries)
        cycles = {  # of the operator, and of what Vela makes of it (names with another ending)
            graph: sum(count for name, count in found.layers if name.startswith(OWN))
            for graph, found in zip(entries, figures, strict=True)
        }
        total = np.zeros(len(digits), np.int64)
        for (before, own), graphs in terms.items():
            table = np.zeros((space.num_paths, space.num_paths), np.int64)
            for place, needed in graphs.items():
                table[place] = sum(cycles[graph] for graph in needed)
            total += table[digits[:, before], digits[:, own]]
        return (total * (figures[0].milliseconds / figures[0].cycles)).astype(np.float64)


def chip_latency(
    target: str,
    space: SearchSpace,
    width: int,
    size: tuple[int, int],
    note: Callable[[str], object],
    progress: Callable[[str, int], Any] | None,
) -> VelaLatency:
    """The cost model of ``--target``, its table compiled now where ``progress`` opens a bar (label, total) for it.

    Raises ConfigError, DataError as :func:`vela_of`, and for a bad width or size.
    """
    model = VelaLatency(vela_of(target, note=note))
    if progress is not None:
        entries = model.entries(space, width, size)
        with progress("Vela", len(entries)) as meter:
            model.vela.figures(entries, meter.advance)
    return model


Terms = dict[tuple[int, int], dict[tuple[int, int], list[Graph]]]


@lru_cache(64)
def _terms(space: SearchSpace, width: int, size: tuple[int, int], outputs: Outputs) -> Terms:
    """Positions (of the block that makes an operator's input, of its own) -> their two digits -> the little graphs."""

    def position(op: Op | None) -> int:
        found = None if op is None else space.position(op.stage)
        return -1 if found is None else found

    def operators(code: list[int]) -> dict[tuple[int, int], list[tuple[Op, Op | None]]]:
        ops = subnet_graph(space, width, code, size, outputs).ops
        makers, found = {op.output: op for op in ops}, dict[tuple[int, int], list[tuple[Op, Op | None]]]()
        for op in ops:
            maker = makers.get(op.inputs[0])
            found.setdefault((position(maker), position(op)), []).append((op, maker))
        return found

    options = [len(choice.options) for choice in space.choices] + [1]
    terms: Terms = {}
    uniform = [[min(digit, count - 1) for count in options[:-1]] for digit in range(space.num_paths)]
    for pair in dict.fromkeys(pair for code in uniform for pair in operators(code)):
        for digits in np.ndindex(*(options[place] for place in pair)):
            if pair[0] != pair[1] or digits[0] == digits[1]:
                code = [0] * len(options)
                code[pair[0]], code[pair[1]] = digits
                own = operators(code[:-1]).get(pair, [])
                terms.setdefault(pair, {})[digits[0], digits[1]] = [in_context(*op) for op in own]
    return terms


def _distinct(terms: Terms) -> list[Graph]:
    return list(dict.fromkeys(graph for term in terms.values() for graphs in term.values() for graph in graphs))


def in_context(op: Op, maker: Op | None) -> Graph:
    """A little graph: an ADD, ``maker`` (which makes the first input of ``op``), ``op``, and an ADD.

    There is no ADD before what reads the images, and none after an output of the network.
    """
    chain = [op] if maker is None else [maker, op]
    first = chain[0].inputs[0]
    images, ops = replace(first, name="images", edge=True), list[Op]()
    made = {first: images}
    if not first.edge:
        made[first] = replace(first, name=AROUND)
        ops.append(Op("add", "", made[first], (images, images)))
    for place, link in enumerate(chain):
        inputs = [made[link.inputs[0]]]
        for other in link.inputs[1:]:
            if other not in made:
                same = other.shape_1HWC == inputs[0].shape_1HWC
                made[other] = replace(other, name=f"{AROUND}.{place}", edge=False)
                ops.append(Op("add" if same else "mean", "", made[other], (inputs[0],) * (1 + same)))
            inputs.append(made[other])
        output = replace(link.output, name=OWN if link is op else f"{AROUND}.maker", edge=link is op and op.output.edge)
        layer = link.layer and f"layer{place}"
        ops.append(replace(link, stage="", output=output, inputs=tuple(inputs), layer=layer, norm="", channels_of=None))
        made[link.output] = output
    if not output.edge:
        inputs, output = [output, output], replace(output, name=f"{AROUND}.after", edge=True)
        ops.append(Op("add", "", output, tuple(inputs)))
    return Graph(tuple(ops), images, (output,))
