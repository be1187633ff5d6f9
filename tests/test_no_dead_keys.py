"""No dead keys: every configuration key, changed alone, changes what the program does.

Each key has a probe: another value, the context in which it matters, and an observation made through the real code.
The configuration's own hash or its copy in the run directory never counts.  A key without probe fails, and so does a
key nobody reads; both are shown with a planted key.
"""

from __future__ import annotations

import ast
import functools
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from edgeflownas.config import Config, TrainConfig
from edgeflownas.config.keys import dynamics

sys.path.insert(0, str(Path(__file__).parent))
import config_effects as effects  # noqa: E402
import run_effects  # noqa: E402

pytestmark = pytest.mark.e2e  # most probes train whole runs

PACKAGE = Path(__file__).resolve().parents[1] / "src" / "edgeflownas"


@dataclass(frozen=True)
class Probe:
    """``value`` differs from the one in ``context`` over effects.tiny(); ``observe`` must tell the two apart.

    ``also`` holds what has to change along with it to be valid.
    """

    value: Any  # or a function that makes it
    observe: Callable[[Config], Any]
    context: dict[str, Any] = field(default_factory=dict)
    also: dict[str, Any] = field(default_factory=dict)


def build(values: dict[str, Any], model: type[Config] = Config) -> Config:
    """The tiny configuration with some ``group.key`` values changed."""
    merged = effects.tiny()
    for key, value in values.items():
        group, name = key.split(".")
        merged.setdefault(group, {})[name] = value
    return model(**merged)


SCHEDULE = "train.lr_schedule"
BY_SAMPLES = {"train.steps_per_epoch": None, "train.epoch_mode": "by_samples", "train.train_samples_per_epoch": 3}
TWO_STEPS = {"train.steps_per_epoch": 2}
WORKERS = {"data.num_workers": 2, "data.worker_timeout": 0.01, **TWO_STEPS}
ARCH = "0,0,0,0,2,1,2,2,2"
ALONE = {"train.task": "standalone", "train.arch": (ARCH,), "eval.eval_pool_size": 1}
SINGLE = {"train.task": "edgeflownet", "eval.eval_pool_size": 1}
TAUGHT = {**ALONE, "train.task": "distil", "train.teacher": "runs/source", "train.teacher_arch": ARCH}
SCALED = {"data.scale_probability": 1.0}
ERASED = {"data.eraser": 1.0, "data.eraser_min": 4, "data.eraser_max": 8}
MANY = {"train.steps_per_epoch": 20}  # more than are loaded ahead

