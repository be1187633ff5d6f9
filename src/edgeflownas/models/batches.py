"""From loader arrays to network input: uint8 RGB pairs become [-1, 1] tensors on the device."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

__all__ = ["FlowBatch", "to_flow_batch"]


class FlowBatch(NamedTuple):
    """Images [B,6,H,W] in [-1, 1] (image 1 RGB, image 2 RGB), flow [B,2,H,W] in px, valid [B,H,W] bool."""

    images: torch.Tensor
    flow: torch.Tensor
    valid: torch.Tensor


def to_flow_batch(
    images_BHW6: NDArray[np.uint8],
    flow_BHW2: NDArray[np.float32],
    valid_BHW: NDArray[np.bool_],
    device: torch.device,
    dtype: torch.dtype = torch.float32,
) -> FlowBatch:
    """Images as x / 127.5 - 1; the NHWC arrays become channels_last tensors without a copy of the layout."""
    images = torch.from_numpy(images_BHW6).to(device).permute(0, 3, 1, 2).to(dtype) / 127.5 - 1.0
    flow = torch.from_numpy(flow_BHW2).to(device).permute(0, 3, 1, 2).to(dtype)
    return FlowBatch(images, flow, torch.from_numpy(valid_BHW).to(device))
