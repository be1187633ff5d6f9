"""``edgeflownas evaluate`` with a data set, a protocol or a baseline: labelled rows, references on the same pixels."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgeflownas.errors import ConfigError

if TYPE_CHECKING:
    from edgeflownas.data.dataset import FlowDataset, FlowPair
    from edgeflownas.evaluate.predictors import Predictor
    from edgeflownas.evaluate.protocols import Protocol
    from edgeflownas.evaluate.recalibrate import NodeStatistics
    from edgeflownas.evaluate.results import ResultRow
    from edgeflownas.report.console import Console
    from edgeflownas.space import Arch
    from edgeflownas.train.reading import ReadWeights

__all__ = ["Request", "evaluate_on"]

REMEDY = "the frames are too large for this network and machine: use --protocol deploy with a smaller --size"


@dataclass(frozen=True)
class Request:
    """The words of the command line."""

    weights_at: Path | None
    overrides: Sequence[str]
    arch: list[str] | None
    checkpoint: str
    weights: str
    data: str | None
    protocol: str
    size: tuple[int, int] | None
    baseline: str | None
    references: str
    record: bool


def evaluate_on(request: Request, console: Console) -> tuple[list[ResultRow], list[ResultRow]]:
    """(rows of what is evaluated, rows of the references); recorded where that was asked for.

    Raises:
        ConfigError: words that do not go together; DataError, StorageError: what cannot be read.
    """
    _check(request)
    names = _reference_names(request.references, request.baseline)
    weights = None if request.baseline else _read(request, console)
    dataset = _dataset(request, weights)
    protocol = _protocol(request.protocol, request.size, dataset, weights)

    from edgeflownas.evaluate.predictors import make_baseline

    first = _subnets(weights, request.arch, console) if weights else make_baseline(str(request.baseline))
    predictors = [first, *map(make_baseline, names)]
    rows = _rows(dataset, predictors, protocol, weights, console)
    cut = len(first.models)
    if request.record and request.weights_at is not None:
        from edgeflownas.evaluate.results import EVALUATIONS, append_results

        path = request.weights_at / EVALUATIONS
        append_results(path, rows)
        console.wrote({"results": path})
    return rows[:cut], rows[cut:]


def _check(request: Request) -> None:
    if (request.weights_at is None) == (request.baseline is None):
        raise ConfigError(
            "give what to evaluate: edgeflownas evaluate RUN|WEIGHTS --data NAME, or --baseline zero|dis|... alone"
        )
    if request.baseline is not None and (request.arch or request.overrides):
        raise ConfigError(f"--baseline {request.baseline} has no weights: --arch and configuration keys mean nothing")
    if request.baseline is not None and request.data is None:
        raise ConfigError(f"--baseline {request.baseline} needs --data NAME[:VARIANT][@ROOT]")
    if request.record and (request.weights_at is None or not request.weights_at.is_dir()):
        raise ConfigError("--record appends to a run directory, and this is none: redirect --json into a file instead")


def _reference_names(text: str, baseline: str | None) -> list[str]:
    from edgeflownas.evaluate.predictors import BASELINES

    if text == "none":
        return []
    names = list(BASELINES) if text == "all" else list(dict.fromkeys(part.strip() for part in text.split(",")))
    unknown = [name for name in names if name not in BASELINES]
    if unknown:
        raise ConfigError(f"--references {unknown[0]!r} is unknown: all, none, or some of {','.join(BASELINES)}")
    return [name for name in names if name != baseline]


def _read(request: Request, console: Console) -> ReadWeights:
    from edgeflownas.run.run import read_npz
    from edgeflownas.train.reading import read_weights

    assert request.weights_at is not None
    if request.weights_at.is_file():
        for option, value, usual in (
            ("checkpoint", request.checkpoint, "latest"),
            ("weights", request.weights, "model"),
        ):
            if value != usual:
                raise ConfigError(f"--{option} {value} belongs to a run directory; {request.weights_at} is one file")
        return read_npz(request.weights_at, request.overrides, console.info)
    return read_weights(request.weights_at, request.checkpoint, request.weights, request.overrides, console.info)


def _dataset(request: Request, weights: ReadWeights | None) -> FlowDataset:
    from edgeflownas.data.registry import open_dataset

    data = None if weights is None else weights.config.data
    roots = None if data is None else data.roots
    if request.data is not None:
        return open_dataset(request.data, "val", "--data", roots)
    assert data is not None
    return open_dataset(data.val_dir, "val", "data.val_dir", roots)


def _protocol(name: str, size: tuple[int, int] | None, dataset: FlowDataset, weights: ReadWeights | None) -> Protocol:
    from edgeflownas.evaluate.protocols import make_protocol

    height, width = dataset.read(0).flow.shape[:2]
    data = weights.config.data if weights is not None else None
    return make_protocol(name, (height, width), size, None if data is None else (data.crop_size, data.flow_clip))


def _subnets(weights: ReadWeights, codes: list[str] | None, console: Console) -> Predictor:
    """The asked-for subnets (or the pool), batch norm recalibrated on the run's own training samples."""
    from edgeflownas.evaluate.predictors import SubnetPredictor

    archs = [weights.net.space.parse(code) for code in (codes or weights.pool)]
    statistics = _recalibrated(weights, archs, console)
    divisor = weights.config.data.flow_divisor
    return SubnetPredictor(weights.net, archs, statistics, weights.name, weights.source, divisor)


def _recalibrated(weights: ReadWeights, archs: list[Arch], console: Console) -> NodeStatistics:
    from edgeflownas.evaluate.evalset import FrozenBatches
    from edgeflownas.evaluate.pool import full_precision
    from edgeflownas.evaluate.recalibrate import recalibrate

    if weights.calibration is None:
        return {}
    net = weights.net
    first = next(net.parameters())
    samples = FrozenBatches(*weights.calibration, None, first.device, first.dtype, net.input_form)
    with console.task("calibrate", len(samples)) as meter, full_precision():
        return recalibrate(net, archs, samples, meter.advance)


def _rows(
    dataset: FlowDataset,
    predictors: list[Predictor],
    protocol: Protocol,
    weights: ReadWeights | None,
    console: Console,
) -> list[ResultRow]:
    from edgeflownas.data.fingerprint import fingerprint
    from edgeflownas.evaluate.labelled import evaluate_labelled
    from edgeflownas.run.machine import memory_in_words

    with console.task("checksums", sum(len(sample.files) for sample in dataset.samples)) as meter:
        mark = fingerprint(dataset, progress=_told(meter.update))
    precision = "fp32" if weights is None else weights.config.train.evaluated_in
    with console.task("evaluate", len(dataset)) as meter, memory_in_words(REMEDY):
        return evaluate_labelled(_pairs(dataset), predictors, protocol, mark.label, precision, meter.advance)


def _told(update: Callable[[int], None]) -> Callable[[int, int], None]:
    return lambda done, total: update(done)


def _pairs(dataset: FlowDataset) -> Iterator[tuple[str, FlowPair]]:
    """Decoded pairs in order; the next are read while one is worked on, at most four wait."""
    from edgeflownas.data.parallel import in_order

    return zip(dataset.names, in_order(dataset.read, range(len(dataset)), 2), strict=True)
