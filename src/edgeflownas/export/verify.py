"""Verification of an export: the same pairs through the trained network and every file made of it.

Signal-to-noise ratio of an output: 10 log10(sum of squares of the trained network's values / sum of squared
differences), both sums over all pixels, channels and pairs; within +-200 dB, 200 where nothing differs.

    float paths   above 100 dB, or a difference below 1e-5 px rms where there is no signal to compare with
    int8 paths    flow at full size at 3 dB or more; EPE at most 15 % above that of the trained network, on pairs with
                  truth

Below 3 dB more than half of the flow's energy is error.  EPE alone would let such a file pass where the trained network
is no better than zero flow.  Where float32 itself keeps the trained network to less than 110 dB of float64,
float paths need 10 dB less than it: what is beyond is decided by the order of additions.

EPE is that of the flow at the size of the images: A2; A1 and A0 enlarged by up2 where only they leave the graph; the
sum of raw predictions.  The interval of a loss is Student's, from the paired differences of the pairs
(evaluate/noise.py), the trained network's EPE taken as given.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, astuple, dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from edgeflownas.errors import DataError
from edgeflownas.evaluate.metrics import sample_errors
from edgeflownas.evaluate.noise import paired_change, student95
from edgeflownas.export import paths as ways
from edgeflownas.export.paths import TRAINING, LayerRow, Path, decibels, host_flow
from edgeflownas.models.blocks import StagedNet
from edgeflownas.models.graph import Graph, Layer
from edgeflownas.models.int8 import Range

ZERO = "zero flow"
LEAST_SNR = 100.0  # dB, of float paths
LEAST_INT8_SNR = 3.0  # dB, of the flow of int8 paths
LARGEST_LOSS = 15.0  # % of the float EPE, of int8 paths
NO_SIGNAL = 1e-5  # px rms
LARGEST_SATURATION = 0.1  # % of the values of an output
ROUNDING = 10.0  # dB
LAYER_PAIRS = 2  # pairs of the table of layers


class Sample(NamedTuple):
    """A pair of bytes [h,w,6] (RGB), true flow [h,w,2] in px and where it is known [h,w]; None without truth."""

    images: NDArray[np.uint8]
    flow: NDArray[np.float32] | None = None
    valid: NDArray[np.bool_] | None = None


@dataclass(frozen=True)
class OutputRow:
    """One output of one path against the trained network, over all pairs; differences in px (uncertainty: as it is).

    Differences are None where they are not finite.  ``epe_against_float`` is the mean length of the difference of two
    flows at the output's own size (None for uncertainty), ``saturated_percent`` the share of values at either end of
    the integers' range, beyond which all is clipped (None without integers).
    """

    path: str
    output: str
    snr_db: float
    max_difference: float | None
    rms_difference: float | None
    epe_against_float: float | None
    saturated_percent: float | None = None


@dataclass(frozen=True)
class PathRow:
    """EPE of one path's flow on the pairs with truth, px; losses in % of the trained network's EPE.

    The path ``zero flow`` is what no motion at all would score.  ``margin_percent`` is half of the 95 % interval of the
    loss, None below two pairs.
    """

    path: str
    epe: float
    loss_percent: float | None = None
    margin_percent: float | None = None


def too_far(row: OutputRow, least: float) -> bool:
    """Whether an output of a float path agrees to ``least`` dB only, or less."""
    if row.path.endswith("int8") or row.rms_difference is None:
        return False
    return row.snr_db <= least and row.rms_difference >= NO_SIGNAL


def failures(
    outputs: Sequence[OutputRow], rows: Sequence[PathRow], flow_snr_db: Mapping[str, float], least: float = LEAST_SNR
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
    for path, epe, loss, margin in map(astuple, rows):
        if path.endswith("int8") and loss is not None and loss > LARGEST_LOSS:
            said = f"{loss:.1f}" if margin is None else f"{loss:.1f} +- {margin:.1f}"
            expected = f"at most {LARGEST_LOSS:g} % expected"
            found.append(f"{path}: EPE {epe:.4g} px, {said} % above the trained network's, {expected}")
    return tuple(found)


def doubts(outputs: Sequence[OutputRow], rows: Sequence[PathRow]) -> tuple[str, ...]:
    """A note for each figure that these pairs do not decide, and for values that were clipped."""
    scores = {row.path: row.epe for row in rows}
    found = []
    if any(path.endswith("int8") for path in scores) and scores[TRAINING] >= scores[ZERO]:
        found.append(
            f"the trained network's EPE, {scores[TRAINING]:.4g} px, is not below that of zero flow, "
            f"{scores[ZERO]:.4g} px: EPE cannot judge the file on these pairs"
        )
    for path, _, loss, margin in map(astuple, rows):
        known = path.endswith("int8") and loss is not None and margin is not None
        if known and loss <= LARGEST_LOSS < loss + margin:
            found.append(
                f"{path}: a loss of {loss:.1f} +- {margin:.1f} % may exceed {LARGEST_LOSS:g} %: these pairs do not "
                "decide it, verify on more"
            )
    found += [
        f"{row.path}: {row.saturated_percent:.3g} % of the values of {row.output} are at the ends of the integers' "
        "range, what is beyond is clipped: calibrate on pairs with as much motion"
        for row in outputs
        if row.saturated_percent is not None and row.saturated_percent > LARGEST_SATURATION
    ]
    return tuple(found)


@dataclass(frozen=True)
class Verification:
    """What was compared, and the verdict: ``passed`` without any of ``reasons``, else ``failed``.

    ``flow_snr_db`` is by path that of the flow at full size, ``least_snr_db`` what float paths were held against,
    ``layers`` by format each operator of a TensorFlow Lite file that failed.
    """

    pairs: int
    pairs_with_truth: int
    outputs: tuple[OutputRow, ...]
    paths: tuple[PathRow, ...]
    flow_snr_db: Mapping[str, float]
    reasons: tuple[str, ...]
    notes: tuple[str, ...] = ()
    least_snr_db: float = LEAST_SNR
    layers: Mapping[str, tuple[LayerRow, ...]] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """Plain data for JSON."""
        found = {"verdict": "failed" if self.reasons else "passed", **asdict(self)}
        int8 = {"int8_flow_snr_db": LEAST_INT8_SNR, "int8_epe_loss_percent": LARGEST_LOSS}
        found["zero_flow_epe"] = next((row.epe for row in self.paths if row.path == ZERO), None)
        found["thresholds"] = {"float_snr_db": found.pop("least_snr_db"), **int8}
        return found


def verify(
    net: StagedNet,
    graph: Graph,
    layers: Mapping[str, Layer],
    models: Mapping[str, bytes],
    samples: Sequence[Sample],
    divisor: float = 1.0,
    advance: Callable[[], None] = lambda: None,
) -> Verification:
    """Compare files with the network they were made of; where one fails, find the operator at which error enters.

    Args:
        net: fixed network in evaluation mode, float32, on the CPU.
        graph: what is deployed of it.
        layers: its folded weights.
        models: bytes of files by format: tflite-float, tflite-int8, onnx.
        samples: pairs of the graph's size.
        divisor: the network's flow times this is in px (data.flow_divisor).
        advance: called after every pair.

    Raises:
        ConfigError: a package of the extra ``export`` is missing.
        DataError: no pairs, pairs of another size, bytes that are no model, a model without one of the outputs.
    """
    paths = ways.open_paths(net, graph, layers, models)
    result = compare(paths, samples, divisor, advance, ways.integer_ends(models))
    if any(too_far(row, LEAST_SNR) for row in result.outputs):
        result = _within_rounding(result, net, graph, samples[:LAYER_PAIRS])
    failed = [name for name in models if name.startswith("tflite") and any(name in why for why in result.reasons)]
    pictures = [sample.images for sample in samples[:LAYER_PAIRS]]
    tables = {name: ways.layer_rows(graph, layers, models[name], net.input_form, pictures, divisor) for name in failed}
    reasons = list(result.reasons)
    for name, rows in tables.items():
        worst = max(rows, key=lambda row: row.flow_px)
        reasons.append(
            f"{name}: most of the error enters at {worst.name} ({worst.kind}): alone it moves the flow by "
            f"{worst.flow_px:.3g} px; its own error is at {worst.own_snr_db:.1f} dB"
        )
    return replace(result, reasons=tuple(reasons), layers=tables)


def _within_rounding(result: Verification, net: StagedNet, graph: Graph, samples: Sequence[Sample]) -> Verification:
    """``result`` judged by what float32 can keep of this network, where that is little."""
    exact = ways.trained_path(copy.deepcopy(net).double(), graph)
    rows = compare({TRAINING: exact, "float32": ways.trained_path(net, graph)}, samples).outputs
    kept = min(row.snr_db for row in rows)
    least = min(LEAST_SNR, kept - ROUNDING)
    if least == LEAST_SNR:
        return result
    note = (
        f"float32 keeps the trained network within {kept:.1f} dB of float64: "
        f"float paths were held against {least:.1f} dB instead of {LEAST_SNR:g}"
    )
    reasons = failures(result.outputs, result.paths, result.flow_snr_db, least)
    return replace(result, reasons=reasons, notes=(*result.notes, note), least_snr_db=least)


def compare(
    paths: Mapping[str, Path],
    samples: Sequence[Sample],
    divisor: float = 1.0,
    advance: Callable[[], None] = lambda: None,
    ends: Mapping[str, Mapping[str, Range]] = {},
) -> Verification:
    """Run ``samples`` through ``paths`` and hold them against the one named ``training``; else as :func:`verify`.

    ``ends``: by path and output, the least and the greatest number that its integers stand for.
    """
    if not samples:
        raise DataError("no pairs to verify on: give at least one")
    tallies = {name: _Tally(name, divisor, ends.get(name, {})) for name in (*paths, ZERO)}
    for sample in samples:
        found = {name: path(sample.images) for name, path in paths.items()}
        for name in paths:
            tallies[name].add(found[name], found[TRAINING], sample)
        tallies[ZERO].add_truth(torch.zeros(2, *sample.images.shape[:2]), sample)
        advance()
    others = [name for name in paths if name != TRAINING]
    outputs = tuple(row for name in others for row in tallies[name].outputs())
    flows = {name: decibels(*tallies[name].flow) for name in others}
    rows = _losses(tallies)
    truths = sum(count > 0 for count in tallies[TRAINING].valid)
    unknown = () if truths else ("no pair has truth: the loss of EPE was not checked",)
    notes = (*unknown, *doubts(outputs, rows))
    return Verification(len(samples), truths, outputs, rows, flows, failures(outputs, rows, flows), notes)


class _Tally:
    """Sums of one path over pairs."""

    def __init__(self, path: str, divisor: float, ends: Mapping[str, Range]) -> None:
        self.path, self.divisor, self.ends = path, divisor, ends
        self.sums: dict[str, Any] = {}  # output -> signal, squared error, lengths, values, pixels, saturated; largest
        self.flow = np.zeros(2)  # signal and squared error at full size
        self.errors: list[float] = []  # mean end-point error of each pair with truth
        self.valid: list[int] = []  # its pixels

    def add(self, found: Mapping[str, NDArray[Any]], expected: Mapping[str, NDArray[Any]], sample: Sample) -> None:
        if missing := set(expected) - set(found):
            raise DataError(
                f"{self.path}: no output {sorted(missing)[0]!r}, it has {', '.join(found)}; export it again"
            )
        for name, reference in expected.items():
            real = self.divisor if name.startswith("flow") else 1.0
            reference = reference.astype(np.float64) * real
            difference = found[name].astype(np.float64) * real - reference
            length = np.linalg.norm(difference, axis=0)
            low, high = self.ends.get(name, (-np.inf, np.inf))
            beyond = np.count_nonzero((found[name] <= low) | (found[name] >= high))
            sizes = length.sum(), reference.size, length.size, beyond
            sums, largest = self.sums.get(name, (np.zeros(6), 0.0))
            new = np.square(reference).sum(), np.square(difference).sum(), *sizes
            self.sums[name] = sums + new, max(largest, float(np.abs(difference).max()))
        flow, exact = host_flow(found), host_flow(expected).double()
        self.flow += float(exact.square().sum()), float((flow.double() - exact).square().sum())
        self.add_truth(flow * self.divisor, sample)

    def add_truth(self, flow: torch.Tensor, sample: Sample) -> None:
        """Add ``flow`` [2,H,W], px, to the errors, where the sample has truth."""
        if sample.flow is None:
            return
        known = torch.from_numpy(np.ones(sample.flow.shape[:2], np.bool_) if sample.valid is None else sample.valid)
        label = torch.from_numpy(sample.flow).permute(2, 0, 1)[None].masked_fill(~known, 0.0)
        total, count = sample_errors(flow[None], label, known[None])
        self.errors.append(float(total) / max(int(count), 1))
        self.valid.append(int(count))

    def outputs(self) -> list[OutputRow]:
        """A row for each output."""
        rows = []
        for name, ((signal, error, lengths, values, pixels, beyond), largest) in self.sums.items():
            found = [largest, math.sqrt(error / values), float(lengths / pixels)]
            most, rms, length = [value if math.isfinite(error) else None for value in found]
            mean = length if name.startswith("flow") else None
            share = float(100 * beyond / values) if name in self.ends else None
            rows.append(OutputRow(self.path, name, decibels(signal, error), most, rms, mean, share))
        return rows


def _losses(tallies: Mapping[str, _Tally]) -> tuple[PathRow, ...]:
    """EPE of every path where there is truth, and the loss of all but the trained network."""
    before = tallies[TRAINING]
    pixels = sum(before.valid)
    if not pixels or not np.isfinite(before.errors).all():
        return ()
    spread = student95(sum(count > 0 for count in before.valid))
    epe = float(np.dot(before.errors, before.valid)) / pixels
    zero = float(np.dot(tallies[ZERO].errors, before.valid)) / pixels
    rows = [PathRow(ZERO, zero), PathRow(TRAINING, epe)]
    for name, tally in tallies.items():
        if name not in (ZERO, TRAINING) and np.isfinite(tally.errors).all():
            own = float(np.dot(tally.errors, tally.valid)) / pixels
            margin = spread * float(paired_change([before.errors], [tally.errors], before.valid)[1][0])
            loss, interval = (100 * value / epe if epe > 0 else math.nan for value in (own - epe, margin))
            rows.append(PathRow(name, own, *(value if math.isfinite(value) else None for value in (loss, interval))))
    return tuple(rows)
