"""Several models trained side by side on the same batches: a folder of ordinary runs that take turns.

Every model has a run directory of its own inside the group's folder (weights, optimiser, checkpoints, history), and
its batches are a function of seed and position, so it ends in the bits it would end in if it were trained alone.  What
the group adds is that every batch is decoded once, and ``comparison.csv``.
"""

from __future__ import annotations

import csv
import io
from pathlib import Path

from edgeflownas.config import Config
from edgeflownas.config.load import load_config, parse_overrides
from edgeflownas.errors import ConfigError, StorageError
from edgeflownas.evaluate.columns import format_value
from edgeflownas.files import canonical_json, csv_rows, read_json, replace_file
from edgeflownas.run.directory import GROUP, config_text, create_folder

COMPARED = ("train_loss", "eval_loss_total", "eval_loss_optical", "eval_loss_uncertainty", "epe")
OWN = {"train.arch", "train.arch_name", "train.task", "runtime.output_root", "runtime.experiment_name"}


def member_configs(config: Config) -> dict[str, Config]:
    """Configuration of every model by name; the configuration itself, under no name, where there is one model."""
    names = config.train.arch_name
    if not names:
        return {"": config}
    folder = Path(config.runtime.output_root) / config.runtime.experiment_name
    found = {}
    for name, code in zip(names, config.train.arch, strict=True):
        runtime = config.runtime.model_copy(update={"output_root": str(folder), "experiment_name": name})
        train = config.train.model_copy(update={"arch": (code,), "arch_name": ()})
        found[name] = config.model_copy(update={"runtime": runtime, "train": train})
    return found


def create_group(config: Config) -> None:
    """Make the group's folder with its configuration.  Raises StorageError where it exists."""
    path = Path(config.runtime.output_root) / config.runtime.experiment_name
    models = dict(zip(config.train.arch_name, config.train.arch, strict=True))
    group = canonical_json({"format": 1, "models": models})
    create_folder(path, {"config.yaml": config_text(config.model_dump(mode="json")), GROUP: group})


def group_config(path: Path, overrides: list[str], fork: str | None) -> Config:
    """The configuration of an existing group with overrides on top, at the place where it now lies.

    Raises ConfigError for what only a single model or a new group can have.
    """
    if fork is not None:
        names = ", ".join(str(path / name) for name in read_json(path / GROUP)["models"])
        raise ConfigError(f"--fork takes one model, {path} holds several: give one of {names}")
    for key, _ in parse_overrides(overrides)[0]:
        if key in OWN:
            raise ConfigError(f"--{key} cannot change in {path}, which holds models of its own: begin a new run")
    here = path.absolute()
    place = [f"--runtime.output_root={here.parent}", f"--runtime.experiment_name={here.name}"]
    return load_config(path / "config.yaml", [*overrides, *place])


def write_comparison(path: Path, names: list[str]) -> None:
    """Replace ``comparison.csv``: one row for each epoch that every model has been evaluated after.

    Columns: epoch, global_step, then losses and EPE (px) of every model, then their difference from the first model.
    """
    tables = {name: _history(path / name / "eval_history.csv") for name in names}
    first, *others = names
    own = [f"{name}_{figure}" for name in names for figure in COMPARED]
    differences = [f"{name}_minus_{first}_{figure}" for name in others for figure in COMPARED]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["epoch", "global_step", *own, *differences])
    for epoch in sorted(set.intersection(*(set(table) for table in tables.values()))):
        # A history whose columns changed at a resume may lack some in its older rows.
        rows = {name: [tables[name][epoch].get(figure, "") for figure in COMPARED] for name in names}
        cells = [tables[first][epoch]["epoch"], tables[first][epoch]["global_step"]]
        cells += [value for row in rows.values() for value in row]
        for name in others:
            for figure, value, reference in zip(COMPARED, rows[name], rows[first], strict=True):
                known = float(value) - float(reference) if value and reference else None
                cells.append(format_value(figure, known))
        writer.writerow(cells)
    replace_file(path / "comparison.csv", text.getvalue().encode(), durable=True)


def _history(path: Path) -> dict[int, dict[str, str]]:
    """Rows of a model's eval_history.csv by epoch, its EPE under the plain name ``epe``."""
    try:
        return {int(row["epoch"]): {**row, "epe": row["mean_epe_1"]} for row in csv_rows(path)}
    except StorageError:  # said already
        raise
    except (OSError, ValueError, KeyError) as error:
        raise StorageError(
            f"{path}: not readable as the history of one model ({error}): restore it from a copy"
        ) from None
