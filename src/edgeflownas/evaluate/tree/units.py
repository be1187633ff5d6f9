"""Units: the archs below one trunk prefix, and what their tree costs.

The trunk is every stage before the first prediction.  All archs that agree on its choices share its features, so a
unit is the piece of work that is done, kept, resumed and dealt to processes as a whole (v1: 81 units of 243 archs).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from edgeflownas.models.blocks import StagedNet
from edgeflownas.models.graph import stage_macs
from edgeflownas.space import Arch

Size = tuple[int, int]  # rows and columns of a frame, padded as the network pads them


@dataclass(frozen=True)
class Unit:
    """``prefix``: digits of the trunk's choices in chain order; ``members``: positions of its archs in the list."""

    prefix: tuple[int, ...]
    members: tuple[int, ...]


@dataclass(frozen=True)
class Estimate:
    """What a list of archs will cost; multiply-adds are nominal (models/graph.py), over all samples."""

    units: int
    nodes: int
    """Distinct (prefix, option) stages, predictions included."""
    calibration_macs: int
    evaluation_macs: int
    one_by_one_macs: int
    """What the same archs cost one after the other, calibration and evaluation together."""
    memory_bytes: int
    """Largest memory for features at a time, beside the data sets themselves (``data_bytes``)."""
    data_bytes: int
    seconds: float
    """Scaled from a timed trial (evaluate/tree/trial.py)."""


def trunk_length(net: StagedNet) -> int:
    """Number of stages before the first prediction."""
    return next(i for i, stage in enumerate(net.stages) if stage.output is not None)


def units_of(net: StagedNet, archs: Sequence[Arch]) -> list[Unit]:
    """Units of ``archs`` in tree order (by prefix); members in the order of ``archs``."""
    groups: dict[tuple[int, ...], list[int]] = {}
    choices = [stage.choice for stage in net.stages[: trunk_length(net)] if stage.choice is not None]
    for position, arch in enumerate(archs):
        groups.setdefault(tuple(arch[choice] for choice in choices), []).append(position)
    return [Unit(prefix, tuple(members)) for prefix, members in sorted(groups.items())]


def node_counts(net: StagedNet, archs: Sequence[Arch]) -> list[dict[tuple[int, ...], int]]:
    """For every stage its nodes: the digits that lead to it and its own, with the position of an arch that has them.

    A prediction depends on the features it is made from and on its own digit, not on other predictions' digits.
    """
    found: list[dict[tuple[int, ...], int]] = []
    before: list[int] = []
    for stage in net.stages:
        own = before if stage.choice is None else [*before, stage.choice]
        found.append({tuple(arch[choice] for choice in own): position for position, arch in enumerate(archs)})
        if stage.output is None:
            before = own
    return found


class Work(NamedTuple):
    """Nominal multiply-adds of one sample.  Calibration runs no prediction: none holds a batch norm."""

    calibration: int
    evaluation: int


def tree_work(net: StagedNet, archs: Sequence[Arch], size: Size) -> tuple[Work, Work]:
    """Work of the archs' tree on one sample of ``size``, and of the archs one after the other."""
    tree, alone = [0, 0], [0, 0]
    for stage, nodes in zip(net.stages, node_counts(net, archs), strict=True):
        own = [0 if stage.choice is None else arch[stage.choice] for arch in archs]
        examples = dict(zip(own, archs, strict=True))  # a stage costs what its own option does
        costs = {d: stage_macs(net.space, net.width, arch, *size)[stage.name] for d, arch in examples.items()}
        for total, digits in ((tree, [own[position] for position in nodes.values()]), (alone, own)):
            macs = sum(costs[digit] for digit in digits)
            total[0] += macs if stage.output is None else 0
            total[1] += macs
    return Work(*tree), Work(*alone)
