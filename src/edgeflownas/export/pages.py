"""``README.md`` and ``model.h`` of a deploy folder: the facts of report.json in the templates beside this file."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jinja2 import Environment

COLUMNS = 24  # bytes of the model on a line of the header


@cache
def _templates() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    loader = FileSystemLoader(Path(__file__).parent / "templates")
    found = Environment(
        loader=loader, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    found.filters |= {"constant": _constant_name, "lines": _lines}
    return found


def readme_text(report: Mapping[str, Any]) -> str:
    """What goes in, what comes out, and code that does it, with this model's values."""
    names = [output["name"] for output in report["outputs"]]
    flows = [output for output in report["outputs"] if output["name"].startswith("flow")]
    flow = max(flows, key=lambda output: int(output["shape"][1]))["name"]  # what the C++ reads
    onnx, lite = (any(name.endswith(ending) for name in report["input"]["forms"]) for ending in (".onnx", ".tflite"))
    shown = {"flow": flow, "others": [name for name in names if name != flow], "onnx": onnx, "lite": lite}
    raw = any("_raw" in name for name in names)
    return _templates().get_template("README.md.j2").render(report, raw=raw, **shown)


def header_text(model: bytes, report: Mapping[str, Any]) -> str:
    """The model as an array for firmware (C++17), with what the code around it has to know."""
    return _templates().get_template("model.h.j2").render(report, bytes=model)


def _constant_name(name: str) -> str:
    """``flow_half`` as ``FlowHalf``."""
    return "".join(part.capitalize() for part in name.split("_"))


def _lines(content: bytes) -> str:
    values = list(map(str, content))
    lines = [",".join(values[start : start + COLUMNS]) for start in range(0, len(values), COLUMNS)]
    return ",\n".join(lines)
