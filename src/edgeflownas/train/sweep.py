"""A sweep: what its runs are, and training them one after the other, ordinary run directories in one folder.

An axis is a list of variants; the runs of a sweep are every combination of one variant an axis, for each seed.
``--vary train.lr=1e-4,5e-5`` is an axis, and so is each entry ``train.lr: [1e-4, 5e-5]`` of a recipe's ``sweep:``.
Named variants (``by_half: {train.epoch_mode: by_samples, ...}``) change several keys at once, one axis together.

``sweep.json`` says which variant and seed each run is and with which settings it was planned, so that the same command
goes on where it was stopped, more variants and seeds may join later, and a folder begun with other settings is refused.

What the runs are is told without torch, so that a mistake shows at once; functions that need it import it.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from edgeflownas.config import Config
from edgeflownas.config.keys import groups, keys, nearest
from edgeflownas.config.load import Origins, load_config, parse_overrides, read_recipe
from edgeflownas.config.values import plain_name
from edgeflownas.data.sets import open_dataset
from edgeflownas.errors import ConfigError, Interrupted, NonFiniteError, StorageError, UserError
from edgeflownas.files import canonical_json, read_json, replace_file
from edgeflownas.train.plan import batch_plan

if TYPE_CHECKING:
    from edgeflownas.train.loop import Front

PLAN = "sweep.json"
FORMAT = 1
OWN = {  # keys that a sweep sets itself
    "runtime.seed": "give the seeds with --seeds 0,1,2 (sweep: {seeds: [0, 1, 2]} in a recipe)",
    "runtime.experiment_name": "the sweep names its runs; --name NAME names the sweep",
    "runtime.output_root": "the runs of a sweep lie in one folder, output_root/NAME",
}
EXAMPLE = "write --vary train.lr=1e-4,5e-5"


class Variant(NamedTuple):
    """Part of the name of some runs, and their keys with values as on the command line."""

    name: str
    keys: dict[str, str]


@dataclass(frozen=True)
class PlannedRun:
    """One run of a sweep; its directory is ``config.runtime.output_root/name``."""

    name: str
    variant: str
    seed: int
    keys: Mapping[str, str]  # what the variant changes: ``group.key`` -> value as text
    config: Config
    overrides: tuple[str, ...]  # what makes ``config`` of the recipe, as on the command line


@dataclass(frozen=True)
class Sweep:
    """All runs in the order in which they are trained: a seed of every variant before the next seed."""

    folder: Path
    runs: tuple[PlannedRun, ...]


def plan_sweep(
    recipe: str | Path,
    overrides: Sequence[str] = (),
    vary: Sequence[str] = (),
    seeds: str | None = None,
    name: str | None = None,
) -> Sweep:
    """Check everything that can be checked without data, and name the runs.

    ``recipe`` gives axes and ``seeds`` in its ``sweep:``, ``overrides`` are for every run, each of ``vary`` is an axis
    that replaces the recipe's of the same key.  ``seeds`` None: those of the recipe, or its ``runtime.seed``; ``name``
    None: the folder in ``runtime.output_root`` is called as the recipe's ``runtime.experiment_name``.

    Raises ConfigError: an unknown key, a value that its key does not take, an axis of one value, equal variants.
    """
    _, origins, usage = read_recipe(recipe)
    axes, numbers = _recipe_axes(usage.sweep, origins)
    axes |= _given_axes(vary)
    for key, value in dict(parse_overrides(overrides)[0]).items():
        if key in axes or key in ("runtime.seed", "runtime.experiment_name"):
            raise ConfigError(f"--{key} {value}: {OWN.get(key, 'the sweep varies this key: give it in one place')}")
    base = load_config(recipe, overrides)
    if seeds is not None:
        numbers = _seeds(seeds.split(","), f"--seeds {seeds}")
    numbers = numbers or [base.runtime.seed]
    combinations = list(itertools.product(*axes.values()))
    if len(combinations) * len(numbers) < 2:
        raise ConfigError(f"nothing to compare: a sweep needs two runs; {EXAMPLE}, or --seeds 0,1,2")
    try:
        folder = Path(base.runtime.output_root) / plain_name(name or base.runtime.experiment_name)
    except ValueError as error:
        raise ConfigError(f"--name {name} {error}") from None
    runs = [_planned(recipe, overrides, folder, parts, seed) for seed in numbers for parts in combinations]
    found: dict[str, str] = {}
    for run in runs:
        text = run.config.model_dump_json(exclude={"runtime": {"experiment_name"}})
        if text in found:
            raise ConfigError(f"{found[text]} and {run.name} are the same run: their values mean the same")
        found[text] = run.name
    if twice := _first_double([run.name for run in runs]):
        raise ConfigError(f"two runs would be called {twice}: name the variants in a recipe (sweep: NAME: {{...}})")
    return Sweep(folder, tuple(runs))


def _recipe_axes(content: Any, origins: Origins) -> tuple[dict[str, list[Variant]], list[int]]:
    """Axes by their key (named variants under no key) and seeds of a recipe's ``sweep:``."""
    axes: dict[str, list[Variant]] = {}
    seeds: list[int] = []
    if content is None:
        return axes, seeds
    if not isinstance(content, dict) or not content:
        raise ConfigError(f"{origins[('sweep',)]}sweep: must map keys to lists, such as {{train.lr: [1e-4, 5e-5]}}")
    for name, value in ((str(entry), value) for entry, value in content.items()):
        where = f"{origins.get(('sweep', name), '')}sweep.{name}"
        values = value if isinstance(value, list) else [value]
        if name == "seeds":
            seeds = _seeds(values, where)
        elif value is not None and not isinstance(value, dict):
            axes[name] = _axis(name, [_text(one) for one in values], where)
        elif name.partition(".")[0] in groups():
            raise ConfigError(f"{where}: give a list of values; a variant has another name than a key")
        else:
            try:
                plain_name(name)
            except ValueError as error:
                raise ConfigError(f"{where}: a variant's name {error}") from None
            changed = {str(key): _text(one) for key, one in (value or {}).items()}
            for key in changed:
                _check_varied(key, where)
            axes.setdefault("", []).append(Variant(name, changed))
    if len(named := axes.get("", [])) == 1:
        where = origins.get(("sweep", named[0].name), "")
        raise ConfigError(f"{where}sweep: one named variant ({named[0].name}): name at least two, one may be {{}}")
    return axes, seeds


