"""What the configuration models are made of: number types, the three manifest kinds of a field, the base class.

Every field carries its manifest kind, which decides what a resume may change (docs/concepts.md):
``identity`` (what the run is: differs, refuse), ``dynamics`` (how it evolves: differs, refuse unless forked),
``observation`` (how it is watched, stored or executed: free).  Unknown keys are refused.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

__all__ = [
    "SIZE",
    "Count",
    "Fraction",
    "Group",
    "NonNegativeFloat",
    "Positive",
    "PositiveFloat",
    "Roots",
    "SizeText",
    "dynamics",
    "identity",
    "observation",
    "plain_name",
]

# Strict: without it pydantic reads true as 1 and "8" as 8.
Positive = Annotated[int, Field(gt=0, strict=True)]
Count = Annotated[int, Field(ge=0, strict=True)]
Fraction = Annotated[float, Field(ge=0.0, le=1.0, strict=True)]
PositiveFloat = Annotated[float, Field(gt=0.0, strict=True)]
NonNegativeFloat = Annotated[float, Field(ge=0.0, strict=True)]
SIZE = "^[0-9]+x[0-9]+$"
SizeText = Annotated[str, Field(pattern=SIZE, examples=["180x240"])]


class _Mapping(dict[str, str]):
    """Hashable, as the frozen models that hold it are; never changed after it was made."""

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(frozenset(self.items()))


Roots = Annotated[dict[str, str], AfterValidator(_Mapping)]


def _kind(kind: str, default: Any) -> Any:
    return Field(default=default, json_schema_extra={"kind": kind})


def identity(default: Any) -> Any:
    """A key that says what the run is; a resume that changes it is refused."""
    return _kind("identity", default)


def dynamics(default: Any) -> Any:
    """A key that says how the run evolves; a resume that changes it needs a fork."""
    return _kind("dynamics", default)


def observation(default: Any) -> Any:
    """A key that changes no weight; free at resume."""
    return _kind("observation", default)


def plain_name(value: str) -> str:
    """Check a name that becomes a directory's.  Raises ValueError."""
    allowed = all(c.isalnum() or c in "._-" for c in value)
    if not value or not allowed or value[0] in ".-" or len(value.encode()) > 200:
        raise ValueError("must be 1 to 200 letters, digits, '.', '-', '_', not starting with '.' or '-'")
    return value


class Group(BaseModel):
    """Base of the groups: frozen, no unknown keys, help from the attribute docstrings."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, validate_default=True, allow_inf_nan=False
    )
