"""The JSON documents of a run as they must be; each is held against its model when it is read.

A file that was edited, or comes from elsewhere, is refused with its name and the key, wherever it would have been used.
Entries that no model names are kept: a newer version may have written them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from edgeflownas.errors import StorageError, UserError

Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Count = Annotated[int, Field(ge=0, le=2**62)]
Number = float | Literal["nan", "inf", "-inf"]  # as files.row_text writes it


class Document(BaseModel):
    """A JSON object with at least these entries."""

    model_config = ConfigDict(strict=True, extra="allow")


# ---- run_manifest.json and group.json ----


class _Data(Document):
    fingerprint: str
    count: Count
    label: str
    source: str


class _Space(Document):
    name: str
    size: Count
    choices: list[dict[str, Any]] = []
    fixed: list[Any] = []


class _Pool(Document):
    hash: str = ""
    pool: list[str] = []
    coverage: dict[str, list[Count]] = {}


class Facts(Document):
    """Of any run; those that are there are of this form."""

    keys: dict[str, dict[str, Any]] = {}
    data: dict[str, _Data] = {}
    space: _Space | None = None
    plan: dict[str, Count] = {}
    code: dict[str, Any] = {}
    environment: dict[str, Any] = {}
    eval_set: _Pool | None = None
    teacher: dict[str, str] = {}
    forked_from: dict[str, Any] = {}
    imported_from: dict[str, Any] = {}
    initialised_from: dict[str, Any] = {}


class Kinds(Document):
    """Configuration keys by kind."""

    identity: dict[str, Any]
    dynamics: dict[str, Any]
    observation: dict[str, Any]


class _Splits(Document):
    train: _Data
    val: _Data


class _Plan(Document):
    num_epochs: Count
    steps_per_epoch: Count
    total_steps: Count
    draws_per_epoch: Count
    planned_samples: Count


class TrainedFacts(Document):
    """Of a run that was trained here: what a resume, a fork and an evaluation hold against today's."""

    keys: Kinds
    data: _Splits
    space: _Space
    plan: _Plan
    code: dict[str, Any]
    environment: dict[str, Any]


class Identity(Document):
    """run_manifest.json."""

    format: int
    run: Annotated[str, Field(min_length=1)]
    manifest: Facts
    converted: dict[str, Count] = {}


class Group(Document):
    """group.json of a folder of several models."""

    models: Annotated[dict[str, str], Field(min_length=1)]


class Lease(Document):
    """lease.json of a locked run."""

    pid: Annotated[int, Field(gt=0, le=2**31)]
    process_started: int | None
    host: str
    boot_id: str
    started: float
    token: str


# ---- checkpoints ----


class _Position(Document):
    model_config = ConfigDict(extra="forbid")

    step: Count
    epoch: Count
    batch: Count
    evaluated: bool = True


class _File(Document):
    sha256: Digest
    bytes: Count


class Best(Document):
    """best.json, and the same in a checkpoint's manifest."""

    checkpoint: str
    value: float | None = None
    epoch: Count | None = None
    criterion: str | None = None
    eval_set: str | None = None


class _CommittedBest(Document):
    """best.json; where no pool evaluation has chosen one yet, the bests of eval.also alone."""

    checkpoint: str | None = None
    also: dict[str, Best] = {}


class Commit(Document):
    """manifest.json of a checkpoint."""

    format: int
    run: str
    position: _Position
    files: dict[str, _File]
    logs: dict[str, Count]
    best: _CommittedBest | None
    finished: bool
    hash: str
    session: dict[str, Any]


class _WholeBest(Best):
    model_config = ConfigDict(extra="forbid")

    value: float
    epoch: Count
    criterion: str
    eval_set: str


