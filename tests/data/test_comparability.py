"""The official 640 and the hold-out of the training folder must not meet in silence."""

from __future__ import annotations

import pytest

from edgeflownas.data.fingerprint import Fingerprint, mixed_validation


def mark(name: str, source: str, split: str, count: int) -> Fingerprint:
    return Fingerprint("9f3a" * 16, count, split, source, "edges", (), name)


OFFICIAL = mark("fc2", "folder", "val", 640)


@pytest.mark.parametrize(
    "other",
    [mark("fc2", "index", "test", 4446), mark("fc2", "folder", "val", 4447), mark("flying_chairs", "index", "x", 4447)],
)
def test_both_are_named(other: Fingerprint) -> None:
    warning = mixed_validation([other, OFFICIAL])
    assert warning is not None and OFFICIAL.label in warning and other.label in warning
    assert "4,447 = 22,232 - 17,785" in warning


@pytest.mark.parametrize(
    "others",
    [
        [],
        [OFFICIAL],
        [mark("fc2", "index", "train", 17785)],
        [mark("sintel", "folder", "clean", 4447)],
        [mark("fc2", "generated", "val", 4447)],
    ],
)
def test_anything_else_is_fine(others: list[Fingerprint]) -> None:
    assert mixed_validation([OFFICIAL, *others]) is None
