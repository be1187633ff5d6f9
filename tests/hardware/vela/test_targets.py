"""Targets as data, and one's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeflownas.errors import ConfigError, DataError
from edgeflownas.hardware.vela import TARGETS, Target, get_target, own_target
from edgeflownas.hardware.vela.targets import WE2, architecture

MINE = WE2 + "\n[System_Config.Slow]\ninherit=System_Config.WE2\ncore_clock=100e6\n"


def test_every_target_is_one_that_vela_knows() -> None:
    facts = {
        name: (chip.core, chip.macs, chip.clock / 1e6) for name in TARGETS if (chip := architecture(TARGETS[name]))
    }
    assert facts == {
        "grove-vision-ai-v2": ("EthosU55", 64, 400.0),
        "u55-128": ("EthosU55", 128, 500.0),
        "u55-256": ("EthosU55", 256, 500.0),
        "u65-256": ("EthosU65", 256, 500.0),
    }


def test_unknown_target() -> None:
    with pytest.raises(ConfigError, match="'u99'.*grove-vision-ai-v2.*FILE.ini,ACC"):
        get_target("u99")


def test_own_target(tmp_path: Path) -> None:
    (tmp_path / "mine.ini").write_text(MINE)
    target = own_target(tmp_path / "mine.ini", "ethos-u85-256", "Slow", "WE2_Shared")
    chip = architecture(target)
    assert (target.name, chip.core, chip.macs, chip.clock) == ("mine", "EthosU85", 256, 100e6)


@pytest.mark.parametrize(
    "text, accelerator, system, memory, words",
    [
        (MINE, "ethos-u55-65", "Slow", "WE2_Shared", "'ethos-u55-65' is unknown: ethos-u55-32"),
        (MINE, "ethos-u55-64", "Fast", "WE2_Shared", r"System_Config.Fast.*--system-config must be one of: WE2, Slow"),
        (MINE, "ethos-u55-64", "Slow", "Mine", r"Memory_Mode.Mine.*--memory-mode must be one of: WE2_Shared"),
        ("[A]\na=1\n", "ethos-u55-64", "Slow", "Mine", "the file has none"),
        ("no ini", "ethos-u55-64", "Slow", "Mine", "not an ini of Vela"),
        (MINE.replace("400e6", "fast"), "ethos-u55-64", "WE2", "WE2_Shared", "Vela cannot use the ini.*fast"),
        (MINE.replace("=OffChipFlash", "=Tape"), "ethos-u55-64", "WE2", "WE2_Shared", "Vela cannot use the ini.*Tape"),
        (MINE.replace("=Axi1", "=Axi9"), "ethos-u55-64", "WE2", "WE2_Shared", "Vela cannot use the ini"),
    ],
)
def test_errors_of_an_ini(tmp_path: Path, text: str, accelerator: str, system: str, memory: str, words: str) -> None:
    (tmp_path / "mine.ini").write_text(text)
    with pytest.raises(ConfigError, match=words):
        own_target(tmp_path / "mine.ini", accelerator, system, memory)


@pytest.mark.parametrize("content, words", [(None, "cannot be read"), (b"\xff\xfe", "no text file"), (b" \n", "empty")])
def test_errors_of_a_file(tmp_path: Path, content: bytes | None, words: str) -> None:
    if content is not None:
        (tmp_path / "mine.ini").write_bytes(content)
    with pytest.raises(DataError, match=rf"mine\.ini.*{words}"):
        own_target(tmp_path / "mine.ini", "ethos-u55-64", "Slow", "WE2_Shared")


def test_the_hash_is_of_the_text() -> None:
    one, other = (architecture(Target("t", "ethos-u55-64", "WE2", "WE2_Shared", WE2 + end)) for end in ("", "\n"))
    assert one.ini_sha256 != other.ini_sha256
