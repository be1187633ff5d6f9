"""What a run is: every configuration key by kind, the data, the plan, the code and the machine it began on.

Kinds (config/): ``identity`` and ``dynamics`` decide the bits, so a resume that changes one is refused; the data's
fingerprints and the space's declaration count as identity.  ``observation`` keys, code and machine are free, but
recorded: bits are promised for the same versions, CPU and thread count only.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import platform
import socket
import subprocess
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from pydantic import BaseModel

from edgeflownas.config import Config
from edgeflownas.config.train import GONE_KEYS
from edgeflownas.errors import ConfigError, StorageError
from edgeflownas.space import SearchSpace
from edgeflownas.train.storage import canonical_json

__all__ = [
    "Difference",
    "build_manifest",
    "code_version",
    "compare",
    "config_kinds",
    "environment",
    "refuse_table",
    "refused",
]

KINDS = ("identity", "dynamics", "observation")
ABSENT = "(absent)"


class DataFingerprint(Protocol):
    """What is recorded of a data split (data/fingerprint.py)."""

    @property
    def hash(self) -> str: ...  # noqa: D102
    @property
    def count(self) -> int: ...  # noqa: D102
    @property
    def label(self) -> str: ...  # noqa: D102
    @property
    def source(self) -> str: ...  # noqa: D102


class Plan(Protocol):
    """What is recorded of the sample order (data/order.py)."""

    @property
    def steps_per_epoch(self) -> int: ...  # noqa: D102
    @property
    def draws_per_epoch(self) -> int: ...  # noqa: D102


@dataclass(frozen=True)
class Difference:
    """One entry that is not as the run began: ``kind`` identity, dynamics or observation."""

    kind: str
    key: str
    run_value: Any
    now_value: Any


def config_kinds(config: BaseModel) -> dict[str, dict[str, Any]]:
    """Kind -> dotted key -> value, JSON values, of every field of the configuration."""
    kinds: dict[str, dict[str, Any]] = {kind: {} for kind in KINDS}
    values = config.model_dump(mode="json")
    for group, group_field in type(config).model_fields.items():
        group_type = group_field.annotation
        assert isinstance(group_type, type) and issubclass(group_type, BaseModel), group
        for name, field in group_type.model_fields.items():
            extra = field.json_schema_extra
            assert isinstance(extra, dict) and extra.get("kind") in KINDS, f"{group}.{name} has no kind"
            kinds[str(extra["kind"])][f"{group}.{name}"] = values[group][name]
    return kinds


def build_manifest(
    config: Config,
    fingerprints: Mapping[str, DataFingerprint],
    space: SearchSpace,
    plan: Plan,
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
        "space": {
            **{"name": space.name, "size": len(space), "choices": [_plain(asdict(c)) for c in space.choices]},
            **({"fixed": list(space.fixed)} if space.fixed else {}),
        },
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


def _plain(document: Mapping[str, Any]) -> dict[str, Any]:
    return {key: list(value) if isinstance(value, tuple) else value for key, value in document.items()}


def compare(at_start: Mapping[str, Any], now: Mapping[str, Any], allow: Collection[str] = ()) -> list[Difference]:
    """Entries of two manifests that differ, in the order identity, dynamics, observation.

    ``allow`` names keys whose change the caller has sanctioned (``train.num_epochs`` under ``train.lr_plan``): they
    come back as observations.  A key that the run's version did not know stands for today's default.  Raises
    StorageError where ``at_start`` is no complete manifest.
    """
    defaults = _by_key(config_kinds(Config()))
    try:
        run = {key: it for key, it in _entries(at_start).items() if (key, it[1]) not in GONE_KEYS.items()}
    except (KeyError, TypeError, AttributeError) as error:
        raise StorageError(f"run_manifest.json: incomplete or altered ({error}): restore it from a copy") from error
    today = _entries(now)
    differences = []
    for key in dict.fromkeys([*today, *run]):
        kind = (today.get(key) or run[key])[0]
        run_value = run[key][1] if key in run else defaults.get(key, ABSENT)
        now_value = today[key][1] if key in today else ABSENT
        if run_value != now_value:
            differences.append(Difference("observation" if key in allow else kind, key, run_value, now_value))
    return sorted(differences, key=lambda difference: KINDS.index(difference.kind))


def _by_key(kinds: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    return {key: value for entries in kinds.values() for key, value in entries.items()}


def _entries(manifest: Mapping[str, Any]) -> dict[str, tuple[str, Any]]:
    """Key -> (kind, value) of everything that is compared."""
    entries = {key: (kind, value) for kind in KINDS for key, value in manifest["keys"][kind].items()}
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


def refuse_table(differences: Collection[Difference]) -> str:
    """Table key / run / now of the refused differences, with the remedy."""
    rows = [("key", "run", "now", "kind")]
    rows += [(d.key, _short(d.run_value), _short(d.now_value), d.kind) for d in refused(differences)]
    widths = [max(len(row[i]) for row in rows) for i in range(4)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join(
        [
            "this is not the run that was begun:",
            *lines,
            "put the values of the column `run` back, or begin a new run from these weights with `--fork NEW_NAME`",
        ]
    )


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:40]}... {hashlib.sha256(text.encode()).hexdigest()[:8]}"


def refuse(differences: Collection[Difference]) -> None:
    """Raise ConfigError with the table where a refused difference is among ``differences``."""
    if refused(differences):
        raise ConfigError(refuse_table(differences))


def environment(device: str = "cpu") -> dict[str, Any]:
    """Versions, machine and threads, as far as they can change the last bits of a result."""
    import torch

    facts = {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": importlib.metadata.version("numpy"),
        "cv2": _version_of("opencv-python-headless"),
        "platform": platform.platform(),
        "host": socket.gethostname(),
        "cpu": _cpu_model(),
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


def _cpu_model() -> str:
    path = Path("/proc/cpuinfo")
    if path.exists():
        for line in path.read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


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
