"""The variants of a sweep: which keys differ, what each variant is called, and its checked configuration.

An axis is a list of alternatives; the runs of a sweep are every combination of one alternative an axis, for each seed.
``--vary train.lr=1e-4,5e-5`` is an axis, and so is each entry ``train.lr: [1e-4, 5e-5]`` of a recipe's ``sweep:``.
Named variants (``by_half: {train.epoch_mode: by_samples, train.train_samples_per_epoch: 0.5}``) are one axis together:
they change several keys at once.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeflownas.config.fields import plain_name
from edgeflownas.config.io import Origins, load_config, parse_overrides, read_recipe
from edgeflownas.config.keys import key_table, nearest
from edgeflownas.config.models import Config
from edgeflownas.errors import ConfigError

__all__ = ["PlannedRun", "Sweep", "plan_sweep"]

OWN = {  # keys that a sweep sets itself
    "runtime.seed": "give the seeds with --seeds 0,1,2 (sweep: {seeds: [0, 1, 2]} in a recipe)",
    "runtime.experiment_name": "the sweep names its runs; --name NAME names the sweep",
    "runtime.output_root": "the runs of a sweep lie in one folder, output_root/NAME",
}
EXAMPLE = "write --vary train.lr=1e-4,5e-5"


@dataclass(frozen=True)
class Alternative:
    """One value of an axis: part of the run's name, and keys with their values as on the command line."""

    name: str
    keys: Mapping[str, str]


@dataclass(frozen=True)
class PlannedRun:
    """One run of a sweep; its directory is ``config.runtime.output_root/name``."""

    name: str
    variant: str
    seed: int
    keys: Mapping[str, str]
    """What the variant changes: ``group.key`` -> value as text."""
    config: Config
    overrides: tuple[str, ...]
    """What makes ``config`` of the recipe, as on the command line."""


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

    Args:
        recipe: packaged recipe or YAML file; its ``sweep:`` gives axes and ``seeds``.
        overrides: ``--group.key=value`` for every run.
        vary: ``group.key=value,value,...``, an axis each; replaces that of the recipe with the same key.
        seeds: ``0,1,2``; None for those of the recipe, or its ``runtime.seed``.
        name: of the sweep's folder in ``runtime.output_root``; None for the recipe's ``runtime.experiment_name``.

    Raises:
        ConfigError: an unknown key, a value that its key does not take, an axis of one value, equal variants.
    """
    _, origins, usage = read_recipe(recipe)
    axes, listed = _recipe_axes(usage.sweep, origins)
    axes |= dict(_axis_of(text) for text in _once(vary))
    given = dict(parse_overrides(overrides)[0])
    for key in [key for key in given if key in axes or key in ("runtime.seed", "runtime.experiment_name")]:
        raise ConfigError(f"--{key} {given[key]}: {OWN.get(key, 'the sweep varies this key: give it in one place')}")
    base = load_config(recipe, overrides)
    numbers = listed if seeds is None else _seeds(seeds.split(","), f"--seeds {seeds}")
    numbers = numbers or [base.runtime.seed]
    combinations = [_combined(parts) for parts in itertools.product(*axes.values())]
    if len(combinations) * len(numbers) < 2:
        raise ConfigError(f"nothing to compare: a sweep needs two runs; {EXAMPLE}, or --seeds 0,1,2")
    folder = Path(base.runtime.output_root) / _folder_name(name or base.runtime.experiment_name)
    runs = [_planned(recipe, overrides, folder, one, seed) for seed in numbers for one in combinations]
    _refuse_equal(runs)
    return Sweep(folder, tuple(runs))


def _recipe_axes(content: Any, origins: Origins) -> tuple[dict[str, list[Alternative]], list[int]]:
    """Axes by their key (named variants under no key) and seeds of a recipe's ``sweep:``."""
    if content is None:
        return {}, []
    where = origins.get(("sweep",), "")
    if not isinstance(content, dict) or not content:
        raise ConfigError(f"{where}sweep: must map keys to lists, such as {{train.lr: [1e-4, 5e-5]}}")
    axes: dict[str, list[Alternative]] = {}
    seeds: list[int] = []
    for entry, value in content.items():
        where = origins.get(("sweep", str(entry)), "")
        if entry == "seeds":
            seeds = _seeds(value if isinstance(value, list) else [value], f"{where}sweep.seeds")
        elif isinstance(value, dict) or value is None:
            axes.setdefault("", []).append(_named(str(entry), value or {}, where))
        else:
            values = value if isinstance(value, list) else [value]
            axes[str(entry)] = _axis(str(entry), [_text(one) for one in values], f"{where}sweep.{entry}")
    if len(axes.get("", ())) == 1:
        raise ConfigError(f"{where}sweep: one named variant ({axes[''][0].name}): name at least two, one may be {{}}")
    return axes, seeds


