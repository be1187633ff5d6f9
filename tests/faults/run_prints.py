"""What two runs are compared by, and how one is damaged."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any

TIMES = re.compile("seconds|per_second|^share_|wait")  # columns that no two runs share


def progress(path: Path) -> list[str]:
    """What tells that a start got further: the checkpoints there are."""
    return sorted(entry.name for entry in path.glob("checkpoints/step-*"))


def damage_newest(path: Path) -> None:
    """Flip one bit of the newest checkpoint's weights."""
    from edgeflownas.run.checkpoint import checkpoint_names

    file = path / "checkpoints" / checkpoint_names(path / "checkpoints")[0] / "model.safetensors"
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


def fingerprint(path: Path) -> dict[str, str]:
    """sha256 of every tensor of the last checkpoint, of the logs of facts, best.json, the errors of the samples.

    Of eval_history.csv every column but those that are times.
    """
    from edgeflownas.run.directory import RunDirectory

    checkpoint = RunDirectory(path).load("latest")
    prints = {
        f"{group}/{name}": hashlib.sha256(tensor.reshape(-1).view(torch_bytes()).numpy().tobytes()).hexdigest()
        for group, tensors in checkpoint.tensors.items()
        for name, tensor in tensors.items()
    }
    logs = ("events.jsonl", "per_arch_epe.csv", "per_option.csv", "monitor.csv", "quarantine.jsonl", "best.json")
    for file in (*(path / log for log in logs), *(path / "sample_epe").glob("*.safetensors")):
        if file.exists():
            prints[file.name] = hashlib.sha256(file.read_bytes()).hexdigest()
    if (path / "eval_history.csv").exists():
        rows = [{name: cell for name, cell in row.items() if not TIMES.search(name)} for row in history(path)]
        prints["eval_history.csv"] = hashlib.sha256(repr(rows).encode()).hexdigest()
    return {**prints, "checkpoint": checkpoint.name, "finished": str(checkpoint.finished)}


def history(path: Path) -> list[dict[str, str]]:
    """Rows of eval_history.csv."""
    from edgeflownas.files import csv_rows

    return list(csv_rows(path / "eval_history.csv"))


def torch_bytes() -> Any:
    """The byte type: a view as bytes is defined for every element type."""
    import torch

    return torch.uint8
