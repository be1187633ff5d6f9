"""Tables of `vela`, from plain data."""

from __future__ import annotations

from typing import Any

from edgeflownas.report.vela_text import comparison_text, model_text

FACTS = {
    **{"version": "5.2.0", "target": "board", "accelerator": "ethos-u55-64", "clock": "400 MHz", "mode": "size"},
    **{
        "arena": "no limit",
        "constants": "OffChipFlash",
        "system_config": "S",
        "memory_mode": "M",
        "ini_sha256": "0123456789abcdef",
    },
}


def layer(name: str, cycles: int, cascade: int) -> dict[str, Any]:
    figures = {"macs": 2_000_000, "utilisation": 0.5, "sram_bytes": 2048, "time": 0}
    return {"name": name, "kind": "Conv2D", "cycles": cycles, "cascade": cascade} | figures


def document(cascade: int = 0, gaps: float = 0.0) -> dict[str, Any]:
    alive = [
        {"use": "tensor", "names": ["a", "b"], "bytes": 1024},
        {"use": "stripes", "names": ["c"], "bytes": 512},
        {"use": "weights", "names": ["d"], "bytes": 512},
    ]
    return {
        **{"name": "model", "layers": [layer("x", 100_000, cascade), layer("y", 300_000, 0)], "facts": FACTS},
        **{"cycles": 400_000, "milliseconds": 1.0, "macs": 4_000_000, "utilisation": 0.25, "sram_kib": 2.5},
        **{
            "flash_kib": 7.0,
            "arena_kept": True,
            "npu_ops": 2,
            "cpu_ops": 0,
            "memories": {"OffChipFlash": 7.0, "Sram": 2.5},
        },
        "peak": {"operators": ["x"], "alive": alive, "gaps_kib": gaps},
    }


def test_a_model() -> None:
    lines = model_text(document(gaps=0.5)).splitlines()
    assert lines[3].split() == ["x", "Conv2D", "0.25", "25.0", "2.0", "50", "2.0"]
    assert lines[5].split() == ["total", "1.00", "100.0", "4.0", "25", "2.5"]
    assert lines[6] == "peak of SRAM at x: a = b 1.0, stripes of c 0.5, weights of d 0.5, gaps 0.5 KiB"
    assert "OffChipFlash 7.0 KiB" in lines[7] and "0 on the CPU" in lines[7]
    assert lines[8].endswith("mode size, arena no limit, S / M, ini sha256 0123456789ab")


def test_a_cascade_is_marked() -> None:
    text = model_text(document(cascade=3))
    assert "x [3]" in text and "one cascade" in text and "gaps" not in text
    assert "[" not in model_text(document())


def test_several() -> None:
    lines = comparison_text([document(), document()]).splitlines()
    assert lines[2].split() == ["model", "1.00", "1,000.0", "2.5", "7.0", "4.0", "25", "2"]
    assert lines[-1].startswith("Vela 5.2.0, board")


def test_a_limit_that_is_not_kept() -> None:
    failed = {**document(), "name": "large", "arena_kept": False, "facts": FACTS | {"arena": "2 KiB"}}
    said = "! large: the limit of the arena, 2 KiB, is not kept: it needs 2.5 KiB"
    assert said in model_text(failed).splitlines() and "kept" not in model_text(document())
    lines = comparison_text([document(), failed]).splitlines()
    assert lines[2].split()[3] == "2.5" and lines[3].split()[3] == "2.5!" and lines[4] == said


def test_where_the_weights_are() -> None:
    assert "flash KiB" in comparison_text([document()])
    other = {**document(), "facts": FACTS | {"constants": "Dram"}}
    assert "weights in Dram KiB" in comparison_text([other])
