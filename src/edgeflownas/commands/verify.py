"""``edgeflownas verify``: a deploy folder held against its own report, and against the run it was made from."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeflownas.commands._shared import Overrides, WholeNumber, emit
from edgeflownas.errors import ConfigError, DataError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["verify"]


def verify(
    folder: Path,
    run: Path | None = None,
    /,
    *,
    data: str | None = None,
    pairs: WholeNumber | None = None,
    json: bool = False,
    overrides: Overrides = (),
) -> int:
    """Check an exported folder again.

    Example: edgeflownas verify DIR [RUN]

    Without a run: the files have the hashes of report.json, and LiteRT gives exactly the stored test vectors. With it:
    also the same pairs through the trained network and every file, as export does. Exits with 65 where anything fails.
    docs/verify.md.

    Args:
        folder: folder, as export made it.
        run: run (or weights) that it was made from.
        data: pairs to compare on: a data set or folder, or synth; default: the run's validation data.
        pairs: how many of them (16).
        json: machine-readable result on stdout.
        overrides: configuration keys that are others here, such as --data.val_dir DIR where the data moved.
    """
    if run is None and (given := [*(["--data"] * bool(data)), *(["--pairs"] * bool(pairs)), *overrides]):
        raise ConfigError(f"{given[0]} belongs to a comparison with the run: edgeflownas verify DIR RUN")

    from edgeflownas.export.check import check_folder, read_report

    report = read_report(folder)
    checked = check_folder(folder, report)
    comparison = None
    if run is not None and not checked.reasons:
        comparison = _compared(folder, report, run, overrides, data, pairs or 16)
    reasons = [*checked.reasons, *(comparison["reasons"] if comparison else _stored_reasons(report))]
    document = {
        "folder": folder.name,
        "model": report["model"],
        "verdict": "failed" if reasons else "passed",
        **checked.document(),
        "reasons": reasons,
        "verification": comparison,
    }
    from edgeflownas.report.verify_text import folder_text

    emit(document, folder_text, json)
    return DataError.exit_code if reasons else 0


def _stored_reasons(report: Mapping[str, Any]) -> list[str]:
    """What the export itself found, where nothing is compared anew."""
    if report["verification"] is None:
        return []
    return [f"at the export: {reason}" for reason in report["verification"]["reasons"]]


def _compared(
    folder: Path, report: Mapping[str, Any], run: Path, overrides: Sequence[str], data: str | None, count: int
) -> dict[str, Any]:
    """Document of the comparison with the run.  Raises ConfigError where the folder was made of other weights."""
    from edgeflownas.export.artefacts import deploy
    from edgeflownas.export.build import verify_models
    from edgeflownas.export.check import stored_models
    from edgeflownas.export.pairs import open_pairs
    from edgeflownas.export.source import EXPORTED, extracted
    from edgeflownas.report.console import Console
    from edgeflownas.run.run import Run

    console, facts = Console(), report["model"]
    arch = None if facts["code"] == facts["space"] else facts["code"]
    _, _, made_of = facts["weights"].partition("/")
    checkpoint = "best" if run.is_file() or not made_of else made_of
    opened = Run.open(run, overrides, console.info, used=EXPORTED, what="this")
    source = extracted(opened.subnet(arch, checkpoint), console.task)
    if source.checkpoint.hash != facts["weights_hash"]:
        raise ConfigError(
            f"{run}: its weights are {source.checkpoint.hash[:16]}, the folder was made of "
            f"{facts['weights_hash'][:16]} ({facts['weights']}): give that run"
        )
    size = tuple(facts["size"])
    pairs = open_pairs("--data", data, "val", opened.config.data, count, size, console.info)
    deployed = deploy(source, size, facts["outputs"], facts["uncertainty"], "minmax", None)
    with console.task("verify", len(pairs)) as meter:
        return verify_models(deployed, stored_models(folder, report), pairs, meter.advance)
