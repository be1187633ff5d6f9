"""Errors of every sample of one evaluation in a file: RUN/sample_epe/epoch-00012.safetensors.

The same evaluation makes the same bytes, so an evaluation that is repeated after an interruption overwrites its file
with itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeflownas.errors import DataError
from edgeflownas.evaluate.tensor_file import read_tensors, tensor_bytes


@dataclass(frozen=True)
class SampleErrors:
    """What one evaluation measured, sample by sample."""

    codes: tuple[str, ...]
    """Of the archs, with commas as everywhere; the name of a model that has no code."""
    sample_epe: NDArray[np.float32]
    """[A, N] mean error of each sample's valid pixels, px; nan where it has none."""
    valid_pixels: NDArray[np.int64]
    """[N]"""
    eval_set: str
    """Hash of the frozen set the samples are of, in its order."""
    epoch: int

    def to_bytes(self) -> bytes:
        """The content of the file: tensors ``sample_epe`` [A, N] and ``valid_pixels`` [N], and metadata."""
        codes = "|".join(code.replace(",", "") for code in self.codes)
        words = {"codes": codes, "epoch": str(self.epoch), "eval_set": self.eval_set}
        pixels, errors = self.valid_pixels.astype(np.int64), self.sample_epe.astype(np.float32)
        return tensor_bytes({"valid_pixels": pixels, "sample_epe": errors}, words)


def sample_errors_name(epoch: int, tier: str = "epoch") -> str:
    """Path of the file within the run; ``tier`` is ``epoch`` (the frequent set) or ``wide``."""
    return f"sample_epe/{tier}-{epoch:05d}.safetensors"


def read_sample_errors(path: Path) -> SampleErrors:
    """Inverse of :meth:`SampleErrors.to_bytes`.  Raises DataError for a file that is missing or not one of these."""
    try:
        arrays, facts = read_tensors(path)
        errors, pixels = arrays["sample_epe"], arrays["valid_pixels"]
        # digits of a code stand apart as everywhere; the name of a single model has none
        codes = tuple(",".join(code) if code.isdecimal() else code for code in facts["codes"].split("|"))
        if errors.shape != (len(codes), *pixels.shape) or pixels.ndim != 1:
            raise ValueError(f"{len(codes)} codes, errors {errors.shape}, pixels {pixels.shape}")
        return SampleErrors(codes, errors, pixels, facts["eval_set"], int(facts["epoch"]))
    except (OSError, KeyError, ValueError) as error:
        raise DataError(f"{path}: not readable as the errors of an evaluation's samples ({error})") from error
