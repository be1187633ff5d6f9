"""EdgeFlowNAS: train one weight-sharing supernet of tiny optical-flow networks, rank its subnets, ship one.

The public names below are loaded on first use, so that ``import edgeflownas`` (and with it every worker process
and ``edgeflownas --help``) does not pay for torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgeflownas.config.keys import Config as Config
    from edgeflownas.config.load import load_config as load_config
    from edgeflownas.data.formats import read_flo as read_flo
    from edgeflownas.data.formats import read_flo5 as read_flo5
    from edgeflownas.data.formats import write_flo as write_flo
    from edgeflownas.errors import UserError as UserError
    from edgeflownas.evaluate.losses import accumulate as accumulate
    from edgeflownas.evaluate.losses import multiscale_loss as multiscale_loss
    from edgeflownas.evaluate.pool import evaluate_pool as evaluate_pool
    from edgeflownas.models.flownet import EdgeFlowNet as EdgeFlowNet
    from edgeflownas.models.flownet import FlowNet as FlowNet
    from edgeflownas.models.tf1 import load_tf1_weights as load_tf1_weights
    from edgeflownas.run.run import load as load
    from edgeflownas.space import Arch as Arch
    from edgeflownas.space import SearchSpace as SearchSpace
    from edgeflownas.space import get_space as get_space

_HOME = {
    "Arch": "space",
    "Config": "config.keys",
    "EdgeFlowNet": "models.flownet",
    "FlowNet": "models.flownet",
    "SearchSpace": "space",
    "UserError": "errors",
    "accumulate": "evaluate.losses",
    "evaluate_pool": "evaluate.pool",
    "get_space": "space",
    "load": "run.run",
    "load_config": "config.load",
    "load_tf1_weights": "models.tf1",
    "multiscale_loss": "evaluate.losses",
    "read_flo": "data.formats",
    "read_flo5": "data.formats",
    "write_flo": "data.formats",
}

__all__ = ["__version__", *_HOME]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        value: Any = version("edgeflownas")
    elif name in _HOME:
        value = getattr(importlib.import_module(f"edgeflownas.{_HOME[name]}"), name)
    else:
        raise AttributeError(f"module 'edgeflownas' has no attribute {name!r}")
    globals()[name] = value  # the next look-up does not come here
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
