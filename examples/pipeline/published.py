"""Models of width 32 with made-up kernels, for their cost alone: the published EdgeFlowNet and a shortlist's subnets.

python examples/pipeline/published.py OUT --shortlist shortlist.yaml
"""

from __future__ import annotations

import argparse
from pathlib import Path

from edgeflownas.config.load import parse_yaml
from edgeflownas.hardware.tflite import cost_model_bytes
from edgeflownas.models.graph import edgeflownet_graph, subnet_graph
from edgeflownas.space import get_space

WIDTH = 32
SIZE = (176, 224)  # for all that is compared
PUBLISHED = (172, 224)  # where the published figure was given


def main() -> None:
    """Write published_172x224.tflite, published_176x224.tflite and NAME.tflite of every subnet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--shortlist", type=Path, required=True)
    given = parser.parse_args()
    train = parse_yaml(given.shortlist.read_text(), str(given.shortlist))[0]["train"]
    space = get_space(train["space"])
    graphs = {f"published_{size[0]}x{size[1]}": edgeflownet_graph(WIDTH, size) for size in (PUBLISHED, SIZE)}
    graphs |= {
        name: subnet_graph(space, WIDTH, space.parse(code), SIZE)
        for name, code in zip(train["arch_name"], train["arch"], strict=True)
    }
    given.out.mkdir(parents=True)
    for name, graph in graphs.items():
        (given.out / f"{name}.tflite").write_bytes(cost_model_bytes(graph))
        print(f"{name}.tflite")


if __name__ == "__main__":
    main()