class State(Document):
    """state.json of a checkpoint."""

    planned: Count
    num_epochs: Count
    step: Count = 0
    epoch: Count = 0
    batch: Count = 0
    seen: Count = 0
    accepted: Count = 0
    nonfinite_in_a_row: Count = 0
    best: _WholeBest | None = None
    evaluations_without_gain: Count = 0
    value_of_last_gain: float | None = None
    stopped_early: bool = False
    last_epes: list[float] = []
    last_zero_flow_epe: float | None = None
    last_ranks: list[int] = []
    last_margins: list[float] = []
    eval_set: str = ""
    quarantined: list[str] = []


# ---- eval_set.json and data_fingerprints.json ----


class _Frozen(Document):
    label: str
    batch_size: Annotated[int, Field(ge=1, le=2**20)]
    names: Annotated[list[str], Field(min_length=1)]
    windows: list[Annotated[list[Count], Field(min_length=4, max_length=4)]]

    @model_validator(mode="after")
    def _fit(self) -> Self:
        if len(self.names) != len(self.windows):
            raise ValueError(f"{len(self.names)} names and {len(self.windows)} windows")
        return self


class _Monitor(_Frozen):
    hash: str


class EvalSetFile(Document):
    """eval_set.json."""

    hash: str
    flow_clip: Annotated[float, Field(gt=0)] | None
    calibration: _Frozen
    evaluation: _Frozen
    pool: list[str]
    coverage: dict[str, list[Count]]
    settings: dict[str, Any]
    monitors: dict[str, _Monitor] = {}


class _Print(Document):
    hash: str
    count: Count
    split: str
    source: str
    crc_kind: Literal["full", "edges"]
    table: list[Any]  # its rows are read, and summed, by Fingerprint.from_json


class Prints(Document):
    """data_fingerprints.json."""

    train: _Print
    val: _Print


class PlannedRun(Document):
    """A run in the plan of a sweep."""

    variant: str
    seed: int
    keys: dict[str, Any]
    settings: dict[str, Any]


class _Picture(Document):
    file: str
    roles: list[str] = []
    panels: list[str] = []


class PictureIndex(Document):
    """pictures/index.json."""

    pictures: list[_Picture]


# ---- lines of events.jsonl and timing.jsonl ----


class StepEvent(Document):
    """A step, as the columns of its epoch are made of it."""

    step: Count
    epoch: Count
    drawn: Count
    accepted: bool
    loss: Number | None
    loss_optical: Number | None
    loss_uncertainty: Number | None
    path_losses: list[Number]
    grad_norms: list[Number]
    clip_count: Count
    expected_clip_checks: Count
    clipped_flow_share: Number


class EvaluationEvent(Document):
    """The pool after an epoch; what older versions did not write is left out."""

    epoch: Count | None = None
    global_step: Count | None = None
    seen_samples: Count | None = None
    split_label: str | None = None
    codes: list[str] = []
    epes: list[Number] = []
    ranks: list[int] = []
    wide_epes: list[Number] = []
    wide_ranks: list[int] = []


class Timing(Document):
    """A line of timing.jsonl."""

    what: str
    time: float | None = None
    step: Count | None = None
    epoch: Count | None = None
    epoch_seconds: float | None = None
    eval_seconds: float | None = None
    bn_recal_seconds: float | None = None
    changed: list[str] = []


def require(
    model: type[Document], document: Any, place: object, refusal: Callable[[str], UserError] = StorageError
) -> Any:
    """``document`` as it is, once it has the form of ``model``; else a ``refusal`` that names ``place`` and the key."""
    try:
        model.model_validate(document)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(map(str, first["loc"]))
        found = "" if first["type"] == "missing" else f", found {first['input']!r:.60}"
        said = f"{key}: {first['msg']}{found}" if key else f"{first['msg']}{found}"
        raise refusal(f"{place}: altered or incomplete ({said}): restore it from a copy") from None
    return document


def fits(model: type[Document], document: Any) -> bool:
    """Whether a line that may be passed over has the form of ``model``."""
    try:
        model.model_validate(document)
    except ValidationError:
        return False
    return True
