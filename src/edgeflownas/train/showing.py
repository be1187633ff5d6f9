"""What an evaluation leaves for people to look at: drawn pairs and the refreshed report.

Nothing here is a fact of the run, so nothing here may end it: what fails is said in a warning.
"""

from __future__ import annotations

import json
import math
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edgeflownas.evaluate.pool import PoolEvaluation
from edgeflownas.train.checkpoint import Position
from edgeflownas.train.job import Job
from edgeflownas.train.state import TrainState

__all__ = ["show_evaluation"]

FOLDER = "pictures"


def show_evaluation(job: Job, state: TrainState, result: PoolEvaluation) -> None:
    """Draw eval.pictures pairs (TensorBoard, RUN/pictures) and refresh RUN/report.html, where they are wanted."""
    reported = job.config.runtime.report and job.run is not None
    try:
        if job.config.eval.pictures and (reported or job.tracker.enabled):
            _draw(job, state, result, reported)
        if reported and job.run is not None:
            job.front.report(job.run.path)
    except Exception as error:  # of whatever kind: days of training do not end over a picture
        job.console.warn(
            f"epoch {state.epoch + 1}: the report was not refreshed ({type(error).__name__}: {error}); training goes "
            "on, and `edgeflownas report` writes it later"
        )


def _roles(job: Job, result: PoolEvaluation) -> dict[int, list[str]]:
    """arch_index -> what it is, of best, baseline and worst among the archs that this process has calibrated."""
    mine = sorted(job.evaluator.mine, key=lambda i: (not math.isfinite(result.scores[i].epe), result.scores[i].epe, i))
    finite = [i for i in mine if math.isfinite(result.scores[i].epe)] or mine
    found = {finite[0]: ["best"]}
    code = job.space.baseline
    baseline = next((i for i in mine if code and job.evaluator.archs[i] == job.space.parse(code)), None)
    if baseline is not None:
        found.setdefault(baseline, []).append("baseline")
    if len(mine) > 1:
        found.setdefault(finite[-1], []).append("worst")
    return found


def _draw(job: Job, state: TrainState, result: PoolEvaluation, reported: bool) -> None:
    """Each pair of each of these archs once; TensorBoard gets the baseline's (else the best's), as ever."""
    roles = _roles(job, result)
    shown = next((i for i, names in roles.items() if "baseline" in names), next(iter(roles)))
    entries: list[dict[str, Any]] = []
    for index, names in roles.items() if reported else [(shown, roles[shown])]:
        score = result.scores[index]
        pairs = job.evaluator.pictures(job.task.net, result, score.arch, job.config.eval.pictures)
        for place, pair in enumerate(pairs):
            image = job.task.net.input_form.picture(pair.images)
            flows = (pair.predicted.permute(1, 2, 0).numpy(), pair.true.permute(1, 2, 0).numpy())
            drawn = job.front.draw(image, *flows, pair.valid.numpy())
            if index == shown:
                job.tracker.images(state.step, f"pairs/{pair.name} arch {score.arch}", drawn.picture)
            entry = {"file": f"{names[0]}-{place}.png", "roles": names, "arch_index": index, "code": str(score.arch)}
            entry |= {"epe": _finite(score.epe), "sample": pair.name, "panels": list(drawn.labels)}
            entries.append(entry | {"sample_epe": _finite(float(score.sample_epe[place]))})
            if reported:
                _write(job, str(entry["file"]), drawn.picture)
    if reported:
        _write_index(job, state, entries)


def _write(job: Job, name: str, picture: NDArray[np.uint8]) -> None:
    assert job.run is not None
    data = cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))[1]
    job.run.write_file(f"{FOLDER}/{name}", data.tobytes())


def _write_index(job: Job, state: TrainState, entries: list[dict[str, Any]]) -> None:
    """pictures/index.json, and no picture of an earlier evaluation beside it."""
    assert job.run is not None
    name = Position(state.step, state.epoch + 1, 0).name
    facts = {"epoch": state.epoch + 1, "step": state.step, "checkpoint": name, "pictures": entries}
    job.run.write_file(f"{FOLDER}/index.json", (json.dumps(facts, indent=1) + "\n").encode())
    named = {entry["file"] for entry in entries}
    for file in (job.run.path / FOLDER).glob("*.png"):
        if file.name not in named:
            file.unlink(missing_ok=True)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
