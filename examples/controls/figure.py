"""The evaluation-batches control and the figure of docs/controls.md, from the runs of the sweep.

    python examples/controls/figure.py runs/controls docs/images/controls.png

How many batches an evaluation takes changes no training, and the runs keep the error of every evaluation sample.  So 4
batches instead of 16 need no runs of their own: each fourth batch of the frozen 16 is an evaluation of 4 batches, four
disjoint ones for each baseline run.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from edgeflownas.evaluate.noise import pool_noise
from edgeflownas.evaluate.results import Label, Result, read_sample_errors, sample_errors_name
from edgeflownas.report.compare import LabelColumn, Ranked
from edgeflownas.report.plot import Course, comparison_figure
from edgeflownas.report.sweep import Ended, read_ended
from edgeflownas.train.sweep import read_plan, run_state

BATCHES, BATCH = 16, 2  # of the frozen evaluation set
CONTROLS = {
    "calibration batches, 32 (baseline) or 8": ("baseline", "calibrate_8"),
    "learning rate, cosine (baseline) or fast anneal": ("baseline", "fast_anneal"),
    "epochs, full pass (baseline), half, or an eighth": ("baseline", "by_half", "short_epochs", "short_no_repeats"),
    "clip threshold, 200 (baseline), 5 or 1": ("baseline", "clip_5", "clip_1"),
}

Points = list[tuple[float, float, float, float]]


def sample_table(folder: Path, run: Ended, epochs: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Errors [evaluations, archs, samples] and valid pixels [samples] of a run."""
    found = [read_sample_errors(folder / run.name / sample_errors_name(epoch)) for epoch in epochs]
    return np.stack([errors.sample_epe for errors in found]), found[0].valid_pixels


def figures(errors: np.ndarray, pixels: np.ndarray) -> dict[str, float]:
    """Of one curve on the given samples, as in the sweep's table."""
    means = [pool_noise(epoch, pixels).epes.mean() for epoch in errors]
    last, half = pool_noise(errors[-1], pixels), len(errors) // 2
    steps = [pool_noise(errors[i : i + 2].mean(axis=1), pixels).paired[0, 1] for i in range(half, len(errors) - 1)]
    return {
        "mean_epe": means[-1],
        "noise": last.mean_standard_error,
        "smoothness": float(np.diff(means[half:]).std()),
        "smoothness_noise": float(np.sqrt(np.mean(np.square(steps)))),
        "smallest_difference": last.smallest_difference or np.nan,
        "tied_pairs": last.tied_pairs or 0.0,
    }


def evaluation_batches(folder: Path, runs: Sequence[Ended]) -> tuple[list[str], list[Course]]:
    """Table lines and curves of 16 and 4 evaluation batches on the baseline's runs."""
    lines, series = [], []
    for count in (BATCHES, 4):
        step = BATCHES // count
        every: list[dict[str, float]] = []
        curves, spreads = [], []
        for run in runs:
            epochs = [
                row["epoch"]
                for row in map(json.loads, (folder / run.name / "events.jsonl").open())
                if row["event"] == "evaluation"
            ]
            errors, pixels = sample_table(folder, run, epochs)
            batch = np.arange(len(pixels)) // BATCH
            own = [figures(errors[..., batch % step == k], pixels[batch % step == k]) for k in range(step)]
            every += own
            spreads.append(np.std([one["mean_epe"] for one in own], ddof=1) if step > 1 else np.nan)
            for k in range(step):
                chosen = batch % step == k
                curves.append([pool_noise(epoch[:, chosen], pixels[chosen]).epes.mean() for epoch in errors])
        values = {name: [one[name] for one in every] for name in every[0]}
        told = "  ".join(f"{name} {np.mean(v):.4f} +- {np.std(v, ddof=1):.4f}" for name, v in values.items())
        lines.append(f"{count} batches: {told}  between sets of one run {np.mean(spreads):.4f}")
        seen = [place for place, _ in runs[0].course]
        table = np.array(curves)
        points = zip(seen, table.mean(0), table.min(0), table.max(0), strict=True)
        series.append(Course(f"{count} batches", [tuple(map(float, point)) for point in points]))
    return lines, series


def over_seeds(runs: Sequence[Ended]) -> Points:
    """Mean, lowest and highest of the runs' curves."""
    table = np.array([[mean for _, mean in run.course] for run in runs])
    seen = [place for place, _ in runs[0].course]
    return [tuple(map(float, p)) for p in zip(seen, table.mean(0), table.min(0), table.max(0), strict=True)]


def main(folder: Path, target: Path) -> None:
    """Print the table of the evaluation batches and write the figure."""
    runs: dict[str, list[Ended]] = {}
    for name, entry in read_plan(folder).items():
        if run_state(folder / name) == "finished":
            run = read_ended(folder / name, entry["variant"], entry["seed"], "")
            runs.setdefault(entry["variant"], []).append(run)
    lines, first = evaluation_batches(folder, runs["baseline"])
    print("\n".join(lines))
    panels = {"evaluation batches, 16 (baseline) or 4": first}
    for title, variants in CONTROLS.items():
        panels[title] = [Course(variant, over_seeds(runs[variant])) for variant in variants if variant in runs]
    zero = runs["baseline"][0].zero_flow_epe
    columns, curves = [], {}
    for title, series in panels.items():
        label = Label(title, "generated pairs", "32 evaluation samples, three seeds")
        columns.append(LabelColumn(label, (Ranked(1, Result("", "zero flow", None, label, "model", {"epe": zero})),)))
        curves[label] = series
    picture = comparison_figure(columns, curves, ("line: mean over seeds (and sets)", "band: lowest to highest"))
    picture = cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_COLOR)
    small = cv2.resize(picture, None, fx=0.7, fy=0.7, interpolation=cv2.INTER_AREA) & 0xF8  # fewer shades, a small file
    cv2.imwrite(str(target), small | small >> 5, [cv2.IMWRITE_PNG_COMPRESSION, 9])


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
