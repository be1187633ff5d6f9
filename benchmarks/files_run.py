"""Files of the package in which a function ran during a piece of work, threads included.

    python benchmarks/files_run.py [--tree DIR]              the five counts of a small training run
    python benchmarks/files_run.py [--tree DIR] -- ARGS ...  the phases of `edgeflownas ARGS ...`
    python benchmarks/files_run.py [--tree DIR] --passes     the files that one EPE and one arch code pass through
    python benchmarks/files_run.py --follow VALUE -- ARGS ...    those that a value passes in `edgeflownas ARGS ...`

A function, not a module's top level or a class body.  Beside each count stands the one that also holds what ran while a
module was imported (a decorator, a comprehension at its top level): once a process, part of no work.  Of a phase that
happens several times (a commit, a sample) each time is counted by itself and the largest is given.  Work of child
processes is not seen.

A value passes a file when one of its functions has it in hand: when, as the function ends (or yields), an argument, a
local variable or what it returns is the value, or an array or tensor with it, or is one list, dict, set or record
(dataclass, named tuple, object of the package) with such a thing in it.  The value is a number equal to it up to
float32's rounding, or a text that contains it to four decimals; for an arch code its digits as a tuple or a list, or a
text that contains them.  Beside that count stands the one with functions that only have something in which, however
deep, such a record lies.  `--passes` follows the EPE of one subnet, known to the last bit from a run before, from the
mean over its pixels on, and the code of the best subnet.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import json
import re
import subprocess
import sys
import tempfile
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
WHOLE, TO_LOOP = "whole", "command line to the loop"
# Phase -> the functions that it is, as end of "file:qualified name"; several names for several trees.
PHASES: dict[str, tuple[str, ...]] = {
    TO_LOOP: ("train/fit.py:fit", "train/loop.py:fit"),  # ends where one of these is entered
    "one commit": ("train/job.py:Job.commit", "train/loop.py:Training.commit"),
    "one sample from disk": ("data/transforms.py:load_training_sample", "data/dataset.py:load_training_sample"),
    "opening a new run": ("train/opening.py:open_new", "train/start.py:_new"),
}
LIMITS = {WHOLE: 30, TO_LOOP: 30, "one commit": 6, "one sample from disk": 5, "opening a new run": 8}
IMPORTS = ", only while importing"
IS_FUNCTION = 0x1  # CO_OPTIMIZED: set for functions, not for modules and class bodies


class Counter:
    """A profile function that notes files by phase, apart from those that only ran while something was imported."""

    def __init__(self, package: Path) -> None:
        self.package = f"{package}/"
        self.known: dict[CodeType, tuple[str, tuple[str, ...]] | None] = {}
        self.found: dict[str, set[str]] = defaultdict(set)
        self.imported: dict[str, set[str]] = defaultdict(set)
        self.looping = False
        self.threads = threading.local()

    def look_up(self, code: CodeType) -> tuple[str, tuple[str, ...]] | None:
        """File below the package and the phases that this function is; None where it does not count."""
        if not code.co_filename.startswith(self.package) or not code.co_flags & IS_FUNCTION:
            return None
        file = code.co_filename[len(self.package) :]
        return file, tuple(phase for phase, names in PHASES.items() if f"{file}:{code.co_qualname}" in names)

    def __call__(self, frame: FrameType, event: str, _: Any) -> None:
        """Called by the interpreter at every call and return."""
        if event not in ("call", "return"):
            return
        code, own = frame.f_code, self.threads.__dict__
        importing: list[FrameType] = own.setdefault("importing", [])
        if code.co_name == "<module>":
            importing.append(frame) if event == "call" else importing.pop()
            return
        if code not in self.known:
            self.known[code] = self.look_up(code)
        entry = self.known[code]
        if entry is None:
            return
        file, phases = entry
        inside: dict[str, tuple[FrameType, set[str]]] = own.setdefault("inside", {})
        if event == "return":
            for phase in phases:
                if phase in inside and inside[phase][0] is frame:
                    self.found[phase] = max(self.found[phase], inside.pop(phase)[1], key=len)
            return
        self.looping = self.looping or TO_LOOP in phases
        for phase in phases:
            if phase != TO_LOOP:
                inside.setdefault(phase, (frame, set()))
        for name in (WHOLE, *(() if self.looping else (TO_LOOP,))):
            (self.imported if importing else self.found)[name].add(file)
        for _, files in inside.values() if not importing else ():
            files.add(file)

    def result(self) -> dict[str, list[str]]:
        """Phase -> files, with those of imports under another name."""
        more = {f"{phase}{IMPORTS}": files - self.found[phase] for phase, files in self.imported.items()}
        return {phase: sorted(files) for phase, files in {**self.found, **more}.items()}


DEEPEST = 8  # containers inside one another that are looked into
LARGEST = 1 << 10  # numbers of an array that are looked at: among more there may be an equal one by chance


class Follower:
    """A profile function that notes in which functions of the package a value was, by file, in order."""

    def __init__(self, package: Path, value: str) -> None:
        self.package = f"{package}/"
        self.found: dict[str, dict[str, str]] = {}
        self.is_it = _is_code(value) if "," in value else _is_number(float(value))

    def __call__(self, frame: FrameType, event: str, returned: Any) -> None:
        """Called by the interpreter at every call and return."""
        code = frame.f_code
        if event != "return" or not code.co_filename.startswith(self.package) or not code.co_flags & IS_FUNCTION:
            return
        own = self.found.setdefault(code.co_filename[len(self.package) :], {})
        if own.get(code.co_qualname) != "in hand":
            values = (*frame.f_locals.values(), returned)
            if self.within(values, 1, set()):
                own[code.co_qualname] = "in hand"
            elif code.co_qualname not in own and self.within(values, DEEPEST, set()):
                own[code.co_qualname] = "inside"

    def within(self, values: Iterable[Any], deepest: int, seen: set[int]) -> bool:
        """Whether one of some values is the one that is followed, or holds it."""
        for value in values:
            if self.is_it(value):
                return True
            parts = _parts(value) if deepest and id(value) not in seen else ()
            seen.add(id(value))
            if parts and self.within(parts, deepest - 1, seen):
                return True
        return False

    def result(self) -> dict[str, list[str]]:
        """File -> its functions that had the value, in brackets those that had it inside of something alone."""
        return {
            file: [name if how == "in hand" else f"({name})" for name, how in own.items()]
            for file, own in self.found.items()
            if own
        }


def _parts(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return (*value.keys(), *value.values())
    if isinstance(value, list | tuple | set | frozenset):
        return value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return [getattr(value, field.name, None) for field in dataclasses.fields(value)]
    if type(value).__module__.startswith("edgeflownas"):
        return tuple(getattr(value, "__dict__", {}).values())
    return ()


def _numbers(value: Any) -> Any:
    """A NumPy array of a number, an array or a tensor; None for anything else and for what is too large."""
    torch, numpy = (sys.modules.get(name) for name in ("torch", "numpy"))  # what is not imported has made nothing
    if isinstance(value, getattr(torch, "Tensor", ())):
        small = value.numel() <= LARGEST and value.device.type != "meta"
        return value.detach().cpu().double().numpy() if small else None
    if isinstance(value, getattr(numpy, "generic", ())):
        return value if value.dtype.kind in "iuf" else None
    if isinstance(value, getattr(numpy, "ndarray", ())):
        return value if value.dtype.kind in "iuf" and value.size <= LARGEST else None
    return None


def _is_number(wanted: float) -> Callable[[Any], bool]:
    near = 1.2e-7 * abs(wanted)
    texts = {f"{wanted:.{digits}f}" for digits in (4, 5, 6)} | {repr(wanted)}

    def is_it(value: Any) -> bool:
        if isinstance(value, str):
            return any(text in value for text in texts)
        if isinstance(value, float):
            return abs(value - wanted) <= near
        found = _numbers(value)
        return found is not None and bool((abs(found - wanted) <= near).any())

    return is_it


def _is_code(wanted: str) -> Callable[[Any], bool]:
    digits = [int(digit) for digit in wanted.split(",")]
    text = re.compile(rf"(?<![\d,])({wanted}|{wanted.replace(',', '')})(?![\d,])")

    def is_it(value: Any) -> bool:
        if isinstance(value, str):
            return text.search(value) is not None
        if isinstance(value, list | tuple):
            return len(value) == len(digits) and all(
                isinstance(v, int) and v == d for v, d in zip(value, digits, strict=True)
            )
        found = _numbers(value)
        fits = found is not None and found.ndim and found.shape[-1] == len(digits)
        return bool(fits and (found == digits).all(axis=-1).any())

    return is_it


def count(tree: Path, words: list[str], follow: str = "") -> dict[str, list[str]]:
    """Phase -> files of `edgeflownas` with these words, in this process; file -> functions that have a value."""
    sys.path.insert(0, str(tree / "src"))
    package = tree / "src" / "edgeflownas"
    counter = Follower(package, follow) if follow else Counter(package)
    threading.setprofile(counter)
    sys.setprofile(counter)
    try:
        from edgeflownas.cli import run

        code = run(words)
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    if code:
        raise SystemExit(f"edgeflownas {' '.join(words)} ended with {code}")
    return counter.result()


def prepare(tree: Path, folder: str) -> list[str]:
    """Make data in a folder; the command line of a small training on it."""
    sizes = {"train": 8, "val": 4, "seed": 0, "height": 56, "width": 72}
    run_apart(tree, ["data", "synth", f"--out={folder}/data", *(f"--{name}={size}" for name, size in sizes.items())])
    values = {
        "runtime.output_root": f"{folder}/runs",
        "runtime.num_threads": 1,
        "train.width": 4,
        "train.num_epochs": 1,
        "train.batch_size": 4,
        "data.train_dir": f"{folder}/data/train",
        "data.val_dir": f"{folder}/data/val",
        "data.crop_size": "48x64",
        "data.num_workers": 0,
        "eval.eval_pool_size": 3,
        "eval.batch_size": 4,
    }
    return ["train", "smoke", *(f"--{key}={value}" for key, value in values.items())]


def five_counts(tree: Path) -> dict[str, list[str]]:
    """The counts that the house is held to: a dry run as a whole, and the phases of a training run."""
    with tempfile.TemporaryDirectory() as folder:
        words = prepare(tree, folder)
        dry = run_apart(tree, [*words, "--dry-run"])
        return run_apart(tree, words) | {name: files for name, files in dry.items() if name.startswith(WHOLE)}


def passes(tree: Path) -> dict[str, dict[str, list[str]]]:
    """What is followed -> file -> functions: an EPE to CSV files and to the page of the report, a code to its page."""
    with tempfile.TemporaryDirectory() as folder:
        train = [*prepare(tree, folder), "--runtime.tensorboard=false"]
        run, ranking = Path(folder, "runs/first"), Path(folder, "ranking")
        run_apart(tree, [*train, "--runtime.experiment_name=first"])
        events = map(json.loads, (run / "events.jsonl").read_text().splitlines())
        epe = next(str(event["epes"][0]) for event in events if event["event"] == "evaluation")
        rank = ["rank", str(run), "--where", "EB0#1,EB1#1,DB0#1,DB1#1,H0Out#1", "--yes", "--out"]
        run_apart(tree, [*rank, str(ranking)])
        with (ranking / "ranking.csv").open(newline="") as file:
            code = next(csv.DictReader(file))["code"]
        judge = ["evaluate", str(run), "--arch", "012012012"]  # none of the pool, whose EPEs are in the checkpoint
        run_apart(tree, [*judge, "--csv", f"{folder}/first.csv"])
        with Path(folder, "first.csv").open(newline="") as file:
            judged = next(csv.DictReader(file))["epe"]
        followed = {
            "an EPE, evaluate --csv": (judged, [[*judge, "--csv", f"{folder}/again.csv"]]),
            "an EPE, train to its CSV files": (
                epe,
                [[*train, "--runtime.experiment_name=csv", "--runtime.report=false"]],
            ),
            "an EPE, train to the report": (epe, [[*train, "--runtime.experiment_name=page", "--runtime.report=true"]]),
            "a code, rank to the page": (
                code,
                [[*rank, f"{folder}/again"], ["pareto", f"{folder}/again", "--minimise", "epe,macs", "--out", folder]],
            ),
        }
        found: dict[str, dict[str, list[str]]] = {}
        for name, (value, commands) in followed.items():
            for words in commands:
                for file, functions in run_apart(tree, words, value).items():
                    found.setdefault(name, {}).setdefault(file, []).extend(functions)
        return found


def run_apart(tree: Path, words: list[str], follow: str = "") -> dict[str, list[str]]:
    """``count`` in a process of its own."""
    program = [sys.executable, str(Path(__file__)), f"--tree={tree}", f"--follow={follow}", "--json", "--", *words]
    ended = subprocess.run(program, capture_output=True, text=True)
    if ended.returncode:
        raise SystemExit(ended.stderr)
    found: dict[str, list[str]] = json.loads(ended.stdout.splitlines()[-1])
    return found


def main() -> None:
    """Count and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tree", type=Path, default=ROOT, help="checkout whose package is run (default: this one)")
    parser.add_argument("--json", action="store_true", help="phase -> files on one line, the last of stdout")
    parser.add_argument("--passes", action="store_true", help="the files that one EPE and one arch code pass")
    parser.add_argument("--follow", default="", metavar="VALUE", help="a number, or a code with commas; needs ARGS")
    parser.add_argument("words", nargs="*", metavar="ARGS", help="after --: a command line of edgeflownas")
    given = parser.parse_args()
    tree = given.tree.resolve()
    if given.passes or (given.follow and not given.json):
        whole = {f"{given.follow}:": count(tree, given.words, given.follow)} if given.words else passes(tree)
        for name, where in whole.items():
            in_hand = [file for file, names in where.items() if any(name[0] != "(" for name in names)]
            print(f"{len(in_hand):3} ({len(where)} with what it lies inside of) {name}")
            for file in sorted(where, key=lambda file: file not in in_hand):
                print(f"      {file}: {', '.join(dict.fromkeys(where[file]))}")
        return
    found = count(tree, given.words, given.follow) if given.words else five_counts(tree)
    if given.json:
        print(json.dumps(found))
        return
    for phase in [phase for phase in (WHOLE, *PHASES) if phase in found]:
        more = found.get(phase + IMPORTS, [])
        what = f"{phase} dry run" if phase == WHOLE and not given.words else phase
        limit = "" if given.words else f", at most {LIMITS[phase]}"
        print(f"{len(found[phase]):3} ({len(found[phase]) + len(more)} with imports) {what}{limit}")
        print(f"      {' '.join(found[phase])}" + (f" (imports: {' '.join(more)})" if more else ""))


if __name__ == "__main__":
    main()
