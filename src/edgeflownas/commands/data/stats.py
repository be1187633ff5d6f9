"""``edgeflownas data stats``: flow magnitudes."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgeflownas.data.dataset import FlowDataset


def stats(*specs: str, config: str | None = None, json: bool = False) -> int:
    """Measure the flow of data sets: mean, median, percentiles, share beyond the default clip, each under its label.

    Warns where the official validation set of FlyingChairs2 and the hold-out of its training folder are both given.

    Args:
        specs: the folder of one split, one that holds train/ and val/, or a data set by name (sintel:final@FOLDER).
        config: recipe whose data.roots is used.
        json: one JSON object for each split.
    """
    import sys
    from dataclasses import asdict
    from json import dumps

    from edgeflownas.commands.data.progress import progress
    from edgeflownas.config.load import load_config
    from edgeflownas.data.check import flow_statistics, mixed_validation
    from edgeflownas.data.fingerprint import fingerprint
    from edgeflownas.errors import ConfigError

    if not specs:
        raise ConfigError(
            "data stats: nothing to measure; give folders or data sets, such as sintel:final@/data/sintel"
        )
    roots = load_config(config).data.roots
    sets = [found for spec in specs for found in _opened(spec, roots)]
    found = [(each, flow_statistics(each, progress(f"measuring {each.split}")), fingerprint(each)) for each in sets]
    warning = mixed_validation(mark for _, _, mark in found)
    if json:
        rows = [
            {"label": mark.label, "name": each.name, "split": each.split, "source": each.source, **asdict(row)}
            for each, row, mark in found
        ]
        print(dumps({"sets": rows, "warnings": [warning] if warning else []}, indent=2))
        return 0
    for _, row, mark in found:
        print(f"{mark.label}: {row.samples} samples, {row.invalid_share:.2%} of the pixels invalid")
        print(
            f"  flow magnitude in px: mean {row.mean:.2f}, median {row.median:.2f}, p90 {row.p90:.2f}, "
            f"p99 {row.p99:.2f}, max {row.maximum:.2f}; {row.share_beyond_50:.2%} with a component beyond 50"
        )
    if warning:
        print(f"warning: {warning}", file=sys.stderr)
    return 0


def _opened(spec: str, roots: dict[str, str]) -> list[FlowDataset]:
    """One data set, or the two splits of a folder that holds both."""
    from pathlib import Path

    from edgeflownas.data.sets import is_named, open_dataset

    folder = Path(spec)
    if is_named(spec) or not folder.is_dir():
        return [open_dataset(spec, "val", "data stats", roots)]
    splits = [split for split in ("train", "val") if (folder / split).is_dir()]
    if splits:
        return [open_dataset(str(folder / split), split, "data stats", roots) for split in splits]
    name = folder.resolve().name
    return [open_dataset(spec, name if name in ("train", "val", "test") else "folder", "data stats", roots)]
