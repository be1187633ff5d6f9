"""Times of the working tree against those of an earlier commit, in turn on this machine.

    python benchmarks/side_by_side.py BASE_COMMIT [--pairs 5] [--only NAME ...] [--same-environment]

Each row is measured base, tree, base, tree, ...: the median of each side, and the median of the ratios of the pairs,
which a machine that changes its speed moves less.  Exit code 1 where a ratio is above --limit.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Callable
from statistics import median
from typing import Any

from _trees import Tree, Trees, two_trees

SMALL = (
    *("--runtime.output_root=runs", "--runtime.num_threads=1", "--runtime.report=false", "--train.width=4"),
    *("--train.num_epochs=1", "--data.train_dir=data/train", "--data.val_dir=data/val", "--data.num_workers=0"),
)


def main() -> int:
    """Measure and print the rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("commit", help="the commit to compare with")
    parser.add_argument("--pairs", type=int, default=5, help="measurements of each side (5)")
    parser.add_argument("--only", nargs="+", choices=ROWS, default=list(ROWS), metavar="NAME", help=", ".join(ROWS))
    parser.add_argument("--threads", type=int, default=1, help="threads of each side (1)")
    parser.add_argument("--limit", type=float, default=1.03, help="largest ratio of times that is not slower (1.03)")
    parser.add_argument("--same-environment", action="store_true", help="run the base with this interpreter too")
    given = parser.parse_args()
    slower = []
    with two_trees(given.commit, None, given.same_environment, given.threads) as trees:
        for tree in trees:
            said(tree, "data", "synth", "--out=data", "--train=32", "--val=8", "--seed=0")
            said(tree, "train", "smoke", *SMALL)
        print(f"{'':24} {'base':>10} {'tree':>10} {'ratio':>7}   ratios of the pairs")
        for name in given.only:
            ratios = row(name, ROWS[name], trees, given.pairs)
            slower += [name] if median(ratios) > given.limit else []
    print(f"slower by more than {100 * (given.limit - 1):.0f} %: {', '.join(slower) or 'none'}")
    return int(bool(slower))


def row(name: str, seconds: Callable[[Tree], float], trees: Trees, pairs: int) -> list[float]:
    """Time one thing in turn, print its row, and return tree / base of each pair."""
    for tree in trees:
        seconds(tree)  # files into the page cache, modules compiled
    times = [(seconds(trees.base), seconds(trees.tree)) for _ in range(pairs)]
    ratios = [tree / base for base, tree in times]
    base, tree = (median(side) for side in zip(*times, strict=True))
    shown = " ".join(f"{ratio:.3f}" for ratio in ratios)
    print(f"{name:24} {base:>8.4g} s {tree:>8.4g} s {median(ratios):>7.3f}   {shown}", flush=True)
    return ratios


def said(tree: Tree, *words: str) -> str:
    """What a command that must end well prints on stdout."""
    ended = tree.run(words)
    if ended.code:
        raise SystemExit(f"{tree.name}: edgeflownas {' '.join(words)} ended with {ended.code}: {ended.err}")
    return ended.out


def benchmark(tree: Tree, name: str, *words: str) -> dict[str, Any]:
    """Figures of a benchmark: a script beside the package, or the command `edgeflownas bench` of older trees."""
    script = tree.root / "benchmarks" / f"{name.replace('-', '_')}.py"
    if not script.exists():
        document: dict[str, Any] = json.loads(said(tree, "bench", name, *words, "--json"))
        return document
    ended = tree.python_run([str(script), *words, "--json"])
    if ended.code:
        raise SystemExit(f"{tree.name}: {script} ended with {ended.code}: {ended.err}")
    document = json.loads(ended.out)
    return document


def train_step(tree: Tree) -> float:
    """Seconds of a training step."""
    return float(benchmark(tree, "train-step", "--width=16", "--batch=4", "--rounds=7")["step_seconds"])


def loader(workers: int) -> Callable[[Tree], float]:
    """Seconds a sample of the loader with a number of threads."""

    def seconds(tree: Tree) -> float:
        words = ["data/train", f"--workers={workers}", "--batches=8"]
        if not (tree.root / "benchmarks" / "loader.py").exists():
            words.append("--worker-kind=thread")  # older trees had processes too
        (figures,) = benchmark(tree, "loader", *words).values()
        return 1 / float(figures["samples_per_second"])

    return seconds


def commit(tree: Tree) -> float:
    """Seconds of a commit."""
    return float(benchmark(tree, "commit", "--width=16", "--rounds=9", f"--out={tree.work}")["commit_seconds"])


def forty_steps(width: int, size: str, *words: str) -> Callable[[Tree], float]:
    """Seconds of 40 steps of `train smoke` with batch 16, loading included: a run of 48 less one of 8."""
    few = ("--eval.eval_pool_size=1", "--eval.eval_batches_per_arch=1", "--eval.bn_recal_batches=1")
    size_of_work = (f"--train.width={width}", f"--data.crop_size=[{size}]", "--train.batch_size=16")
    run = (*SMALL, *few, *size_of_work, "--data.num_workers=1", *words)  # read while the step computes, as by default

    def seconds(tree: Tree) -> float:
        times = []
        for steps in (8, 48):
            length = ("--train.epoch_mode=fixed_steps", f"--train.steps_per_epoch={steps}")
            times.append(command("train", "smoke", *run, *length, f"--runtime.experiment_name=steps-{steps}")(tree))
            shutil.rmtree(tree.work / "runs" / f"steps-{steps}")
        return times[1] - times[0]

    return seconds


def command(*words: str) -> Callable[[Tree], float]:
    """Seconds of a command line, the start of the interpreter included."""

    def seconds(tree: Tree) -> float:
        ended = tree.run(words)
        if ended.code:
            raise SystemExit(f"{tree.name}: edgeflownas {' '.join(words)} ended with {ended.code}: {ended.err}")
        return ended.seconds

    return seconds


def anew(folder: str, *words: str) -> Callable[[Tree], float]:
    """As :func:`command`, of one that writes ``folder``, which is removed before."""
    timed = command(*words)

    def seconds(tree: Tree) -> float:
        shutil.rmtree(tree.work / folder, ignore_errors=True)
        return timed(tree)

    return seconds


ALONE = ("--train.task=standalone", "--train.arch=000021222")
ROWS: dict[str, Callable[[Tree], float]] = {
    "train-step": train_step,
    **{
        f"steps-{kind}-{width}-{size.replace(', ', 'x')}": forty_steps(width, size, *words)
        for width in (8, 16)
        for kind, words in (("supernet", ()), ("alone", ALONE))
        for size in ("96, 128", "192, 256")
    },
    "loader": loader(0),
    "loader-2-threads": loader(2),
    "commit": commit,
    "help": command("--help"),
    "train-help": command("train", "--help"),
    "status": command("status", "runs"),
    "train": command("train", "smoke", *SMALL, "--dry-run", "--runtime.experiment_name=dry"),
    "evaluate": command("evaluate", "runs/smoke"),
    "report": command("report", "runs/smoke", "--out=report.html"),
    "rank": anew("ranking", "rank", "runs/smoke", "--sample=400", "--yes", "--out=ranking"),
    "export": anew("deploy", "export", "runs/smoke", "--size=48x64", "--out=deploy"),
}

if __name__ == "__main__":
    sys.exit(main())
