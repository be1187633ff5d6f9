"""``edgeflownas status``: every run below a folder, without touching any of them."""

from __future__ import annotations

from pathlib import Path


def status(root: Path = Path("."), *, json: bool = False) -> None:
    """Show the runs below a folder: state, step, best, time left, lock owner.

    Example: edgeflownas status runs

    Args:
        root: Folder to look through; a run directory itself is fine too.
        json: Print a JSON list instead of the table.
    """
    from edgeflownas.files import row_text
    from edgeflownas.report.status import run_states, status_text

    rows = run_states(root)
    print("[" + ",\n ".join(map(row_text, rows)) + "]" if json else status_text(rows, root))
