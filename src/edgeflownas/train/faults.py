"""Named places where the test suite makes the program die, and a record of the place passed last.

``EDGEFLOWNAS_CRASH_AT=commit.renamed:2`` ends the process without any clean-up (``os._exit(137)``, as after
``kill -9``) at the second passage of ``commit.renamed``.  ``EDGEFLOWNAS_PHASE_FILE`` names a small file in which
every passage leaves its name, so that a kill at a random moment can be told where it hit.  Without the two
variables a passage costs two dictionary look-ups.
"""

from __future__ import annotations

import os
from collections import Counter

from edgeflownas.errors import ConfigError

__all__ = ["CRASH_POINTS", "PROTOCOL_POINTS", "TRAINING_POINTS", "crash_point"]

PROTOCOL_POINTS = (
    "create.written",
    "create.renamed",
    "lock.acquired",
    "lock.lease_written",
    "resume.temporaries_removed",
    "resume.damaged_set_aside",
    "resume.log_truncated",
    "commit.logs_synced",
    "commit.temporary_made",
    "commit.file_written",
    "commit.manifest_written",
    "commit.temporary_synced",
    "commit.renamed",
    "commit.verified",
    "commit.marked",
    "atomic.temporary_written",
    "atomic.replaced",
    "prune.renamed",
    "prune.removed",
)
"""Every step of the run directory's protocol (rundir.py, checkpoint.py), in about the order of their passage."""

TRAINING_POINTS = (
    "step.started",
    "step.accumulated",
    "step.applied",
    "step.logged",
    "evaluation.started",
    "evaluation.batch",
    "evaluation.logged",
    "epoch.ended",
)
"""Places of the training loop."""

CRASH_POINTS = PROTOCOL_POINTS + TRAINING_POINTS

_passages: Counter[str] = Counter()
_PHASE_BYTES = 64


def crash_point(name: str) -> None:
    """Pass the place ``name``: note it, and die here if the environment asks for it.

    Raises ConfigError when EDGEFLOWNAS_CRASH_AT names no known place (a typing error would test nothing).
    """
    assert name in CRASH_POINTS, name
    note_phase(name)
    wanted = os.environ.get("EDGEFLOWNAS_CRASH_AT")
    if not wanted:
        return
    place, _, count = wanted.partition(":")
    if place not in CRASH_POINTS or not (count or "1").isdecimal():
        known = ", ".join(CRASH_POINTS)
        raise ConfigError(f"EDGEFLOWNAS_CRASH_AT={wanted!r} is not NAME or NAME:COUNT with a name of {known}; unset it")
    _passages[name] += 1
    if name == place and _passages[name] == int(count or "1"):
        os._exit(137)


def note_phase(name: str) -> None:
    """Leave ``name`` in the phase file, padded so that one small write replaces the former name whole."""
    path = os.environ.get("EDGEFLOWNAS_PHASE_FILE")
    if path:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o644)
        os.pwrite(descriptor, name.ljust(_PHASE_BYTES).encode(), 0)
        os.close(descriptor)
