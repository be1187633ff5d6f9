"""The chips a model is compiled for, as data, and what Vela reads out of their ini files.

An ini is checked before use: what reads it takes a default for every key that it does not find.  Vela's Python side and
regor read a file each in their own way: regor minds the case of keys, knows neither colons nor [DEFAULT], and wants the
section that is inherited above the one that does.  So only what both understand is accepted.
"""

from __future__ import annotations

import hashlib
import io
import re
import tempfile
from collections.abc import Callable
from configparser import ConfigParser
from configparser import Error as IniError
from contextlib import redirect_stdout
from dataclasses import dataclass
from functools import cache
from math import inf
from pathlib import Path

from edgeflownas import limits
from edgeflownas.errors import ConfigError, DataError
from edgeflownas.files import read_file
from edgeflownas.hardware.extras import need

DEFAULT = "grove-vision-ai-v2"
RESERVED = ("cpu", "vela")  # their columns: of --measure-cpu, and of pareto
OPTIONS = {"System_Config": "--system-config", "Memory_Mode": "--memory-mode"}  # kinds of sections of an ini
MEMORIES = ("Sram", "Dram", "OnChipFlash", "OffChipFlash")
PORTS = ("Axi0", "Axi1")
BYTES = "bytes, a whole number of at least 1"

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


_KNOWN = (
    Target("grove-vision-ai-v2", "ethos-u55-64", "WE2", "WE2_Shared", WE2),
    Target("u55-128", "ethos-u55-128", "Ethos_U55_High_End_Embedded", "Shared_Sram"),
    Target("u55-256", "ethos-u55-256", "Ethos_U55_High_End_Embedded", "Shared_Sram"),
    Target("u65-256", "ethos-u65-256", "Ethos_U65_Embedded", "Shared_Sram"),
)
TARGETS = {target.name: target for target in _KNOWN}


@dataclass(frozen=True)
class Architecture:
    """What Vela's core needs of a target: ``core`` by its name, ``macs`` a cycle of each of ``cores``, clock in Hz.

    Attributes:
        address_space: bytes.
        arena_kib: the limit that the memory mode sets; None: none.
        constants: the memory of the weights and biases, by Vela's name.
        ini_sha256: of the ini's text (UTF-8).
    """

    core: str
    macs: int
    cores: int
    clock: float
    address_space: int
    arena_kib: float | None
    constants: str
    ini: str
    ini_sha256: str


def get_target(name: str) -> Target:
    """Raises ConfigError for a name that is not in TARGETS."""
    if name not in TARGETS:
        own = "FILE.ini,ACCELERATOR,SYSTEM_CONFIG,MEMORY_MODE"
        raise ConfigError(f"target {name!r} is unknown: {', '.join(TARGETS)}; or give your own as {own}")
    return TARGETS[name]


def named_target(text: str | None) -> Target:
    """A target by name (None: the usual one), or ``FILE.ini,ACCELERATOR,SYSTEM_CONFIG,MEMORY_MODE``.

    Raises:
        ConfigError: an unknown name, a section that is missing; DataError: the file cannot be read.
    """
    name, *parts = (part.strip() for part in (DEFAULT if text is None else text).rsplit(",", 3))
    if not parts:
        return get_target(name)
    if len(parts) != 3:
        raise ConfigError(
            f"--target {text}: a name (edgeflownas vela --list-targets), or FILE.ini,ACCELERATOR,SYSTEM_CONFIG,"
            "MEMORY_MODE, such as my.ini,ethos-u55-64,WE2,WE2_Shared"
        )
    return own_target(Path(name), *parts)


