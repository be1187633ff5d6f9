"""What a run is: every configuration key by kind, the data, the plan, the code and the machine it began on.

Kinds (config/): ``identity`` and ``dynamics`` decide the bits, so a resume that changes one is refused; the data's
fingerprints and the space's declaration count as identity.  ``observation`` keys, code and machine are free, but
recorded: bits are promised for the same versions, CPU and thread count only.
"""

from __future__ import annotations

import ctypes
import hashlib
import importlib.metadata
import os
import platform
import socket
import subprocess
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from edgeflownas.config import Config
from edgeflownas.config.keys import keys
from edgeflownas.config.load import FORMER, REMOVED
from edgeflownas.data.check import Fingerprint
from edgeflownas.data.order import BatchPlan
from edgeflownas.errors import ConfigError, StorageError
from edgeflownas.files import canonical_json
from edgeflownas.space import SearchSpace, declared_space, get_space

KINDS = ("identity", "dynamics", "observation")
ABSENT = "(absent)"


@dataclass(frozen=True)
class Difference:
    """One entry that is not as the run began: ``kind`` identity, dynamics or observation."""

    kind: str
    key: str
    run_value: Any
    now_value: Any


def config_kinds(config: Config) -> dict[str, dict[str, Any]]:
    """Kind -> dotted key -> value, JSON values, of every key of the configuration."""
    values = config.model_dump(mode="json")
    return {
        kind: {full: values[key.group][key.name] for full, key in keys().items() if key.kind == kind} for kind in KINDS
    }


def build_manifest(
    config: Config,
    fingerprints: Mapping[str, Fingerprint],
    space: SearchSpace,
    plan: BatchPlan,
    environment: Mapping[str, Any],
) -> dict[str, Any]:
    """The facts of run_manifest.json, a JSON document.  ``fingerprints`` maps split (train, val) to its fingerprint."""
    kinds = config_kinds(config)
    epochs = config.train.num_epochs
    deciding = {kind: kinds[kind] for kind in ("identity", "dynamics")}
    return {
        "keys": kinds,
        "config_hash": hashlib.sha256(canonical_json(deciding)).hexdigest(),
        "data": {
            split: {"fingerprint": f.hash, "count": f.count, "label": f.label, "source": f.source}
            for split, f in fingerprints.items()
        },
        "generated_data": any(f.source == "generated" for f in fingerprints.values()),
        "space": space.declaration(),
        "plan": {
            "num_epochs": epochs,
            "steps_per_epoch": plan.steps_per_epoch,
            "total_steps": plan.steps_per_epoch * epochs,
            "draws_per_epoch": plan.draws_per_epoch,
            "planned_samples": plan.draws_per_epoch * epochs,
        },
        "code": code_version(),
        "environment": dict(environment),
    }


