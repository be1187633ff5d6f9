"""Verification: all paths of a sound export agree, and a broken layer is found and named."""

import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from nets import files_of, samples_of, tiny
from numeric import FLOAT32, relative_difference

from edgeflownas.errors import DataError
from edgeflownas.export.paths import FOLDED, TRAINING, decibels, host_flow, layer_rows, open_paths
from edgeflownas.export.verify import LARGEST_LOSS, LEAST_SNR, ZERO, Sample, compare, verify
from edgeflownas.hardware.tflite import write_float, write_int8
from edgeflownas.models.blocks import up2
from edgeflownas.models.graph import fold
from edgeflownas.models.int8 import Scale, integer_layers


@pytest.mark.parametrize("outputs", ["half", "quarter", "raw"])
def test_the_flow_is_that_at_full_size(outputs):
    example, sums_net = tiny("v1", outputs), tiny("v1", "scales")  # type: ignore[arg-type]
    pair = example.images[0].numpy()
    sums = open_paths(sums_net.net, sums_net.graph, sums_net.layers, {})[FOLDED](pair)
    found = host_flow(open_paths(example.net, example.graph, example.layers, {})[FOLDED](pair))
    half, quarter = (torch.from_numpy(sums[f"flow_{size}"])[None] for size in ("half", "quarter"))
    expected = {"half": up2(half), "quarter": up2(up2(quarter)), "raw": torch.from_numpy(sums["flow"])[None]}
    assert relative_difference(found[None], expected[outputs]) <= 32 * FLOAT32
    result = verify(example.net, example.graph, example.layers, files_of(example), samples_of(example))
    assert not result.reasons, result.reasons


def test_a_wrong_bias_is_named():
    example = tiny("v1")
    broken = dict(example.layers)
    layer = broken["DB1.0.conv1"]
    broken["DB1.0.conv1"] = layer._replace(bias=layer.bias + layer.weight.abs().sum((1, 2, 3)))
    integers = integer_layers(example.graph, broken, example.scales)
    models = {
        "tflite-float": write_float(example.graph, broken),
        "tflite-int8": write_int8(example.graph, integers, example.scales),
    }
    result = verify(example.net, example.graph, example.layers, models, samples_of(example))
    assert result.document()["verdict"] == "failed" and set(result.layers) == set(models)
    assert any("tflite-float: flow agrees to" in reason for reason in result.reasons)
    named = [reason for reason in result.reasons if "most of the error enters at" in reason]
    assert len(named) == 2 and all("at DB1.0.conv1 (conv)" in reason for reason in named), named
    rows = {row.name: row for row in result.layers["tflite-float"]}
    assert rows["Up1"].snr_db > 100 > rows["DB1.0.conv1"].snr_db
    assert {name for name, row in rows.items() if row.own_snr_db < 100} == {"DB1.0.conv1"}
    assert rows["DB1.0.conv1"].added_db > 50 and rows["Up1"].flow_px < 1e-5 * rows["DB1.0.conv1"].flow_px


@pytest.mark.parametrize("tensor", ["EB0.0.sum", "H1", "H2Out"])
def test_a_range_too_small_is_named(tensor):
    example = tiny("v1")
    scales = example.scales
    scales[tensor] = Scale(scales[tensor].scale / 10, scales[tensor].zero_point)
    if f"{tensor}_x2" in scales:
        scales[f"{tensor}_x2"] = scales[tensor]
    model = write_int8(example.graph, integer_layers(example.graph, example.layers, scales), scales)
    samples = samples_of(example, 0.05)
    result = verify(example.net, example.graph, example.layers, {"tflite-int8": model}, samples)
    rows = result.layers["tflite-int8"]
    assert result.reasons and max(rows, key=lambda row: row.flow_px).name == tensor
    assert min(rows, key=lambda row: row.own_snr_db).name == tensor
    assert [row.name for row in rows] == [op.output.name for op in example.graph.ops]
    pictures = [samples[0].images, samples[1].images]
    doubled = layer_rows(example.graph, example.layers, model, example.form, pictures, 2.0)
    assert doubled[0].flow_px == pytest.approx(2 * rows[0].flow_px)


