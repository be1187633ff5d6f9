"""Vela's figures of many graphs: made-up kernels, several processes, and a folder that keeps each under its hash."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version
from pathlib import Path

from edgeflownas.data.parallel import WorkerDied, in_processes
from edgeflownas.errors import ConfigError, StorageError
from edgeflownas.files import replace_file
from edgeflownas.hardware.extras import need
from edgeflownas.hardware.tflite import cost_model_bytes
from edgeflownas.hardware.vela.compiler import Mode, arena_limit, compile_tflite, facts_of
from edgeflownas.hardware.vela.targets import Target, architecture, named_target, require_column, slug_of
from edgeflownas.models.deployed.graph import Graph

LEAST_SHARE = 300  # operators that are worth a process of its own: it takes about two seconds to start


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
    """Vela for one target in one mode.

    Attributes:
        arena_kib: in mode performance: the SRAM it may use, KiB.
        note: is told of a damaged entry of the cache, and of a cache that cannot be written.
        folder: the cache; every entry is one file.
        processes: at most so many; default: one a core.
    """

    target: Target
    mode: Mode = "performance"
    arena_kib: int | None = None
    note: Callable[[str], object] = lambda text: None
    folder: Path = field(default_factory=lambda: cache_folder() / "vela")
    processes: int = field(default_factory=lambda: len(os.sched_getaffinity(0)))
    _told: bool = field(default=False, init=False)
    _damaged: list[str] = field(default_factory=list, init=False, compare=False)

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

        Args:
            graphs: what to compile.
            advance: called for each different graph.

        Raises:
            ConfigError: an operator that would run on the CPU, a missing package, a target that Vela cannot use.
        """
        prefix = json.dumps([version("edgeflownas"), self.facts])
        keys = {graph: hashlib.sha256(f"{prefix} {graph!r}".encode()).hexdigest() for graph in dict.fromkeys(graphs)}
        found = {graph: figures for graph, key in keys.items() if (figures := self._kept(key)) is not None}
        if self._damaged:
            others = f", and {len(self._damaged) - 1} more" if len(self._damaged) > 1 else ""
            self.note(f"{self._damaged[0]}{others}; compiled again")
            self._damaged.clear()
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
        work = _Compile(tuple(graphs), self.target, self.mode, self.arena_kib)
        count = min(self.processes, len(graphs), sum(len(graph.ops) for graph in graphs) // LEAST_SHARE)
        if count < 2:
            yield from (work(place) for place in range(len(graphs)))
            return
        try:
            yield from in_processes(work, range(len(graphs)), count)
        except WorkerDied as error:
            raise StorageError(f"Vela for {self.target.name}: {error}; is there enough memory?") from None

    def _kept(self, key: str) -> Figures | None:
        """An entry of the cache; None where there is none that is sound."""
        path = self.folder / f"{key}.json"
        try:
            content = path.read_bytes()
        except OSError:
            return None
        try:
            entry = json.loads(content)
            figures = Figures(**entry["figures"])
            if entry["sha256"] != _digest(entry["figures"]):
                raise ValueError("its content is not that of its checksum")
            return replace(figures, layers=tuple((str(name), int(cycles)) for name, cycles in figures.layers))
        except (ValueError, KeyError, TypeError) as error:
            self._damaged.append(f"{path}: damaged ({error})")
            return None

    def _keep(self, key: str, figures: Figures) -> None:
        content = json.loads(json.dumps(asdict(figures)))
        entry = json.dumps({"figures": content, "sha256": _digest(content)}).encode()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            replace_file(self.folder / f"{key}.json", [entry])
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

    Raises:
        ConfigError: an unknown target or mode, an arena of no use, a missing package; DataError as ``named_target``.
    """
    need("litert")
    if mode not in ("performance", "size"):
        raise ConfigError(f"--mode {mode}: performance or size")
    if arena_kib is not None and mode == "size":
        raise ConfigError(f"--arena {arena_kib} belongs to mode performance: mode size ignores it")
    chip = named_target(target)
    require_column(chip)
    return Vela(chip, "size" if mode == "size" else "performance", arena_kib, note)


@dataclass(frozen=True)
class _Compile:
    """Compiles one of ``graphs``; sent to the worker processes, which are asked with its place."""

    graphs: tuple[Graph, ...]
    target: Target
    mode: Mode
    arena_kib: int | None

    def __call__(self, place: int) -> Figures:
        found = compile_tflite(cost_model_bytes(self.graphs[place]), self.target, self.mode, self.arena_kib)
        layers = tuple((layer.name, layer.cycles) for layer in found.layers)
        return Figures(found.milliseconds, found.cycles, found.sram_kib, found.flash_kib, layers)


def _digest(figures: object) -> str:
    return hashlib.sha256(json.dumps(figures, sort_keys=True).encode()).hexdigest()