def as_today(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The facts of a manifest with the search space under the name it has now (what was v3 is v3_nobias)."""
    facts = dict(manifest)
    with suppress(KeyError, TypeError, AttributeError, IndexError):  # incomplete: whoever reads the entry says so
        name = declared_space(facts["space"])
        if name != facts["space"]["name"]:
            identity = facts["keys"]["identity"] | {"train.space": name}
            facts |= {"space": get_space(name).declaration(), "keys": facts["keys"] | {"identity": identity}}
    return facts


def compare(at_start: Mapping[str, Any], now: Mapping[str, Any], allow: Collection[str] = ()) -> list[Difference]:
    """Entries of two manifests that differ, in the order identity, dynamics, observation.

    ``allow`` names keys whose change the caller has sanctioned (``train.num_epochs`` under ``train.lr_plan``): they
    come back as observations.  A key that the run's version did not know stands for its default then.  Raises
    StorageError where ``at_start`` is no complete manifest.
    """
    defaults = {key: value for entries in config_kinds(Config()).values() for key, value in entries.items()} | FORMER
    try:
        run = _entries(at_start)
    except (KeyError, TypeError, AttributeError) as error:
        raise StorageError(f"run_manifest.json: incomplete or altered ({error}): restore it from a copy") from error
    today = _entries(now)
    differences = []
    for key in dict.fromkeys([*today, *run]):
        kind, now_value = today[key] if key in today else (run[key][0], ABSENT)
        run_value = run[key][1] if key in run else defaults.get(key, ABSENT)
        if run_value != now_value:
            differences.append(Difference("observation" if key in allow else kind, key, run_value, now_value))
    return sorted(differences, key=lambda difference: KINDS.index(difference.kind))


def _entries(manifest: Mapping[str, Any]) -> dict[str, tuple[str, Any]]:
    """Key -> (kind, value) of everything that is compared; a key that is gone counts only where it was set."""
    entries = {key: (kind, value) for kind in KINDS for key, value in manifest["keys"][kind].items()}
    entries = {key: entry for key, entry in entries.items() if key not in REMOVED or entry[1] != REMOVED[key][1]}
    for split, facts in manifest["data"].items():
        entries[f"data.{split} fingerprint"] = ("identity", f"{facts['label']} {facts['fingerprint'][:12]}")
    if "teacher" in manifest:
        entries["teacher"] = ("identity", f"{manifest['teacher']['code']} {manifest['teacher']['hash'][:12]}")
    space = manifest["space"]
    entries["space declaration"] = ("identity", [*space["choices"], *space.get("fixed", [])])
    for group in ("code", "environment"):
        for name, value in manifest[group].items():
            entries[f"{group}.{name}"] = ("observation", value)
    return entries


def refused(differences: Collection[Difference]) -> list[Difference]:
    """Those that a resume must not have."""
    return [difference for difference in differences if difference.kind != "observation"]


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:40]}... {hashlib.sha256(text.encode()).hexdigest()[:8]}"


def refuse(differences: Collection[Difference]) -> None:
    """Raise ConfigError with a table key / run / now where one of ``differences`` is not an observation."""
    if not (changed := refused(differences)):
        return
    cells = ((d.key, _short(d.run_value), _short(d.now_value), d.kind) for d in changed)
    rows = [("key", "run", "now", "kind"), *cells]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
    remedy = "put the values of the column `run` back, or begin a new run from these weights with `--fork NEW_NAME`"
    raise ConfigError("\n".join(["this is not the run that was begun:", *lines, remedy]))


# ---- the machine a run computes on, and the facts that decide its last bits ----


def choose_device(gpu_device: int | str, local_rank: int = 0, ranks: int = 1) -> tuple[torch.device, str]:
    """The device and the line that says so, e.g. ``gpu_device=0 applied``.

    With several ranks on a machine, each takes the GPU after the one named.  Raises ConfigError for an index that does
    not exist: never a quiet fall back to CPU.
    """
    available = torch.cuda.device_count() if torch.cuda.is_available() else 0
    found = ""
    if gpu_device == "auto":
        gpu_device, found = 0 if available else -1, f" (auto: {available} GPUs found)"
    note = f"gpu_device={gpu_device} applied{found}"
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


def _keep_freed_memory() -> None:
    """Let the allocator of glibc keep what is freed; with another one nothing happens.

    A step asks for the same hundreds of maps as the one before; as fresh pages of the kernel each time they cost 5 to
    10 % of a step (docs/performance.md).
    """
    mmap_threshold, trim_threshold = -3, -1  # of mallopt(3)
    with suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL("libc.so.6").mallopt
        if not mallopt(mmap_threshold, 2**30):
            mallopt(mmap_threshold, 2**25)  # the most that older versions take
        mallopt(trim_threshold, 2**31 - 1)


def set_arithmetic(config: Config) -> str:
    """Threads, determinism and TF32 as configured; returns the line that says so."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    _keep_freed_memory()
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
        words, quiet = ["git", *arguments], subprocess.DEVNULL
        here = Path(__file__).parent
        return subprocess.check_output(words, cwd=here, env=variables, stderr=quiet, text=True, timeout=10).strip()
    except (OSError, subprocess.SubprocessError):
        return None
