"""``model.h``: the model as an array for firmware, with what the code around it has to know."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

COLUMNS = 24  # bytes of the model on a line


def header_text(model: bytes, report: Mapping[str, Any]) -> str:
    """C++17 header of ``model``; scales, sizes and facts are those of ``report`` (report.json)."""
    facts, image, vela = report["model"], report["input"], report["vela"]
    rows, columns = facts["size"]
    values = list(map(str, model))
    lines = [",".join(values[start : start + COLUMNS]) for start in range(0, len(values), COLUMNS)]
    body = ",\n".join(lines)
    return "\n".join(
        [
            f"// Subnet {facts['code']} of space {facts['space']}, width {facts['width']}: optical flow, int8.",
            f"// Weights {facts['weights_hash'][:16]}, {facts['tool']}. Compiled by Vela for {vela['target']}.",
            "#ifndef EDGEFLOWNAS_MODEL_H_",
            "#define EDGEFLOWNAS_MODEL_H_",
            "",
            "namespace edgeflownas {",
            "",
            *_constants({"Rows": rows, "Columns": columns}),
            *_constants({"InputScale": image["scale"], "InputZeroPoint": image["zero_point"]}),
            *(line for output in report["outputs"] for line in _output(output)),
            *_constants({"FlowDivisor": float(facts["flow_divisor"])}),
            f"inline constexpr int kArenaBytes = {vela['sram_bytes']};  // peak of the activations, by Vela",
            f"inline constexpr unsigned int kModelBytes = {len(model)};",
            f"alignas(16) inline constexpr unsigned char kModel[kModelBytes] = {{\n{body}}};",
            "",
            "}  // namespace edgeflownas",
            "",
            "#endif  // EDGEFLOWNAS_MODEL_H_",
            "",
        ]
    )


def constant_name(name: str) -> str:
    """``flow_half`` as ``FlowHalf``."""
    return "".join(part.capitalize() for part in name.split("_"))


def _output(output: Mapping[str, Any]) -> Sequence[str]:
    name = constant_name(output["name"])
    known = {f"{name}Index": output["index"], f"{name}Rows": output["shape"][1], f"{name}Columns": output["shape"][2]}
    return _constants({**known, f"{name}Scale": output["scale"], f"{name}ZeroPoint": output["zero_point"]})


def _constants(values: Mapping[str, int | float]) -> list[str]:
    return [
        f"inline constexpr {'int' if isinstance(value, int) else 'float'} k{name} = {_literal(value)};"
        for name, value in values.items()
    ]


def _literal(value: int | float) -> str:
    return str(value) if isinstance(value, int) else f"{value!r}f"