def test_what_float32_cannot_keep_is_no_failure():
    """A batch norm that takes a large mean away and adds it again: folding is exact, the trained network is not."""
    example = tiny("v1")
    norm = next(module for name, module in example.net.named_modules() if name == "EB0.depth1.0.bn2")
    norm.running_mean += 1e3
    norm.bias.data += 1e3 * norm.weight * torch.rsqrt(norm.running_var + norm.eps)
    layers = fold(example.net, example.graph)
    models = {"tflite-float": write_float(example.graph, layers)}
    result = verify(example.net, example.graph, layers, models, samples_of(example))
    assert max(row.snr_db for row in result.outputs) < LEAST_SNR
    assert not result.reasons and "float32 keeps the trained network within" in result.notes[0]
    assert 40 < result.document()["thresholds"]["float_snr_db"] < 95
    layer = layers["Up1"]
    wrong = layers | {"Up1": layer._replace(bias=layer.bias + 0.1)}
    models = {"tflite-float": write_float(example.graph, wrong)}
    result = verify(example.net, example.graph, layers, models, samples_of(example))
    assert any("enters at Up1" in reason for reason in result.reasons)


@given(power=st.floats(-40, 40), signal=st.floats(-9, 9))
def test_decibels(power, signal):
    assert decibels(10**signal, 10 ** (signal - power / 10)) == pytest.approx(power, abs=1e-6)


def test_decibels_at_their_ends():
    assert decibels(3.0, 0.0) == decibels(0.0, 0.0) == 200.0
    assert decibels(0.0, 1.0) == decibels(1.0, math.nan) == decibels(1.0, math.inf) == -200.0


def sample(truth=None, size=(2, 3)):
    images = np.zeros((*size, 6), np.uint8)
    return Sample(images) if truth is None else Sample(images, np.full((*size, 2), truth, np.float32))


def path(u, v=0.0, name="flow"):
    values = np.stack([np.full((2, 3), u), np.full((2, 3), v)]).astype(np.float32)
    return lambda images: {name: values}


def test_figures_by_hand():
    """Reference (3, 4), other (3, 5): signal 25, error 1 a pixel; truth 0, and a divisor that doubles everything."""
    result = compare({TRAINING: path(3, 4), "tflite-int8": path(3, 5)}, [sample(0.0), sample(0.0)], 2.0)
    (row,) = result.outputs
    assert row.snr_db == pytest.approx(10 * math.log10(25))
    assert (row.max_difference, row.epe_against_float) == (2.0, 2.0)
    assert row.rms_difference == pytest.approx(math.sqrt(2.0))
    _, before, after = result.paths
    assert (before.epe, after.epe) == (pytest.approx(10.0), pytest.approx(2 * math.sqrt(34)))
    assert after.loss_percent == pytest.approx(100 * (math.sqrt(34) / 5 - 1))
    assert result.reasons and "16.6" in result.reasons[0]


def test_a_loss_within_noise_says_so():
    """The two pairs disagree: 1 px worse, 0.9 px better."""
    flows = iter([10.0, 9.0, 10.0, 10.9])

    def run(images):
        flow = next(flows)
        return path(flow, flow)(images)

    result = compare({TRAINING: run, "tflite-int8": run}, [sample(11.0), sample(11.0)])
    row = result.paths[2]
    assert row.loss_percent == pytest.approx(5.0, rel=1e-4) and row.margin_percent > 100 and not result.reasons
    assert "may exceed 15 %" in result.notes[0] and "verify on more" in result.notes[0]


@pytest.mark.parametrize(("flow", "snr"), [((0, 0), 0.0), ((4, 3), 10.97), ((-3, -4), -6.02), ((3, 4.5), 20.0)])
def test_another_flow_fails_whatever_its_epe(flow, snr):
    """Zero flow and a negated one fail, nearer to truth or as far; what is only a little off does not."""
    paths = {TRAINING: path(3, 4), "tflite-int8": path(*flow), "onnx": path(3, 4)}
    result = compare(paths, [sample(0.0), sample(0.0)])
    assert result.flow_snr_db == {"tflite-int8": pytest.approx(snr, abs=0.01), "onnx": 200.0}
    assert result.paths[2].loss_percent < LARGEST_LOSS and bool(result.reasons) == (snr <= 3)
    expected = (
        f"tflite-int8: its flow agrees with the trained network's to {snr:.1f} dB, at least 3 expected: it is not"
    )
    assert all(reason.startswith(expected) for reason in result.reasons) and len(result.reasons) == (snr < 3)
    assert result.document()["thresholds"]["int8_flow_snr_db"] == 3.0