def _given_axes(vary: Sequence[str]) -> dict[str, list[Variant]]:
    axes: dict[str, list[Variant]] = {}
    for text in vary:
        key, equals, values = text.removeprefix("--").partition("=")
        if key in axes:
            raise ConfigError(f"--vary {key} is given twice: put all its values into one, {key}=A,B,C")
        if not equals:
            raise ConfigError(f"--vary {text} has no values: {EXAMPLE}")
        # At the commas that stand in no bracket: [0.5,0.75],[0.6,0.9] are two values.
        axes[key] = _axis(key, re.split(r",(?![^\[{]*[\]}])", values), f"--vary {key}")
    return axes


def _axis(key: str, values: Sequence[str], where: str) -> list[Variant]:
    """One variant a value.  Raises ConfigError naming ``where``."""
    _check_varied(key, where)
    if any(not value.strip() for value in values):
        raise ConfigError(f"{where}: an empty value between two commas: {EXAMPLE}")
    if len(values) < 2:
        raise ConfigError(
            f"{where}: one value ({', '.join(values)}): give at least two, or set it for every run with "
            f"--{key} {''.join(values) or 'VALUE'}"
        )
    if twice := _first_double(values):
        raise ConfigError(f"{where}: {twice} is given twice: the two runs would be the same")
    short = key.partition(".")[2]
    # The value as part of a directory's name.
    plain = [re.sub(r"[^\w.-]+", "_", value).strip("_.")[:60] or "empty" for value in values]
    return [Variant(f"{short}_{name}", {key: value}) for name, value in zip(plain, values, strict=True)]


def _check_varied(key: str, where: str) -> None:
    if key in OWN:
        raise ConfigError(f"{where}: {key} is not varied: {OWN[key]}")
    if key not in keys():
        names = {full: full for full in keys()} | {one.name: full for full, one in keys().items()}
        close = nearest(key, names)
        hint = f"; did you mean {names[close]}?" if close else " (edgeflownas config keys lists them)"
        raise ConfigError(f"{where}: unknown key {key}{hint}")


