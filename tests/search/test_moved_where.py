from __future__ import annotations

import math
import operator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeflownas.errors import ConfigError
from edgeflownas.search.candidates import OPERATORS, Condition, holds, parse_where

NAMES = ("EB0", "H2", "sram_kib", "epe")


def test_a_list_of_conditions():
    text = "EB0=1, H2 <= 1,sram_kib<9e2,epe!=0.5,epe>=-1,EB0==2,H2>0"
    assert parse_where(text, NAMES) == [
        Condition("EB0", "=", 1.0),
        Condition("H2", "<=", 1.0),
        Condition("sram_kib", "<", 900.0),
        Condition("epe", "!=", 0.5),
        Condition("epe", ">=", -1.0),
        Condition("EB0", "=", 2.0),
        Condition("H2", ">", 0.0),
    ]
    assert parse_where(" ", NAMES) == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("EB1=1", r"there is no 'EB1'; did you mean 'EB0'\?.*known: EB0, H2, epe, sram_kib"),
        ("eb0=1", "did you mean 'EB0'"),
        ("qqqqqqqq=1", r"no 'qqqqqqqq' \(known"),
        ("sram_kib<", "is no condition"),
        ("sram_kib", "is no condition"),
        ("EB0=1,", "is no condition"),
        ("EB0=<1", "is no condition"),
        ("EB0=1 H2=1", "is no condition"),
        ("1<EB0", "there is no '1'"),
        ("sram_kib<900KiB", "'900KiB' is not a number"),
        ("epe<nan", "'nan' is not a number"),
        ("epe<inf", "'inf' is not a number"),
    ],
)
def test_a_mistake_is_named(text: str, words: str):
    with pytest.raises(ConfigError, match=words):
        parse_where(text, NAMES)


def test_rows_that_hold():
    values = {"EB0": np.array([0, 1, 1, 1]), "epe": np.array([1.0, 2.0, 3.0, math.nan])}
    assert holds([], values).tolist() == [True] * 4
    assert holds(parse_where("EB0=1", values), values).tolist() == [False, True, True, True]
    assert holds(parse_where("EB0=1,epe<3", values), values).tolist() == [False, True, False, False]
    assert holds(parse_where("epe!=2", values), values).tolist() == [True, False, True, False]  # nan holds nowhere


@given(st.sampled_from(sorted(OPERATORS)), st.floats(-5, 5), st.lists(st.integers(-5, 5), min_size=1))
def test_printed_and_read_back(op: str, value: float, column: list[int]):
    (condition,) = parse_where(f"epe {op} {value!r}", NAMES)
    assert condition == ("epe", op, value)
    python = {"=": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt}
    expected = [python.get(op, operator.ge)(number, value) for number in column]
    assert holds([condition], {"epe": np.array(column)}).tolist() == expected
    (again,) = parse_where(str(condition), NAMES)
    assert again.value == pytest.approx(value, rel=1e-11)
