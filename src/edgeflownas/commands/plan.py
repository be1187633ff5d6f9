"""``edgeflownas plan``: what a configuration will do, cost and cover, before anything is trained."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from edgeflownas.commands._shared import Overrides, WholeNumber, print_json
from edgeflownas.errors import ConfigError, DataError

if TYPE_CHECKING:
    from edgeflownas.config import Config
    from edgeflownas.data.dataset import FlowDataset


def plan(
    recipe: str | None = None,
    /,
    *,
    config: str | None = None,
    train_samples: WholeNumber | None = None,
    val_samples: WholeNumber | None = None,
    batch_size: WholeNumber | None = None,
    steps_per_epoch: WholeNumber | None = None,
    num_epochs: WholeNumber | None = None,
    measure: bool = False,
    json: bool = False,
    overrides: Overrides = (),
) -> int:
    """Show steps, coverage, cost and learning rate of a run.

    Example: edgeflownas plan RECIPE, or edgeflownas plan --train-samples 17785 --batch-size 32 --num-epochs 200

    Without a recipe every other key has its default. docs/plan.md explains each row.

    Args:
        recipe: recipe, packaged (edgeflownas recipes list) or a YAML file.
        config: the recipe, if not given as the first argument.
        train_samples: training samples, instead of counting those of data.train_dir.
        val_samples: validation samples, instead of counting those of data.val_dir.
        batch_size: short for --train.batch_size.
        steps_per_epoch: short for --train.steps_per_epoch with --train.epoch_mode fixed_steps.
        num_epochs: short for --train.num_epochs.
        measure: also time a few steps and one evaluation batch on this machine; writes nothing.
        json: machine-readable result on stdout.
        overrides: any configuration key, such as --train.lr 5e-5 (edgeflownas config keys lists them).
    """
    if recipe is not None and config is not None:
        raise ConfigError(f"recipe given twice, as {recipe} and as --config {config}: give one")
    recipe = recipe if recipe is not None else config
    given = {"train-samples": train_samples, "val-samples": val_samples}
    counts = {name: number for name, number in given.items() if number is not None}
    given = {"batch-size": batch_size, "steps-per-epoch": steps_per_epoch, "num-epochs": num_epochs}
    short = {name: number for name, number in given.items() if number is not None}

    from edgeflownas.config.load import load_config

    loaded = load_config(recipe, [*overrides, *_as_overrides(short, overrides)])
    notes = _mode_note(recipe, loaded) if "steps-per-epoch" in short else []
    named_here = any(word.partition("=")[0] == "--data.val_dir" for word in overrides)
    found = _open(loaded, recipe, counts, named_here)
    table = _figures(loaded, counts, found, measure)
    table["notes"] = notes + _sources(recipe, counts, found)
    _show(table, json)
    return 0


def _as_overrides(short: dict[str, int], overrides: Sequence[str]) -> list[str]:
    """The short forms as configuration keys.  Raises ConfigError where the long form of one is given as well."""
    given = {word[2:].partition("=")[0] for word in overrides}
    found: list[str] = []
    for name, value in short.items():
        keys = {f"train.{name.replace('-', '_')}": str(value)}
        if name == "steps-per-epoch":
            keys |= {"train.epoch_mode": "fixed_steps", "train.train_samples_per_epoch": "null"}
        if both := given & set(keys):
            means = " (it means train.epoch_mode fixed_steps)" if name == "steps-per-epoch" else ""
            raise ConfigError(f"--{name}{means} and --{sorted(both)[0]} exclude each other: give one")
        found += [f"--{key}={text}" for key, text in keys.items()]
    return found


def _mode_note(recipe: str | None, loaded: Config) -> list[str]:
    """Says so where --steps-per-epoch changed what an epoch of the recipe is."""
    from edgeflownas.config.load import load_config

    notes = []
    if recipe is not None and (before := load_config(recipe).train.epoch_mode) != "fixed_steps":
        notes.append(f"--steps-per-epoch set train.epoch_mode to fixed_steps ({recipe} has {before})")
    if loaded.train.epoch_divisor > 1:
        notes.append(f"train.epoch_divisor {loaded.train.epoch_divisor} shortens the epoch of --steps-per-epoch")
    return notes


def _open(config: Config, recipe: str | None, counts: dict[str, int], named_here: bool) -> dict[str, FlowDataset]:
    """The splits whose size was not given; without a recipe only those whose folder was.

    With --train-samples the validation split may be missing too, unless the command line names it (``named_here``).

    Raises:
        ConfigError, DataError: as open_dataset, with the option that makes the files unnecessary.
    """
    found = {}
    for split in ("train", "val"):
        named = recipe is not None or f"{split}_dir" in config.data.model_fields_set
        if f"{split}-samples" not in counts and named:
            from edgeflownas.data.sets import open_dataset

            key = f"data.{split}_dir"
            try:
                found[split] = open_dataset(getattr(config.data, key[5:]), split, key, config.data.roots)
            except (ConfigError, DataError) as error:
                if split == "val" and "train-samples" in counts and not named_here:
                    continue  # planned without the data; _sources says that this split is not known
                numbers = " ".join(f"--{name} N" for name in ("train-samples", "val-samples") if name not in counts)
                raise type(error)(f"{error}\nTo plan without the data give the number of samples: {numbers}") from error
    if "train-samples" not in counts and "train" not in found:
        from edgeflownas.config.load import recipe_names

        raise ConfigError(
            f"give a recipe ({', '.join(recipe_names())}, or a YAML file), or the numbers without one: "
            "--train-samples 17785 --batch-size 32 --steps-per-epoch 50 --num-epochs 200"
        )
    return found


def _figures(config: Config, counts: dict[str, int], found: dict[str, FlowDataset], timed: bool) -> dict[str, Any]:
    from edgeflownas.train.plan import add_seconds, batch_plan, make_plan

    sizes = {**counts, **{f"{split}-samples": len(dataset) for split, dataset in found.items()}}
    train, val = sizes["train-samples"], sizes.get("val-samples")
    order = batch_plan(config, train)
    table = make_plan(config, order, val)
    if not timed:
        return table
    from edgeflownas.report.console import Console
    from edgeflownas.train.measure import TASKS, measure

    splits = (found["train"], found["val"]) if len(found) == 2 else None
    with Console().task("measure", TASKS) as meter:
        return add_seconds(table, measure(config, order, splits, table, meter.advance))


def _sources(recipe: str | None, counts: dict[str, int], found: dict[str, FlowDataset]) -> list[str]:
    """Where the numbers come from."""
    notes = [] if recipe is not None else ["no recipe: every key that is not given has its default"]
    for split, dataset in found.items():
        notes.append(f"{split} samples counted in {dataset.directory}")
        notes += [dataset.note] if dataset.note else []
    if "val-samples" not in counts and "val" not in found:
        absent = "" if recipe is None else " (no data at data.val_dir here)"
        notes.append(f"validation samples unknown{absent}: --val-samples N tells what the evaluation covers")
    return notes


def _show(table: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(table)
        return
    from edgeflownas.report.plan_table import print_plan

    print_plan(table)
