from __future__ import annotations

import numpy as np
import pytest
import torch

from edgeflownas.errors import ConfigError
from edgeflownas.evaluate.distil import feature_loss

SIZES = ((3, 4), (6, 8), (12, 16))


def features(channels: int, seed: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(2, channels, h, w, generator=generator, dtype=torch.float64) for h, w in SIZES]


def test_against_the_formula_in_numpy() -> None:
    student, teacher, weights = features(5, 0), features(9, 1), (0.5, 2.0, 1.0)
    expected = 0.0
    for s, t, weight in zip(student, teacher, weights, strict=True):
        expected += weight * np.mean((np.abs(s.numpy()).max(1) - np.abs(t.numpy()).max(1)) ** 2)
    assert float(feature_loss(student, teacher, weights)) == pytest.approx(expected, rel=1e-12)


def test_equal_features_cost_nothing_and_signs_do_not_matter() -> None:
    teacher = features(4, 2)
    assert float(feature_loss([-t for t in teacher], teacher, (1.0, 1.0, 1.0))) == 0.0


def test_gradient_reaches_the_student_alone() -> None:
    student, teacher = features(4, 3), features(4, 4)
    for tensor in (*student, *teacher):
        tensor.requires_grad_()
    feature_loss(student, teacher, (1.0, 0.0, 1.0)).backward()
    assert [s.grad is not None and bool(s.grad.any()) for s in student] == [True, False, True]
    assert all(t.grad is None for t in teacher)


def test_other_grids_are_refused() -> None:
    with pytest.raises(ConfigError, match="different grids"):
        feature_loss(features(4, 0)[1:] + features(4, 0)[:1], features(4, 1), (1.0, 1.0, 1.0))
