"""The runs of a sweep, one after the other: ordinary run directories in one folder, beside ``sweep.json``.

``sweep.json`` says which variant and seed each run is and with which settings it was planned, so that the same command
goes on where it was stopped, more variants and seeds may join later, and a folder begun with other settings is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgeflownas.config import Config
from edgeflownas.data.order import BatchPlan
from edgeflownas.data.sets import open_dataset
from edgeflownas.errors import ConfigError, Interrupted, NonFiniteError, StorageError, UserError
from edgeflownas.files import canonical_json, read_json, replace_file
from edgeflownas.run.directory import RunDirectory
from edgeflownas.run.manifest import check_precision, choose_device, config_kinds
from edgeflownas.run.setup import run_pool, run_space
from edgeflownas.train.loop import Front
from edgeflownas.train.machine import StopFlag
from edgeflownas.train.start import Options, launch, read_initial
from edgeflownas.train.variants import PlannedRun, Sweep

PLAN = "sweep.json"
FORMAT = 1
PARTS = ("variant", "seed", "keys", "settings")


def check_runs(sweep: Sweep) -> dict[str, BatchPlan]:
    """The sample order of each run by name: what would stop a later run is refused before the first one trains.

    Raises UserError naming the variant: data, device or initial weights that are not there, a batch that does not fit.
    """
    counts: dict[tuple[str, ...], int] = {}
    plans = {}
    for run in sweep.runs:
        try:
            plans[run.name] = _plan(run.config, counts)
        except UserError as error:
            error.args = (f"variant {run.variant}: {error}",)
            raise
    return plans


def unequal_samples(sweep: Sweep, plans: Mapping[str, BatchPlan]) -> str | None:
    """A warning where the variants see different numbers of samples: that is no controlled comparison."""
    seen = {run.variant: plans[run.name].draws_per_epoch * run.config.train.num_epochs for run in sweep.runs}
    if max(seen.values()) <= 1.01 * min(seen.values()):
        return None
    told = ", ".join(f"{variant} {count}" for variant, count in seen.items())
    return f"the variants see different numbers of samples ({told}): compare them at equal samples seen"


def listing(sweep: Sweep, plans: Mapping[str, BatchPlan]) -> dict[str, Any]:
    """What the sweep would run, as plain data."""
    rows = [
        {
            "run": run.name,
            "state": run_state(sweep.folder / run.name),
            "steps": plans[run.name].steps_per_epoch * run.config.train.num_epochs,
            "samples": plans[run.name].draws_per_epoch * run.config.train.num_epochs,
            "keys": dict(run.keys),
        }
        for run in sweep.runs
    ]
    return {"sweep": str(sweep.folder), "runs": rows}


def _plan(config: Config, counts: dict[tuple[str, ...], int]) -> BatchPlan:
    check_precision(config, choose_device(config.train.gpu_device)[0])
    data = config.data
    for split, spec in (("val", data.val_dir), ("train", data.train_dir)):
        if (place := (split, spec, *map(str, data.roots.items()))) not in counts:
            counts[place] = len(open_dataset(spec, split, f"data.{split}_dir", data.roots))
    read_initial(config)
    run_pool(config)
    return BatchPlan.from_config(config.train, counts[place], run_space(config).num_paths, config.runtime.seed)


def open_sweep(sweep: Sweep, write: bool = True) -> None:
    """Check that what stands in the sweep's folder was begun with the same settings; ``write`` the plan there.

    Raises:
        ConfigError: a key differs from that of the runs already planned, and no variant is about it.
        StorageError: the folder is something else, or cannot be written.
    """
    file = sweep.folder / PLAN
    if not file.exists() and sweep.folder.exists() and any(sweep.folder.iterdir()):
        raise StorageError(f"{sweep.folder}: exists and is no sweep (no {PLAN}): choose another name with --name NAME")
    then = read_plan(sweep.folder) if file.exists() else {}
    now = {run.name: _entry(run) for run in sweep.runs}
    runs = {**then, **now}
    for name, entry in now.items():
        if name in then:
            _refuse_other(sweep.folder, name, then[name], entry, set())
        elif then:
            first = next(iter(then))
            _refuse_other(sweep.folder, first, then[first], entry, {*then[first]["keys"], *entry["keys"]})
    if write and runs != then:
        sweep.folder.mkdir(parents=True, exist_ok=True)
        replace_file(file, canonical_json({"format": FORMAT, "runs": [[name, runs[name]] for name in runs]}))


def read_plan(folder: Path) -> dict[str, dict[str, Any]]:
    """Run name -> ``variant``, ``seed``, ``keys`` and ``settings``, in the order they were planned.

    Raises StorageError where the folder holds no sweep.
    """
    file = folder / PLAN
    document = read_json(file)
    try:
        runs = {name: {part: run[part] for part in PARTS} for name, run in document["runs"]}
        if document["format"] != FORMAT or not runs:
            raise ValueError
    except (KeyError, TypeError, ValueError):
        raise StorageError(
            f"{file}: not the plan of a sweep of this version: restore it, or choose another --name"
        ) from None
    return runs


def _entry(run: PlannedRun) -> dict[str, Any]:
    return {"variant": run.variant, "seed": run.seed, "keys": dict(run.keys), "settings": _settings(run.config)}


def _settings(config: Config) -> dict[str, Any]:
    """What decides the figures: identity and dynamics keys, the seed apart, and the evaluation's keys."""
    kinds = config_kinds(config)
    settings = {**kinds["identity"], **kinds["dynamics"]}
    settings |= {key: value for key, value in kinds["observation"].items() if key.startswith("eval.")}
    return {key: value for key, value in settings.items() if key != "runtime.seed"}


