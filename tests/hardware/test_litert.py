"""A model from elsewhere cannot end the process that asks for it."""

from __future__ import annotations

import os
import random
from pathlib import Path

import numpy as np
import pytest

from edgeflownas.errors import DataError
from edgeflownas.hardware import litert
from edgeflownas.hardware.litert import Made, verify
from edgeflownas.hardware.tflite import TfliteModel, cost_model_bytes
from edgeflownas.models.graph import subnet_graph
from edgeflownas.space import get_space

pytest.importorskip("ai_edge_litert", reason="ai-edge-litert is not installed (extra: export)")


@pytest.fixture(scope="module")
def sound() -> bytes:
    space = get_space("v1")
    return cost_model_bytes(subnet_graph(space, 2, space.parse("000000000"), (32, 48)))


def test_a_sound_model_says_the_same_in_its_own_process(sound: bytes) -> None:
    here, apart = TfliteModel(sound, "plain"), TfliteModel(bytes(sound), "plain", name="m.tflite")
    assert (here.inputs, here.outputs) == (apart.inputs, apart.outputs)
    pixels = np.random.default_rng(0).integers(-128, 128, here.shape(here.inputs[0])).astype(np.int8)
    assert isinstance(sound, Made)
    for _ in range(2):
        expected, found = here.run(pixels), apart.run(pixels)
        assert all(np.array_equal(values, found[name]) for name, values in expected.items())
    assert np.array_equal(apart.tensors(apart.outputs)[apart.outputs[0]], found[apart.outputs[0]])


def test_its_death_is_an_error_with_its_name(sound: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(litert, "_answer", _dies)
    with pytest.raises(DataError, match="m.tflite: LiteRT breaks off on it .*killed by SIGKILL"):
        TfliteModel(bytes(sound), "plain", name="m.tflite")


def _dies(model: object, request: object) -> None:
    os.kill(os.getpid(), 9)


def test_the_model_that_ended_the_process(sound: bytes) -> None:
    shared = os.environ.get("EDGEFLOWNAS_SHARED")
    file = Path(shared or "", "cases", "hostile", "crash1.tflite")
    if not shared or not file.exists():
        pytest.skip("EDGEFLOWNAS_SHARED has no cases/hostile")
    for kernels in ("plain", "reference"):
        with pytest.raises(DataError, match="crash1.tflite"):
            TfliteModel(file.read_bytes(), kernels, name=str(file))  # type: ignore[arg-type]


def test_altered_offsets_and_numbers_are_found_in_words(sound: bytes) -> None:
    verify(sound, "m.tflite")
    draw, refused = random.Random(0), 0
    for _ in range(200):
        content = bytearray(sound)
        for _ in range(draw.choice([1, 4])):
            place = draw.randrange(8, len(content) - 4)
            content[place : place + 4] = draw.choice([0, 0x7FFFFFFF, 0xFFFFFFFF, 1 << 20]).to_bytes(4, "little")
        try:
            verify(bytes(content), "m.tflite")
        except DataError as error:
            refused += 1
            assert str(error).startswith("m.tflite: LiteRT does not run it: no sound TensorFlow Lite file")
    assert refused > 5
