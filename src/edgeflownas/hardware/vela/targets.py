"""The chips a model is compiled for, as data, and what Vela reads out of their ini files."""

from __future__ import annotations

import hashlib
import tempfile
from configparser import ConfigParser
from configparser import Error as IniError
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from edgeflownas.errors import ConfigError, DataError
from edgeflownas.hardware.extras import need

__all__ = ["TARGETS", "Architecture", "Target", "architecture", "get_target", "own_target", "read_ini", "sections"]

OPTIONS = {"System_Config": "--system-config", "Memory_Mode": "--memory-mode"}  # kinds of sections of an ini

# Himax WE2 (HX6538), memory speeds as in the vendor's file for this board.
WE2 = """\
[System_Config.WE2]
core_clock=400e6
axi0_port=Sram
axi1_port=OffChipFlash
Sram_clock_scale=1.0
Sram_burst_length=32
Sram_read_latency=16
Sram_write_latency=16
OffChipFlash_clock_scale=0.015625
OffChipFlash_burst_length=32
OffChipFlash_read_latency=64
OffChipFlash_write_latency=64

[Memory_Mode.WE2_Shared]
const_mem_area=Axi1
arena_mem_area=Axi0
cache_mem_area=Axi0
"""


@dataclass(frozen=True)
class Target:
    """A chip: accelerator and the two sections of ``ini`` (text; empty: the file that Vela ships) that describe it."""

    name: str
    accelerator: str
    system_config: str
    memory_mode: str
    ini: str = ""


TARGETS = {
    target.name: target
    for target in (
        Target("grove-vision-ai-v2", "ethos-u55-64", "WE2", "WE2_Shared", WE2),
        Target("u55-128", "ethos-u55-128", "Ethos_U55_High_End_Embedded", "Shared_Sram"),
        Target("u55-256", "ethos-u55-256", "Ethos_U55_High_End_Embedded", "Shared_Sram"),
        Target("u65-256", "ethos-u65-256", "Ethos_U65_Embedded", "Shared_Sram"),
    )
}


@dataclass(frozen=True)
class Architecture:
    """What Vela's core needs of a target: ``core`` by its name, ``macs`` a cycle of each of ``cores``, clock in Hz.

    ``arena_bytes`` is the limit that the memory mode sets; ``ini_sha256`` is of the ini's text (UTF-8).
    """

    core: str
    macs: int
    cores: int
    clock: float
    arena_bytes: int
    read_only_area: str
    ini: str
    ini_sha256: str


def get_target(name: str) -> Target:
    """Raises ConfigError for a name that is not in TARGETS."""
    if name not in TARGETS:
        own = "FILE.ini,ACCELERATOR,SYSTEM_CONFIG,MEMORY_MODE"
        raise ConfigError(f"target {name!r} is unknown: {', '.join(TARGETS)}; or give your own as {own}")
    return TARGETS[name]


def own_target(ini: Path, accelerator: str, system_config: str, memory_mode: str) -> Target:
    """A target out of one's own file, checked.

    Raises:
        DataError: the file cannot be read as text.
        ConfigError: an unknown accelerator, a section that is missing or that Vela cannot use.
    """
    target = Target(ini.stem, accelerator, system_config, memory_mode, read_ini(ini))
    architecture(target)
    return target


def read_ini(path: Path) -> str:
    """Text of an ini.  Raises DataError for a file that cannot be read or holds nothing."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise DataError(f"{path}: is no text file; an ini of Vela was expected") from None
    if not text.strip():
        raise DataError(f"{path}: is empty; sections [System_Config.NAME] and [Memory_Mode.NAME] were expected")
    return text


def sections(text: str) -> dict[str, list[str]]:
    """NAMEs of the sections [System_Config.NAME] and [Memory_Mode.NAME].  Raises ConfigError: the text is no ini."""
    parser = ConfigParser()
    try:
        parser.read_string(text)
    except IniError as error:
        raise ConfigError(f"not an ini of Vela: {' '.join(str(error).split())}") from None
    return {
        prefix: [name[len(prefix) + 1 :] for name in parser.sections() if name.startswith(prefix + ".")]
        for prefix in OPTIONS
    }


@cache
def architecture(target: Target) -> Architecture:
    """The target as Vela understands it.

    Raises:
        ConfigError: the package is missing, or the ini does not describe such a target; names the sections found.
    """
    need("vela")
    from ethosu.vela.architecture_features import CONFIG_FILES_PATH, Accelerator, ArchitectureFeatures
    from ethosu.vela.errors import VelaError
    from ethosu.vela.tensor import TensorPurpose

    if target.accelerator not in Accelerator.member_list():
        raise ConfigError(f"accelerator {target.accelerator!r} is unknown: {', '.join(Accelerator.member_list())}")
    text = target.ini or (Path(CONFIG_FILES_PATH) / "Arm" / "vela.ini").read_text(encoding="utf-8")
    _check_sections(target, text)
    with tempfile.NamedTemporaryFile("w", suffix=".ini", encoding="utf-8") as file:  # Vela reads files only
        file.write(text)
        file.flush()
        try:
            found = ArchitectureFeatures(
                vela_config_files=[file.name],
                accelerator_config=target.accelerator,
                system_config=target.system_config,
                memory_mode=target.memory_mode,
                max_blockdep=ArchitectureFeatures.MAX_BLOCKDEP,
                verbose_config=False,
                arena_cache_size=None,
            )
        except (VelaError, IniError, KeyError, ValueError) as error:
            problem = str(getattr(error, "error_msg", error))
            raise ConfigError(f"target {target.name}: Vela cannot use the ini: {problem}") from None
    return Architecture(
        core="".join(part.capitalize() for part in target.accelerator.split("-")[:-1]),
        macs=int(found.num_macs_per_cycle),
        cores=int(found.ncores),
        clock=float(found.core_clock),
        arena_bytes=int(found.arena_cache_size),
        read_only_area=found.tensor_storage_mem_area[TensorPurpose.Weights].name,
        ini=text,
        ini_sha256=hashlib.sha256(text.encode()).hexdigest(),
    )


def _check_sections(target: Target, text: str) -> None:
    """Raises ConfigError for text that is no ini, or lacks one of the two sections."""
    there, wanted = sections(text), {"System_Config": target.system_config, "Memory_Mode": target.memory_mode}
    for prefix, name in wanted.items():
        if name not in there[prefix]:
            raise ConfigError(
                f"target {target.name}: the ini has no section [{prefix}.{name}]; "
                f"{OPTIONS[prefix]} must be one of: {', '.join(there[prefix]) or '(the file has none)'}"
            )
