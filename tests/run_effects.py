"""What a configuration does to a whole run, started by the function that `edgeflownas train` calls."""

import contextlib
import functools
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any
from unittest import mock

import config_effects as effects

from edgeflownas.commands._shared import standard_front
from edgeflownas.config import Config, TrainConfig
from edgeflownas.report.console import Tracker
from edgeflownas.run.directory import RunDirectory
from edgeflownas.train.start import Options, launch

KEYS_OF_A_TASK = ("distil_lambda", "distil_weights")


def run(config):
    """A whole run in a folder of its own: its files, events, commits and pictures, or how it ended.

    The stored configuration, its hash and the hash of the evaluation set (which covers eval.* as such) do not count.
    """
    with running() as (folder, log):
        end = effects.or_error(lambda: launch(config, Options(), standard_front()))
        files = [str(path.relative_to(folder)) for path in folder.rglob("*") if "tfevents" not in path.name]
        return str(end).replace(str(folder), ""), sorted(files), events(folder), log


def run_beside_a_source(config):
    """Losses of a run that may start from, or be taught by, the supernet runs/source."""
    other = config.runtime.model_copy(update={"experiment_name": "source", "seed": 7})
    single = {"init_from": None, "task": "supernet", "arch": (), "teacher": None, "teacher_arch": None}
    plain = {name: TrainConfig.model_fields[name].default for name in KEYS_OF_A_TASK}
    supernet = config.train.model_copy(update={**single, **plain})
    often = config.checkpoint.model_copy(update={"every_steps": 1, "keep": 9})
    source = config.model_copy(update={"runtime": other, "train": supernet, "checkpoint": often})
    trained = trained_once(source)
    with running() as (folder, _):
        shutil.copytree(trained, folder / "runs" / "source")
        launch(config, Options(), standard_front())
        return [event["loss"] for event in events(folder) if event["event"] == "step"]


@functools.cache
def trained_once(config: Config) -> Path:
    """The directory of the run "source", made once for all that begin with it."""
    kept = Path(tempfile.mkdtemp(dir=effects.ROOT)) / "source"
    with running() as (folder, _):
        launch(config, Options(), standard_front())
        return Path(shutil.copytree(folder / "runs" / "source", kept))


def resumed_plan(config):
    """Learning rates of a run of one epoch that is resumed for a second."""
    first = config.model_copy(update={"train": config.train.model_copy(update={"num_epochs": 1, "lr_plan": None})})
    with running() as (folder, _):
        launch(first, Options(), standard_front())
        overrides = ["--train.num_epochs=2", f"--train.lr_plan={config.train.lr_plan}"]
        options = Options(resume=folder / "runs" / first.runtime.experiment_name, overrides=overrides)
        launch(None, options, standard_front())
        return [event["lr"] for event in events(folder) if "lr" in event]


@contextlib.contextmanager
def running():
    """An empty working folder, and a list of the commits and pictures made in it."""
    log: list[Any] = []
    with (
        tempfile.TemporaryDirectory(dir=effects.ROOT) as name,
        contextlib.chdir(name),
        effects.arithmetic_restored(),
        recorded(RunDirectory, "commit", log),
        recorded(Tracker, "images", log),
        recorded(Tracker, "scalars", log),
        recorded(Tracker, "flush", log),
    ):
        yield Path(name), log


def recorded(owner, method, log):
    """Note the first argument of every call of a method."""
    original = getattr(owner, method)

    def call(self, *args, **more):
        log.append((method, str(args[:1])))
        return original(self, *args, **more)

    return mock.patch.object(owner, method, call)


def events(folder):
    lines = [line for path in folder.rglob("events.jsonl") for line in path.read_text().splitlines()]
    return [{key: value for key, value in json.loads(line).items() if key != "eval_set"} for line in lines]
