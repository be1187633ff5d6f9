"""Which subnets are meant: conditions, files of codes, draws."""

from __future__ import annotations

import math
import operator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeflownas.errors import ConfigError, DataError
from edgeflownas.search.candidates import OPERATORS, choose_archs, holds, parse_where, read_codes
from edgeflownas.space import Choice, SearchSpace, get_space

NAMES = ("sram_kib", "epe")
BLOCKS = {
    "EB0": ["depth 1", "depth 2", "depth 3"],
    "H2": ["kernel 3", "kernel 5", "kernel 7"],
    "E1": ["3x3", "5x5", "3x3 + dilated 3x3"],
}
V1 = get_space("v1")
SMALL = SearchSpace(
    "small", (Choice("A", "depth", (1, 2, 3)), Choice("B", "kernel", (3, 5)), Choice("C", "depth", (1, 2)))
)
HUGE = SearchSpace("huge", tuple(Choice(f"A{place}", "depth", (1, 2, 3)) for place in range(30)))


def test_a_list_of_conditions():
    text = "EB0=depth2, H2 <= Kernel 5,sram_kib<9e2,epe!=0.5,epe>=-1,EB0==depth 3,H2>k3,EB0#0,E1!=3x3+dilated3x3"
    found = ["EB0=depth2", "H2<=k5", "sram_kib<900", "epe!=0.5", "epe>=-1", "EB0=depth3", "H2>k3", "EB0=depth1"]
    conditions = parse_where(text, NAMES, BLOCKS)
    assert list(map(str, conditions)) == [*found, "E1!=3x3+dilated3x3"] and parse_where(" ", NAMES, BLOCKS) == []
    assert [one.digits for one in conditions] == [(1,), (0, 1), None, None, None, (2,), (1, 2), (0,), (0, 1)]
    assert parse_where(",".join(map(str, conditions)), NAMES, BLOCKS) == conditions


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("EB9=depth1", r"there is no 'EB9'; did you mean 'EB0'\?.*known: E1, EB0, H2, epe, sram_kib"),
        ("eb0=depth1", "did you mean 'EB0'"),
        (
            "EB0=1",
            r"may be an option or its digit: write EB0=depth1 or EB0#1 \(the digit of depth2\); EB0 has depth1, de",
        ),
        ("EB0<=1", r"write EB0<=depth1 or EB0<=depth2 \(the digit of depth2\)"),
        ("H2=5", r"write H2=k5; H2 has k3, k5, k7 \(digits #0 to #2\)"),
        ("EB0=9", r"its digit: EB0 has depth1, depth2, depth3"),
        ("EB0=depth9", r"there is no 'depth9': EB0 has depth1, depth2, depth3 \(digits #0 to #2\)"),
        ("EB0#3", r"there is no digit '3': EB0 has"),
        ("E1<5x5", "the options of E1 have no order, 3x3, 5x5, 3x3.dilated3x3: use = or !="),
        ("epe#1", "'1' is not a number"),
        ("qqqqqqqq=1", r"no 'qqqqqqqq' \(known"),
        ("sram_kib<", "is no condition"),
        ("sram_kib", "is no condition"),
        ("EB0=depth1,", "is no condition"),
        ("EB0=<depth1", "is no condition"),
        ("EB0=depth1 H2=k3", "is no condition"),
        ("1<EB0", "there is no '1'"),
        ("sram_kib<900KiB", "'900KiB' is not a number"),
        ("epe<nan", "'nan' is not a number"),
        ("epe<inf", "'inf' is not a number"),
    ],
)
def test_a_mistake_is_named(text: str, words: str):
    with pytest.raises(ConfigError, match=words):
        parse_where(text, NAMES, BLOCKS)


@given(st.sampled_from(sorted(OPERATORS)), st.floats(-5, 5), st.lists(st.integers(-5, 5), min_size=1))
def test_printed_and_read_back(op: str, value: float, column: list[int]):
    (condition,) = parse_where(f"epe {op} {value!r}", NAMES, BLOCKS)
    assert condition[:3] == ("epe", op, value)
    python = {"=": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt}
    expected = [python.get(op, operator.ge)(number, value) for number in column]
    assert holds([condition], {"epe": np.array(column)}).tolist() == expected
    (again,) = parse_where(str(condition), NAMES, BLOCKS)
    assert again.value == pytest.approx(value, rel=1e-11)
    values = {"EB0": np.array([0, 1, 1, 1]), "epe": np.array([1.0, 2.0, 3.0, math.nan])}
    assert holds(parse_where("EB0#1,epe<3", NAMES, BLOCKS), values).tolist() == [False, True, False, False]
    assert holds(parse_where("epe!=2", NAMES, BLOCKS), values).tolist() == [
        True,
        False,
        True,
        False,
    ]  # nan holds nowhere


