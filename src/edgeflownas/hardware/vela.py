"""Vela in this process: one wrapper over ``ethosu.regor``, whose interface is undocumented, hence one version of it.

The texts that regor is given are those of the ``vela`` command (ethosu/vela/vela.py, ``main`` and
``get_compiler_config``); tests/e2e/test_vela.py holds the figures against that command.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args

from edgeflownas import limits
from edgeflownas.data.parallel import WorkerDied, in_processes
from edgeflownas.errors import ConfigError, DataError, StorageError
from edgeflownas.files import read_file, replace_file
from edgeflownas.hardware.extras import need
from edgeflownas.hardware.targets import Architecture, Target, architecture

VERSION = "5.2.0"
Mode = Literal["performance", "size"]
KIB = 1024


@dataclass(frozen=True)
class LayerCost:
    """One operator on the chip, in the order it runs; ``name`` is that of the tensor it writes.

    ``kind`` is the operator of the file, e.g. Conv2D; where it becomes several, the others have Vela's name, e.g. Relu
    after a convolution of few channels.  ``macs`` are multiply-adds, ``utilisation`` their share of the most it could
    do in these cycles, ``sram_bytes`` what it needs of the arena while it runs, ``time`` when it runs, on the clock of
    :class:`Placed`, ``cascade`` the number of the one it runs in, stripe by stripe with its neighbours; 0 for none.
    """

    name: str
    kind: str
    cycles: int
    macs: int
    utilisation: float
    sram_bytes: int
    time: int
    cascade: int


@dataclass(frozen=True)
class Placed:
    """A range of the arena: in use from ``start`` to ``end``, both included, on the clock of the operators.

    ``names``: of the tensors there, several where one is overwritten by the next; of the operator for ``weights``
    (part or all of them, compressed, fetched ahead).  ``stripes`` is the part of a tensor that a cascade keeps.
    """

    names: tuple[str, ...]
    use: Literal["tensor", "stripes", "weights"]
    start: int
    end: int
    address: int
    bytes: int


@dataclass(frozen=True)
class Compiled:
    """What Vela made of a model; figures are Vela's estimate.

    Attributes:
        milliseconds: of one run at the clock of the target; ``cycles``: the same in cycles.
        sram_kib: peak of the arena; ``flash_kib``: weights and biases, compressed, in the memory that
            ``facts["constants"]`` names; KiB of 1024 bytes.
        arena_kept: ``sram_kib`` is within the limit of the arena; True without one.
        memories: KiB of every memory that is used, by Vela's name.
        npu_ops: operators on the accelerator; ``cpu_ops``: 0.
        utilisation: multiply-adds of the most the accelerator could do in these cycles, 0 to 1.
        layers: in running order; placed: the arena over time.
    """

    model: bytes
    milliseconds: float
    cycles: int
    sram_kib: float
    flash_kib: float
    arena_kept: bool
    memories: Mapping[str, float]
    npu_ops: int
    cpu_ops: int
    macs: int
    utilisation: float
    layers: tuple[LayerCost, ...]
    placed: tuple[Placed, ...]
    facts: Mapping[str, str]


def compile_tflite(model: bytes, target: Target, mode: str = "performance", arena_kib: int | None = None) -> Compiled:
    """Compile an int8 TFLite model for ``target``.

    The content must be sound: a damaged file ends the process.  :func:`compile_file` takes any file.  Mode
    ``performance`` takes the memory it needs for the least time, ``size`` the least memory at any price.  In the first
    ``arena_kib`` is the SRAM Vela may use, KiB, instead of what the memory mode says; it can fail to keep to it.

    Raises:
        DataError: no TFLite file, or one that Vela refuses.
        ConfigError: an operator that would run on the CPU, whose time Vela leaves out; the package is missing or of
            another version; a target that Vela cannot use; an unknown mode or an arena of no use.
    """
    check_request(mode, arena_kib)
    chip, regor, facts = architecture(target), _regor(), facts_of(target, mode, arena_kib)
    if model[4:8] != b"TFL3":
        raise DataError(f"not a TFLite file: bytes 4 to 8 are {bytes(model[4:8])!r}, expected b'TFL3'")
    limit = arena_limit(chip, arena_kib)
    system, options = _texts(target, mode, chip, limit)
    try:
        result = regor.compile(chip.core, bytes(model), "TFLITE", system, options=options, verbose=False)
    except RuntimeError as error:
        raise DataError(f"Vela refuses the file: {' '.join(str(error).split())}") from None
    report, database = result.perf_report, result.opt_database
    tables = {  # rows by column name
        name: [dict(zip(table.header, row, strict=True)) for row in table.data]
        for name, table in (database.tables.items() if database is not None else ())
    }
    _refuse_cpu(report.cpuOps, tables)
    memories, layers = _memories(report, chip), _layers(tables, chip)
    sram, cycles, macs = memories.get("Sram", 0.0), int(report.totalCycles), int(report.macCount)
    return Compiled(
        model=bytes(result.model),
        milliseconds=cycles / chip.clock * 1e3,
        cycles=cycles,
        sram_kib=sram,
        flash_kib=int(report.readOnlyPeakUsage) / KIB,
        arena_kept=limit is None or sram <= limit,
        memories=memories,
        npu_ops=int(report.npuOps),
        cpu_ops=int(report.cpuOps),
        macs=macs,
        utilisation=_utilisation(macs, cycles, chip),
        layers=layers,
        placed=_placed(tables, str(report.stagingMemoryArea), layers),
        facts=facts,
    )


def check_request(mode: str, arena_kib: int | None) -> None:
    """Raises ConfigError for an unknown mode or a limit of no use."""
    if mode not in get_args(Mode):
        raise ConfigError(f"mode {mode!r} is unknown: {', '.join(get_args(Mode))}")
    if arena_kib is not None and (arena_kib < 1 or mode == "size"):
        raise ConfigError(f"arena {arena_kib} KiB: at least 1, and in mode performance only: mode size ignores it")


def arena_limit(chip: Architecture, arena_kib: int | None) -> float | None:
    """SRAM that Vela may use, KiB: what is asked for, else what the memory mode says; None for no limit."""
    return chip.arena_kib if arena_kib is None else arena_kib


def facts_of(target: Target, mode: str, arena_kib: int | None) -> dict[str, str]:
    """What decides the figures, in words.  Raises ConfigError as :func:`architecture`."""
    chip = architecture(target)
    limit = arena_limit(chip, arena_kib)
    return {
        "version": VERSION,
        "target": target.name,
        "accelerator": target.accelerator,
        "clock": f"{chip.clock / 1e6:g} MHz",
        "system_config": target.system_config,
        "memory_mode": target.memory_mode,
        "mode": mode,
        "arena": "no limit" if limit is None else f"{limit:g} KiB",
        "constants": chip.constants,
        "ini_sha256": chip.ini_sha256,
    }


def _regor() -> Any:
    """Raises ConfigError for a missing package or another version."""
    need("vela")
    from ethosu import regor
    from ethosu.vela._version import __version__

    if __version__ != VERSION:
        raise ConfigError(
            f"ethos-u-vela {__version__} is installed, and this program is made for {VERSION}, "
            f'whose interface is not documented: pip install "edgeflownas[export]"'
        )
    return regor


def _texts(target: Target, mode: str, chip: Architecture, limit_kib: float | None) -> tuple[str, str]:
    """The system and the options, as regor reads them."""
    arena_bytes = chip.address_space if limit_kib is None else int(limit_kib * KIB)
    names = f"[vela]\nsystem_config_name={target.system_config}\nmemory_mode_name={target.memory_mode}\n"
    return f"[architecture]\nmacs={chip.macs}\ncores={chip.cores}\n{names}{chip.ini}", (
        "\n[compiler]\nenable_db=true\noutput_format=TFLite\ncop_format=COP1\n"
        f"\n[scheduler]\noptimize={mode.capitalize()}\narena_size_limit={arena_bytes}\ndisable_feature=\n"
        "cpu_tensor_alignment=16\ntensor_allocator=HillClimb\n\n[graph]\nsoftmax_int16_neg_exp_range=10.0\n"
    )


Table = list[dict[str, str]]


def _refuse_cpu(count: int, tables: Mapping[str, Table]) -> None:
    """Raises ConfigError naming the operators that are not on the accelerator."""
    if not count:
        return
    ours = {row["optimised_id"] for row in tables.get("queue", ())}
    fused = {row["id"] for row in tables.get("group", ())}
    sources = {row["id"]: row["operator"] for row in tables.get("source", ())}
    others = [row for row in tables.get("perf", ()) if row["optimised_id"] not in ours and row["id"] not in fused]
    found = [f"{sources.get(row['source_id'], row['operator'])} ({row['name']})" for row in others]
    remedy = "the model must be int8, and of operators that the accelerator has"
    if any(name.startswith("Custom ") for name in found):
        remedy = "a model that Vela has compiled already cannot be compiled again"
    named = ", ".join(found) or "not named"
    raise ConfigError(f"operators that would run on the CPU, whose time Vela leaves out ({count}): {named}; {remedy}")


def _memories(report: Any, chip: Architecture) -> dict[str, float]:
    """KiB by memory, sorted, as the ``vela`` command prints them (stats_writer.py)."""
    used = {str(name): int(memory.peakUsage) for name, memory in report.memories.items()}
    used = {name: used[name] for name in sorted(used) if name.lower() not in ("shram", "lutram")}
    if report.readOnlyPeakUsage > 0 and chip.constants == "OnChipFlash" and "OnChipFlash" not in used:
        used["OnChipFlash"] = int(report.readOnlyPeakUsage)  # weights in SRAM: counted apart
        used["Sram"] = used.get("Sram", 0) - used["OnChipFlash"]
    return {name: count / KIB for name, count in used.items()}


def _utilisation(macs: int, cycles: int, chip: Architecture) -> float:
    return macs / (cycles * chip.macs * chip.cores) if cycles else 0.0


def _layers(tables: Mapping[str, Table], chip: Architecture) -> tuple[LayerCost, ...]:
    """Rows of the table ``perf``; what is fused into an operator (ReLU) is counted with it."""
    leader = {row["id"]: row["group_id"] for row in tables.get("group", ())}
    details = {row["id"]: row for row in tables["perf_debug"]}
    sources = {row["id"]: row["operator"] for row in tables["source"]}
    rows = {row["id"]: row for row in tables["perf"]}
    sums = {key: [0, 0] for key in rows if key not in leader}
    for key, row in rows.items():
        total = sums[leader.get(key, key)]
        total[0] += int(row["op_cycles"])
        total[1] += int(row["mac_count"])
    layers = []
    for key, (cycles, macs) in sums.items():
        row, detail = rows[key], details[key]
        kind = sources.pop(row["source_id"], row["operator"])  # what else becomes of an operator keeps its own name
        counts = map(int, (row["staging_usage"], detail["time_index"], detail["cascade"]))
        layers.append(LayerCost(row["name"], kind, cycles, macs, _utilisation(macs, cycles, chip), *counts))
    return tuple(layers)


USES: Mapping[str, Literal["stripes", "weights"]] = {"OpCascade": "stripes", "OpBuffering": "weights"}


def _placed(tables: Mapping[str, Table], memory: str, layers: Sequence[LayerCost]) -> tuple[Placed, ...]:
    found: dict[tuple[int, int, int, int], tuple[str, set[str]]] = {}
    for row in tables.get("tensors", ()):
        if row["memory"] == memory:
            weights = re.fullmatch(r"WB_\w+_op(\d+)", row["name"])  # a buffer, called after the number of its operator
            known = weights and int(weights[1]) < len(layers)
            start, end = int(row["start_time"]), int(row["end_time"])
            place = start, end, int(row["start_address"], 16), int(row["size"], 16)
            names = found.setdefault(place, (row["usage"], set()))[1]
            names.add(layers[int(weights[1])].name if weights and known else row["name"])
    of = sorted(found.items())
    return tuple(Placed(tuple(sorted(names)), USES.get(usage, "tensor"), *place) for place, (usage, names) in of)


START, COMPILE = 0, 1  # what the process is asked for


def compile_file(path: Path, target: Target, mode: str = "performance", arena_kib: int | None = None) -> Compiled:
    """:func:`compile_tflite` for the file ``path``, whatever is in it: in a process of its own, which regor may end.

    Raises:
        DataError: also for a damaged file, and one that cannot be read; names the file, as do
        ConfigError: errors about what is in it.
        StorageError: the process does not start.
    """
    check_request(mode, arena_kib)
    architecture(target)
    model = read_file(path, limits.MODEL, DataError)
    work = partial(_in_own_process, model, target, mode, arena_kib)
    with contextlib.closing(in_processes(work, (START, COMPILE), 1)) as replies:
        try:
            next(replies)
        except WorkerDied as error:
            raise StorageError(f"{path}: the process that compiles it does not start: {error}") from None
        try:
            compiled = next(replies)
        except WorkerDied:
            raise DataError(f"{path}: Vela breaks off on it: a damaged or truncated file") from None
        except (ConfigError, DataError) as error:
            raise type(error)(f"{path}: {error}") from None
    assert compiled is not None
    return compiled


def _in_own_process(model: bytes, target: Target, mode: str, arena_kib: int | None, step: int) -> Compiled | None:
    if step == COMPILE:
        return compile_tflite(model, target, mode, arena_kib)
    nowhere = os.open(os.devnull, os.O_WRONLY)  # for what regor writes past Python's own streams
    for stream in (1, 2):
        os.dup2(nowhere, stream)
    return None


def description(compiled: Compiled) -> dict[str, Any]:
    """Every field of ``compiled`` but the file, and ``peak``: the moment with the most bytes in use.

    ``peak`` has the operators that run then (several in a cascade), the ranges ``alive``, largest first, their sum
    ``used_kib``, and ``gaps_kib``: what the allocator could not fill, up to the peak of the arena.
    """
    times = {placed.start for placed in compiled.placed} | {layer.time for layer in compiled.layers}
    moment = max(sorted(times), key=lambda time: sum(placed.bytes for placed in alive_at(compiled.placed, time)))
    alive = sorted(alive_at(compiled.placed, moment), key=lambda placed: (-placed.bytes, placed.names))
    used = sum(placed.bytes for placed in alive) / KIB
    # Between two operators, where weights are fetched ahead, those before count as running.
    last = max((layer.time for layer in compiled.layers if layer.time <= moment), default=0)
    peak = {
        "operators": [layer.name for layer in compiled.layers if layer.time == last],
        "time": moment,
        "used_kib": used,
        "gaps_kib": max((placed.address + placed.bytes for placed in compiled.placed), default=0) / KIB - used,
        "alive": [asdict(placed) for placed in alive],
    }
    return {name: value for name, value in asdict(compiled).items() if name != "model"} | {"peak": peak}


def write_compiled(folder: Path, compiled: bytes, document: Mapping[str, Any]) -> dict[str, Path]:
    """Write a compiled model and its document; returns what was written by name.  Raises StorageError."""
    paths = {"model": folder / f"{document['name']}_vela.tflite", "costs": folder / f"{document['name']}_vela.json"}
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"{folder}: cannot be written: {error.strerror or error}; give another --out") from error
    replace_file(paths["model"], compiled)
    replace_file(paths["costs"], (json.dumps(document, indent=2, allow_nan=False) + "\n").encode())
    return paths


def alive_at(placed: Sequence[Placed], time: int) -> list[Placed]:
    """The ranges in use at ``time``."""
    return [one for one in placed if one.start <= time <= one.end]
