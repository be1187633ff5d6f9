"""What `make quickstart` runs: pairs, a supernet, then its best subnet trained alone for some seconds, and a picture.

    python examples/quickstart.py [--runtime.seed 1 ...]

Keys are given to both trainings.  Each command is shown before it runs; the pairs are made once.
"""

from __future__ import annotations

import json
import shlex
import sys
import time
from pathlib import Path

from edgeflownas import cli
from edgeflownas.run.history import evaluations

PAIRS = "--kind texture --motion 3 --size 48x64 --out quickstart/pairs --train 800 --val 64 --seed 0"
ALONE = "--train.num_epochs 4 --train.lr 3e-3 --eval.pictures 16"


def main(keys: list[str]) -> None:
    """Everything below quickstart/pairs and two folders of runs/; SystemExit with the code of what did not end well."""
    pool = Path("runs") / f"quickstart-{time.strftime('%Y%m%d-%H%M%S')}"
    alone = pool.with_name(f"{pool.name}-best")
    call("data", "synth", *PAIRS.split())
    call("train", "quickstart", "--runtime.experiment_name", pool.name, *keys)
    last = evaluations(pool)[-1]
    best = last.codes[last.epes.index(min(last.epes))]
    origin = ("--train.task", "standalone", "--train.arch", best, "--train.init_from", str(pool))
    call("train", "quickstart", *origin, *ALONE.split(), "--runtime.experiment_name", alone.name, *keys)
    pairs = json.loads((alone / "pictures/index.json").read_text())["pictures"]
    shown = min(pairs, key=lambda pair: pair["sample_epe"] / pair["zero_flow_epe"])
    whole = evaluations(alone)[-1]
    print(
        f"\nOpen {pool}/report.html: the curve, the twelve subnets with their EPE against zero flow, pictures.\n"
        f"See  {alone}/pictures/{shown['file']}: subnet {best} on the clearest of {len(pairs)} pairs not trained on, "
        f"EPE {shown['sample_epe']:.2f} px, zero flow {shown['zero_flow_epe']:.2f} px "
        f"(on all: {whole.mean:.2f} and {whole.figure('zero_flow_epe'):.2f} px).\n"
        f"Next edgeflownas rank {pool}: all 19,683 subnets; docs/quickstart.md says what was written; make pipeline."
    )


def call(*words: str) -> None:
    """Show a command and run it.  Raises SystemExit with its code where that is not 0."""
    print(f"\n$ edgeflownas {shlex.join(words)}", flush=True)
    if code := cli.run(list(words)):
        sys.exit(code)


if __name__ == "__main__":
    main(sys.argv[1:])
