"""Text of `fit-target`, from plain data."""

from __future__ import annotations

from typing import Any

from edgeflownas.report.fit_text import fit_text


def document(constants: str) -> dict[str, Any]:
    facts = {"target": "board", "version": "5.2.0", "accelerator": "ethos-u65-256", "clock": "1000 MHz"}
    row = {"size": [32, 48], "outputs": "flow", "mode": "performance", "code": "0,0"}
    figures = {"milliseconds": 2.0, "fps": 500.0, "sram_kib": 33.0, "flash_kib": 200.0}
    failed = row | {"limit": "flash_kib", "needs": 300.0, "allowed": 250.0, "by": "vela"}
    return {
        **{"facts": facts | {"constants": constants, "ini_sha256": "0123456789abcdef"}, "subnets": 2, "cases": 2},
        **{"space": "v1", "width": 8, "budget": {"sram_kib": 100.0, "milliseconds": None, "flash_kib": 250.0}},
        **{"fits": [row | figures], "failed": [failed], "further": 0, "too_slow": 0, "ranked_at": None},
    }


def test_the_limit_of_weights_says_where_they_are() -> None:
    flash, dram = fit_text(document("OffChipFlash")), fit_text(document("Dram"))
    assert "flash 250 KiB" in flash and "flash KiB" in flash and "Dram" not in flash
    assert "SRAM 100 KiB, weights in Dram 250 KiB" in dram and "weights in Dram KiB" in dram and "flash" not in dram
    assert "weights in Dram: 1 case, where even the smallest subnet needs too much" in dram
    assert "300.0 KiB, 20.0% over 250.0 (0,0, performance, by vela)" in dram
