"""Whether the clip threshold does anything, and which one would."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

__all__ = ["clip_facts", "clip_note"]


def clip_facts(threshold: float | None, norms: Sequence[float], clipped: int) -> dict[str, Any]:
    """Columns ``clip_verdict`` and ``clip_suggested`` of an epoch from its clip checks.

    Args:
        threshold: train.grad_clip_global_norm.
        norms: observed norms before clipping, one a check.
        clipped: how many checks clipped.

    Returns:
        The verdict: ``saturated`` where every check clipped, ``idle`` where none did, ``active`` between, ``off``
        without a threshold; None where nothing was checked.  The suggestion: the 90th percentile of the norms, which
        would have clipped about one check in ten; None where no norm is finite and above 0.
    """
    verdict = "off" if threshold is None else "active"
    if threshold is not None and clipped in (0, len(norms)):
        verdict = "idle" if clipped == 0 else "saturated"
    finite = [norm for norm in norms if np.isfinite(norm)]
    suggested = float(np.percentile(finite, 90)) if finite else 0.0
    return {"clip_verdict": verdict if norms else None, "clip_suggested": suggested or None}


def clip_note(facts: dict[str, Any], before: str | None) -> str | None:
    """What to tell about an epoch whose verdict is another than ``before``; None where there is nothing to tell."""
    verdict, threshold, suggested = (facts[name] for name in ("clip_verdict", "clip_threshold", "clip_suggested"))
    if verdict == before or verdict not in ("saturated", "idle") or suggested is None:
        return None
    rounded = f"{float(f'{suggested:.3g}'):g}"  # three digits, and no 1.71e+03
    seen = f"(p90 of the norms {rounded})"
    if verdict == "idle":
        return f"clipping idle: no norm of the epoch reached {threshold:g} {seen}"
    return (
        f"clipping saturated: every step of the epoch was cut at {threshold:g} {seen}: try "
        f"train.grad_clip_global_norm {rounded}"
    )
