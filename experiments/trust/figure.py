"""The figure of docs/trust.md: true against inherited error, from the JSON of ``edgeflownas trust``.

python experiments/trust/figure.py RESULTS/trust.json docs/images/trust.png
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

TITLES = {"base": "800 steps", "long": "2,400 steps"}


def main(source: Path, target: Path) -> None:
    """Draw a panel for each supernet of TITLES."""
    document = json.loads(source.read_text())
    subnets, zero = document["subnets"], document["zero_flow_epe"]
    taus = {row["name"]: row["tau"] for row in document["rankings"]}
    figure, panels = plt.subplots(1, len(TITLES), figsize=(10, 4.6), sharey=True, layout="constrained")
    runs = [sorted(epe for epe in row["by_seed"].values() if epe is not None) for row in subnets]
    truth = [row["truth"] for row in subnets]
    spread = [
        [t - run[0] for t, run in zip(truth, runs, strict=True)],
        [r[-1] - t for t, r in zip(truth, runs, strict=True)],
    ]
    for panel, (name, title) in zip(panels, TITLES.items(), strict=True):
        inherited = [row["epe"][name] for row in subnets]
        margins = [row["epe_margin"] for row in subnets] if name == document["rankings"][0]["name"] else None
        depth = [sum(map(int, row["code"].split(",")[:4])) for row in subnets]
        panel.errorbar(inherited, truth, yerr=spread, xerr=margins, fmt="none", ecolor="0.75", elinewidth=1, zorder=1)
        points = panel.scatter(inherited, truth, c=depth, cmap="viridis", s=28, zorder=2)
        tau = taus[name]
        panel.set_title(
            f"supernet of {title}: tau {tau['value']:.2f} [{tau['low']:.2f}, {tau['high']:.2f}]", fontsize=10
        )
        panel.set_xlabel("EPE with the supernet's weights, px")
        panel.grid(alpha=0.3)
    panels[0].set_ylabel("EPE trained alone, px (mean and range of the seeds)")
    figure.colorbar(points, ax=panels, label="residual blocks beyond the least (EB0 EB1 DB0 DB1)", shrink=0.9)
    figure.suptitle(
        f"{len(subnets)} subnets on the same {document['samples']} pairs; zero flow {zero:.2f} px", fontsize=10
    )
    target.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(target, dpi=110, metadata={"Software": None})


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