def _refuse_other(folder: Path, name: str, then: Mapping[str, Any], now: Mapping[str, Any], varied: set[str]) -> None:
    defaults = _settings(Config())
    lines = []
    for key, value in now["settings"].items():
        before = then["settings"].get(key, defaults[key])
        if before != value and key not in varied:
            lines.append(f"\n  {key}: {before} then, {value} now")
    if lines:
        raise ConfigError(
            f"{folder} was begun with other settings ({name}):{''.join(lines)}\n"
            "put them back, or choose another name with --name NAME"
        )


def run_state(path: Path) -> str:
    """``new``, ``begun`` (nothing committed yet), ``interrupted`` or ``finished``; a run at work is ``interrupted``."""
    if not (path / "run_manifest.json").exists():
        return "new"
    commit = RunDirectory(path).newest_commit()
    return "begun" if commit is None else "finished" if commit["finished"] else "interrupted"


def run_sweep(sweep: Sweep, front: Front, say: Callable[[str], None], ended: Callable[[], object]) -> list[str]:
    """Train every run that is not finished; ``ended`` is called after each.  Returns those that became non-finite.

    Raises:
        Interrupted: asked to stop, after a commit; the same command goes on.
        UserError: as ``launch``; a run that becomes non-finite does not stop the others.
    """
    failed = []
    for number, run in enumerate(sweep.runs, start=1):
        path = sweep.folder / run.name
        state = run_state(path)
        say(f"sweep run {number} of {len(sweep.runs)}: {run.name}, {state}")
        if state == "finished":
            continue
        options = Options(overrides=list(run.overrides))
        try:
            with StopFlag.at_once():
                if state == "new":
                    launch(run.config, options, front)
                else:
                    launch(None, replace(options, resume=path), front)
                ended()
        except NonFiniteError as error:
            say(f"warning: {run.name}: {error}")
            failed.append(run.name)
        except Interrupted as stop:
            raise Interrupted(f"{stop}\nsweep run {number} of {len(sweep.runs)}; the same command goes on") from None
    return failed
