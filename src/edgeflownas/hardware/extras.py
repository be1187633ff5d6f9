"""The packages of the extra ``export``: looked for where they are used, and named where they are missing.

They are imported inside functions only, after :func:`need`, so that everything else works without them.
"""

from __future__ import annotations

import importlib
from functools import cache
from typing import Literal

from edgeflownas.errors import ConfigError

INSTALL = 'pip install "edgeflownas[export]"'
Feature = Literal["litert", "vela", "onnx"]
PACKAGES: dict[Feature, dict[str, tuple[str, ...]]] = {  # by the name pip knows: the modules that are used
    "litert": {"ai-edge-litert": ("ai_edge_litert.schema_py_generated", "ai_edge_litert.interpreter")},
    "vela": {"ethos-u-vela": ("ethosu.regor", "ethosu.vela.stats_writer")},
    "onnx": {"onnx": ("onnx",), "onnxruntime": ("onnxruntime",), "onnxscript": ("onnxscript",)},
}


@cache
def need(feature: Feature) -> None:
    """Import the packages of ``feature``.

    Raises:
        ConfigError: one is missing, or is installed and cannot be imported; says how to install it.
    """
    for package, modules in PACKAGES[feature].items():
        for module in modules:
            try:
                importlib.import_module(module)
            except Exception as error:  # a broken package raises anything
                reason = f"{type(error).__name__}: {error}"
                raise ConfigError(
                    f"the package {package} is needed and cannot be imported ({reason}): {INSTALL}"
                ) from None
