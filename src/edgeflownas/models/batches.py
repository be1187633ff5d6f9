"""From loader arrays to network input: uint8 RGB pairs become tensors on the device, in the form a network takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from edgeflownas.config import Config


class FlowBatch(NamedTuple):
    """Images [B,6,H,W] (image 1, image 2) as an InputForm says, flow [B,2,H,W] in px, valid [B,H,W] bool."""

    images: torch.Tensor
    flow: torch.Tensor
    valid: torch.Tensor


@dataclass(frozen=True)
class InputForm:
    """How images enter a network: part of what its weights mean (train.input_normalisation, data.channel_order).

    Files, cache and loader hold RGB bytes always; this is the one place where they take another form, for training,
    calibration and evaluation alike, and the one that turns them back into a picture.
    """

    normalisation: Literal["minus1_1", "raw_0_255"] = "minus1_1"
    channel_order: Literal["rgb", "bgr"] = "rgb"

    @classmethod
    def of(cls, config: Config) -> InputForm:
        """The form a configuration asks for."""
        return cls(config.train.input_normalisation, config.data.channel_order)

    def __str__(self) -> str:
        return f"{self.channel_order.upper()}, {'-1..1' if self.normalisation == 'minus1_1' else '0..255'}"

    def encode(self, images_BHW6: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        """RGB bytes [B,H,W,6] -> floats [B,6,H,W]; a channels_last view, no copy of the layout."""
        images = _swapped(images_BHW6) if self.channel_order == "bgr" else images_BHW6
        values = images.permute(0, 3, 1, 2).to(dtype)
        return values / 127.5 - 1.0 if self.normalisation == "minus1_1" else values

    def of_other(self, images_B6HW: torch.Tensor, form: InputForm) -> torch.Tensor:
        """Encoded images [B,6,H,W] of another form in this one (teacher and student may differ)."""
        values = images_B6HW
        if form.channel_order != self.channel_order:
            values = values[:, [2, 1, 0, 5, 4, 3]]
        if form.normalisation == self.normalisation:
            return values
        return (values + 1.0) * 127.5 if form.normalisation == "minus1_1" else values / 127.5 - 1.0

    def picture(self, images_6HW: torch.Tensor) -> NDArray[np.uint8]:
        """Image 1 of an encoded pair as RGB bytes [H,W,3], for people."""
        values = images_6HW[:3].permute(1, 2, 0).float()
        if self.normalisation == "minus1_1":
            values = (values + 1.0) * 127.5
        if self.channel_order == "bgr":
            values = values.flip(-1)
        found: NDArray[np.uint8] = values.round().clamp(0, 255).to(torch.uint8).numpy()
        return found


def _swapped(images_BHW6: torch.Tensor) -> torch.Tensor:
    """The channels of both images in reverse order."""
    pairs: torch.Tensor = images_BHW6.reshape(*images_BHW6.shape[:-1], 2, 3)
    return pairs.flip(-1).flatten(-2)


def to_flow_batch(
    images_BHW6: NDArray[np.uint8],
    flow_BHW2: NDArray[np.float32],
    valid_BHW: NDArray[np.bool_],
    device: torch.device,
    dtype: torch.dtype = torch.float32,
    form: InputForm = InputForm(),  # noqa: B008  (frozen)
) -> FlowBatch:
    """Images in the form a network takes; the NHWC arrays become channels_last tensors without a copy of the layout."""
    images = form.encode(torch.from_numpy(images_BHW6).to(device), dtype)
    flow = torch.from_numpy(flow_BHW2).to(device).permute(0, 3, 1, 2).to(dtype)
    return FlowBatch(images, flow, torch.from_numpy(valid_BHW).to(device))
