"""The experiment of docs/trust.md: can the ranking of a small supernet be trusted?

    python experiments/trust/driver.py RESULTS [--only NAME ...] [-- --GROUP.KEY VALUE ...]

Makes the data, trains the supernets and the subnets alone, and measures them, all below RESULTS, by ``edgeflownas``
commands.  The same command goes on where it was stopped and skips what is finished.  Keys after ``--`` go to every run.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import time
from pathlib import Path

from pairs import write_pairs

HERE = Path(__file__).resolve().parent
ARCHS, TWICE, GROUP = 32, 32, 8  # subnets, those of them with a second seed, subnets that share their batches
SUPERNET_SEED, SEEDS = 100, (1, 2)  # first weights and order are functions of the seed: no truth shares the supernet's
SUPERNETS = {
    "base": [],
    "long": ["--train.steps_per_epoch", "1200"],
    "shifted": ["--train.path_batches", "shifted"],
}


def main() -> None:
    """Run everything that is not finished, one process at a time."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path)
    parser.add_argument("--only", nargs="*", help="names of runs (truth_s1_0, base, ...); default: all")
    split = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    options, keys = parser.parse_args(sys.argv[1:split]), sys.argv[split + 1 :]
    make_data(options.results)
    for name, command in commands(options.results, keys).items():
        if not options.only or name in options.only:
            run(options.results, name, command)


def commands(results: Path, keys: list[str]) -> dict[str, list[str]]:
    """Arguments of edgeflownas by name, in the order of their worth: an interrupted experiment has an answer, too."""
    data, runs = results / "data", results / "runs"
    common = ["train", str(HERE / "trust.yaml"), "--runtime.output_root", str(runs)]
    common += ["--data.train_dir", str(data / "train"), "--data.val_dir", str(data / "val"), *keys]
    supernets = {
        name: [*common, *own, "--runtime.experiment_name", name, "--runtime.seed", str(SUPERNET_SEED)]
        for name, own in SUPERNETS.items()
    }
    codes, truth = drawn(ARCHS), {}
    for seed, count in zip(SEEDS, (ARCHS, TWICE), strict=True):
        for first in range(0, count, GROUP):
            name, group = f"truth_s{seed}_{first // GROUP}", codes[first : first + GROUP]
            archs = [token for code in group for token in ("--train.arch", code)]
            own = ["--train.task", "standalone", *archs, "--train.arch_name", ",".join(group)]
            truth[name] = [*common, *own, "--runtime.experiment_name", name, "--runtime.seed", str(seed)]
    order = [*(f"truth_s{SEEDS[0]}_{i}" for i in range(ARCHS // GROUP)), "base", f"truth_s{SEEDS[1]}_0", *SUPERNETS]
    trained = supernets | truth
    return {name: trained[name] for name in [*order, *trained]}


def drawn(count: int) -> list[str]:
    """The first ``count`` different codes of uniform draws from the whole space."""
    from edgeflownas.space import get_space

    space, codes, seed = get_space("v1"), [], 0
    while len(codes) < count:
        code = "".join(map(str, space.sample(seed)))
        codes += [code] if code not in codes else []
        seed += 1
    return codes


def make_data(results: Path) -> None:
    """The pairs of all runs, complete or not at all."""
    data, begun = results / "data", results / "data.begun"
    if not data.exists():
        shutil.rmtree(begun, ignore_errors=True)
        write_pairs(begun, seed=5, train=1600, val=256)
        begun.rename(data)


def run(results: Path, name: str, command: list[str]) -> None:
    """One command, unless it was finished before; a run that was interrupted goes on."""
    done, folder = results / "done" / name, results / "runs" / name
    if done.exists():
        return
    if folder.exists():
        command = ["train", "--resume", str(folder)]
    began = time.time()
    print(f"{time.strftime('%H:%M:%S')} {name}", flush=True)
    with open(results / f"{name}.log", "a") as log:
        subprocess.run([sys.executable, "-m", "edgeflownas", *command], stdout=log, stderr=log, check=True)
    done.parent.mkdir(exist_ok=True)
    done.write_text(f"{time.time() - began:.0f} s\n")


if __name__ == "__main__":
    main()
