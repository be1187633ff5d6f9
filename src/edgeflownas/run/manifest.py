"""What a run is: every configuration key by kind, the data, the plan, the code and the machine it began on.

Kinds (config/): ``identity`` and ``dynamics`` decide the bits, so a resume that changes one is refused; the data's
fingerprints and the space's declaration count as identity.  ``observation`` keys, code and machine are free, but
recorded: bits are promised for the same versions, CPU and thread count only.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from pydantic import BaseModel

from edgeflownas.config import Config
from edgeflownas.config.load import REMOVED
from edgeflownas.data.fingerprint import Fingerprint
from edgeflownas.data.order import BatchPlan
from edgeflownas.errors import ConfigError, StorageError
from edgeflownas.files import canonical_json
from edgeflownas.run.machine import ABSENT, code_version
from edgeflownas.space import SearchSpace

KINDS = ("identity", "dynamics", "observation")


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
    fingerprints: Mapping[str, Fingerprint],
    space: SearchSpace,
    plan: BatchPlan,
    environment: Mapping[str, Any],
) -> dict[str, Any]:
    """The facts of run_manifest.json, a JSON document.  ``fingerprints`` maps split (train, val) to its fingerprint."""
    kinds = config_kinds(config)
    epochs = config.train.num_epochs
    deciding = {kind: kinds[kind] for kind in ("identity", "dynamics")}
    choices = [
        {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(choice).items()}
        for choice in space.choices
    ]
    return {
        "keys": kinds,
        "config_hash": hashlib.sha256(canonical_json(deciding)).hexdigest(),
        "data": {
            split: {"fingerprint": f.hash, "count": f.count, "label": f.label, "source": f.source}
            for split, f in fingerprints.items()
        },
        "generated_data": any(f.source == "generated" for f in fingerprints.values()),
        "space": {
            **{"name": space.name, "size": len(space), "choices": choices},
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


def compare(at_start: Mapping[str, Any], now: Mapping[str, Any], allow: Collection[str] = ()) -> list[Difference]:
    """Entries of two manifests that differ, in the order identity, dynamics, observation.

    ``allow`` names keys whose change the caller has sanctioned (``train.num_epochs`` under ``train.lr_plan``): they
    come back as observations.  A key that the run's version did not know stands for today's default.  Raises
    StorageError where ``at_start`` is no complete manifest.
    """
    defaults = {key: value for entries in config_kinds(Config()).values() for key, value in entries.items()}
    try:
        run = _entries(at_start)
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
    if not refused(differences):
        return
    rows = [("key", "run", "now", "kind")]
    rows += [(d.key, _short(d.run_value), _short(d.now_value), d.kind) for d in refused(differences)]
    widths = [max(len(row[i]) for row in rows) for i in range(4)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    raise ConfigError(
        "\n".join(
            [
                "this is not the run that was begun:",
                *lines,
                "put the values of the column `run` back, or begin a new run from these weights with `--fork NEW_NAME`",
            ]
        )
    )
