"""The ini files of Vela, checked before use: what reads them takes a default for every key that it does not find.

Vela's Python side and regor read a file each in their own way: regor minds the case of keys, knows neither colons nor
[DEFAULT], and wants the section that is inherited above the one that does.  So only what both understand is accepted.
"""

from __future__ import annotations

from collections.abc import Callable
from configparser import ConfigParser
from configparser import Error as IniError
from math import inf
from pathlib import Path

from edgeflownas.errors import ConfigError, DataError

OPTIONS = {"System_Config": "--system-config", "Memory_Mode": "--memory-mode"}  # kinds of sections of an ini
MEMORIES = ("Sram", "Dram", "OnChipFlash", "OffChipFlash")
PORTS = ("Axi0", "Axi1")
OPTIONAL = ("ports_used", "max_reads", "max_writes")  # of a memory


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
    names = _parsed(text).sections()
    return {prefix: [name[len(prefix) + 1 :] for name in names if name.startswith(prefix + ".")] for prefix in OPTIONS}


def check_ini(text: str, system_config: str, memory_mode: str) -> None:
    """Raises ConfigError, naming section and key, unless the two sections hold all that Vela needs."""
    there, parser = sections(text), _parsed(text)
    for prefix, name in zip(OPTIONS, (system_config, memory_mode), strict=True):
        if name not in there[prefix]:
            raise ConfigError(
                f"the ini has no section [{prefix}.{name}]; "
                f"{OPTIONS[prefix]} must be one of: {', '.join(there[prefix]) or '(the file has none)'}"
            )
    system, memory = (
        _Section(parser, f"{prefix}.{name}") for prefix, name in zip(OPTIONS, (system_config, memory_mode), strict=True)
    )
    system.check("core_clock", _positive, "Hz, a number above 0")
    ports = [system.check(f"{port.lower()}_port", MEMORIES.__contains__, ", ".join(MEMORIES)) for port in PORTS]
    for port in dict.fromkeys(ports):
        system.check(f"{port}_clock_scale", _positive, "a number above 0")
        system.check(f"{port}_burst_length", _counts, "bytes, a whole number of at least 1")
        for key in ("read_latency", "write_latency"):
            system.check(f"{port}_{key}", _whole, "cycles, a whole number")
        for key in OPTIONAL:
            system.check(f"{port}_{key}", _whole, "a whole number", needed=False)
    for key in ("const_mem_area", "arena_mem_area", "cache_mem_area"):
        memory.check(key, PORTS.__contains__, " or ".join(PORTS))
    memory.check("arena_cache_size", _counts, "bytes, a whole number of at least 1", needed=False)


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
            near = [other for other in self.values if other.lower() == key.lower()]
            raise ConfigError(
                f"[{self.name}] {key} is missing{''.join(f' ({other} is another key)' for other in near)}"
            )
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
