"""What a configuration will do, in numbers: plain arithmetic on sample counts, without torch.

``edgeflownas plan`` shows these figures, ``train --dry-run`` some of them; docs/plan.md explains each.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, get_args

from edgeflownas.config import Config, TrainConfig
from edgeflownas.config.load import load_config, recipe_names
from edgeflownas.data.order import BatchPlan, expected_unique
from edgeflownas.errors import ConfigError, DataError
from edgeflownas.space import get_space

if TYPE_CHECKING:
    from edgeflownas.data.dataset import FlowDataset

MOST = 10**18  # draws, forward passes: beyond it a float no longer tells neighbours apart by far
FEW_CALIBRATION_BATCHES = 8
SHARES = (0.3, 0.5, 1.0)  # of the split, epoch_mode by_samples
ONE_CYCLE_START = 1 / 25  # share of the peak rate a one-cycle plan starts from (Smith & Topin, arXiv 1708.07120)
Position = Literal["step", "micro_step"]
PLACES = {"start": 0.0, "quarter": 0.25, "half": 0.5, "end": 1.0}  # of the plan, for the learning rate


def learning_rate(config: TrainConfig, seen: int, planned: int) -> float:
    """Rate of the step that starts after ``seen`` draws of a plan of ``planned`` draws.

    Paths are not multiplied in; draws of dropped steps count.  Past the plan the rate stays at its end value.
    """
    progress = min(1.0, seen / planned)
    warm_up = min(1.0, progress / config.lr_warmup_share) if config.lr_warmup_share > 0 else 1.0
    return config.lr * warm_up * _shape(config, progress)


def _shape(config: TrainConfig, progress: float) -> float:
    floor = config.lr_final_ratio
    if config.lr_schedule == "constant":
        return 1.0
    if config.lr_schedule == "step_decay":
        passed = sum(progress >= milestone for milestone in config.lr_milestones)
        return config.lr_decay**passed
    if config.lr_schedule == "one_cycle":
        peak = config.lr_peak_share
        if progress < peak:
            return _cosine(ONE_CYCLE_START, 1.0, progress / peak)
        return _cosine(1.0, floor, (progress - peak) / (1.0 - peak))
    if config.lr_schedule == "fast_anneal":
        return _cosine(1.0, floor, min(1.0, progress / config.lr_anneal_share))
    return _cosine(1.0, floor, progress)


def rate_ends(config: TrainConfig) -> float:
    """Share of the plan from which on the learning rate is 0 (at and past 1: after the plan); inf where it never is."""
    if config.lr_schedule == "step_decay":
        return next(iter(config.lr_milestones), math.inf) if config.lr_decay == 0 else math.inf
    if config.lr_schedule == "constant" or config.lr_final_ratio > 0:
        return math.inf
    return config.lr_anneal_share if config.lr_schedule == "fast_anneal" else 1.0


def rate_warning(config: TrainConfig, plan: BatchPlan, done: int = 0, planned: int | None = None) -> str | None:
    """What is wrong where steps have learning rate 0, with its remedy; None where none has.

    ``done``: the steps that are over, which are left out; ``planned``: the draws of the learning rate's plan, None for
    those of the configuration.
    """
    total = plan.steps_per_epoch * config.num_epochs
    own = plan.draws_per_epoch * config.num_epochs
    ends = rate_ends(config) * (planned or own)
    if ends >= own or done >= total:
        return None
    epochs, rest = divmod(math.ceil(ends), plan.draws_per_epoch)
    first = epochs * plan.steps_per_epoch + min(plan.steps_per_epoch, -(-rest // plan.draws_per_step))
    idle, left = total - max(first, done), total - done
    if idle <= 0:
        return None
    past = planned is not None and planned < own and rate_ends(config) >= 1.0
    longer = "a resume with more train.num_epochs and train.lr_plan restretch spreads the plan over all of them"
    remedy = longer if past else {
        "fast_anneal": "raise train.lr_final_ratio above 0, or train.lr_anneal_share",
        "step_decay": "raise train.lr_decay above 0",
    }.get(config.lr_schedule, "raise train.lr_final_ratio above 0")  # fmt: skip
    what = "steps that are left" if done else "steps"
    return (
        f"{100 * idle / left:.3g} % of the {what} ({idle:,} of {left:,}) have learning rate 0: they change no weight; "
        f"{remedy}"
    )


def _cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) * 0.5 * (1.0 + math.cos(math.pi * share))


def batch_plan(config: Config, train_samples: int) -> BatchPlan:
    """The order of the samples of a run on ``train_samples`` samples.

    Raises ConfigError for numbers beyond any run or a pool larger than the space, DataError as BatchPlan.from_config.
    """
    space = get_space(config.train.space)
    if config.train.task == "supernet" and config.eval.eval_pool_size > len(space):
        space.pool(config.eval.eval_pool_size)  # says what is wrong
    plan = BatchPlan.from_config(config.train, train_samples, _paths(config), config.runtime.seed)
    largest = max(plan.draws_per_epoch, train_samples) * config.train.num_epochs * _paths(config)
    if max(largest, config.eval.eval_batches_per_arch * config.eval_batch_size) > MOST:
        raise ConfigError(
            "the plan has more than 10^18 forward passes: check the number of samples, train.batch_size, "
            "train.steps_per_epoch, train.num_epochs, eval.eval_batches_per_arch and eval.batch_size"
        )
    return plan


def _paths(config: Config) -> int:
    """Paths of a step: those of the space's fair cycle, one for a single model."""
    return get_space(config.train.space).num_paths if config.train.task == "supernet" else 1


