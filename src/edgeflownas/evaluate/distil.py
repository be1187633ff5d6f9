"""Feature loss of distillation: the student's strongest response at every pixel should be the teacher's.

At each of the three decoder scales, the map of the channel-wise maximum of absolute features is compared by its mean
squared difference, so teacher and student may have any number of channels (the distillation of the TF1 tool, its
engine/train_step.py; attention by pooling channels: Zagoruyko & Komodakis 2017, arXiv 1612.03928, section 3.1).
Shapes: features [B,C,h,w] at 1/4, 1/2 and 1/1, maps [B,h,w].
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from edgeflownas.errors import ConfigError


def attention_map(features_BChw: Tensor) -> Tensor:
    """Channel-wise maximum of absolute features, [B,h,w]."""
    return features_BChw.abs().amax(1)


def feature_loss(student: Sequence[Tensor], teacher: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    """Weighted sum over the scales of the mean squared difference of the attention maps (0-d).

    Args:
        student: features of the scales 1/4, 1/2, 1/1, any number of channels each.
        teacher: features of the same scales; no gradient goes there.
        weights: one for each scale; a scale of weight 0 is not computed.

    Raises:
        ConfigError: the two do not lie on the same grid.
    """
    total = student[0].new_zeros(())
    for s, t, weight in zip(student, teacher, weights, strict=True):
        if weight == 0:
            continue
        if s.shape[0] != t.shape[0] or s.shape[2:] != t.shape[2:]:
            raise ConfigError(f"features of student {list(s.shape)} and teacher {list(t.shape)} lie on different grids")
        difference = attention_map(s.float() if s.dtype == torch.bfloat16 else s) - attention_map(t.detach().to(s))
        total = total + weight * difference.square().mean()
    return total