PROBES: dict[str, Probe] = {
    "runtime.output_root": Probe("elsewhere", run_effects.run),
    "runtime.experiment_name": Probe("other", run_effects.run),
    "runtime.seed": Probe(1, effects.order),
    "runtime.deterministic": Probe(False, effects.arithmetic),
    "runtime.num_threads": Probe(2, effects.arithmetic),
    "runtime.max_seconds": Probe(1e-9, run_effects.run),
    "runtime.tensorboard": Probe(True, run_effects.run),
    "runtime.report": Probe(True, run_effects.run),
    "runtime.summary_every": Probe(2, run_effects.run),
    "runtime.summary_flush_every": Probe(2, run_effects.run),
    "train.task": Probe("edgeflownet", effects.network, also={"eval.eval_pool_size": 1}),
    "train.arch": Probe(("0,0,0,0,0,0,0,0,1",), run_effects.run, ALONE),
    "train.arch_name": Probe(("one",), run_effects.run, ALONE),
    "train.teacher": Probe("runs/source@step-00000001", run_effects.run_beside_a_source, TAUGHT),
    "train.teacher_arch": Probe("0,0,0,0,0,0,0,0,0", run_effects.run_beside_a_source, TAUGHT),
    "train.distil_lambda": Probe(3.0, run_effects.run_beside_a_source, TAUGHT),
    "train.distil_weights": Probe((1.0, 0.0, 1.0), run_effects.run_beside_a_source, TAUGHT),
    "train.batch_norm": Probe("frozen", effects.steps, SINGLE),
    "train.input_normalisation": Probe("raw_0_255", effects.steps),
    "train.space": Probe("v3", effects.network),
    "train.width": Probe(4, effects.network),
    "train.init_from": Probe("runs/source", run_effects.run_beside_a_source),
    "train.gpu_device": Probe(99, effects.device),
    "train.precision": Probe("fp64", effects.steps),
    "train.channels_last": Probe(False, effects.network),
    "train.distributed": Probe("path", effects.share_of_a_rank, {"train.micro_batch_size": 1}),
    "train.num_epochs": Probe(1, run_effects.run),
    # Three steps of two from five samples either way; only full_pass starts the second epoch with a new permutation.
    "train.epoch_mode": Probe(
        "full_pass", effects.order, {"train.steps_per_epoch": 3}, also={"train.steps_per_epoch": None}
    ),
    "train.steps_per_epoch": Probe(2, effects.order),
    "train.train_samples_per_epoch": Probe(0.8, effects.order, BY_SAMPLES),
    "train.epoch_divisor": Probe(2, effects.order, {"train.steps_per_epoch": 3}),
    "train.train_sampling_mode": Probe("sequential", effects.order),
    "train.batch_size": Probe(3, effects.order),
    "train.micro_batch_size": Probe(1, effects.steps),
    "train.path_batches": Probe("shifted", effects.order, {"train.batch_size": 1}),
    "train.lr": Probe(2e-2, effects.rates),
    SCHEDULE: Probe("constant", effects.rates),
    "train.lr_final_ratio": Probe(0.1, effects.rates),
    "train.lr_milestones": Probe((0.3,), effects.rates, {SCHEDULE: "step_decay"}),
    "train.lr_decay": Probe(0.3, effects.rates, {SCHEDULE: "step_decay"}),
    "train.lr_anneal_share": Probe(0.7, effects.rates, {SCHEDULE: "fast_anneal"}),
    "train.lr_peak_share": Probe(0.5, effects.rates, {SCHEDULE: "one_cycle"}),
    "train.lr_warmup_share": Probe(0.2, effects.rates),
    "train.lr_plan": Probe("restretch", run_effects.resumed_plan, {"train.lr_plan": "keep"}),
    "train.adam_beta1": Probe(0.5, effects.steps),
    "train.adam_beta2": Probe(0.5, effects.steps),
    "train.adam_epsilon": Probe(1e-2, effects.steps),
    "train.weight_decay": Probe(0.1, effects.steps),
    "train.grad_clip_global_norm": Probe(1e-3, effects.steps),
    "train.grad_clip_position": Probe("micro_step", effects.steps),
    "train.ema_decay": Probe(0.9, effects.steps),
    "train.max_nonfinite_steps": Probe(
        1, run_effects.run, {"train.lr": 1e30, "train.max_nonfinite_steps": 2, "train.steps_per_epoch": 4}
    ),
    "train.monitor_every": Probe(1, run_effects.run),
    "data.train_dir": Probe(lambda: str(effects.data_folder("other", 3) / "train"), effects.names),
    "data.val_dir": Probe(lambda: str(effects.data_folder("other", 3) / "val"), effects.names),
    "train.fast_mode": Probe(True, effects.workers, {**SINGLE, **WORKERS, **MANY}),
    "data.channel_order": Probe("bgr", effects.steps),
    "data.roots": Probe(
        lambda: {"fc2": str(effects.data_folder("other", 3))}, effects.names_of_roots, {"data.train_dir": "fc2:train"}
    ),
    "data.crop_size": Probe((24, 32), effects.batch),
    "data.flow_clip": Probe(None, effects.batch),
    "data.flow_divisor": Probe(12.5, effects.batch),
    "data.horizontal_flip": Probe(1.0, effects.batch),
    "data.vertical_flip": Probe(1.0, effects.batch),
    "data.brightness": Probe(0.5, effects.batch),
    "data.contrast": Probe(0.5, effects.batch),
    "data.noise_std": Probe(0.1, effects.batch),
    "data.scale_probability": Probe(1.0, effects.batch),
    "data.scale_min": Probe(0.5, effects.batch, SCALED),
    "data.scale_max": Probe(1.5, effects.batch, SCALED),
    "data.stretch_probability": Probe(0.0, effects.batch, SCALED),
    "data.stretch": Probe(0.0, effects.batch, {**SCALED, "data.stretch_probability": 1.0}),
    "data.saturation": Probe(0.9, effects.batch),
    "data.asymmetric_colour": Probe(1.0, effects.batch, {"data.brightness": 0.4}),
    "data.eraser": Probe(1.0, effects.batch),
    "data.eraser_min": Probe(30, effects.batch, {**ERASED, "data.eraser_max": 40}),
    "data.eraser_max": Probe(30, effects.batch, ERASED),
    "data.exclude": Probe(("0000001-flow_01.flo",), effects.names),
    "data.num_workers": Probe(3, effects.workers, WORKERS),
    "data.prefetch_batches": Probe(1, effects.workers, WORKERS),
    "data.worker_timeout": Probe(0.02, effects.workers, WORKERS),
    "data.on_bad_sample": Probe("quarantine", effects.damaged, TWO_STEPS),
    "data.quarantine_cap": Probe(0.5, effects.quarantined),
    "data.cache_dir": Probe("cache", run_effects.run),
    "eval.eval_pool_size": Probe(3, run_effects.run),
    "eval.eval_every_epoch": Probe(2, run_effects.run),
    "eval.eval_batches_per_arch": Probe(2, effects.frozen_set),
    "eval.bn_recal_batches": Probe(2, effects.frozen_set),
    "eval.batch_size": Probe(1, effects.frozen_set),
    "eval.set": Probe(effects.other_set, effects.evaluated_names),
    "eval.selection": Probe("prefix", effects.frozen_set),
    "eval.wide_every_epoch": Probe(1, run_effects.run),
    "eval.wide_batches_per_arch": Probe(1, effects.frozen_set, {"eval.wide_every_epoch": 1}),
    "eval.train_batches": Probe(1, effects.frozen_set),
    "eval.also": Probe(
        lambda: ({"data": str(effects.data_folder("other", 3) / "val"), "every_epoch": 1, "protocol": "standard"},),
        run_effects.run,
    ),
    "eval.keep_sample_errors": Probe(False, run_effects.run),
    "eval.best_by": Probe("median", effects.best_figure),
    "eval.best_mix": Probe((0.0, 1.0, 0.0), effects.best_figure, {"eval.best_by": "mix"}),
    "eval.early_stop_patience": Probe(2, effects.early_stop),
    "eval.early_stop_min_delta": Probe(0.5, effects.early_stop, {"eval.early_stop_patience": 2}),
    "eval.pictures": Probe(1, run_effects.run, {"runtime.tensorboard": True}),
    "checkpoint.every_steps": Probe(1, run_effects.run, TWO_STEPS),
    "checkpoint.keep": Probe(3, run_effects.run, {**TWO_STEPS, "checkpoint.every_steps": 1}),
}