def _first_double(values: Sequence[str]) -> str | None:
    return next((value for value in values if values.count(value) > 1), None)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _seeds(values: Sequence[Any], where: str) -> list[int]:
    texts = [str(value).strip() for value in values]
    if not all(re.fullmatch("[0-9]{1,18}", text) for text in texts):
        raise ConfigError(f"{where}: whole numbers from 0 expected, such as 0,1,2")
    seeds = [int(text) for text in texts]
    if len(set(seeds)) < len(seeds):
        raise ConfigError(f"{where}: a seed is given twice: the two runs would be the same")
    return seeds


def _planned(
    recipe: str | Path, overrides: Sequence[str], folder: Path, parts: Sequence[Variant], seed: int
) -> PlannedRun:
    """The run of one variant an axis."""
    changed: dict[str, str] = {}
    for part in parts:
        for key in changed.keys() & part.keys.keys():
            raise ConfigError(f"the sweep varies {key} in two ways: as a list, and in its named variants")
        changed |= part.keys
    variant = "-".join(part.name for part in parts) or "same"
    name = f"{variant}-seed_{seed}"
    own = {**changed, "runtime.seed": seed, "runtime.output_root": folder, "runtime.experiment_name": name}
    words = (*overrides, *(f"--{key}={value}" for key, value in own.items()))
    try:
        config = load_config(recipe, words)
    except ConfigError as error:
        raise ConfigError(f"variant {variant}: {error}") from None
    if config.train.arch_name:
        raise ConfigError(
            "train.arch_name: a sweep compares runs of one model or supernet each; several models side by side are one "
            "run of `edgeflownas train`"
        )
    return PlannedRun(name, variant, seed, changed, config, words)


# ---- its folder, and its runs ----


def check_runs(sweep: Sweep) -> dict[str, dict[str, int]]:
    """``steps`` and ``samples`` of each run by name; what would stop a later run is refused before the first trains.

    Raises UserError naming the variant: data, device or initial weights that are not there, a batch that does not fit.
    """
    from edgeflownas.run.manifest import check_precision, choose_device
    from edgeflownas.train.start import read_initial

    counts: dict[tuple[str, ...], int] = {}
    counted = {}
    for run in sweep.runs:
        config, data = run.config, run.config.data
        try:
            check_precision(config, choose_device(config.train.gpu_device)[0])
            for split, spec in (("val", data.val_dir), ("train", data.train_dir)):
                if (place := (split, spec, *map(str, data.roots.items()))) not in counts:
                    counts[place] = len(open_dataset(spec, split, f"data.{split}_dir", data.roots))
            read_initial(config)
            plan, epochs = batch_plan(config, counts[place]), config.train.num_epochs
            counted[run.name] = {"steps": plan.steps_per_epoch * epochs, "samples": plan.draws_per_epoch * epochs}
        except UserError as error:
            error.args = (f"variant {run.variant}: {error}",)
            raise
    return counted


def unequal_samples(sweep: Sweep, counted: Mapping[str, Mapping[str, int]]) -> str | None:
    """A warning where the variants see different numbers of samples: that is no controlled comparison."""
    seen = {run.variant: counted[run.name]["samples"] for run in sweep.runs}
    if max(seen.values()) <= 1.01 * min(seen.values()):
        return None
    told = ", ".join(f"{variant} {count}" for variant, count in seen.items())
    return f"the variants see different numbers of samples ({told}): compare them at equal samples seen"


def listing(sweep: Sweep, counted: Mapping[str, Mapping[str, int]]) -> dict[str, Any]:
    """What the sweep would run, as plain data."""
    states = {run.name: {"run": run.name, "state": run_state(sweep.folder / run.name)} for run in sweep.runs}
    rows = [{**states[run.name], **counted[run.name], "keys": dict(run.keys)} for run in sweep.runs]
    return {"sweep": str(sweep.folder), "runs": rows}


