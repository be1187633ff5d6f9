"""The machine a run computes on: device, arithmetic, memory in words, and the facts that decide its last bits."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from edgeflownas.config import Config
from edgeflownas.errors import ConfigError

ABSENT = "(absent)"


def choose_device(gpu_device: int | str, local_rank: int = 0, ranks: int = 1) -> tuple[torch.device, str]:
    """The device and the line that says so, e.g. ``gpu_device=0 applied``.

    With several ranks on a machine, each takes the GPU after the one named.

    Raises:
        ConfigError: an index that does not exist; never a quiet fall back to CPU.
    """
    available = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if gpu_device == "auto":
        gpu_device = 0 if available else -1
        note = f"gpu_device={gpu_device} applied (auto: {available} GPUs found)"
    else:
        note = f"gpu_device={gpu_device} applied"
    if gpu_device == -1:
        return torch.device("cpu"), note
    index = int(gpu_device) + local_rank
    if not 0 <= index < available:
        known = f"GPUs 0 to {available - 1}" if available else "no GPU"
        raise ConfigError(
            f"train.gpu_device {gpu_device}{f' + local rank {local_rank}' if ranks > 1 else ''} does not exist: this "
            f"machine has {known}; use -1 for the CPU or auto"
        )
    torch.cuda.set_device(index)
    return torch.device("cuda", index), note


def set_arithmetic(config: Config) -> str:
    """Threads, determinism and TF32 as configured; returns the line that says so."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    if config.runtime.num_threads:
        torch.set_num_threads(config.runtime.num_threads)
    # The same switch as use_deterministic_algorithms, which imports a compiler first (seconds at every start).
    torch.set_deterministic_debug_mode("error" if config.runtime.deterministic else "default")
    # Deterministic mode would fill every new tensor first (4 to 15 % of a step); ours are written before they are read.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = not config.runtime.deterministic
    tf32 = config.train.precision == "tf32"
    torch.backends.cuda.matmul.allow_tf32 = tf32
    torch.backends.cudnn.allow_tf32 = tf32
    return (
        f"precision={config.train.precision} channels_last={config.train.channels_last} "
        f"deterministic={config.runtime.deterministic} threads={torch.get_num_threads()}"
    )


REMEDY = (
    "lower train.micro_batch_size, train.batch_size, eval.batch_size or data.prefetch_batches "
    "(`edgeflownas train ... --dry-run` estimates what a run takes)"
)


@contextmanager
def memory_in_words(remedy: str = REMEDY) -> Iterator[None]:
    """Turn an exhausted memory, of the host or a GPU, into a ConfigError that says what to lower."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        exhausted = isinstance(error, MemoryError | torch.OutOfMemoryError) or "DefaultCPUAllocator" in str(error)
        if not exhausted:
            raise
        detail = " ".join(str(error).split()).partition(". ")[0] or "no more memory"
        raise ConfigError(f"out of memory ({detail}): {remedy}") from error


def check_precision(config: Config, device: torch.device) -> None:
    """Raise ConfigError for a precision the device lacks."""
    if config.train.precision == "tf32" and device.type != "cuda":
        raise ConfigError("train.precision tf32 exists on GPUs only and this run is on the CPU: use fp32")


def environment(device: str = "cpu") -> dict[str, Any]:
    """Versions, machine and threads, as far as they can change the last bits of a result."""
    known = Path("/proc/cpuinfo").read_text(errors="replace") if Path("/proc/cpuinfo").exists() else ""
    models = [line.partition(":")[2].strip() for line in known.splitlines() if line.startswith("model name")]
    facts = {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": importlib.metadata.version("numpy"),
        "cv2": _version_of("opencv-python-headless"),
        "platform": platform.platform(),
        "host": socket.gethostname(),
        "cpu": models[0] if models else platform.processor() or platform.machine(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "device": device,
    }
    if device.startswith("cuda"):
        facts |= {"gpu": torch.cuda.get_device_name(device), "cuda": torch.version.cuda}
        cudnn: Any = torch.backends.cudnn  # its functions carry no types
        facts["cudnn"] = cudnn.version()
    return facts


def _version_of(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return ABSENT


def code_version() -> dict[str, Any]:
    """Version of the package, and commit and dirtiness where it runs from a git checkout (None elsewhere)."""
    version = _version_of("edgeflownas")
    if _git("ls-files", "--error-unmatch", Path(__file__).name) is None:  # installed, or git is missing
        return {"version": version, "commit": None, "dirty": None}
    status = _git("status", "--porcelain", "--untracked-files=no")
    return {"version": version, "commit": _git("rev-parse", "HEAD"), "dirty": bool(status)}


def _git(*arguments: str) -> str | None:
    """Output of git in this file's folder, None where it fails; variables of a surrounding git hook are left out."""
    variables = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    try:
        done = subprocess.run(
            ["git", *arguments],
            cwd=Path(__file__).parent,
            env=variables,
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
