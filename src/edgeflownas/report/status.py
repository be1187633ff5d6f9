"""The state of every run below a folder, read without its lock and without touching it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from edgeflownas.errors import StorageError
from edgeflownas.files import read_rows
from edgeflownas.run.directory import RunDirectory, holder


def run_states(root: Path) -> list[dict[str, Any]]:
    """One row a run, in order of their names; links are not followed, runs do not nest.

    A run that cannot be read has state ``unreadable`` and says why.  Raises StorageError where ``root`` is no folder.
    """
    if not root.is_dir():
        raise StorageError(f"{root}: not a folder; give the folder that holds the run directories")
    rows = []
    for folder, children, files in os.walk(root):
        if "run_manifest.json" in files:
            children.clear()
            try:
                rows.append(_run_state(Path(folder)))
            except (StorageError, KeyError, TypeError) as problem:
                rows.append({"run": folder, "state": "unreadable", "problem": str(problem)})
        children[:] = sorted(name for name in children if not name.startswith("."))
    return rows


def _run_state(path: Path) -> dict[str, Any]:
    run = RunDirectory(path)
    commit, owner = run.newest_commit(), holder(path)
    best = run.read_best() if (path / "best.json").exists() else None
    step = commit["position"]["step"] if commit else 0
    total = run.manifest.get("plan", {}).get("total_steps")
    if owner is not None:
        state = "running" if owner["here"] else "locked"  # of another machine: cannot be told from here
    else:
        state = "begun" if commit is None else "finished" if commit["finished"] else "interrupted"
    pace = _seconds_a_step(read_rows(path / "timing.jsonl"))
    left = None if pace is None or total is None or state == "finished" else max(total - step, 0) * pace
    return {
        "run": str(path),
        "state": state,
        "step": step,
        "total_steps": total,
        "epoch": commit["position"]["epoch"] if commit else 0,
        "best": best,
        "seconds_left": left,
        "lock_owner": owner and {key: owner[key] for key in ("host", "pid", "started")},
        "generated_data": run.manifest.get("generated_data", False),
    }


def _seconds_a_step(timing: Iterable[Mapping[str, Any]]) -> float | None:
    """Pace of the last session: time between its first and last mark over the steps between them."""
    marks: list[tuple[float, int]] = []
    for row in timing:
        if row.get("what") == "resume":
            marks.clear()
        if row.get("what") in ("resume", "commit") and {"time", "step"} <= row.keys():
            marks.append((row["time"], row["step"]))
    if len(marks) < 2 or marks[-1][1] <= marks[0][1]:
        return None
    return max(0.0, (marks[-1][0] - marks[0][0]) / (marks[-1][1] - marks[0][1]))


def status_text(rows: Sequence[Mapping[str, Any]], root: Path) -> str:
    """The rows as aligned text."""
    if not rows:
        return f"no runs below {root} (a run directory holds run_manifest.json)"
    cells = [("run", "state", "step", "epoch", "best", "time left", "lock owner"), *map(_cells, rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join("  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in cells)


def _cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    if row["state"] == "unreadable":
        return (row["run"], f"unreadable: {row['problem']}", *[""] * 5)
    best, owner, told, held = row["best"], row["lock_owner"], "", ""
    if best:
        value = best.get("value")
        told = f"{value:.4f} at {best['checkpoint']}" if isinstance(value, float) else str(best["checkpoint"])
    if owner:
        since = time.strftime("%Y-%m-%d %H:%M", time.localtime(owner["started"]))
        held = f"{owner['host']}:{owner['pid']} since {since}"
    step = f"{row['step']}/{row['total_steps']}" if row["total_steps"] else str(row["step"])
    return row["run"], row["state"], step, str(row["epoch"]), told, _clock(row["seconds_left"]), held


def _clock(seconds: float | None) -> str:
    if seconds is None:
        return ""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02d}m" if hours else f"{minutes}m{rest:02d}s"
