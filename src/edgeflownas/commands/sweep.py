"""``edgeflownas sweep``: the same run with other keys or seeds, one after the other, and a table that compares them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeflownas.commands._shared import Overrides, example
from edgeflownas.errors import ConfigError, NonFiniteError

if TYPE_CHECKING:
    from edgeflownas.data.order import BatchPlan
    from edgeflownas.report.console import Console
    from edgeflownas.report.run_facts import RunFacts
    from edgeflownas.report.sweep_table import Ended
    from edgeflownas.train.variants import Sweep

__all__ = ["sweep"]


def sweep(
    recipe: str | None = None,
    /,
    *,
    config: str | None = None,
    vary: tuple[str, ...] = (),
    seeds: str | None = None,
    name: str | None = None,
    dry_run: bool = False,
    json: bool = False,
    overrides: Overrides = (),
) -> int:
    """Train variants and compare them.

    Example: edgeflownas sweep RECIPE --vary train.lr=1e-4,5e-5 [--seeds 0,1,2]

    Every combination of values is an ordinary run in output_root/NAME, trained one after the other. The same command
    goes on where it was stopped, skips what is finished, and adds variants and seeds that are new. The table (also
    comparison.csv, .json and .png there) has mean and standard deviation over seeds beside the noise floor.

    Args:
        recipe: recipe, packaged (edgeflownas recipes list) or a YAML file.
        config: the recipe, if not given as the first argument.
        vary: KEY=VALUE,VALUE,... (several times: every combination). Replaces the recipe's values of that key.
        seeds: seeds of every variant, such as 0,1,2.
        name: of the folder; the recipe's runtime.experiment_name if left out.
        dry_run: check every variant and its data, list the runs and train nothing.
        json: the comparison as JSON on stdout.
        overrides: any configuration key, such as --train.lr 5e-5 (edgeflownas config keys lists them).
    """
    from edgeflownas.train.variants import plan_sweep

    recipe = _one_recipe(recipe, config)
    planned = plan_sweep(recipe, overrides, vary, seeds, name)  # before torch: a mistake shows at once

    from edgeflownas.commands._front import standard_front
    from edgeflownas.report.console import Console
    from edgeflownas.train.sweep import check_runs, open_sweep, run_state, run_sweep

    console = Console()
    plans = check_runs(planned)
    _warn_unequal(planned, plans, console)
    open_sweep(planned, write=not dry_run)
    if dry_run:
        states = {run.name: run_state(planned.folder / run.name) for run in planned.runs}
        _list(planned, plans, states, json)
        return 0
    failed = run_sweep(planned, standard_front(), console.info, lambda: _compare(planned.folder))
    document, text, written = _compare(planned.folder)
    console.wrote(written)
    _print(document if json else text)
    if failed:
        raise NonFiniteError(f"{', '.join(failed)}: became non-finite; the other runs are in the table")
    return 0


def _one_recipe(positional: str | None, config: str | None) -> str:
    recipe = positional or config
    if recipe is None or None not in (positional, config):
        raise ConfigError(f"give one recipe: {example(sweep)}")
    if os.environ.get("WORLD_SIZE", "1") != "1":
        raise ConfigError("a sweep is one process: start its runs with torchrun one by one, as `edgeflownas train`")
    return recipe


def _warn_unequal(sweep: Sweep, plans: dict[str, BatchPlan], console: Console) -> None:
    """Variants that see different numbers of samples are no controlled comparison."""
    seen = {run.variant: plans[run.name].draws_per_epoch * run.config.train.num_epochs for run in sweep.runs}
    if max(seen.values()) > 1.01 * min(seen.values()):
        told = ", ".join(f"{variant} {count}" for variant, count in seen.items())
        console.warn(f"the variants see different numbers of samples ({told}): compare them at equal samples seen")


def _list(sweep: Sweep, plans: dict[str, BatchPlan], states: dict[str, str], as_json: bool) -> None:
    rows: list[dict[str, Any]] = [
        {
            "run": run.name,
            "state": states[run.name],
            "steps": plans[run.name].steps_per_epoch * run.config.train.num_epochs,
            "samples": plans[run.name].draws_per_epoch * run.config.train.num_epochs,
            "keys": dict(run.keys),
        }
        for run in sweep.runs
    ]
    if as_json:
        _print({"sweep": str(sweep.folder), "runs": rows})
        return
    width = max(len(row["run"]) for row in rows)
    print(f"{len(rows)} runs in {sweep.folder}, one after the other:")
    for row in rows:
        keys = " ".join(f"{key}={value}" for key, value in row["keys"].items())
        print(f"{row['run']:<{width}}  {row['state']:<11}  {row['steps']} steps  {row['samples']} samples  {keys}")


def _compare(folder: Path) -> tuple[dict[str, Any], str, dict[str, Path]]:
    """Read every run of the folder's plan and write the comparison: (document, table, files by name)."""
    from edgeflownas.report.run_facts import read_facts
    from edgeflownas.report.sweep_files import sweep_document, write_files
    from edgeflownas.report.sweep_table import read_ended, table_text, variant_rows
    from edgeflownas.train.sweep import read_plan, run_state

    plan = read_plan(folder)
    states = {name: run_state(folder / name) for name in plan}
    runs: list[Ended] = []
    facts: dict[str, list[RunFacts]] = {}
    for name, entry in plan.items():
        if states[name] == "finished":
            own = read_facts(folder / name, name)
            runs.append(read_ended(folder / name, entry["variant"], entry["seed"], str(own.results[0].label)))
            facts.setdefault(entry["variant"], []).append(own)
    rows = variant_rows(runs)
    document = sweep_document(folder, plan, states, runs, rows)
    return document, table_text(rows) if rows else "no run is finished yet", write_files(folder, document, facts)


def _print(result: dict[str, Any] | str) -> None:
    from json import dumps

    print(result if isinstance(result, str) else dumps(result, indent=2, allow_nan=False))
