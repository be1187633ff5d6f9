"""``edgeflownas data list``: which data sets this machine has."""

from __future__ import annotations


def list_sets(*, config: str | None = None, json: bool = False) -> int:
    """Show every data set: found or not, samples of each variant, where, and what named the folder.

    A folder is named by data.roots in a recipe, by EDGEFLOWNAS_DATA_NAME, or by a line in
    ~/.config/edgeflownas/datasets.yaml, in this order.

    Args:
        config: recipe whose data.roots is used.
        json: one object for each data set.
    """
    from dataclasses import asdict
    from json import dumps

    from edgeflownas.config.load import load_config
    from edgeflownas.data.sets import list_datasets

    sets = list_datasets(load_config(config).data.roots)
    if json:
        print(dumps({"sets": [asdict(row) for row in sets]}, indent=2))
        return 0
    for row in sets:
        if row.root is None:
            print(f"{row.name:16} no folder is known; it would hold {row.layout}")
            continue
        print(f"{row.name:16} {'found' if row.found else 'NOT FOUND'} in {row.root} (named by {row.named_by})")
        for variant in row.variants:
            what = f"{variant.samples:,} samples" if variant.samples is not None else f"- {variant.problem}"
            print(f"    {variant.variant:14} {what}")
    return 0
