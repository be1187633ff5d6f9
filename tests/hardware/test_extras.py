"""A package of the extra that is missing or broken is named, with the command that installs it."""

import sys

import pytest

from edgeflownas.errors import ConfigError
from edgeflownas.hardware.extras import PACKAGES, need


@pytest.fixture(autouse=True)
def _unknown():
    need.cache_clear()
    yield
    need.cache_clear()


@pytest.mark.parametrize("feature", PACKAGES)
def test_installed(feature):
    need(feature)  # type: ignore[arg-type]


def test_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "ethosu.regor", None)
    with pytest.raises(ConfigError) as caught:
        need("vela")
    for part in ("ethos-u-vela", "ModuleNotFoundError", 'pip install "edgeflownas[export]"'):
        assert part in str(caught.value)


def test_broken(monkeypatch, tmp_path):
    (tmp_path / "onnxruntime.py").write_text("raise AttributeError('built for another numpy')")
    monkeypatch.delitem(sys.modules, "onnxruntime", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(
        ConfigError, match=r"onnxruntime.*AttributeError: built for another numpy.*edgeflownas\[export\]"
    ):
        need("onnx")
    monkeypatch.undo()
    need("onnx")  # mended: a refusal is not remembered
