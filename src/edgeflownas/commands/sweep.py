"""``edgeflownas sweep``: the same run with other keys or seeds, one after the other, and a table that compares them."""

import os

from edgeflownas.commands._shared import AnyKey, Csv, emit, example
from edgeflownas.errors import ConfigError, NonFiniteError


def sweep(
    recipe: str | None = None,
    /,
    *,
    config: str | None = None,
    vary: tuple[str, ...] = (),
    seeds: str | None = None,
    name: str | None = None,
    dry_run: bool = False,
    csv: Csv | None = None,
    json: bool = False,
    overrides: AnyKey = (),
) -> None:
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
    """
    from edgeflownas.train.sweep import plan_sweep

    one = recipe or config
    if one is None or None not in (recipe, config):
        raise ConfigError(f"give one recipe: {example(sweep)}")
    if os.environ.get("WORLD_SIZE", "1") != "1":
        raise ConfigError("a sweep is one process: start its runs with torchrun one by one, as `edgeflownas train`")
    planned = plan_sweep(one, overrides, vary, seeds, name)  # before torch: a mistake shows at once

    from edgeflownas.commands._shared import standard_front
    from edgeflownas.report.console import Console
    from edgeflownas.report.sweep import compare_sweep, listing_view, sweep_view
    from edgeflownas.train.sweep import check_runs, listing, open_sweep, run_sweep, unequal_samples

    console, counted = Console(), check_runs(planned)
    if warning := unequal_samples(planned, counted):
        console.warn(warning)
    open_sweep(planned, write=not dry_run)
    if dry_run:
        console.wrote(emit(listing(planned, counted), listing_view, json, csv))
        return
    failed = run_sweep(planned, standard_front(), console.info, lambda: compare_sweep(planned.folder))
    document, note, written = compare_sweep(planned.folder)
    console.wrote(written)
    console.wrote(emit(document, lambda _: [*sweep_view(document), *(["", note] if note else [])], json, csv))
    if failed:
        raise NonFiniteError(f"{', '.join(failed)}: became non-finite; the other runs are in the table")
