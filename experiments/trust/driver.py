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

HERE = Path(__file__).resolve().parent
ARCHS, TWICE, GROUP = 32, 16, 8  # subnets, those of them with a second seed, subnets that share their batches
SUPERNET_SEED, SEEDS = 100, (1, 2)  # first weights and order are functions of the seed: no truth shares the supernet's
SUPERNETS = {
    "base": [],
    "long": ["--train.steps_per_epoch", "1200"],
    "shifted": ["--train.path_batches", "shifted"],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path)
    parser.add_argument("--only", nargs="*", help="names of runs (truth_s1_0, base, ...); default: all")
    split = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    options, keys = parser.parse_args(sys.argv[1:split]), sys.argv[split + 1 :]
    options.results.mkdir(parents=True, exist_ok=True)
    for name, command in commands(options.results, keys).items():
        if not options.only or name in options.only or name == "data":
            run(options.results, name, command)
        if name == "data":
            keep_moderate(options.results / "data")


def commands(results: Path, keys: list[str]) -> dict[str, list[str]]:
    """Arguments of edgeflownas by name, in the order of their worth: an interrupted experiment has an answer, too."""
    data, runs = results / "data", results / "runs"
    synth = "data synth --train 3400 --val 560 --seed 5 --height 48 --width 64 --out".split()
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
    order = [*(f"truth_s{SEEDS[0]}_{i}" for i in range(ARCHS // GROUP)), "base", f"truth_s{SEEDS[1]}_0", "long"]
    trained = supernets | truth
    order += [name for name in trained if name not in order]
    return {"data": [*synth, str(data)]} | {name: trained[name] for name in order}


def drawn(count: int) -> list[str]:
    """The first ``count`` different codes of uniform draws from the whole space."""
    from edgeflownas.space import get_space

    space, codes, seed = get_space("v1"), [], 0
    while len(codes) < count:
        code = "".join(map(str, space.sample(seed)))
        codes += [code] if code not in codes else []
        seed += 1
    return codes


def keep_moderate(data: Path) -> None:
    """Remove pairs that hardly move or move far, which a small network does not learn in these few steps."""
    import numpy as np

    from edgeflownas.data.formats import read_flo

    for file in sorted(data.glob("*/*-flow_01.flo")):
        length = np.linalg.norm(read_flo(file)[0], axis=-1)
        if not (length.mean() > 0.4 and np.percentile(length, 95) < 4.0):
            for part in file.parent.glob(f"{file.name.removesuffix('-flow_01.flo')}-*"):
                part.unlink()


def run(results: Path, name: str, command: list[str]) -> None:
    """One command, unless it was finished before; a run that was interrupted goes on."""
    done, folder = results / "done" / name, results / "runs" / name
    if done.exists():
        return
    if name == "data":
        shutil.rmtree(results / "data", ignore_errors=True)  # half a set
    elif folder.exists():
        command = ["train", "--resume", str(folder)]
    began = time.time()
    print(f"{time.strftime('%H:%M:%S')} {name}", flush=True)
    with open(results / f"{name}.log", "a") as log:
        subprocess.run([sys.executable, "-m", "edgeflownas", *command], stdout=log, stderr=log, check=True)
    done.parent.mkdir(exist_ok=True)
    done.write_text(f"{time.time() - began:.0f} s\n")


if __name__ == "__main__":
    main()
