"""The prefix tree of a set of archs: every stage is computed once per distinct prefix.

Features flow in a chain, so a stage's output for given samples depends only on the choices up to it (context, where a
stage gives it, is a function of the features there); the prediction heads (output stages) feed nothing but the sum and
therefore do not split the tree.  See docs/concepts.md, "Sharing".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

import torch

from edgeflownas.models.blocks import StagedNet
from edgeflownas.space import Arch

# A node of the tree: stage index, the digits that lead to its input features, and its own option.
Node = tuple[int, tuple[int, ...], int]
State = tuple[torch.Tensor, torch.Tensor | None]  # features, and the context that an earlier stage gave


def advance(net: StagedNet, index: int, state: State, option: int) -> State:
    """The state behind stage ``index``, one that makes features."""
    features = net.run_stage(index, state[0], option, state[1])
    return features, net.context_of(features) if net.stages[index].context == "gives" else state[1]


def walk(
    net: StagedNet,
    archs: Sequence[Arch],
    images: torch.Tensor,
    at_node: Callable[[Node], AbstractContextManager[object]],
    at_leaf: Callable[[int, list[torch.Tensor]], None] | None = None,
    start: int = 0,
    prefix: tuple[int, ...] = (),
) -> None:
    """Run ``images`` [B,6,H,W] (already padded) through every arch, depth first.

    With ``start`` they are instead the features that this stage takes, to which the digits ``prefix`` led, and the
    archs agree on those digits; all output stages, and none that takes context, lie behind.

    ``at_node`` wraps the computation of each node (batch-norm statistics are attached there); ``at_leaf`` receives
    the position of an arch in ``archs`` and its three predictions.  Without ``at_leaf`` heads that hold no
    batch norm are still run only once per option.
    """
    Heads = dict[int, torch.Tensor]

    def descend(stage: int, state: State, prefix: tuple[int, ...], members: list[int], heads: list[Heads]) -> None:
        if stage == len(net.stages):
            for member in members if at_leaf else []:
                at_leaf(member, [_own(head, net, archs[member], scale) for scale, head in enumerate(heads)])  # type: ignore[misc]
            return
        choice, output = net.stages[stage].choice, net.stages[stage].output
        groups: dict[int, list[int]] = {}
        for member in members:
            groups.setdefault(0 if choice is None else archs[member][choice], []).append(member)
        if output is not None:
            head: Heads = {}
            for option in groups if at_leaf else ():
                with at_node((stage, prefix, option)):
                    head[option] = net.run_stage(stage, state[0], option, state[1])
            descend(stage + 1, state, prefix, members, [*heads, head])
            return
        for option, group in groups.items():
            with at_node((stage, prefix, option)):
                deeper = advance(net, stage, state, option)
            descend(stage + 1, deeper, prefix if choice is None else (*prefix, option), group, heads)

    descend(start, (images, None), prefix, list(range(len(archs))), [])


def _own(head: dict[int, torch.Tensor], net: StagedNet, arch: Arch, scale: int) -> torch.Tensor:
    choice = next(stage.choice for stage in net.stages if stage.output == scale)
    return head[0 if choice is None else arch[choice]]