def target_of_options(
    name: str | None, ini: Path | None, accelerator: str | None, system_config: str | None, memory_mode: str | None
) -> Target:
    """The target of the options --target, or --ini with the three that belong to it.

    Raises:
        ConfigError: options that are missing, or that would do nothing; else as :func:`named_target`.
    """
    own = {"--accelerator": accelerator, "--system-config": system_config, "--memory-mode": memory_mode}
    missing = [option for option, value in own.items() if value is None]
    if ini is None:
        if given := [option for option in own if option not in missing]:
            raise ConfigError(f"{given[0]} belongs to --ini FILE: add it, or choose a --target (--list-targets)")
        return named_target(name)
    if name is not None:
        raise ConfigError(f"--target {name} and --ini {ini} both say what to compile for: leave one of them out")
    if missing:
        found = sections(read_ini(ini))
        choices = (f"its sections [{kind}.NAME] are {', '.join(names) or 'none'}" for kind, names in found.items())
        raise ConfigError(f"--ini {ini} needs {', '.join(missing)} too: {'; '.join(choices)}")
    return own_target(ini, *map(str, own.values()))


def require_column(target: Target) -> None:
    """Raises ConfigError for a file whose name makes the column of something else."""
    slug = slug_of(target)
    if target not in TARGETS.values() and slug in {"", *RESERVED, *map(slug_of, TARGETS.values())}:
        raise ConfigError(
            f"--target {target.name}.ini: a column of the tables is named after the file, and {slug + '_ms'!r} is "
            f"{'taken' if slug else 'no name'}: give a copy of another name, of letters a to z and digits"
        )


def slug_of(target: Target) -> str:
    """The target's name in columns: ``grove_vision_ai_v2``."""
    return re.sub(r"[^a-z0-9]+", "_", target.name.lower()).strip("_")


def own_target(ini: Path, accelerator: str, system_config: str, memory_mode: str) -> Target:
    """A target out of one's own file, checked.

    Raises:
        DataError: the file cannot be read as text.
        ConfigError: an unknown accelerator, a section or a key that is missing or that Vela cannot use.
    """
    target = Target(ini.stem, accelerator, system_config, memory_mode, read_ini(ini))
    check_ini(target.ini, system_config, memory_mode, f"{ini}: ")
    architecture(target)
    return target


@cache
def architecture(target: Target) -> Architecture:
    """The target as Vela understands it; nothing is printed.

    Raises:
        ConfigError: the package is missing, or the ini does not describe such a target; names what is missing there.
    """
    need("vela")
    from ethosu.vela.architecture_features import CONFIG_FILES_PATH, Accelerator, ArchitectureFeatures
    from ethosu.vela.errors import VelaError
    from ethosu.vela.tensor import TensorPurpose

    if target.accelerator not in Accelerator.member_list():
        raise ConfigError(f"accelerator {target.accelerator!r} is unknown: {', '.join(Accelerator.member_list())}")
    text = target.ini or (Path(CONFIG_FILES_PATH) / "Arm" / "vela.ini").read_text(encoding="utf-8")
    check_ini(text, target.system_config, target.memory_mode, f"target {target.name}: ")
    with tempfile.NamedTemporaryFile("w", suffix=".ini", encoding="utf-8") as file:  # Vela reads files only
        file.write(text)
        file.flush()
        asked = [file.name], target.accelerator, target.system_config, target.memory_mode
        usual = {"verbose_config": False, "arena_cache_size": None}
        try:
            with redirect_stdout(io.StringIO()):  # it prints that constants in SRAM are counted as OnChipFlash
                found = ArchitectureFeatures(*asked, ArchitectureFeatures.MAX_BLOCKDEP, **usual)
        except (VelaError, IniError) as error:
            problem = getattr(error, "error_msg", error)
            raise ConfigError(f"target {target.name}: Vela cannot use the ini: {problem}") from None
    limited = int(found.arena_cache_size) < int(found.max_address_offset)
    return Architecture(
        core="".join(part.capitalize() for part in target.accelerator.split("-")[:-1]),
        macs=int(found.num_macs_per_cycle),
        cores=int(found.ncores),
        clock=float(found.core_clock),
        address_space=int(found.max_address_offset),
        arena_kib=found.arena_cache_size / 1024 if limited else None,
        constants=found.tensor_storage_mem_area[TensorPurpose.Weights].name,
        ini=text,
        ini_sha256=hashlib.sha256(text.encode()).hexdigest(),
    )


