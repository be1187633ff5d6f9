"""What two runs are compared by, and how one is damaged."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any


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
    """sha256 of every tensor of the last checkpoint, and of the logs of facts."""
    from edgeflownas.run.directory import RunDirectory

    checkpoint = RunDirectory(path).load("latest")
    prints = {
        f"{group}/{name}": hashlib.sha256(tensor.reshape(-1).view(torch_bytes()).numpy().tobytes()).hexdigest()
        for group, tensors in checkpoint.tensors.items()
        for name, tensor in tensors.items()
    }
    for log in ("events.jsonl", "per_arch_epe.csv", "per_option.csv", "monitor.csv", "quarantine.jsonl"):
        if (path / log).exists():
            prints[log] = hashlib.sha256((path / log).read_bytes()).hexdigest()
    return {**prints, "checkpoint": checkpoint.name, "finished": str(checkpoint.finished)}


def torch_bytes() -> Any:
    """The byte type: a view as bytes is defined for every element type."""
    import torch

    return torch.uint8