def test_raw_predictions_are_judged_by_their_sum():
    """The last prediction is small and all wrong, the flow is not."""

    def run(last):
        names = {"flow_raw_quarter": (8, 12, 5.0), "flow_raw_half": (16, 24, 5.0), "flow_raw_full": (32, 48, last)}
        values = {name: np.full((2, *size), value, np.float32) for name, (*size, value) in names.items()}
        return lambda images: values

    result = compare({TRAINING: run(0.1), "tflite-int8": run(-0.1)}, [sample(10.0, (32, 48))])
    expected = pytest.approx(20 * math.log10(10.1 / 0.2), abs=0.01)
    assert not result.reasons and result.flow_snr_db["tflite-int8"] == expected


def test_a_network_no_better_than_zero_flow_is_said():
    paths = {TRAINING: path(-1, 0), "tflite-int8": path(-1, 0.01)}
    result = compare(paths, [sample(1.0), sample(1.0)])
    zero = result.paths[0]
    assert (zero.path, zero.epe, zero.loss_percent) == (ZERO, pytest.approx(math.sqrt(2)), None)
    assert not result.reasons and "not below that of zero flow, 1.414 px: EPE cannot judge" in result.notes[0]
    assert not compare({TRAINING: path(1, 0.5), "tflite-int8": path(1, 0.51)}, [sample(1.0), sample(1.0)]).notes
    assert not compare({TRAINING: path(-1, 0), "onnx": path(-1, 0)}, [sample(1.0), sample(1.0)]).notes


def test_values_at_the_ends_are_counted():
    name, example = "tflite-int8", tiny("v1", "scales", uncertainty=True)
    scales = dict(example.scales)
    for tensor in ("flow", "H2Out"):
        scales[tensor] = Scale(scales[tensor].scale / 2, scales[tensor].zero_point)
    model = write_int8(example.graph, integer_layers(example.graph, example.layers, scales), scales)
    result = verify(example.net, example.graph, example.layers, {name: model}, samples_of(example))
    shares = {row.output: row.saturated_percent for row in result.outputs}
    folded, shares = [{r.output: r.saturated_percent for r in result.outputs if r.path == p} for p in (FOLDED, name)]
    assert set(folded.values()) == {None}
    (low, high), run = scales["flow"].range, open_paths(example.net, example.graph, example.layers, {})[TRAINING]
    flows = np.concatenate([run(pair)["flow"] for pair in example.images.numpy()])
    assert shares["flow"] == pytest.approx(100 * np.mean((flows <= low) | (flows >= high)), rel=0.3)
    assert shares["flow"] > 1 and shares["flow_quarter"] < 0.5
    assert any(f"{name}: {shares['flow']:.3g} % of the values of flow are at the ends" in note for note in result.notes)


def test_no_signal_and_no_truth():
    result = compare({TRAINING: path(0), "onnx": path(1e-6), "folded": path(1e-3)}, [sample()])
    assert len(result.reasons) == 1 and result.reasons[0].startswith("folded: flow agrees to -200.0 dB")
    assert result.paths == () and "no pair has truth" in result.notes[0]
    clipped = {"tflite-int8": {"flow": (-1.0, 1.0)}}
    notes = compare({TRAINING: path(1), "tflite-int8": path(1)}, [sample()], ends=clipped).notes
    assert len(notes) == 2 and "50 % of the values of flow" in notes[1]
    unknown = Sample(np.zeros((2, 3, 6), np.uint8), np.full((2, 3, 2), np.nan, np.float32), np.zeros((2, 3), bool))
    assert compare({TRAINING: path(0)}, [unknown]).paths == ()


def test_what_is_not_finite_fails():
    result = compare({TRAINING: path(1), "tflite-int8": path(math.nan)}, [sample(0.0), sample(0.0)])
    assert "tflite-int8: flow is not finite" in result.reasons
    json.dumps(result.document(), allow_nan=False)


def test_refusals():
    with pytest.raises(DataError, match="no pairs"):
        compare({TRAINING: path(0)}, [])
    with pytest.raises(DataError, match="onnx: no output 'flow', it has flow_half"):
        compare({TRAINING: path(0), "onnx": path(0, name="flow_half")}, [sample()])