def read_ini(path: Path) -> str:
    """Text of an ini.  Raises DataError for a file that cannot be read or holds nothing."""
    try:
        text = read_file(path, limits.YAML, DataError).decode()
    except UnicodeDecodeError:
        raise DataError(f"{path}: is no text file; an ini of Vela was expected") from None
    if not text.strip():
        raise DataError(f"{path}: is empty; sections [System_Config.NAME] and [Memory_Mode.NAME] were expected")
    return text


def sections(text: str) -> dict[str, list[str]]:
    """NAMEs of the sections [System_Config.NAME] and [Memory_Mode.NAME].  Raises ConfigError: the text is no ini."""
    names = [name.partition(".") for name in _parsed(text).sections()]
    return {kind: [name for found, dot, name in names if found == kind and dot] for kind in OPTIONS}


def check_ini(text: str, system_config: str, memory_mode: str, place: str = "") -> None:
    """Raises ConfigError, naming ``place``, section and key, unless the two sections hold all that Vela needs."""
    try:
        _check_sections(_parsed(text), sections(text), (system_config, memory_mode))
    except ConfigError as error:
        raise ConfigError(f"{place}{error}") from None


def _check_sections(parser: ConfigParser, there: dict[str, list[str]], names: tuple[str, str]) -> None:
    wanted = dict(zip(OPTIONS, names, strict=True))
    for kind, name in wanted.items():
        if name not in there[kind]:
            known = ", ".join(there[kind]) or "(the file has none)"
            raise ConfigError(f"the ini has no section [{kind}.{name}]; {OPTIONS[kind]} must be one of: {known}")
    system, memory = (_Section(parser, f"{kind}.{name}") for kind, name in wanted.items())
    system.check("core_clock", _positive, "Hz, a number above 0")
    ports = [system.check(f"{port.lower()}_port", MEMORIES.__contains__, ", ".join(MEMORIES)) for port in PORTS]
    for port in dict.fromkeys(ports):
        system.check(f"{port}_clock_scale", _positive, "a number above 0")
        system.check(f"{port}_burst_length", _counts, BYTES)
        for key in ("read_latency", "write_latency"):
            system.check(f"{port}_{key}", _whole, "cycles, a whole number")
        for key in ("ports_used", "max_reads", "max_writes"):
            system.check(f"{port}_{key}", _whole, "a whole number", needed=False)
    for key in ("const_mem_area", "arena_mem_area", "cache_mem_area"):
        memory.check(key, PORTS.__contains__, " or ".join(PORTS))
    memory.check("arena_cache_size", _counts, BYTES, needed=False)


class _Section:
    """Keys of a section with those it inherits; its own count.  Raises ConfigError: there is nothing to inherit."""

    def __init__(self, parser: ConfigParser, name: str) -> None:
        self.name, self.values = name, dict(parser[name])
        parent, names = self.values.pop("inherit", None), parser.sections()
        if parent is not None:
            if parent not in names[: names.index(name)]:
                raise ConfigError(f"[{name}] inherit = {parent}: a section above this one was expected")
            self.values = _Section(parser, parent).values | self.values

    def check(self, key: str, fits: Callable[[str], bool], expected: str, needed: bool = True) -> str:
        """The value of the key.  Raises ConfigError: it is missing, or not as expected."""
        value = self.values.get(key)
        if value is None and needed:
            near = [f" ({other} is another key)" for other in self.values if other.lower() == key.lower()]
            raise ConfigError(f"[{self.name}] {key} is missing{''.join(near)}")
        if value is not None and not fits(value):
            raise ConfigError(f"[{self.name}] {key} = {' '.join(value.split())}: expected {expected}")
        return value or ""


def _parsed(text: str) -> ConfigParser:
    parser = ConfigParser(interpolation=None, delimiters=("=",), default_section="")
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    try:
        parser.read_string(text)
    except IniError as error:
        raise ConfigError(f"not an ini of Vela: {' '.join(str(error).split())}") from None
    return parser


def _positive(text: str) -> bool:
    try:
        return 0 < float(text) < inf
    except ValueError:
        return False


def _whole(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) < 16


def _counts(text: str) -> bool:
    return _whole(text) and int(text) > 0
