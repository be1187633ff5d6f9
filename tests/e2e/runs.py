"""Whole commands in this process, on tiny data: a run takes about a second, a subprocess two more."""

import contextlib
import csv
import hashlib
import io
import json
import shutil
from dataclasses import dataclass

import numpy as np
from safetensors.numpy import load_file
from tiny import make_tiny, tiny_options

from edgeflownas import cli
from edgeflownas.train.machine import StopFlag
from edgeflownas.train.step import StopRequested

ONE_STEP = ("--train.epoch_mode=fixed_steps", "--train.steps_per_epoch=1")  # an epoch
BRIEF = (*ONE_STEP, "--train.num_epochs=1")  # a run that need only be there


@dataclass(frozen=True)
class Ended:
    """How a command ended: exit code, standard output, standard error."""

    code: int
    out: str
    err: str


def command(*tokens):
    """`edgeflownas` with these words."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = cli.run([str(token) for token in tokens])
    return Ended(code, out.getvalue(), err.getvalue())


def told(*tokens):
    """What a command that must end well tells with --json."""
    ended = command(*tokens, "--json")
    assert ended.code == 0, ended.err
    return json.loads(ended.out)


def stop_when(monkeypatch, wanted):
    """Let a look at the stop flag find it raised where its number, from 1 on, is ``wanted``; sessions count on."""
    asked = [0]

    def check(self):
        asked[0] += 1
        if wanted(asked[0]):
            self.reason = "SIGTERM"
            raise StopRequested(self.reason)

    monkeypatch.setattr(StopFlag, "check", check)


class Place:
    """A folder with tiny data and runs."""

    def __init__(self, folder):
        self.folder = folder
        self.data = make_tiny(folder / "data")
        self.runs = folder / "runs"

    def words(self, name, *overrides, data=None):
        """The words behind `edgeflownas train` for a run of 2 epochs of 2 steps."""
        return ["smoke", *tiny_options(data or self.data, self.runs, name), "--train.width=2", *overrides]

    def train(self, name, *overrides, data=None):
        return command("train", *self.words(name, *overrides, data=data))

    def trained(self, name, *overrides, data=None):
        """The run directory of a run that must end well."""
        ended = self.train(name, *overrides, data=data)
        assert ended.code == 0, ended.err
        return self.runs / name

    def resume(self, name, *words):
        return command("train", "--resume", self.runs / name, *words)

    def copy(self, name, new):
        """The same run under another name, as a user who copies a folder."""
        shutil.copytree(self.runs / name, self.runs / new)
        return self.runs / new


def rows(run, kind=None):
    """Events of a run, of one kind if given."""
    found = [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]
    return [row for row in found if kind is None or row["event"] == kind]


def table(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def newest(run):
    """The newest checkpoint folder; one from before an evaluation comes before the one after it."""
    return max((run / "checkpoints").glob("step-*"), key=lambda path: (path.name[:13], "before" not in path.name))


def state(run):
    return json.loads((newest(run) / "state.json").read_text())


def tensors(run):
    """Every tensor of the newest checkpoint by file and name."""
    files = sorted(newest(run).glob("*.safetensors"))
    return {f"{path.stem}/{name}": array for path in files for name, array in load_file(path).items()}


def digest(run):
    """Sha256 of all tensors of the newest checkpoint."""
    total = hashlib.sha256()
    for name, array in sorted(tensors(run).items()):
        total.update(f"{name} {array.dtype} {array.shape} ".encode())
        total.update(np.ascontiguousarray(array).tobytes())
    return total.hexdigest()


def outcome(run):
    """What must not depend on interruptions: all tensors and every byte of events.jsonl."""
    return digest(run), (run / "events.jsonl").read_bytes()


def contents(run, without=()):
    """Every file of a run by its relative path, but those named."""
    files = sorted(path for path in run.rglob("*") if path.is_file() and path.name not in without)
    return {str(path.relative_to(run)): path.read_bytes() for path in files}
