"""Whether the working tree gives the results and words of an earlier commit, to the bit.

    python benchmarks/same_as.py BASE_COMMIT [--only NAME ...] [--keep DIR] [--list] [--same-environment]

BASE_COMMIT is checked out beside the tree, in an environment of its own (made once for each list of packages, by the
base's own ``make install``).  Both run the same small runs and commands on this machine, by the command line alone,
with one thread, and what they leave is compared: tensors by their bytes, events, manifests and tables by their content,
texts with numbers masked.  One line a case; exit code 1 where anything differs.  Nothing is stored: what counts is that
the two agree here, whatever the processor.  A change of results on purpose says so and moves BASE_COMMIT.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from _cases import CASES, Case, Step
from _contents import document_differences, folder_differences, text_differences
from _pages import LEFT_OUT
from _trees import Ended, Tree, Trees, two_trees

# Files that tell how a run was executed, not what came of it; one that was interrupted has more of them.
OF_SESSIONS = frozenset(
    {"train.log", "timing.jsonl", "lease.json", "LOCK", "config.yaml", "run_manifest.json", "manifest.json"}
    | {"checkpoints", "group.json", "ranking", "evaluations.jsonl", "best.json"}
)


def main() -> int:
    """Run the cases; 1 where something differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("commit", nargs="?", help="the commit to compare with")
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="these cases, and those they need")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="work in this folder and leave everything there")
    parser.add_argument("--list", action="store_true", help="name the cases and end")
    parser.add_argument("--same-environment", action="store_true", help="run the base with this interpreter too")
    parser.add_argument("--in-turn", action="store_true", help="base and tree one after the other, not on two cores")
    parser.add_argument("--all-lines", action="store_true", help="show every difference, not the first few")
    given = parser.parse_args()
    if given.list:
        print("\n".join(case.name for case in CASES))
        return 0
    if given.commit is None:
        parser.error("give the commit to compare with")
    unknown = set(given.only) - {case.name for case in CASES}
    if unknown:
        parser.error(f"no case is called {', '.join(sorted(unknown))}; --list names them")
    with two_trees(given.commit, given.keep, given.same_environment, served=True) as trees:
        return compare(trees, given.only, 1 if given.in_turn else 2, None if given.all_lines else 30)


def compare(trees: Trees, only: Sequence[str], at_once: int, most: int | None) -> int:
    """Run and compare the cases, one line each, with the differences below it."""
    shown = equal = 0
    started = time.monotonic()
    with ThreadPoolExecutor(at_once) as workers:
        for case in chosen(only):
            begun = time.monotonic()
            found = list(differences(case, trees, workers.map))
            if only and case.name not in only and not found:
                continue
            shown, equal = shown + 1, equal + (not found)
            verdict = f"{len(found)} differences" if found else "equal"
            print(f"{case.name:22} {verdict} ({time.monotonic() - begun:.0f} s)", flush=True)
            if any(folder.endswith(".html") for folder in case.folders):
                print(f"    pages are compared by text, cells and figure data, without {'; '.join(LEFT_OUT)}")
            for line in found[:most]:
                print(f"    {line}")
            if most is not None and len(found) > most:
                print(f"    ... {len(found) - most} more: --all-lines")
    print(f"{shown} cases, {equal} equal ({time.monotonic() - started:.0f} s)")
    return int(equal < shown)


def chosen(only: Sequence[str]) -> list[Case]:
    """The cases named and those they need, in order."""
    by_name = {case.name: case for case in CASES}
    wanted = set(only or by_name)
    pending = list(wanted)
    while pending:
        needs = {"data", *by_name[pending.pop()].needs} - wanted
        wanted |= needs
        pending += needs
    return [case for case in CASES if case.name in wanted]


def differences(case: Case, trees: Trees, each: Callable[..., Iterator[Ended]]) -> Iterator[str]:
    """Run a case in both trees and yield what differs."""
    base, tree = trees
    places = [str(place) for side in trees for place in (side.work, side.root / "src", side.python)]
    for side in trees:
        if case.before is not None:
            case.before(side.work)
    for number, step in enumerate(case.steps):
        if case.handed is not None and case.handed[0] == number:
            folder = case.handed[1]
            shutil.rmtree(tree.work / folder, ignore_errors=True)
            shutil.copytree(base.work / folder, tree.work / folder)
        ours, theirs = each(lambda side, step=step: side.run(step.words, step.ranks, step.variables), trees)
        where = f"[{' '.join(step.words[:3])}{' ...' if len(step.words) > 3 else ''}]"
        if step.code is not None and ours.code != step.code:
            yield f"{where} the base itself ends with {ours.code}, not {step.code}: {ours.err.strip()[-300:]}"
        yield from (f"{where} {text}" for text in step_differences(step, ours, theirs, places))
    for folder in case.folders:
        yield from (f"{folder}/{text}" for text in folder_differences(base.work / folder, tree.work / folder, places))
    for whole, parts in case.like:
        found = folder_differences(tree.work / whole, tree.work / parts, places, OF_SESSIONS)
        yield from (f"{parts}, unlike {whole} in the tree: {text}" for text in found)
        yield from checkpoint_differences(tree, whole, parts)


def step_differences(step: Step, ours: Ended, theirs: Ended, places: list[str]) -> Iterator[str]:
    """Exit code, documents and words of one command line."""
    if ours.code != theirs.code:
        yield f"exit code {ours.code} | {theirs.code}"
    if step.is_json and ours.code == theirs.code == 0:
        try:
            base, tree = json.loads(ours.out), json.loads(theirs.out)
        except ValueError as error:
            yield f"not one JSON document: {error}"
        else:
            yield from document_differences(base, tree, places)
    else:
        yield from (f"stdout {line}" for line in text_differences(ours.out, theirs.out, places))
    if step.ranks == 1:  # torchrun words its own warnings, with processes and times
        yield from (f"stderr {line}" for line in text_differences(ours.err, theirs.err, places))


def checkpoint_differences(tree: Tree, whole: str, parts: str) -> Iterator[str]:
    """The newest checkpoints of two runs (or of the models of two groups) of one tree, tensors and state."""
    for one in sorted((tree.work / whole).rglob("checkpoints")):
        two = tree.work / parts / one.relative_to(tree.work / whole)
        newest = max((path.name for path in one.glob("step-*") if "before" not in path.name), default="none")
        for text in folder_differences(one / newest, two / newest, [], frozenset({"manifest.json"})):
            yield f"{parts}, unlike {whole} in the tree: {newest}/{text}"


if __name__ == "__main__":
    sys.exit(main())
