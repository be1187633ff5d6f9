"""Predictors on a data set under one protocol: rows of figures that carry their labels."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict

from edgeflownas.data.dataset import FlowPair
from edgeflownas.evaluate.flow_metrics import FlowMetrics
from edgeflownas.evaluate.predictors import Predictor
from edgeflownas.evaluate.protocols import Protocol
from edgeflownas.evaluate.results import ResultRow


def evaluate_labelled(
    pairs: Iterable[tuple[str, FlowPair]],
    predictors: Sequence[Predictor],
    protocol: Protocol,
    split_label: str,
    precision: str = "fp32",
    advance: Callable[[], None] = lambda: None,
) -> list[ResultRow]:
    """Score every model of ``predictors`` on the same prepared pairs, one pair at a time: memory stays constant.

    Args:
        pairs: (name, decoded pair), of any and of different sizes.
        predictors: what predicts; their models become rows, in order.
        protocol: what they see, what is scored.
        split_label: of the data set, for the rows.
        precision: of the networks' arithmetic, for the rows.
        advance: called after every pair; may raise to abandon.

    Raises:
        DataError: a pair the protocol or a predictor cannot take, or not one valid pixel in all of them.
        NonFiniteError: a prediction that is not finite.
    """
    metrics = [[FlowMetrics() for _ in predictor.models] for predictor in predictors]
    seen: list[list[tuple[int, int]]] = [[] for _ in predictors]
    for name, pair in pairs:
        prepared = protocol.prepare(pair)
        height, width = prepared.images.shape[:2]
        for predictor, own, sizes in zip(predictors, metrics, seen, strict=True):
            sizes.append((height + -height % predictor.grid, width + -width % predictor.grid))
            for model, metric, flow in zip(predictor.models, own, predictor.predict(prepared.images), strict=True):
                full = protocol.restore(flow, prepared)
                who = " ".join(filter(None, (model.name, model.code)))
                metric.add(full, prepared.flow, prepared.valid, prepared.occluded, f"{who} on {name}")
        advance()
    return [
        ResultRow(
            model=model.name,
            code=model.code,
            protocol=protocol.label,
            split_label=split_label,
            precision=precision,
            batch_shape=_shape(sizes),
            source=model.source,
            **asdict(metric.figures()),
        )
        for predictor, own, sizes in zip(predictors, metrics, seen, strict=True)
        for model, metric in zip(predictor.models, own, strict=True)
    ]


def _shape(sizes: Sequence[tuple[int, int]]) -> str:
    """``1x6x448x1024``, or ``1x6x370-376x1224-1242`` where the pairs differ."""
    spans = [(min(side), max(side)) for side in zip(*sizes, strict=True)]
    return "x".join(["1", "6", *(f"{low}" if low == high else f"{low}-{high}" for low, high in spans)])
