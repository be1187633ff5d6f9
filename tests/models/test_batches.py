"""The form images take on their way into a network, and back into a picture."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from edgeflownas.config import Config, DataConfig, TrainConfig
from edgeflownas.models.blocks import InputForm, to_flow_batch

FORMS = [InputForm(n, c) for n in ("minus1_1", "raw_0_255") for c in ("rgb", "bgr")]  # type: ignore[arg-type]
CPU = torch.device("cpu")


def pair(batch: int = 2, height: int = 5, width: int = 7) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (batch, height, width, 6), dtype=np.uint8)


def encoded(form: InputForm, images: np.ndarray, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    flow, valid = np.zeros((*images.shape[:3], 2), np.float32), np.ones(images.shape[:3], bool)
    return to_flow_batch(images, flow, valid, CPU, dtype, form).images


def test_values_and_order() -> None:
    images = pair()
    planes = torch.from_numpy(images).permute(0, 3, 1, 2)
    assert torch.equal(encoded(InputForm(), images), planes.float() / 127.5 - 1.0)
    assert torch.equal(encoded(InputForm("raw_0_255"), images), planes.float())
    assert torch.equal(encoded(InputForm("raw_0_255", "bgr"), images), planes[:, [2, 1, 0, 5, 4, 3]].float())
    assert torch.equal(
        encoded(InputForm(), images), encoded(InputForm("minus1_1", "bgr"), images)[:, [2, 1, 0, 5, 4, 3]]
    )


@pytest.mark.parametrize("form", FORMS, ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_picture_shows_the_bytes_of_image_1(form: InputForm, dtype: torch.dtype) -> None:
    images = pair()
    values = encoded(form, images, dtype)
    assert values.is_contiguous(memory_format=torch.channels_last) and values.dtype == dtype
    picture = form.picture(values[1])
    assert picture.dtype == np.uint8 and np.array_equal(picture, images[1, ..., :3])


def test_the_configuration_decides() -> None:
    config = Config(train=TrainConfig(input_normalisation="raw_0_255"), data=DataConfig(channel_order="bgr"))
    assert InputForm.of(config) == InputForm("raw_0_255", "bgr") and str(InputForm.of(config)) == "BGR, 0..255"
    assert InputForm.of(Config()) == InputForm()
