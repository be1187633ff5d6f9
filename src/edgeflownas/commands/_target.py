"""``--target`` of every command that asks for a chip: a name, or a file of one's own with its sections."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from edgeflownas.errors import ConfigError

if TYPE_CHECKING:
    from edgeflownas.hardware.vela import Target
    from edgeflownas.hardware.vela.figures import Vela
    from edgeflownas.hardware.vela.latency import VelaLatency
    from edgeflownas.report.console import Console
    from edgeflownas.space import SearchSpace

__all__ = ["chip_latency", "named_target", "vela_of"]

DEFAULT = "grove-vision-ai-v2"
RESERVED = ("cpu", "vela")  # their columns: of --measure-cpu, and of pareto


def named_target(text: str | None) -> Target:
    """A target by name (None: the usual one), or ``FILE.ini,ACCELERATOR,SYSTEM_CONFIG,MEMORY_MODE``.

    Raises:
        ConfigError: an unknown name, a section that is missing; DataError: the file cannot be read.
    """
    from edgeflownas.hardware.vela import get_target, own_target

    name, *sections = (part.strip() for part in (DEFAULT if text is None else text).rsplit(",", 3))
    if not sections:
        return get_target(name)
    if len(sections) != 3:
        raise ConfigError(
            f"--target {text}: a name (edgeflownas vela --list-targets), or FILE.ini,ACCELERATOR,SYSTEM_CONFIG,"
            "MEMORY_MODE, such as my.ini,ethos-u55-64,WE2,WE2_Shared"
        )
    return own_target(Path(name), *sections)


def _check_column(target: Target) -> None:
    """Raises ConfigError for a file whose name makes the column of something else."""
    from edgeflownas.hardware.vela import TARGETS
    from edgeflownas.hardware.vela.targets import slug_of

    slug = slug_of(target)
    if target not in TARGETS.values() and slug in {"", *RESERVED, *map(slug_of, TARGETS.values())}:
        raise ConfigError(
            f"--target {target.name}.ini: a column of the tables is named after the file, and {slug + '_ms'!r} is "
            f"{'taken' if slug else 'no name'}: give a copy of another name, of letters a to z and digits"
        )


def vela_of(target: str, console: Console | None, mode: str = "performance", arena: int | None = None) -> Vela:
    """Vela for it, with the user's cache.

    Raises:
        ConfigError: an unknown target or mode, an arena of no use, a missing package; DataError as
            :func:`named_target`.
    """
    from edgeflownas.hardware.extras import need
    from edgeflownas.hardware.vela.figures import Vela

    need("litert")
    if mode not in ("performance", "size"):
        raise ConfigError(f"--mode {mode}: performance or size")
    if arena is not None and mode == "size":
        raise ConfigError(f"--arena {arena} belongs to mode performance: mode size ignores it")
    chip = named_target(target)
    _check_column(chip)
    vela = Vela(chip, "size" if mode == "size" else "performance", arena)
    if console is not None:
        vela.note = console.warn
    return vela


def chip_latency(
    target: str, space: SearchSpace, width: int, size: tuple[int, int], console: Console | None
) -> VelaLatency:
    """The cost model of ``--target``, its table compiled with a bar; without a console nothing is compiled yet."""
    from edgeflownas.hardware.vela.latency import VelaLatency

    model = VelaLatency(vela_of(target, console))
    if console is not None:
        entries = model.entries(space, width, size)
        with console.task("Vela", len(entries)) as meter:
            model.vela.figures(entries, meter.advance)
    return model
