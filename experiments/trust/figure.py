"""The figure of docs/trust.md: true against inherited error, from the JSON of ``edgeflownas trust``.

python experiments/trust/figure.py RESULTS/runs_800_64.json RESULTS/runs_64.json docs/images/trust.png
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

PANELS = (
    (0, "base", "both 800 steps"),
    (1, "base", "both 1,600 steps"),
    (1, "long", "supernet 2,400, alone 1,600 steps"),
)


def main(sources: list[Path], target: Path) -> None:
    """Draw a panel for each entry of PANELS."""
    documents = [json.loads(source.read_text()) for source in sources]
    figure, axes = plt.subplots(1, len(PANELS), figsize=(13, 4.4), sharey=True, layout="constrained")
    for axis, (place, name, title) in zip(axes, PANELS, strict=True):
        points = panel(axis, documents[place], name, title)
    axes[0].set_ylabel("EPE trained alone, px")
    figure.colorbar(points, ax=axes, label="residual blocks beyond one in each of four places", shrink=0.9)
    target.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(target, dpi=110, metadata={"Software": None})


def panel(axis: Any, document: dict[str, Any], name: str, title: str) -> Any:
    """One supernet: a point a subnet, both 95 % margins of the samples, a cross for its second seed."""
    rows, own = document["subnets"], document["rankings"][0]["name"]
    inherited, truth = ([row["epe"][name] for row in rows], [row["truth"] for row in rows])
    margins = [row["epe_margin"] for row in rows] if name == own else None
    bars = {"yerr": [row["truth_margin"] for row in rows], "xerr": margins}
    axis.errorbar(inherited, truth, **bars, fmt="none", ecolor="0.75", elinewidth=1, zorder=1)
    depth = [sum(map(int, row["code"].split(",")[:4])) for row in rows]
    points = axis.scatter(inherited, truth, c=depth, cmap="viridis", s=28, zorder=3)
    for row in rows:
        for epe in (epe for epe in row["by_seed"].values() if epe not in (None, row["truth"])):
            axis.plot([row["epe"][name]] * 2, [row["truth"], epe], color="0.5", linewidth=0.8, linestyle=":", zorder=2)
            axis.plot(row["epe"][name], epe, "x", color="0.3", markersize=5, zorder=2)
    tau = next(row["tau"] for row in document["rankings"] if row["name"] == name)
    axis.set_title(f"{title}: tau {tau['value']:.2f} [{tau['low']:.2f}, {tau['high']:.2f}]", fontsize=9)
    axis.set_xlabel("EPE with the supernet's weights, px")
    axis.grid(alpha=0.3)
    return points


if __name__ == "__main__":
    main([Path(source) for source in sys.argv[1:-1]], Path(sys.argv[-1]))
