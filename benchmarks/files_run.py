"""Files of the package in which a function ran during a piece of work, threads included.

    python benchmarks/files_run.py [--tree DIR]              the five counts of a small training run
    python benchmarks/files_run.py [--tree DIR] -- ARGS ...  the phases of `edgeflownas ARGS ...`

A function, not a module's top level or a class body.  Beside each count stands the one that also holds what ran while a
module was imported (a decorator, a comprehension at its top level): once a process, part of no work.  Of a phase that
happens several times (a commit, a sample) each time is counted by itself and the largest is given.  Work of child
processes is not seen.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
from collections import defaultdict
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


def count(tree: Path, words: list[str]) -> dict[str, list[str]]:
    """Phase -> files of `edgeflownas` with these words, in this process."""
    sys.path.insert(0, str(tree / "src"))
    counter = Counter(tree / "src" / "edgeflownas")
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


def five_counts(tree: Path) -> dict[str, list[str]]:
    """The counts that the house is held to: a dry run as a whole, and the phases of a training run."""
    with tempfile.TemporaryDirectory() as folder:
        data = [
            "data",
            "synth",
            f"--out={folder}/data",
            "--train=8",
            "--val=4",
            "--seed=0",
            "--height=56",
            "--width=72",
        ]
        run_apart(tree, data)
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
        words = ["train", "smoke", *(f"--{key}={value}" for key, value in values.items())]
        dry = run_apart(tree, [*words, "--dry-run"])
        return run_apart(tree, words) | {name: files for name, files in dry.items() if name.startswith(WHOLE)}


def run_apart(tree: Path, words: list[str]) -> dict[str, list[str]]:
    """``count`` in a process of its own."""
    program = [sys.executable, str(Path(__file__)), f"--tree={tree}", "--json", "--", *words]
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
    parser.add_argument("words", nargs="*", metavar="ARGS", help="after --: a command line of edgeflownas")
    given = parser.parse_args()
    tree = given.tree.resolve()
    found = count(tree, given.words) if given.words else five_counts(tree)
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
