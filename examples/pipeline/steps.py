"""Steps that run once: a command line, shown before it runs, and a marker that says what its results were made from."""

from __future__ import annotations

import hashlib
import json
import resource
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeflownas.config.load import parse_yaml

INTERRUPTED = 75  # the exit code of edgeflownas for "the same command goes on"


@dataclass(frozen=True)
class Step:
    """One command and the folder or file that it makes."""

    name: str
    command: tuple[str, ...]  # words after `edgeflownas`; a script where the first ends in .py
    makes: Path | None = None  # None: it checks something
    after: tuple[str, ...] = ()  # steps whose results it reads
    reads: tuple[Path, ...] = ()  # other files that it reads
    go_on: tuple[str, ...] = ()  # the command where `makes` was begun; none: it is begun again


class Stopped(Exception):
    """A command that did not end well."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class Chain:
    """Runs steps below one folder; what is finished, and made from the same, is not run again."""

    def __init__(self, results: Path) -> None:
        self.results = results
        self.hashes: dict[str, str] = {}  # of what each step was made from, those of earlier steps included

    def run(self, step: Step) -> None:
        """Do what is left of a step.  Raises Stopped."""
        inputs, marker = self._inputs(step), self.results / "steps" / f"{step.name}.json"
        self.hashes[step.name] = _hash(json.dumps(inputs, sort_keys=True).encode())
        new = {"inputs": inputs, "seconds": 0, "cpu": 0}
        before = json.loads(marker.read_text()) if marker.exists() else new
        if step.makes and step.makes.exists() and not marker.exists():
            raise Stopped(64, f"{step.makes} is there, but not made by this chain: give another folder for its results")
        if before["inputs"] != inputs:
            self._put_aside(step, changes(before["inputs"], inputs))
            before = new
        elif before.get("finished") and (step.makes is None or step.makes.exists()):
            print(f"{step.name}: finished before", flush=True)
            return
        there = step.makes is not None and step.makes.exists()
        begun = there and bool(step.go_on)
        if there and not begun:
            _remove(step.makes)  # half a result
        _write(marker, before | {"finished": False})
        self._call(step, step.go_on if begun else step.command, marker, before)

    def _call(self, step: Step, words: tuple[str, ...], marker: Path, before: dict[str, Any]) -> None:
        start, cpu = time.monotonic(), _children_cpu()
        code = call(words)
        spent = {"seconds": before["seconds"] + time.monotonic() - start, "cpu": before["cpu"] + _children_cpu() - cpu}
        _write(marker, before | spent | {"finished": code == 0})
        if code:
            raise Stopped(code, f"{step.name} ended with {code}; the same command goes on from here")
        print(f"{step.name}: {spent['seconds']:.0f} s, {spent['cpu']:.0f} s of processor time", flush=True)

    def _inputs(self, step: Step) -> dict[str, str]:
        here = str(self.results)  # a folder that was moved is the same experiment
        words = shlex.join(word.replace(here, "RESULTS") for word in step.command)
        files = {f"file {path.name}": _hash(_content(path)) for path in step.reads}
        return {"command": words} | files | {f"step {name}": self.hashes[name] for name in step.after}

    def _put_aside(self, step: Step, why: str) -> None:
        print(f"{step.name}: stale, {why}; it is run again", flush=True)
        if step.makes is not None and step.makes.exists():
            aside = self.results / "stale"
            aside.mkdir(exist_ok=True)
            number = 1 + len(list(aside.glob(f"{step.makes.name}-*")))
            step.makes.rename(aside / f"{step.makes.name}-{number}")
            print(f"{step.name}: the old result is kept in {aside / f'{step.makes.name}-{number}'}", flush=True)


def changes(before: dict[str, str], after: dict[str, str]) -> str:
    """What differs between two sets of inputs, in words."""
    names = [name for name in sorted(before | after) if before.get(name) != after.get(name)]
    words = []
    for name in names:
        kind, _, rest = name.partition(" ")
        if kind == "command":
            old, new = (set(shlex.split(side.get(name, ""))) for side in (before, after))
            words.append(f"its command changed ({' '.join(sorted(old - new))} to {' '.join(sorted(new - old))})")
        else:
            words.append(f"{rest} changed" if kind == "file" else f"{rest} was made from something else")
    return " and ".join(words)


def call(words: Iterable[str]) -> int:
    """Show a command line and run it; a signal to this process goes to the command, which ends by itself."""
    words = tuple(words)
    script = words[0].endswith(".py")
    print(f"\n$ {shlex.join(('python' if script else 'edgeflownas', *words))}", flush=True)
    command = [sys.executable, *(() if script else ("-m", "edgeflownas")), *words]
    # A session of its own: Ctrl-C reaches the command once, from here, and not a second time from the terminal.
    process = subprocess.Popen(command, start_new_session=True)
    caught: list[int] = []

    def forward(number: int, _: object) -> None:
        caught.append(number)
        process.send_signal(signal.SIGINT if number == signal.SIGINT else signal.SIGTERM)

    before = {number: signal.signal(number, forward) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        code = process.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return INTERRUPTED if caught and code else code


def _children_cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _content(path: Path) -> bytes:
    """Of a YAML file what it says, without its comments."""
    if path.suffix != ".yaml":
        return path.read_bytes()
    return json.dumps(parse_yaml(path.read_text(), str(path))[0], sort_keys=True).encode()


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def _write(path: Path, document: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_suffix(".new")
    new.write_text(json.dumps(document, indent=1) + "\n")
    new.replace(path)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
