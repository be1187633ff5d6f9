"""Logs: whole lines, exact truncation, torn tails, floats that JSON has no word for."""

from __future__ import annotations

import json
import math
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeflownas.errors import StorageError
from edgeflownas.files import (
    AppendLog,
    CsvLog,
    JsonLog,
    canonical_json,
    csv_cell,
    csv_rows,
    decode_floats,
    encode_floats,
    parse_json,
    read_file,
    read_json,
    read_rows,
    replace_committed,
    row_text,
)


def test_a_pipe_is_never_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.json")
    for reader in (
        read_json,
        lambda p: list(read_rows(p)),
        lambda p: list(csv_rows(p)),
        read_file,
        JsonLog(tmp_path / "a.json").append,
    ):
        given = {"a": 1} if hasattr(reader, "__self__") else tmp_path / "a.json"
        with pytest.raises(StorageError, match="a.json: (cannot be read: it )?is not a regular file"):
            reader(given)
    with pytest.raises(StorageError, match="is not a regular file"):
        read_json(tmp_path)


def test_bytes_that_are_no_text_come_back(tmp_path):
    """Names of files need not be UTF-8; Python holds such bytes as surrogates."""
    document = {"na\udce9me": ["\udcff", "caf\u00e9"]}
    content = canonical_json(document)
    assert parse_json(content) == document and b"\\udce9" in content and "caf\u00e9".encode() in content
    log = JsonLog(tmp_path / "log")
    log.append(document)
    assert list(read_rows(tmp_path / "log")) == [document]


@pytest.mark.parametrize(
    ("cell", "written"),
    [
        *((cell, f"'{cell}") for cell in ("=1+1", "+cmd", "-x", "@SUM(A1)", "\t=1")),
        *((cell, cell) for cell in ("-1.5", "+3", "-inf", "a=1", "", 1.5, None, -2)),
    ],
)
def test_no_cell_is_a_formula(cell, written):
    assert csv_cell(cell) == written


def test_what_is_left_is_said_as_it_is(tmp_path):
    def said(path):
        with pytest.raises(StorageError) as caught:
            replace_committed(path, b"")
        return str(caught.value)

    (tmp_path / "run" / "x").mkdir(parents=True)  # a folder has the name
    assert "intact" not in said(tmp_path / "run" / "x") and "ake room" in said(tmp_path / "run" / "x")
    assert "is not there any more" in said(tmp_path / "gone" / "away" / "x")
    (tmp_path / "run" / "checkpoints" / "step-00000001").mkdir(parents=True)
    assert "What was committed before is intact" in said(tmp_path / "run" / "x")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


def same(a, b) -> bool:
    if isinstance(a, float) and isinstance(b, float):
        return a == b or (math.isnan(a) and math.isnan(b))
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    return type(a) is type(b) and a == b


@given(json_values)
def test_state_with_any_float_comes_back_exactly(value):
    text = json.dumps(encode_floats(value), allow_nan=False).encode()
    assert same(decode_floats(parse_json(text)), value)


def test_rows_have_sorted_keys_and_words_for_nonfinite_numbers():
    row = {"b": float("nan"), "a": [1, float("-inf")], "c": {"z": 1, "y": float("inf")}}
    assert row_text(row) == '{"a": [1, "-inf"], "b": "nan", "c": {"y": "inf", "z": 1}}'


@given(st.lists(st.dictionaries(st.text(), json_values, max_size=3), max_size=5))
def test_a_row_is_one_line(rows):
    for row in rows:
        assert "\n" not in row_text(row)


def test_truncation_then_the_same_rows_give_the_same_bytes(tmp_path):
    log = JsonLog(tmp_path / "events.jsonl")
    for n in range(3):
        log.append({"n": n})
    offset, committed = log.offset(), log.path.read_bytes()
    log.append({"n": 3})
    whole = log.path.read_bytes()
    log.truncate(offset)
    assert log.path.read_bytes() == committed
    log.append({"n": 3})
    assert log.path.read_bytes() == whole
    log.close()


def test_truncating_to_nothing_and_without_a_file(tmp_path):
    log = JsonLog(tmp_path / "events.jsonl")
    log.truncate(0)
    assert not log.path.exists()
    log.append({})
    log.truncate(0)
    assert log.path.read_bytes() == b""


def test_which_lengths_a_log_holds(tmp_path):
    log = JsonLog(tmp_path / "events.jsonl")
    log.append({"n": 1})
    log.close()
    assert [offset for offset in (0, 5, 9, 30) if log.holds(offset)] == [0, 9]  # 5 is in the middle of a row


def test_torn_last_line_is_closed_before_the_next_row(tmp_path):
    path = tmp_path / "timing.jsonl"
    path.write_bytes(b'{"n": 1}\n{"n": 2, "se')
    log = JsonLog(path)
    log.append({"n": 3})
    log.close()
    assert path.read_bytes() == b'{"n": 1}\n{"n": 2, "se\n{"n": 3}\n'
    assert [row["n"] for row in read_rows(path)] == [1, 3]
    assert list(read_rows(tmp_path / "absent.jsonl")) == []


def test_plain_log(tmp_path):
    log = AppendLog(tmp_path / "train.log")
    log.append("epoch 1: größer")
    log.sync()
    log.close()
    assert log.path.read_text(encoding="utf-8") == "epoch 1: größer\n"


def test_a_csv_log_cut_to_nothing_writes_its_header_again(tmp_path):
    log = CsvLog(tmp_path / "monitor.csv")
    log.append({"step": 1})
    log.truncate(0)
    log.append({"step": 2})
    log.append({"step": 3})
    assert log.path.read_text() == "step\n2\n3\n"
    log.close()


def test_csv_header_cells_and_change_of_columns(tmp_path):
    log = CsvLog(tmp_path / "eval_history.csv")
    log.append({"epoch": 1, "mean_epe_12": 0.1, "note": "a,b\nc"})
    log.append({"epoch": 2, "mean_epe_12": None, "note": ""})
    log = CsvLog(log.path)
    log.append({"epoch": 3, "mean_epe_12": float("nan"), "note": "x"})
    log.append({"epoch": 4, "mean_epe_6": 2.0})
    log.append({"epoch": 5, "mean_epe_6": 3.0})
    assert log.path.read_text() == (
        'epoch,mean_epe_12,note\n1,0.1,"a,b c"\n2,,\n3,nan,x\nepoch,mean_epe_6\n4,2.0\n5,3.0\n'
    )


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b'{"a": 1, "a": 2}', "key 'a' occurs twice"),
        (b'{"x": {"b": 1, "b": 1}}', "key 'b' occurs twice"),
        (b'{"a": NaN}', "NaN is not a JSON number"),
        (b'{"a": -Infinity}', "-Infinity is not"),
        (b'{"a": ', "Expecting value"),
        (b"\xff\xfe", "codec can't decode"),
        (b"[" * 200_000, "nested too deeply"),
        (b" " * 2000, "2000 bytes, expected at most 1000"),
    ],
)
def test_strict_json(tmp_path, content, problem):
    path = tmp_path / "state.json"
    path.write_bytes(content)
    with pytest.raises(StorageError, match=problem) as caught:
        read_json(path, cap=1000 if content.isspace() else 10**6)
    assert str(path) in str(caught.value)
