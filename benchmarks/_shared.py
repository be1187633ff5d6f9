"""What the benchmarks share: their options, how their figures are shown, rates of the machine."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from typing import Any

import torch

from edgeflownas.data.loader import Batch
from edgeflownas.errors import UserError
from edgeflownas.models.blocks import FlowBatch, to_flow_batch
from edgeflownas.train.measure import timed

# How the package's weights are exported for their figures.  On 16 generated pairs int8 lost 1.9 % of the EPE with these
# ranges, 4.1 % with mse, 7.0 % with minmax (32 pairs).
INT8_RANGES = "percentile:99.99"


def options(text: str | None, *, gpu: bool = False, batch: int | None = None, size: str | None = None) -> Any:
    """A parser with what most benchmarks take; --rounds, where there is one, is the script's own."""
    parser = argparse.ArgumentParser(description=text, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--json", action="store_true", help="machine-readable result on stdout")
    if gpu:
        parser.add_argument("--gpu-device", type=int, default=-1, help="-1 for the CPU, n for that GPU")
    if batch is not None:
        parser.add_argument("--batch", type=at_least(1), default=batch, help="samples of a batch")
    if size is not None:
        parser.add_argument("--width", type=at_least(2), default=32, help="network width")
        parser.add_argument("--size", type=height_width, default=size, help="HEIGHTxWIDTH of the images")
    return parser


def at_least(least: int) -> Callable[[str], int]:
    """A type of option: a whole number from ``least``."""

    def number(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"{text} must be at least {least}")
        return int(text)

    return number


def height_width(text: str) -> tuple[int, int]:
    """A type of option: rows and columns, px."""
    parts = text.lower().split("x")
    if len(parts) != 2 or not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise argparse.ArgumentTypeError(f"{text!r} must be HEIGHTxWIDTH, such as 180x240")
    return int(parts[0]), int(parts[1])


def run(parser: Any, work: Callable[[argparse.Namespace], dict[str, Any]], argv: Sequence[str] | None) -> int:
    """Measure, show the figures by name, and return the exit code; a user's error is a sentence."""
    given = parser.parse_args(argv)
    try:
        result = work(given)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    if given.json:
        print(json.dumps(result, indent=2))
        return 0
    for name, value in result.items():
        if isinstance(value, dict):
            print(name + "  " + "  ".join(f"{key} {_number(part)}" for key, part in value.items()))
        else:
            print(f"{name:28} {_number(value)}")
    return 0


def _number(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def matmul_gflops(device: torch.device, size: int = 2048, repeats: int = 5) -> float:
    """Best rate of a square fp32 matrix product, GFLOP/s (two operations a multiply-add)."""
    a, b = torch.rand(size, size, device=device), torch.rand(size, size, device=device)
    best = min(timed(lambda: torch.mm(a, b), device) for _ in range(repeats))
    return 2 * size**3 / best / 1e9


def flow_batch(batch: Batch, device: torch.device) -> FlowBatch:
    """A loader's batch as the network takes it."""
    return to_flow_batch(batch.images, batch.flow, batch.valid, device)
