"""The experiment of docs/trust.md: can the ranking of a small supernet be trusted?

    python experiments/trust/driver.py RESULTS [-- --GROUP.KEY VALUE ...]

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
ARCHS, TWICE, GROUP = 32, 8, 8  # subnets, those of them with a second seed, subnets that share their batches
SEEDS = (1, 2)  # first weights and order are functions of the seed: no truth shares a supernet's
SUPERNETS = {
    "base": ["--runtime.seed", "100"],
    "long": ["--runtime.seed", "100", "--train.steps_per_epoch", "1200"],
    "shifted": ["--runtime.seed", "100", "--train.path_batches", "shifted"],
    "again": ["--runtime.seed", "101"],
}
# Calibration batches of 8 for truth and supernets alike (the runs' own sets have 32), and others for `base` alone.
CALIBRATIONS = {"32": ("4", "16", "64"), "64": ("16", "32")}
LONGER = ("--train.num_epochs", "4", "--train.lr_plan", "restretch")  # 800 steps become 1,600


def main() -> None:
    """Run everything that is not finished, one process at a time."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path)
    split = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    options, keys = parser.parse_args(sys.argv[1:split]), sys.argv[split + 1 :]
    make_data(options.results)
    planned = commands(options.results, keys)
    for name, command in planned.items():
        run(options.results, name, command)
    keep(options.results)
    for name in planned:
        if name != "long":
            run(options.results, f"{name}_1600", ["train", "--resume", str(options.results / "runs" / name), *LONGER])
    for place in ("runs_800", "runs"):
        for batches in CALIBRATIONS:
            measure(options.results, place, batches, [name for name in planned if name not in SUPERNETS])


def commands(results: Path, keys: list[str]) -> dict[str, list[str]]:
    """Arguments of edgeflownas by name, in the order of their worth: an interrupted experiment has an answer, too."""
    data, runs = results / "data", results / "runs"
    common = ["train", str(HERE / "trust.yaml"), "--runtime.output_root", str(runs)]
    common += ["--data.train_dir", str(data / "train"), "--data.val_dir", str(data / "val"), *keys]
    supernets = {name: [*common, *own, "--runtime.experiment_name", name] for name, own in SUPERNETS.items()}
    codes, truth = drawn(ARCHS), {}
    for seed, count in zip(SEEDS, (ARCHS, TWICE), strict=True):
        for first in range(0, count, GROUP):
            name, group = f"truth_s{seed}_{first // GROUP}", codes[first : first + GROUP]
            archs = [token for code in group for token in ("--train.arch", code)]
            own = ["--train.task", "standalone", *archs, "--train.arch_name", ",".join(group)]
            truth[name] = [*common, *own, "--runtime.experiment_name", name, "--runtime.seed", str(seed)]
    first = [name for name in truth if name.startswith(f"truth_s{SEEDS[0]}")]
    trained = supernets | truth
    return {name: trained[name] for name in [*first, "base", *truth, *SUPERNETS]}


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
    if folder.exists():  # interrupted
        command = ["train", "--resume", str(folder)]
    began = time.time()
    print(f"{time.strftime('%H:%M:%S')} {name}", flush=True)
    with open(results / f"{name}.log", "a") as log:
        subprocess.run([sys.executable, "-m", "edgeflownas", *command], stdout=log, stderr=log, check=True)
    done.parent.mkdir(exist_ok=True)
    done.write_text(f"{time.time() - began:.0f} s\n")


def keep(results: Path) -> None:
    """A copy of the runs as they are after 800 steps, complete or not at all."""
    begun, kept = results / "runs_800.begun", results / "runs_800"
    if not kept.exists():
        shutil.rmtree(begun, ignore_errors=True)
        shutil.copytree(results / "runs", begun)
        begun.rename(kept)


def measure(results: Path, place: str, batches: str, truth: list[str]) -> None:
    """RESULTS/PLACE_BATCHES.json: the supernets and calibration sizes against the subnets trained alone."""
    target = results / f"{place}_{batches}.json"
    if target.exists():
        return
    base, *others = (str(results / place / name) for name in SUPERNETS)
    alone = [str(results / place / name) for name in sorted(truth)]
    command = ["trust", base, "--truth", *alone, "--against", *others, "--calibrations", *CALIBRATIONS[batches]]
    command += ["--eval.bn_recal_batches", batches, "--json"]
    print(f"{time.strftime('%H:%M:%S')} edgeflownas {' '.join(command)}", flush=True)
    done = subprocess.run([sys.executable, "-m", "edgeflownas", *command], stdout=subprocess.PIPE, check=True)
    target.write_bytes(done.stdout)


if __name__ == "__main__":
    main()
