"""Several models trained side by side on the same batches: a folder of ordinary runs that take turns.

Every model has a run directory of its own inside the group's folder (weights, optimiser, checkpoints, history), and
its batches are a function of seed and position, so it ends in the bits it would end in if it were trained alone.  What
the group adds is that every batch is decoded once, and ``comparison.csv``.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

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


def create_group(config: Config) -> Path:
    """Make the group's folder with its configuration.  Raises StorageError where it exists."""
    path = Path(config.runtime.output_root) / config.runtime.experiment_name
    models = dict(zip(config.train.arch_name, config.train.arch, strict=True))
    files = {
        "config.yaml": config_text(config.model_dump(mode="json")),
        GROUP: canonical_json({"format": 1, "models": models}),
    }
    create_folder(path, files)
    return path


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
    epochs = sorted(set.intersection(*(set(table) for table in tables.values())))
    rows = [_row({name: tables[name][epoch] for name in names}) for epoch in epochs]
    text = io.StringIO()
    writer = csv.DictWriter(text, list(_columns(names)), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    replace_file(path / "comparison.csv", text.getvalue().encode(), durable=True)


def _columns(names: list[str]) -> list[str]:
    own = [f"{name}_{figure}" for name in names for figure in COMPARED]
    return ["epoch", "global_step", *own, *(_difference(name, names[0], f) for name in names[1:] for f in COMPARED)]


def _difference(name: str, first: str, figure: str) -> str:
    return f"{name}_minus_{first}_{figure}"


def _row(by_name: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    names = list(by_name)
    first = by_name[names[0]]
    row: dict[str, Any] = {"epoch": first["epoch"], "global_step": first["global_step"]}
    # A history whose columns changed at a resume may lack some in its older rows.
    row |= {f"{name}_{figure}": by_name[name].get(figure, "") for name in names for figure in COMPARED}
    for name in names[1:]:
        for figure in COMPARED:
            values = by_name[name].get(figure, ""), first.get(figure, "")
            known = float(values[0]) - float(values[1]) if all(values) else None
            row[_difference(name, names[0], figure)] = format_value(figure, known)
    return row


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
