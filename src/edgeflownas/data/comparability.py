"""Two sets of FlyingChairs2 that both go by "validation", and whose figures are not comparable."""

from __future__ import annotations

from collections.abc import Iterable

from edgeflownas.data.fingerprint import Fingerprint

__all__ = ["mixed_validation"]

OFFICIAL = 640
"""Samples of the folder val/ (FlyingChairs2) and of the 2s in FlyingChairs_train_val.txt."""
HOLD_OUT = (4446, 4447)
"""The fifth of the 22,232 training samples that FC2_test.txt lists, without and with the one in no list."""
_SETS = ("fc2", "flying_chairs")


def mixed_validation(marks: Iterable[Fingerprint]) -> str | None:
    """A warning where the official validation set and the hold-out of the training folder are used together."""
    chairs = [mark for mark in marks if mark.name in _SETS and mark.source != "generated"]
    official = [mark.label for mark in chairs if mark.count == OFFICIAL]
    hold_out = [mark.label for mark in chairs if mark.count in HOLD_OUT]
    if not official or not hold_out:
        return None
    return (
        f"{official[0]} looks like the official validation set (640 samples) and {hold_out[0]} like the hold-out of "
        "the training folder (4,447 = 22,232 - 17,785): both are called validation, and figures of the two must not "
        "be compared"
    )
