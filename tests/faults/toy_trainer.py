"""A training loop in miniature with all the writes of a real one: events, tables, commits, best, several epochs.

Its weights are a pure function of the step number and of the weights before, so any interruption must end in the
same bits.  Run as a program: ``python toy_trainer.py RUN_DIRECTORY`` begins or goes on, whichever is due.
"""

import sys
import time
from pathlib import Path

import torch

from edgeflownas.files import crash_point
from edgeflownas.randomness import uniforms
from edgeflownas.run.directory import Position, RunDirectory


def train(directory, epochs=3, steps=4, every=2, nap=0.0):
    """Train until finished; returns the exit code."""
    torch.set_num_threads(1)
    path = Path(directory)
    if not path.exists():
        RunDirectory.create(path, {"train": {"num_epochs": epochs}}, {"plan": {"total_steps": epochs * steps}})
    run = RunDirectory(path)
    with run.locked():
        checkpoint = run.resume()
        if checkpoint is None:
            at, weights, best = Position(0, 0, 0), torch.zeros(4, 4, dtype=torch.float64), None
        else:
            at, weights, best = checkpoint.position, checkpoint.tensors["model"]["w"], checkpoint.state["best"]
            if checkpoint.finished:
                return 0
        while at.epoch < epochs:
            at, best = _advance(run, at, weights, best, (epochs, steps, every, nap))
    return 0


def _advance(run, at, weights, best, plan):
    epochs, steps, every, nap = plan
    if at.batch < steps:
        crash_point("step.started")
        time.sleep(nap)
        weights.mul_(0.9).add_(torch.from_numpy(uniforms(0, "toy", at.step, count=16).reshape(4, 4)))
        run.events.append({"event": "step", "step": at.step, "mean": float(weights.mean())})
        run.timing.append({"what": "step", "time": time.time()})
        crash_point("step.logged")
        at = Position(at.step + 1, at.epoch, at.batch + 1, evaluated=at.batch + 1 < steps)
        if at.evaluated and at.step % every:
            return at, best
    else:
        time.sleep(nap)
        value = float((weights - 3).abs().mean())
        after = Position(at.step, at.epoch + 1, 0)
        if best is None or value < best["value"]:
            best = {"checkpoint": after.name, "value": value}
        run.events.append({"event": "evaluation", "epoch": at.epoch, "epe": value})
        run.history.append({"epoch": at.epoch, "mean_epe_12": value})
        run.per_arch.append({"epoch": at.epoch, "code": "0,0", "epe": value})
        crash_point("evaluation.logged")
        at = after
    run.commit(at, {"best": best}, {"model": {"w": weights}}, best=best, finished=at.epoch == epochs)
    return at, best


if __name__ == "__main__":
    sys.exit(train(sys.argv[1]))