def _named(name: str, keys: Mapping[Any, Any], where: str) -> Alternative:
    if name.partition(".")[0] in key_table():
        raise ConfigError(f"{where}sweep.{name}: give a list of values; a variant has another name than a key")
    try:
        plain_name(name)
    except ValueError as error:
        raise ConfigError(f"{where}sweep.{name}: a variant's name {error}") from None
    for key in keys:
        _known(str(key), f"{where}sweep.{name}")
    return Alternative(name, {str(key): _text(value) for key, value in keys.items()})


def _once(vary: Sequence[str]) -> Sequence[str]:
    names = [text.partition("=")[0].removeprefix("--") for text in vary]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"--vary {name} is given twice: put all its values into one, {name}=A,B,C")
    return vary


def _axis_of(text: str) -> tuple[str, list[Alternative]]:
    key, equals, values = text.removeprefix("--").partition("=")
    if not equals:
        raise ConfigError(f"--vary {text} has no values: {EXAMPLE}")
    return key, _axis(key, _split(values), f"--vary {key}")


def _axis(key: str, values: Sequence[str], where: str) -> list[Alternative]:
    """One alternative a value.  Raises ConfigError naming ``where``."""
    _known(key, where)
    if any(not value.strip() for value in values):
        raise ConfigError(f"{where}: an empty value between two commas: {EXAMPLE}")
    if len(values) < 2:
        raise ConfigError(
            f"{where}: one value ({', '.join(values)}): give at least two, or set it for every run with "
            f"--{key} {''.join(values) or 'VALUE'}"
        )
    for value in values:
        if values.count(value) > 1:
            raise ConfigError(f"{where}: {value} is given twice: the two runs would be the same")
    short = key.partition(".")[2]
    return [Alternative(f"{short}_{_plain(value)}", {key: value}) for value in values]


def _known(key: str, where: str) -> None:
    table = key_table()
    group, _, name = key.partition(".")
    if key in OWN:
        raise ConfigError(f"{where}: {key} is not varied: {OWN[key]}")
    if name not in table.get(group, {}):
        names = {full: full for full in (k.full for keys in table.values() for k in keys.values())}
        names |= {full.partition(".")[2]: full for full in names}
        close = nearest(key, names)
        hint = f"; did you mean {names[close]}?" if close else " (edgeflownas config keys lists them)"
        raise ConfigError(f"{where}: unknown key {key}{hint}")


def _split(text: str) -> list[str]:
    """At the commas that stand in no bracket: ``[0.5,0.75],[0.6,0.9]`` are two values."""
    parts, depth = [""], 0
    for character in text:
        depth += (character in "[{") - (character in "]}")
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return parts


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _plain(value: str) -> str:
    """A value as part of a directory name."""
    return re.sub(r"[^\w.-]+", "_", value).strip("_.")[:60] or "empty"


def _seeds(values: Sequence[Any], where: str) -> list[int]:
    texts = [str(value).strip() for value in values]
    if not all(re.fullmatch("[0-9]{1,18}", text) for text in texts):
        raise ConfigError(f"{where}: whole numbers from 0 expected, such as 0,1,2")
    if len(set(map(int, texts))) < len(texts):
        raise ConfigError(f"{where}: a seed is given twice: the two runs would be the same")
    return [int(text) for text in texts]


def _folder_name(name: str) -> str:
    try:
        return plain_name(name)
    except ValueError as error:
        raise ConfigError(f"--name {name} {error}") from None


def _combined(parts: Sequence[Alternative]) -> Alternative:
    keys: dict[str, str] = {}
    for part in parts:
        for key in keys.keys() & part.keys.keys():
            raise ConfigError(f"the sweep varies {key} in two ways: as a list, and in its named variants")
        keys |= part.keys
    return Alternative("-".join(part.name for part in parts) or "same", keys)


def _planned(recipe: str | Path, overrides: Sequence[str], folder: Path, variant: Alternative, seed: int) -> PlannedRun:
    name = f"{variant.name}-seed_{seed}"
    own = {**variant.keys, "runtime.seed": str(seed), "runtime.output_root": str(folder)}
    words = (*overrides, *(f"--{key}={value}" for key, value in own.items()), f"--runtime.experiment_name={name}")
    try:
        config = load_config(recipe, words)
    except ConfigError as error:
        raise ConfigError(f"variant {variant.name}: {error}") from None
    if config.train.arch_name:
        raise ConfigError(
            "train.arch_name: a sweep compares runs of one model or supernet each; several models side by side are one "
            "run of `edgeflownas train`"
        )
    return PlannedRun(name, variant.name, seed, variant.keys, config, words)


def _refuse_equal(runs: Sequence[PlannedRun]) -> None:
    found: dict[str, str] = {}
    for run in runs:
        plain = run.config.model_copy(
            update={"runtime": run.config.runtime.model_copy(update={"experiment_name": "same"})}
        )
        text = plain.model_dump_json()
        if text in found:
            raise ConfigError(f"{found[text]} and {run.name} are the same run: their values mean the same")
        found[text] = run.name
    names = [run.name for run in runs]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"two runs would be called {name}: name the variants in a recipe (sweep: NAME: {{...}})")
