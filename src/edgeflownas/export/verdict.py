"""What the figures of a verification mean: a sentence for every threshold that is not kept, a note for every doubt.

    float paths   above 100 dB, or a difference below 1e-5 px rms where there is no signal to compare with
    int8 paths    flow at full size at 3 dB or more; EPE at most 15 % above that of the trained network, on pairs with
                  truth

Below 3 dB more than half of the flow's energy is error.  EPE alone would let such a file pass where the trained network
is no better than zero flow.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgeflownas.export.paths import TRAINING

ZERO = "zero flow"
LEAST_SNR = 100.0  # dB, of float paths
LEAST_INT8_SNR = 3.0  # dB, of the flow of int8 paths
LARGEST_LOSS = 15.0  # % of the float EPE, of int8 paths
NO_SIGNAL = 1e-5  # px rms
LARGEST_SATURATION = 0.1  # % of the values of an output


@dataclass(frozen=True)
class OutputRow:
    """One output of one path against the trained network, over all pairs; differences in px (uncertainty: as it is).

    Differences are None where they are not finite.
    """

    path: str
    output: str
    snr_db: float
    max_difference: float | None
    rms_difference: float | None
    epe_against_float: float | None
    """Mean length of the difference of two flows at the output's own size, px; None for uncertainty."""
    saturated_percent: float | None = None
    """Values at either end of the integers' range, beyond which all is clipped; None without integers."""


@dataclass(frozen=True)
class PathRow:
    """EPE of one path's flow on the pairs with truth, px; losses in % of the trained network's EPE.

    The path ``zero flow`` is what no motion at all would score.
    """

    path: str
    epe: float
    loss_percent: float | None = None
    margin_percent: float | None = None
    """Half of the 95 % interval of the loss; None below two pairs."""


def too_far(row: OutputRow, least: float) -> bool:
    """Whether an output of a float path agrees to ``least`` dB only, or less."""
    if row.path.endswith("int8") or row.rms_difference is None:
        return False
    return row.snr_db <= least and row.rms_difference >= NO_SIGNAL


def failures(
    outputs: Sequence[OutputRow],
    rows: Sequence[PathRow],
    flow_snr_db: Mapping[str, float],
    least: float = LEAST_SNR,
) -> tuple[str, ...]:
    """A sentence for each threshold that is not kept; ``least`` dB is that of float paths."""
    found = []
    for row in outputs:
        if row.rms_difference is None:
            found.append(f"{row.path}: {row.output} is not finite")
        elif too_far(row, least):
            found.append(f"{row.path}: {row.output} agrees to {row.snr_db:.1f} dB, more than {least:.4g} expected")
    found += [
        f"{path}: its flow agrees with the trained network's to {snr:.1f} dB, at least {LEAST_INT8_SNR:g} expected: "
        "it is not the flow of this network"
        for path, snr in flow_snr_db.items()
        if path.endswith("int8") and snr < LEAST_INT8_SNR
    ]
    for path in rows:
        if path.path.endswith("int8") and path.loss_percent is not None and path.loss_percent > LARGEST_LOSS:
            margin = "" if path.margin_percent is None else f" +- {path.margin_percent:.1f}"
            found.append(
                f"{path.path}: EPE {path.epe:.4g} px, {path.loss_percent:.1f}{margin} % above the trained network's, "
                f"at most {LARGEST_LOSS:g} % expected"
            )
    return tuple(found)


def doubts(outputs: Sequence[OutputRow], rows: Sequence[PathRow]) -> tuple[str, ...]:
    """A note for each figure that these pairs do not decide, and for values that were clipped."""
    scores = {row.path: row.epe for row in rows}
    found = []
    trained = scores.get(TRAINING, 0.0)
    if any(path.endswith("int8") for path in scores) and trained >= scores[ZERO]:
        found.append(
            f"the trained network's EPE, {trained:.4g} px, is not below that of zero flow, "
            f"{scores[ZERO]:.4g} px: EPE cannot judge the file on these pairs"
        )
    found += [
        f"{row.path}: a loss of {row.loss_percent:.1f} +- {row.margin_percent:.1f} % may exceed {LARGEST_LOSS:g} %: "
        "these pairs do not decide it, verify on more"
        for row in rows
        if row.path.endswith("int8")
        and row.loss_percent is not None
        and row.margin_percent is not None
        and row.loss_percent <= LARGEST_LOSS < row.loss_percent + row.margin_percent
    ]
    found += [
        f"{row.path}: {row.saturated_percent:.3g} % of the values of {row.output} are at the ends of the integers' "
        "range, what is beyond is clipped: calibrate on pairs with as much motion"
        for row in outputs
        if row.saturated_percent is not None and row.saturated_percent > LARGEST_SATURATION
    ]
    return tuple(found)
