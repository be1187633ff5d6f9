"""Small networks whose batch norms have statistics and affines that change something, as after training."""

from collections.abc import Callable
from functools import partial

import torch

from edgeflownas.models.batchnorm import BatchNorm
from edgeflownas.models.blocks import StagedNet
from edgeflownas.models.flownet import EdgeFlowNet, FlowNet
from edgeflownas.space import get_space

WIDTH, SIZE = 8, (32, 48)


def settled(net):
    """``net`` in evaluation mode, its batch norms drawn from a seed."""
    generator = torch.Generator().manual_seed(1)
    for module in net.modules():
        if isinstance(module, BatchNorm):
            for tensor, low in ((module.weight, 0.5), (module.running_var, 0.5)):
                tensor.data.uniform_(low, 1.5, generator=generator)
            for tensor in (module.bias, module.running_mean):
                tensor.data.normal_(0, 0.2, generator=generator)
    return net.eval()


def _subnet(space, code):
    return settled(FlowNet(get_space(space), WIDTH).subnet(code))


def networks():
    """Makers of networks by name: EdgeFlowNet, three subnets of v1, and of v3 as many as show each of its options."""
    made: dict[str, Callable[[], StagedNet]] = {"edgeflownet": lambda: settled(EdgeFlowNet(WIDTH))}
    for code in ("000000000", "021100101", "222222222"):
        made[f"v1 {code}"] = partial(_subnet, "v1", code)
    space = get_space("v3")
    for option in range(max(len(choice.options) for choice in space.choices)):
        code = "".join(str(min(option, len(choice.options) - 1)) for choice in space.choices)
        made[f"v3 {code}"] = partial(_subnet, "v3", code)
    return made