def test_where():
    assert choose_archs(SMALL) == list(SMALL) and choose_archs(V1) == list(V1)
    expected = [arch for arch in SMALL if arch[0] >= 1 and arch[2] == 0]
    assert choose_archs(SMALL, where="A>=depth2,C=depth1") == expected
    assert choose_archs(SMALL, list(SMALL)[::-1], where="A>=depth2,C=depth1") == expected
    with pytest.raises(ConfigError, match="leaves no subnet of space 'small'"):
        choose_archs(SMALL, where="A=depth1,A=depth2")
    with pytest.raises(ConfigError, match="leaves no subnet of the 2 given"):
        choose_archs(SMALL, list(SMALL)[:2], where="A=depth3")
    with pytest.raises(ConfigError, match="did you mean 'A'"):
        choose_archs(SMALL, where="a=depth1")


def test_sample():
    first = choose_archs(V1, sample=500, seed=1)
    assert first == choose_archs(V1, sample=500, seed=1) == sorted(set(first)) and len(first) == 500
    assert first != choose_archs(V1, sample=500, seed=2)
    assert choose_archs(SMALL, sample=12) == list(SMALL)
    assert {arch[0] for arch in choose_archs(V1, where="EB0=depth2", sample=20)} == {1}
    counts = [sum(arch[8] == digit for arch in first) for digit in range(3)]
    assert all(120 < count < 215 for count in counts)  # uniform: 167 +- 11 each
    for sample in (0, 13, -1):
        with pytest.raises(ConfigError, match=r"--sample .* must be 1 to 12"):
            choose_archs(SMALL, sample=sample)


def test_a_space_too_large_to_enumerate():
    with pytest.raises(ConfigError, match=r"205,891,132,094,649 subnets .*`edgeflownas search`"):
        choose_archs(HUGE)
    assert len(set(choose_archs(HUGE, sample=50, seed=3))) == 50
    assert len(choose_archs(HUGE, where=",".join(f"A{place}#1" for place in range(27)))) == 27


@pytest.mark.parametrize(
    "text",
    [
        "000021222\n\n0,1,2,0,1,2,0,1,2  # mine\n000021222\n",
        'rank,code,epe\n1,"0,0,0,0,2,1,2,2,2",3\n2,012012012,4\n3,000021222,5\n',
        '"000021222\n012012012\n000021222\n#' + "x" * 200_000,  # a quote too many, and no CSV
        '\ufeff"0,0,0,0,2,1,2,2,2"\n012012012\n000021222',
    ],
)
def test_codes_of_a_file(tmp_path: Path, text: str):
    (tmp_path / "codes").write_text(text)
    archs, again = read_codes(tmp_path / "codes", V1)
    assert ([str(arch).replace(",", "") for arch in archs], again) == (["000021222", "012012012"], 1)


@pytest.mark.parametrize(
    ("content", "error", "words"),
    [
        (b"000021222\n00021222\n", ConfigError, "line 2: arch code '0,0,0,2,1,2,2,2' has 8 digits"),
        (b"code\nabc\n", ConfigError, "line 2: arch code 'abc'"),
        (b"rank,epe,code\n1,2,000021222\n2,3\n", DataError, "line 3 has 2 cells of 3; is the file cut off"),
        (b"code,epe\n000021222,1\n\n,2\n", DataError, "line 4 has no code"),
        (b'code\n"' + b"000021222\n" * 20000, DataError, "no sound CSV: field larger than field limit"),
        (b"# nothing\n", DataError, "no arch code in it"),
        (b"", DataError, "no arch code in it"),
        (b"\xff\xfe", DataError, "cannot be read"),
        (None, DataError, "cannot be read"),
    ],
)
def test_a_bad_file(tmp_path: Path, content: bytes | None, error: type[Exception], words: str):
    if content is not None:
        (tmp_path / "codes").write_bytes(content)
    with pytest.raises(error, match=words):
        read_codes(tmp_path / "codes", V1)