def open_sweep(sweep: Sweep, write: bool = True) -> None:
    """Check that what stands in the sweep's folder was begun with the same settings; ``write`` the plan there.

    Raises ConfigError where a key differs from that of the runs already planned and no variant is about it,
    StorageError where the folder is something else or cannot be written.
    """
    file = sweep.folder / PLAN
    if not file.exists() and sweep.folder.exists() and any(sweep.folder.iterdir()):
        raise StorageError(f"{sweep.folder}: exists and is no sweep (no {PLAN}): choose another name with --name NAME")
    then = read_plan(sweep.folder) if file.exists() else {}
    now: dict[str, dict[str, Any]] = {
        run.name: {"variant": run.variant, "seed": run.seed, "keys": dict(run.keys), "settings": _settings(run.config)}
        for run in sweep.runs
    }
    defaults = _settings(Config())
    for name, entry in now.items() if then else ():
        other = name if name in then else next(iter(then))
        varied = set() if name in then else {*then[other]["keys"], *entry["keys"]}
        lines = []
        for key, value in entry["settings"].items():
            before = then[other]["settings"].get(key, defaults[key])
            if before != value and key not in varied:
                lines.append(f"\n  {key}: {before} then, {value} now")
        if lines:
            raise ConfigError(
                f"{sweep.folder} was begun with other settings ({other}):{''.join(lines)}\n"
                "put them back, or choose another name with --name NAME"
            )
    runs = {**then, **now}
    if write and runs != then:
        sweep.folder.mkdir(parents=True, exist_ok=True)
        replace_file(file, canonical_json({"format": FORMAT, "runs": [[name, runs[name]] for name in runs]}))


def read_plan(folder: Path) -> dict[str, dict[str, Any]]:
    """Run name -> ``variant``, ``seed``, ``keys`` and ``settings``, in the order they were planned.

    Raises StorageError where the folder holds no sweep.
    """
    from edgeflownas.run import documents

    file = folder / PLAN
    document = read_json(file)
    try:
        parts = ("variant", "seed", "keys", "settings")
        runs = {name: {part: run[part] for part in parts} for name, run in document["runs"]}
        if document["format"] != FORMAT or not runs:
            raise ValueError
    except (KeyError, TypeError, ValueError):
        raise StorageError(
            f"{file}: not the plan of a sweep of this version: restore it, or choose another --name"
        ) from None
    for name, run in runs.items():
        documents.require(documents.PlannedRun, run, f"{file}: {name}")
    return runs


def _settings(config: Config) -> dict[str, Any]:
    """What decides the figures: identity and dynamics keys, the seed apart, and the evaluation's keys."""
    from edgeflownas.run.manifest import config_kinds

    kinds = config_kinds(config)
    watched = {key: value for key, value in kinds["observation"].items() if key.startswith("eval.")}
    settings = kinds["identity"] | kinds["dynamics"] | watched
    del settings["runtime.seed"]
    return settings


def run_state(path: Path) -> str:
    """``new``, ``begun`` (nothing committed yet), ``interrupted`` or ``finished``; a run at work is ``interrupted``."""
    from edgeflownas.run.directory import RunDirectory

    if not (path / "run_manifest.json").exists():
        return "new"
    commit = RunDirectory(path).newest_commit()
    return "begun" if commit is None else "finished" if commit["finished"] else "interrupted"


def run_sweep(sweep: Sweep, front: Front, say: Callable[[str], None], ended: Callable[[], object]) -> list[str]:
    """Train every run that is not finished; ``ended`` is called after each.  Returns those that became non-finite.

    Raises Interrupted when asked to stop, after a commit (the same command goes on), and what ``launch`` raises; a run
    that becomes non-finite does not stop the others.
    """
    from edgeflownas.train.machine import StopFlag
    from edgeflownas.train.start import Options, launch

    failed = []
    for number, run in enumerate(sweep.runs, start=1):
        path = sweep.folder / run.name
        state = run_state(path)
        say(f"sweep run {number} of {len(sweep.runs)}: {run.name}, {state}")
        if state == "finished":
            continue
        new = state == "new"
        try:
            with StopFlag.at_once():
                options = Options(resume=None if new else path, overrides=list(run.overrides))
                launch(run.config if new else None, options, front)
                ended()
        except NonFiniteError as error:
            say(f"warning: {run.name}: {error}")
            failed.append(run.name)
        except Interrupted as stop:
            raise Interrupted(f"{stop}\nsweep run {number} of {len(sweep.runs)}; the same command goes on") from None
    return failed
