"""``edgeflownas fit-target``: what fits a chip's memory and a frame rate."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeflownas.commands._shared import Bytes, WholeNumber, emit, example, read_size
from edgeflownas.errors import ConfigError

if TYPE_CHECKING:
    from edgeflownas.evaluate.ranking import Ranking
    from edgeflownas.search.fitting import Budget, Subnets
    from edgeflownas.space import SearchSpace

__all__ = ["fit_target"]

LEAST_SRAM = 16 * 1024


def fit_target(
    source: Path | None = None,
    *,
    target: str = "grove-vision-ai-v2",
    sram: Bytes | None = None,
    fps: float | None = None,
    flash: Bytes | None = None,
    space: str | None = None,
    width: WholeNumber | None = None,
    where: str = "",
    sizes: str = "",
    outputs: str = "flow,half,quarter",
    top: WholeNumber = 10,
    out: Path | None = None,
    json: bool = False,
) -> int:
    """Find what fits a chip.

    Example: edgeflownas fit-target [RANKING|RUN] --target grove-vision-ai-v2 --sram 900KiB --fps 5

    Scans subnets, image sizes, outputs and the ways Vela can be asked, and returns what fits, the most accurate
    first, with why the rest does not. Every figure of what is returned is Vela's of the whole graph; a table decides
    only what is compiled. docs/fit_target.md says how.

    Args:
        source: a ranking, or a run whose ranking is taken where there is one; without: --space and --width.
        target: chip (edgeflownas vela --list-targets), or FILE.ini,ACCELERATOR,SYSTEM_CONFIG,MEMORY_MODE.
        sram: most SRAM, such as 900KiB.
        fps: least frames a second.
        flash: most flash for the weights, such as 4MiB; kernels are made up, and real ones compress a little otherwise.
        space: search space without a source (v1).
        width: channels after E0 (32, or those of the source).
        where: conditions on digits of blocks, with a ranking also on its columns, such as "EB0=1,macs<2e9".
        sizes: image sizes, such as 192x256,160x208; default: from 96 rows, with the sides of the source.
        outputs: among flow (full size), half and quarter.
        top: how many to return (10), one for each size and outputs.
        out: write what fits and what does not to this CSV file.
        json: machine-readable result on stdout.
    """
    from edgeflownas.commands._target import vela_of
    from edgeflownas.commands.profile import require_writable
    from edgeflownas.report.console import Console
    from edgeflownas.search.fitting import fit, sizes_of

    if out is not None:
        require_writable(out)
    budget = _budget(sram, fps, flash)
    console = Console()
    choice = _choice(source, space, width, where)
    chip = vela_of(target, console)
    shapes = _sizes(sizes) if sizes else sizes_of(choice.size, budget.sram_kib)
    asked: Any = _outputs(outputs)
    if not shapes:
        raise ConfigError(f"--sram {budget.sram_kib:g}KiB: not even the images of 96 rows fit; give --sizes")
    found = fit(choice.subnets, budget, shapes, asked, chip, top, console.task)
    document = _document(found, choice, budget, chip.facts | {"mode": "as each row says", "arena": "as each row says"})
    from edgeflownas.report.fit_text import fit_text

    emit(document, fit_text, json)
    if out is not None:
        _write(out, document)
        console.wrote({"table": out})
    return 0


def _budget(sram: int | None, fps: float | None, flash: int | None) -> Budget:
    from edgeflownas.search.fitting import Budget

    if sram is None or sram < LEAST_SRAM:
        given = "(not given)" if sram is None else str(sram) if sram % 1024 else f"{sram // 1024}KiB"
        raise ConfigError(f"--sram {given}: the chip's memory, at least 16KiB, is needed: {example(fit_target)}")
    if fps is not None and not 0 < fps < 1e6:
        raise ConfigError(f"--fps {fps}: frames a second, more than 0")
    return Budget(sram / 1024, fps and 1e3 / fps, flash and flash / 1024)


@dataclass(frozen=True)
class _Choice:
    """What is chosen from, and where its accuracy is from; ``size``: that it was measured at, or the usual one."""

    subnets: Subnets
    size: tuple[int, int]
    ranking: Path | None


def _choice(source: Path | None, space: str | None, width: int | None, where: str) -> _Choice:
    """Raises ConfigError, and DataError for a source that cannot be read."""
    from edgeflownas.evaluate.ranking import read_ranking
    from edgeflownas.space import get_space

    if source is None:
        return _by_size(get_space(space or "v1"), width or 32, (180, 240), where)
    if space is not None:
        raise ConfigError(f"--space {space}: {source} has its own; leave one of them out")
    if not (source / "run_manifest.json").is_file():
        return _ranked(read_ranking(source), source, width, where)
    if (source / "ranking" / "ranking.safetensors").is_file():
        return _ranked(read_ranking(source / "ranking"), source / "ranking", width, where)
    from edgeflownas.commands.profile import of_run

    return _by_size(*of_run(source, None, width), where)


def _ranked(ranking: Ranking, path: Path, width: int | None, where: str) -> _Choice:
    import numpy as np

    from edgeflownas.evaluate.where import parse_where
    from edgeflownas.search.question import allowed
    from edgeflownas.space import get_space

    own = ranking.facts.get("width")
    if not ranking.space or own is None or (width is not None and int(own) != width):
        raise ConfigError(
            f"{path}: its space is {ranking.space or 'not said'}, its width {own or 'not said'}: give the folder that "
            "`edgeflownas rank` wrote, without --width"
        )
    kept = allowed(ranking, parse_where(where, [*ranking.columns, *ranking.words]))
    epe = np.where(kept & np.isfinite(ranking.columns["epe"]), ranking.columns["epe"], np.inf)
    places = np.flatnonzero(np.isfinite(epe))
    if not len(places):
        raise ConfigError(f"{path}: no subnet has a finite EPE{' under ' + where if where else ''}")
    rows, columns = (int(side) for side in ranking.facts["size"].split("x"))
    space = get_space(ranking.space)
    archs = [space.parse(ranking.codes[place]) for place in places]
    return _Choice(_subnets(space, int(own), (rows, columns), archs, epe[places]), (rows, columns), path)


def _by_size(space: SearchSpace, width: int, size: tuple[int, int], where: str) -> _Choice:
    from edgeflownas.evaluate.ranking_codes import choose_archs

    return _Choice(_subnets(space, width, size, choose_archs(space, None, where)), size, None)


def _subnets(space: SearchSpace, width: int, size: tuple[int, int], archs: Any, epe: Any = None) -> Subnets:
    from edgeflownas.hardware.costs import space_costs
    from edgeflownas.search.fitting import Subnets

    costs = space_costs(space, width, size, archs)
    scores = -costs["macs"].astype(float) if epe is None else epe
    return Subnets(space, width, archs, scores, costs["int8_weight_kib"], costs["macs"], epe is not None)


def _sizes(text: str) -> list[tuple[int, int]]:
    found = [read_size(part.strip(), "--sizes") for part in text.split(",")]
    for rows, columns in found:
        if rows % 16 or columns % 16:
            raise ConfigError(f"--sizes {rows}x{columns}: rows and columns must be multiples of 16")
    return list(dict.fromkeys(found))


def _outputs(text: str) -> tuple[str, ...]:
    from edgeflownas.search.fitting import FINEST

    found = tuple(dict.fromkeys(part.strip() for part in text.split(",")))
    if not set(found) <= set(FINEST):
        raise ConfigError(f"--outputs {text}: one or more of {', '.join(FINEST)}, separated by commas")
    return found


def _document(found: dict[str, Any], choice: _Choice, budget: Any, facts: dict[str, str]) -> dict[str, Any]:
    """The result as plain data; rows get EPE, where it was measured, frames a second."""
    subnets = choice.subnets
    grid = [side + -side % 16 for side in choice.size]
    for row in found["fits"]:
        place = row.pop("place")
        if choice.ranking is not None:
            row["epe"] = float(subnets.scores[place])
            row["epe_measured_here"] = row["outputs"] == "flow" and row["size"] == grid
        row["fps"] = 1e3 / row["milliseconds"]
    return {
        "facts": facts,
        "space": subnets.space.name,
        "width": subnets.width,
        "budget": {name: getattr(budget, name) for name in ("sram_kib", "milliseconds", "flash_kib")},
        "ranking": None if choice.ranking is None else str(choice.ranking),
        "ranked_at": None if choice.ranking is None else list(choice.size),
        **found,
    }


def _write(path: Path, document: dict[str, Any]) -> None:
    """A row for each size and outputs that was decided: ``fits`` yes or no, and why not."""
    import csv
    import io

    from edgeflownas.files import replace_file
    from edgeflownas.report.vela_text import facts_text

    rows = [{"fits": "yes", **row} for row in document["fits"]] + [{"fits": "no", **row} for row in document["failed"]]
    for row in rows:
        mode, _, arena = row["mode"].partition(", arena ")
        row["figures_by"] = facts_text(document["facts"] | {"mode": mode, "arena": arena or "no limit"})
    names = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows({**row, "size": "x".join(map(str, row["size"]))} for row in rows)
    replace_file(path, [text.getvalue().encode()])