def clip_checks(train: TrainConfig, paths: int, path_size: int, position: Position | None = None) -> int:
    """Clip checks an accepted step must make: 1 at position step, paths x ceil(path_size / micro batch) at micro_step.

    ``path_size`` is the number of samples a path sees in the step; ``position`` None is that of ``train``.
    """
    if (position or train.grad_clip_position) == "step":
        return 1
    return paths * -(-path_size // (train.micro_batch_size or train.batch_size))


def clip_checks_per_epoch(train: TrainConfig, plan: BatchPlan, paths: int, position: Position | None = None) -> int:
    """Clip checks of an epoch without dropped steps; the last step of by_samples may be smaller."""
    last = plan.draws_per_epoch - (plan.steps_per_epoch - 1) * plan.draws_per_step
    full = clip_checks(train, paths, train.batch_size, position)
    return (plan.steps_per_epoch - 1) * full + clip_checks(train, paths, last // plan.num_paths_drawn, position)


def make_plan(config: Config, plan: BatchPlan, val_samples: int | None) -> dict[str, Any]:
    """Every figure of a run by name: plain data for JSON; shares are 0..1, None is what cannot be known.

    ``plan`` is the :func:`batch_plan` of ``config``; ``val_samples`` None where nobody said how many there are.
    """
    train, n, epochs, paths = config.train, plan.num_samples, config.train.num_epochs, _paths(config)
    draws, steps, planned = plan.draws_per_epoch, plan.steps_per_epoch, plan.draws_per_epoch * epochs
    floor, ceil = (replace(plan, epoch_mode=mode, divisor=1).steps_per_epoch for mode in ("near_full", "full_pass"))
    # Frozen batch norm has nothing to recalibrate.
    calibrated = 0 if train.batch_norm == "frozen" else min(config.eval.bn_recal_batches * config.eval_batch_size, n)
    table = {
        "train_samples": n,
        "val_samples": val_samples,
        "task": train.task,
        "models": max(1, len(train.arch)),
        "epoch_mode": train.epoch_mode,
        "sampling": train.train_sampling_mode,
        "num_epochs": epochs,
        "batch_size": train.batch_size,
        "micro_batches_per_path": -(-train.batch_size // (train.micro_batch_size or train.batch_size)),
        "paths_per_step": paths,
        "draws_per_step": plan.draws_per_step,
        "steps_per_epoch": steps,
        "samples_per_epoch": draws,
        **_coverage(n, draws),
        "full_pass_steps_floor": floor,
        "full_pass_steps_ceil": ceil,
        "share_of_full_pass_steps": steps / floor,
        "total_samples": planned,
        "equivalent_passes": steps * epochs / floor,
        "passes_by_samples": planned / n,
        "optimizer_updates": steps * epochs,
        # Gradient-only passes, each about as long as a step; the first at step 0.
        "gradient_readings": -(-steps * epochs // train.monitor_every) if train.monitor_every else 0,
        "forward_passes": draws // plan.num_paths_drawn * paths * epochs,
        "clip_threshold": train.grad_clip_global_norm,
        "clip_position": train.grad_clip_position,
        "expected_clip_checks": {p: clip_checks_per_epoch(train, plan, paths, p) * epochs for p in get_args(Position)},
        "evaluation": _evaluation(config, val_samples, n),
        "calibration": {
            "batches_per_arch": -(-calibrated // config.eval_batch_size),
            "samples_per_arch": calibrated,
            "share_of_split": calibrated / n,
        },
        "learning_rate": {
            name: learning_rate(train, round(share * planned), planned) for name, share in PLACES.items()
        },
        "modes": _modes(plan, paths, epochs),
        "measured": None,
    }
    dead = rate_warning(train, plan)
    return {**table, "warnings": [*_warnings(config, table), *([] if dead is None else [dead])]}


def _coverage(n: int, draws: int) -> dict[str, Any]:
    """How much of a split of ``n`` samples an epoch of so many draws sees."""
    # An epoch that begins with a pass, as the first does, draws nothing twice before it has drawn everything.
    unique, expected = min(n, draws), expected_unique(n, draws)
    return {
        "share_of_split": draws / n,
        "unique_without_replacement": unique,
        "unique_share_without_replacement": unique / n,
        "expected_unique_with_replacement": expected,
        "expected_unique_share_with_replacement": expected / n,
    }


def _modes(plan: BatchPlan, paths: int, epochs: int) -> list[dict[str, Any]]:
    """Cost and coverage of the epoch modes at equal batch and epochs; ``present`` marks the plan itself."""
    steps, whole = plan.steps_per_epoch, replace(plan, divisor=1)
    modes = {f"fixed_steps {steps}": replace(whole, epoch_mode="fixed_steps", steps_per_epoch_key=steps)}
    for share in SHARES:
        modes[f"by_samples {share}N"] = replace(whole, epoch_mode="by_samples", samples_per_epoch_key=share)
    modes["full_pass"] = replace(whole, epoch_mode="full_pass")
    own = (plan.epoch_mode, plan.draws_per_epoch)
    present = next((name for name, mode in modes.items() if (mode.epoch_mode, mode.draws_per_epoch) == own), None)
    if present is None:  # near_full, or by_samples of another size
        key = plan.samples_per_epoch_key
        size = f" {key}{'N' if isinstance(key, float) else ''}" if plan.epoch_mode == "by_samples" else ""
        present = plan.epoch_mode + size + (f" / {plan.divisor}" if plan.divisor > 1 else "")
        modes = {present: plan, **modes}
    return [
        {
            "mode": name,
            "present": name == present,
            "steps_per_epoch": mode.steps_per_epoch,
            "samples_per_epoch": mode.draws_per_epoch,
            **_coverage(mode.num_samples, mode.draws_per_epoch),
            "optimizer_updates": mode.steps_per_epoch * epochs,
            "forward_passes": mode.draws_per_epoch // mode.num_paths_drawn * paths * epochs,
            "relative_cost": mode.draws_per_epoch / plan.draws_per_epoch,
            "train_seconds": None,
        }
        for name, mode in modes.items()
    ]


def _evaluation(config: Config, val_samples: int | None, train_samples: int) -> dict[str, Any]:
    """What each subnet of the pool is scored on; ``wide`` (more of the validation split) is None where it is off."""
    settings, epochs = config.eval, config.train.num_epochs
    wanted = settings.eval_batches_per_arch * config.eval_batch_size
    samples = wanted if val_samples is None else min(wanted, val_samples)
    wide = None
    if settings.wide_every_epoch is not None:
        batches = settings.wide_batches_per_arch
        most = (batches and batches * config.eval_batch_size, val_samples)
        whole = min((n for n in most if n is not None), default=None)
        evaluated = {*range(settings.eval_every_epoch, epochs + 1, settings.eval_every_epoch), epochs}
        wide = {
            "samples_per_arch": whole,
            "share_of_split": None if whole is None or val_samples is None else whole / val_samples,
            "evaluations": sum(epoch == epochs or settings.wide_is_due(epoch) for epoch in evaluated),
        }
    return {
        "archs": settings.eval_pool_size if config.train.task == "supernet" else 1,
        "batches_per_arch": -(-samples // config.eval_batch_size),
        "samples_per_arch": samples,
        "share_of_split": None if val_samples is None else samples / val_samples,
        "evaluations": -(-epochs // settings.eval_every_epoch),  # after the last epoch, too
        "weights": 2 if config.train.ema_decay else 1,  # the moving average is evaluated beside them
        "train_samples": min(settings.train_batches * config.eval_batch_size, train_samples),
        "wide": wide,
    }


def _warnings(config: Config, table: dict[str, Any]) -> list[str]:
    """What looks wrong in the figures alone, each with its remedy."""
    found = []
    n, draws = table["train_samples"], table["samples_per_epoch"]
    evaluated, calibrated = table["evaluation"], table["calibration"]
    replaced = table["sampling"] == "random_with_replacement"
    share = table[f"{'expected_' * replaced}unique_share_{'with' if replaced else 'without'}_replacement"]
    if round(share, 2) < 0.5:  # half of an odd number is no less than half
        found.append(
            f"an epoch sees {100 * share:.1f} % of the training split ({draws:,} draws of {n:,} samples); "
            f"train.epoch_mode full_pass sees all in {table['full_pass_steps_ceil']:,} steps, by_samples a share of "
            "your choice"
        )
    if table["total_samples"] < n:
        found.append(f"the whole run draws {table['total_samples']:,} samples, fewer than the {n:,} of the split")
    if config.train.path_batches == "shifted":
        batch, paths = config.train.batch_size, table["paths_per_step"]
        found.append(
            f"train.path_batches shifted makes one update of {paths} x {batch} samples, where same makes {paths}: "
            f"{table['optimizer_updates']:,} updates in this plan, one in {paths} of them; with "
            "train.micro_batch_size, staggered gives paths different slices at the same updates and samples"
        )
    if table["draws_per_step"] > n:
        found.append(f"a step draws {table['draws_per_step']:,} samples of a split of {n:,}: some come twice")
    if (scored := evaluated["share_of_split"]) is not None and scored < 0.25 and evaluated["wide"] is None:
        whole = -(-table["val_samples"] // config.eval_batch_size)
        found.append(
            f"the evaluation scores {100 * scored:.1f} % of the validation split: small differences between subnets "
            f"may be chance; eval.eval_batches_per_arch {whole} takes all of it, eval.wide_every_epoch does so now "
            "and then"
        )
    if 0 < calibrated["batches_per_arch"] < FEW_CALIBRATION_BATCHES:
        found.append(
            f"batch norm is recalibrated on {calibrated['samples_per_arch']} samples in fewer than "
            f"{FEW_CALIBRATION_BATCHES} batches: statistics of so few move EPE by themselves; raise "
            "eval.bn_recal_batches where the split allows it"
        )
    return found


def add_seconds(table: dict[str, Any], measured: dict[str, Any]) -> dict[str, Any]:
    """The figures of :func:`make_plan` with what was measured, and the times that follow from it.

    ``measured`` has at least ``pass_seconds`` (one pair through one path and back, data wait included),
    ``calibration_batch_seconds`` and ``evaluation_batch_seconds`` (of the whole pool).
    """
    modes = [{**mode, "train_seconds": mode["forward_passes"] * measured["pass_seconds"]} for mode in table["modes"]]
    training = table["forward_passes"] * measured["pass_seconds"]
    calibration = measured["calibration_batch_seconds"] * table["calibration"]["batches_per_arch"]
    evaluated = table["evaluation"]
    scoring = measured["evaluation_batch_seconds"] * evaluated["batches_per_arch"]
    per_sample = scoring / evaluated["samples_per_arch"]
    evaluation = (calibration + scoring) * evaluated["weights"]
    evaluation += per_sample * 2 * evaluated["train_samples"]  # centre and random crop
    all_evaluations = evaluation * evaluated["evaluations"]
    if (wide := evaluated["wide"]) is not None:
        all_evaluations += per_sample * (wide["samples_per_arch"] or 0) * wide["evaluations"]
    readings = table["gradient_readings"] * measured["pass_seconds"] * table["forward_passes"]
    readings /= table["optimizer_updates"]
    times = {
        "epoch_seconds": training / table["num_epochs"],
        "train_seconds": training,
        "evaluation_seconds": evaluation,
        "all_evaluations_seconds": all_evaluations,
        "all_readings_seconds": readings,
        "run_seconds": training + readings + all_evaluations,
    }
    return {**table, "modes": modes, "measured": {**measured, **times}}


def plan_recipe(
    recipe: str | None,
    overrides: Sequence[str],
    counts: Mapping[str, int | None],
    short: Mapping[str, int | None],
    progress: Callable[[str, int], Any] | None = None,
) -> dict[str, Any]:
    """The figures of a recipe (None: every key that is not given has its default), with ``notes`` on their sources.

    ``overrides`` are ``--group.key=value`` tokens, ``counts`` the samples of ``train`` and ``val`` (None: counted in
    the data), ``short`` the keys of group ``train`` that the command line has in short (None: not given); ``progress``
    opens a bar, as Console.task does, and has steps timed too.

    Raises ConfigError for a key given twice or too little said, DataError for data that are not there.
    """
    known = {split: count for split, count in counts.items() if count is not None}
    config = load_config(recipe, [*overrides, *_long_forms(short, overrides)])
    val_named = any(word.partition("=")[0] == "--data.val_dir" for word in overrides)
    found = _open_splits(config, recipe, known, val_named)
    sizes = known | {split: len(dataset) for split, dataset in found.items()}
    order = batch_plan(config, sizes["train"])
    table = make_plan(config, order, sizes.get("val"))
    if progress is not None:
        from edgeflownas.train.measure import TASKS, measure

        splits = (found["train"], found["val"]) if len(found) == 2 else None
        with progress("measure", TASKS) as meter:
            table = add_seconds(table, measure(config, order, splits, table, meter.advance))
    notes = []
    if short["steps_per_epoch"] is not None:  # it changed what an epoch of the recipe is
        if recipe is not None and (before := load_config(recipe).train.epoch_mode) != "fixed_steps":
            notes.append(f"--steps-per-epoch set train.epoch_mode to fixed_steps ({recipe} has {before})")
        if config.train.epoch_divisor > 1:
            notes.append(f"train.epoch_divisor {config.train.epoch_divisor} shortens the epoch of --steps-per-epoch")
    if config.eval.set is not None:
        notes.append(f"eval.set {config.eval.set} decides what is evaluated, not the counts of the evaluation above")
    if recipe is None:
        notes.append("no recipe: every key that is not given has its default")
    for split, dataset in found.items():
        notes += [f"{split} samples counted in {dataset.directory}", *filter(None, [dataset.note])]
    if "val" not in sizes:
        absent = "" if recipe is None else " (no data at data.val_dir here)"
        notes.append(f"validation samples unknown{absent}: --val-samples N tells what the evaluation covers")
    return table | {"notes": notes}


def _long_forms(short: Mapping[str, int | None], overrides: Sequence[str]) -> list[str]:
    """The short forms as configuration keys.  Raises ConfigError where the long form of one is given as well."""
    given = {word[2:].partition("=")[0] for word in overrides}
    found: list[str] = []
    for name, value in short.items():
        if value is None:
            continue
        keys, means = {f"train.{name}": str(value)}, ""
        if name == "steps_per_epoch":
            keys |= {"train.epoch_mode": "fixed_steps", "train.train_samples_per_epoch": "null"}
            means = " (it means train.epoch_mode fixed_steps)"
        if both := given & keys.keys():
            option = f"--{name.replace('_', '-')}"
            raise ConfigError(f"{option}{means} and --{sorted(both)[0]} exclude each other: give one")
        found += [f"--{key}={text}" for key, text in keys.items()]
    return found


def _open_splits(
    config: Config, recipe: str | None, known: Mapping[str, int], val_named: bool
) -> dict[str, FlowDataset]:
    """The splits whose size was not given; without a recipe only those whose folder was.

    With a count of training samples the validation split may be missing too, unless the command line names it.
    """
    found = {}
    for split in ("train", "val"):
        key = f"{split}_dir"
        if split in known or (recipe is None and key not in config.data.model_fields_set):
            continue
        from edgeflownas.data.sets import open_dataset  # bare numbers need no reader of data

        try:
            found[split] = open_dataset(getattr(config.data, key), split, f"data.{key}", config.data.roots)
        except (ConfigError, DataError) as error:
            if split == "val" and "train" in known and not val_named:
                continue  # planned without the data; a note says that this split is not known
            numbers = " ".join(f"--{name}-samples N" for name in ("train", "val") if name not in known)
            raise type(error)(f"{error}\nTo plan without the data give the number of samples: {numbers}") from error
    if "train" not in {*known, *found}:
        raise ConfigError(
            f"give a recipe ({', '.join(recipe_names())}, or a YAML file), or the numbers without one: "
            "--train-samples 17785 --batch-size 32 --steps-per-epoch 50 --num-epochs 200"
        )
    return found
