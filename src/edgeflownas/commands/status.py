"""`edgeflownas status`: every run below a folder, without touching any of them."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

__all__ = ["status"]


def status(root: Path = Path("."), *, json: bool = False) -> None:
    """Show the runs below a folder: state, step, best, time left, lock owner.

    Example: edgeflownas status runs

    Args:
        root: Folder to look through; a run directory itself is fine too.
        json: Print a JSON list instead of the table.
    """
    from edgeflownas.errors import StorageError
    from edgeflownas.files import row_text

    if not root.is_dir():
        raise StorageError(f"{root}: not a folder; give the folder that holds the run directories")
    rows = [run_status(path) for path in find_runs(root)]
    if json:
        print("[" + ",\n ".join(map(row_text, rows)) + "]")
    else:
        print(table(rows, root))


def find_runs(root: Path) -> Iterator[Path]:
    """Folders with a run_manifest.json, in order of their names; links are not followed."""
    for folder, children, files in os.walk(root):
        if "run_manifest.json" in files:
            children.clear()  # runs do not nest
            yield Path(folder)
        children[:] = sorted(name for name in children if not name.startswith("."))


def run_status(path: Path) -> dict[str, Any]:
    """State of one run, read without its lock; a run that cannot be read has state ``unreadable`` and says why."""
    from edgeflownas.errors import StorageError
    from edgeflownas.files import read_rows
    from edgeflownas.run.directory import RunDirectory
    from edgeflownas.run.lock import holder

    try:
        run = RunDirectory(path)
        commit = run.newest_commit()
        best = run.read_best() if (path / "best.json").exists() else None
    except (StorageError, KeyError, TypeError) as problem:
        return {"run": str(path), "state": "unreadable", "problem": str(problem)}
    step = commit["position"]["step"] if commit else 0
    total = run.manifest.get("plan", {}).get("total_steps")
    owner = holder(path)
    state = _state(owner, commit)
    pace = _seconds_a_step(list(read_rows(path / "timing.jsonl")))
    left = None if None in (pace, total) or state == "finished" else max(total - step, 0) * pace
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


def _state(owner: dict[str, Any] | None, commit: dict[str, Any] | None) -> str:
    if owner is not None:
        return "running" if owner["here"] else "locked"  # of another machine: cannot be told from here
    if commit is None:
        return "begun"
    return "finished" if commit["finished"] else "interrupted"


def _seconds_a_step(timing: list[dict[str, Any]]) -> float | None:
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


def table(rows: list[dict[str, Any]], root: Path) -> str:
    """The rows as aligned text."""
    if not rows:
        return f"no runs below {root} (a run directory holds run_manifest.json)"
    cells = [("run", "state", "step", "epoch", "best", "time left", "lock owner"), *map(_cells, rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(cells[0]))]
    return "\n".join("  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in cells)


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    if row["state"] == "unreadable":
        return (row["run"], f"unreadable: {row['problem']}", *[""] * 5)
    owner = row["lock_owner"]
    return (
        row["run"],
        row["state"],
        f"{row['step']}/{row['total_steps']}" if row["total_steps"] else str(row["step"]),
        str(row["epoch"]),
        _best(row["best"]),
        _duration(row["seconds_left"]),
        f"{owner['host']}:{owner['pid']} since {_clock(owner['started'])}" if owner else "",
    )


def _best(best: dict[str, Any] | None) -> str:
    if not best:
        return ""
    value = best.get("value")
    return f"{value:.4f} at {best['checkpoint']}" if isinstance(value, float) else str(best["checkpoint"])


def _clock(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return ""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02d}m" if hours else f"{minutes}m{rest:02d}s"
