"""``edgeflownas status``: every run below a folder, without touching any of them."""

from pathlib import Path

from edgeflownas.commands._shared import Csv, write_table


def status(root: Path = Path("."), *, csv: Csv | None = None, json: bool = False) -> None:
    """Show the runs below a folder: state, step, best, time left, lock owner.

    Example: edgeflownas status runs

    Args:
        root: Folder to look through; a run directory itself is fine too.
        json: Print a JSON list instead of the table.
    """
    from edgeflownas.files import row_text
    from edgeflownas.report.console import Console
    from edgeflownas.report.run_facts import run_states
    from edgeflownas.report.run_views import status_view
    from edgeflownas.report.table import text_of

    rows = run_states(root)
    blocks = status_view(rows, root)
    print("[" + ",\n ".join(row_text(row, ascii=True) for row in rows) + "]" if json else text_of(blocks))
    if csv is not None:
        Console().wrote({"csv": write_table(blocks, csv)})
