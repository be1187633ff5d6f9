"""What is asked for in words."""

from __future__ import annotations

import pytest

from edgeflownas.errors import ConfigError
from edgeflownas.export.artefacts import formats_of


def test_formats_have_one_order() -> None:
    """Whatever the order of the words: files, report and page are the same."""
    assert formats_of("onnx-int8, tflite-int8,onnx,onnx") == ("tflite-int8", "onnx", "onnx-int8")
    for text in ("", ",", "onnx,onyx"):
        with pytest.raises(ConfigError, match="--format"):
            formats_of(text)
