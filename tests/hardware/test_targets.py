"""Targets as data, and one's own."""

from pathlib import Path

import pytest

from edgeflownas.errors import ConfigError, DataError
from edgeflownas.hardware.targets import TARGETS, WE2, Target, architecture, check_ini, get_target, own_target, sections

MINE = WE2 + "\n[System_Config.Slow]\ninherit=System_Config.WE2\ncore_clock=100e6\n"
WORDS = ("ethos-u55-64", "WE2", "WE2_Shared")


def test_every_target_is_one_that_vela_knows():
    facts = {
        name: (chip.core, chip.macs, chip.clock / 1e6) for name in TARGETS if (chip := architecture(TARGETS[name]))
    }
    assert facts == {
        "grove-vision-ai-v2": ("EthosU55", 64, 400.0),
        "u55-128": ("EthosU55", 128, 500.0),
        "u55-256": ("EthosU55", 256, 500.0),
        "u65-256": ("EthosU65", 256, 500.0),
    }


def test_unknown_target():
    with pytest.raises(ConfigError, match="'u99'.*grove-vision-ai-v2.*FILE.ini,ACC"):
        get_target("u99")


def test_own_target(tmp_path):
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
        (MINE.replace("axi0_port=Sram", "axi0_port=Dram").replace("Sram_", "Dram_"), *WORDS, "Vela cannot use the ini"),
    ],
)
def test_errors_of_an_ini(tmp_path, text, accelerator, system, memory, words):
    (tmp_path / "mine.ini").write_text(text)
    with pytest.raises(ConfigError, match=words):
        own_target(tmp_path / "mine.ini", accelerator, system, memory)


@pytest.mark.parametrize(
    "there, instead, words",
    [
        ("core_clock=400e6\n", "", r"\[System_Config.WE2\] core_clock is missing"),
        ("400e6", "fast", "core_clock = fast: expected Hz"),
        ("400e6", "nan", "core_clock = nan: expected Hz"),
        ("400e6", "inf", "core_clock = inf"),
        ("400e6", "0", "core_clock = 0: expected Hz, a number above 0"),
        ("400e6", "-5", "core_clock = -5"),
        ("400e6", "%(x)s", r"core_clock = %\(x\)s"),
        ("=OffChipFlash", "=Tape", "axi1_port = Tape: expected Sram, Dram"),
        ("axi0_port=Sram\n", "", "axi0_port is missing"),
        ("Sram_clock_scale=1.0\n", "", "Sram_clock_scale is missing"),
        ("Sram_clock_scale=1.0\n", "sram_clock_scale=1.0\n", r"is missing \(sram_clock_scale is another key\)"),
        ("OffChipFlash_clock_scale=0.015625", "OffChipFlash_clock_scale=0", "OffChipFlash_clock_scale = 0: expected"),
        ("Sram_burst_length=32", "Sram_burst_length=0", "Sram_burst_length = 0: expected bytes"),
        ("Sram_write_latency=16", "Sram_write_latency=-1", "Sram_write_latency = -1: expected cycles"),
        ("OffChipFlash_read_latency=64\n", "", "OffChipFlash_read_latency is missing"),
        ("Sram_read_latency=16", "Sram_read_latency=16\nSram_max_reads=many", "Sram_max_reads = many"),
        (
            "const_mem_area=Axi1",
            "const_mem_area=Axi9",
            r"\[Memory_Mode.WE2_Shared\] const_mem_area = Axi9: expected Axi0",
        ),
        ("cache_mem_area=Axi0\n", "", "cache_mem_area is missing"),
        ("cache_mem_area=Axi0\n", "cache_mem_area=Axi0\narena_cache_size=0\n", "arena_cache_size = 0"),
        ("const_mem_area=Axi1", "inherit=Memory_Mode.None", "inherit = Memory_Mode.None: a section above"),
        ("const_mem_area=Axi1", "inherit=Memory_Mode.WE2_Shared", "inherit = Memory_Mode.WE2_Shared: a section above"),
        ("core_clock=400e6", "core_clock: 400e6", "not an ini of Vela"),
        (
            "[System_Config.WE2]\ncore_clock=400e6",
            "[DEFAULT]\ncore_clock=400e6\n[System_Config.WE2]",
            "clock is missing",
        ),
    ],
)
def test_a_key_that_is_missing_or_wrong_is_named(tmp_path, there, instead, words):
    """Vela takes a default for it, and says nothing."""
    assert there in WE2
    (tmp_path / "mine.ini").write_text(WE2.replace(there, instead))
    with pytest.raises(ConfigError, match=rf"mine\.ini: .*{words}"):
        own_target(tmp_path / "mine.ini", *WORDS)


def test_all_that_vela_ships_is_accepted():
    from ethosu.vela.architecture_features import CONFIG_FILES_PATH

    text = (Path(CONFIG_FILES_PATH) / "Arm" / "vela.ini").read_text()
    there = sections(text)
    assert len(there["System_Config"]) > 5 < len(there["Memory_Mode"])
    for system in there["System_Config"]:
        for memory in there["Memory_Mode"]:
            check_ini(text, system, memory)


def test_limits_and_constants_of_a_memory_mode(capsys):
    modes = ("Shared_Sram", "Sram_Only", "Dedicated_Sram", "Dedicated_Sram_384KB")
    chips = {mode: architecture(Target("t", "ethos-u65-256", "Ethos_U65_High_End", mode)) for mode in modes}
    assert [chips[mode].arena_kib for mode in modes] == [None, None, None, 384]
    assert [chips[mode].constants for mode in modes] == ["Dram", "OnChipFlash", "Dram", "Dram"]
    assert capsys.readouterr().out == ""  # what Vela prints would stand in the JSON of a command


@pytest.mark.parametrize("content, words", [(None, "cannot be read"), (b"\xff\xfe", "no text file"), (b" \n", "empty")])
def test_errors_of_a_file(tmp_path, content, words):
    if content is not None:
        (tmp_path / "mine.ini").write_bytes(content)
    with pytest.raises(DataError, match=rf"mine\.ini.*{words}"):
        own_target(tmp_path / "mine.ini", "ethos-u55-64", "Slow", "WE2_Shared")


def test_the_hash_is_of_the_text():
    one, other = (architecture(Target("t", "ethos-u55-64", "WE2", "WE2_Shared", WE2 + end)) for end in ("", "\n"))
    assert one.ini_sha256 != other.ini_sha256
