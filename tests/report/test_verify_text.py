"""Verification in words."""

from __future__ import annotations

from typing import Any

from edgeflownas.report.verify_text import folder_text, verification_text


def row(path: str, snr: float, epe: float | None = 0.5) -> dict[str, Any]:
    return {"path": path, "output": "flow", "snr_db": snr, "max_difference": 0.012, "epe_against_float": epe}


LAYERS = [
    {"name": "E0", "kind": "conv", "snr_db": 40.0, "added_db": 160.0, "own_snr_db": 40.0, "flow_px": 0.01},
    {"name": "E1", "kind": "conv", "snr_db": 3.0, "added_db": 37.0, "own_snr_db": 3.5, "flow_px": 4.0},
]
FOUND: dict[str, Any] = {
    "verdict": "failed",
    "pairs": 1,
    "from": "a:val/7",
    "outputs": [row("folded", 121.04), row("tflite-int8", 3.0), row("tflite-int8", -200.0, None)],
    "paths": [
        {"path": "training", "epe": 2.0, "loss_percent": None, "margin_percent": None},
        {"path": "folded", "epe": 2.0, "loss_percent": 0.0, "margin_percent": None},
        {"path": "tflite-int8", "epe": 3.0, "loss_percent": 50.0, "margin_percent": 12.0},
    ],
    "reasons": ["tflite-int8: too far"],
    "notes": ["a note"],
    "layers": {"tflite-int8": LAYERS},
}


def test_a_failed_comparison() -> None:
    lines = verification_text(FOUND).splitlines()
    assert lines[0] == "verification on 1 pair of a:val/7: failed"
    table = [line.split() for line in lines[3:7]]
    assert table[0] == ["training", "2.0000"]
    assert table[1] == ["folded", "2.0000", "+0.00", "flow", "121.0", "0.012", "0.5"]
    assert table[2] == ["tflite-int8", "3.0000", "+50.00", "12.00", "flow", "3.0", "0.012", "0.5"]
    assert table[3] == ["tflite-int8", "flow", "-200.0", "0.012"]
    assert lines[7:9] == ["tflite-int8: too far", "a note"]
    assert lines[-1].split() == ["E1", "conv", "3.0", "37.0", "3.5", "4", "<"] and "<" not in lines[-2]


def test_no_truth_and_no_origin() -> None:
    plain = {**FOUND, "paths": [], "layers": {}, "reasons": [], "verdict": "passed"}
    del plain["from"]
    lines = verification_text(plain).splitlines()
    assert lines[0] == "verification on 1 pair: passed" and lines[3].split()[:3] == ["folded", "flow", "121.0"]


def test_a_folder() -> None:
    document = {
        "folder": "deploy",
        "model": {"code": "000", "space": "v1", "width": 4, "size": [32, 48]},
        "verdict": "failed",
        "files": {"a": "", "b": "gone"},
        "vectors": [{"differing": 0}, {"differing": 2}],
        "reasons": ["b: gone", "tflite-int8: too far"],
        "verification": FOUND,
    }
    text = folder_text(document)
    assert "1 of 2\n" in text and text.count("tflite-int8: too far") == 1
    assert text.endswith("b: gone\nverdict: failed")
    assert "verification on" not in folder_text({**document, "verification": None})