def fields(model: type[Config]) -> Iterator[str]:
    """``group.key`` of every field."""
    for group, info in model.model_fields.items():
        assert info.annotation is not None
        yield from (f"{group}.{name}" for name in info.annotation.model_fields)


@functools.cache
def observed_twice(observe: Callable[[Config], Any], config: Config) -> tuple[Any, Any]:
    """What an observation of one configuration gives, and gives again; made once for all keys of that context."""
    return observe(config), observe(config)


def complaint(key: str, probes: dict[str, Probe], model: type[Config] = Config) -> str | None:
    """Why a key counts as dead, or None."""
    probe = probes.get(key)
    if probe is None:
        return f"{key} has no probe in tests/test_no_dead_keys.py: add one that observes what the key changes"
    value = probe.value() if callable(probe.value) else probe.value
    before = build(probe.context, model)
    after = build({**probe.context, key: value, **probe.also}, model)
    assert before != after, f"the probe of {key} does not change its value"
    seen, again = observed_twice(probe.observe, before)
    if seen != again:
        return f"the probe of {key} proves nothing: {probe.observe.__name__} differs between equal configurations"
    if seen == probe.observe(after):
        return f"{key} is dead: changing it to {value!r} changes nothing in {probe.observe.__name__}"
    return None


@functools.cache
def attributes_read(folder: Path = PACKAGE) -> set[str]:
    """Names of all attributes that code outside the configuration models reads."""
    return {
        node.attr
        for path in folder.rglob("*.py")
        if path.parent.name != "config"
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load)
    }


@pytest.fixture(scope="module", autouse=True)
def folder(tmp_path_factory: pytest.TempPathFactory) -> None:
    effects.ROOT = tmp_path_factory.mktemp("effects")


@pytest.mark.parametrize("key", list(fields(Config)))
def test_key_has_an_effect(key: str) -> None:
    reason = complaint(key, PROBES)
    assert reason is None, reason


def test_every_key_is_read_somewhere() -> None:
    read = attributes_read()
    assert [key for key in fields(Config) if key.split(".")[1] not in read] == []


def test_probes_are_of_existing_keys() -> None:
    assert set(PROBES) <= set(fields(Config))


class PlantedGroup(TrainConfig):
    """A group with a key that nobody reads."""

    planted_dead_key: int = dynamics(0)


class PlantedConfig(Config):
    """A configuration with a dead key."""

    train: PlantedGroup = PlantedGroup()


def test_a_planted_dead_key_is_found() -> None:
    planted = "train.planted_dead_key"
    assert planted in list(fields(PlantedConfig))
    missing = complaint(planted, PROBES, PlantedConfig)
    assert missing is not None and "has no probe" in missing
    for observe in (effects.order, effects.steps, effects.rates):
        dead = complaint(planted, {planted: Probe(1, observe)}, PlantedConfig)
        assert dead is not None and "is dead" in dead
    assert "planted_dead_key" not in attributes_read()
