"""The CSV columns against the users' own files."""

import csv
import io
import math

import pytest

from edgeflownas.evaluate import columns as c


def rows_of(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def text_of(names, rows):
    """The file of these rows, as a run's own CSV log writes it: line ends of the users' files."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(names)
    writer.writerows([c.format_value(name, row.get(name)) for name in names] for row in rows)
    return text.getvalue().encode()


@pytest.mark.parametrize("name", ["healthy", "clip_saturated", "loss_falls_epe_flat"])
@pytest.mark.parametrize(
    ("file", "columns"), [("eval_history.csv", c.EVAL_HISTORY_COLUMNS), ("per_arch_epe.csv", c.PER_ARCH_COLUMNS)]
)
def test_every_sample_line_is_reproduced(shared, name, file, columns):
    path = shared / "samples" / name / file
    rows = rows_of(path)
    assert text_of(columns[: len(rows[0])], map(c.parse_row, rows)) == path.read_bytes()


def test_the_pool_size_is_part_of_the_names():
    assert c.columns(12) == c.EVAL_HISTORY_COLUMNS
    changed = [(old, new) for old, new in zip(c.columns(12), c.columns(24), strict=True) if old != new]
    assert ("mean_epe_12", "mean_epe_24") in changed and ("arch_rank_12", "arch_rank_24") in changed
    assert len(changed) == sum("_12" in name for name in c.EVAL_HISTORY_COLUMNS)
    assert all(old.replace("12", "24") == new for old, new in changed)
    row = {"mean_epe_24": 8.12344, "arch_rank_24": "1:0:8.1234", "mean_epe_24_ema": 8.0}
    assert c.parse_row({name: c.format_value(name, value) for name, value in row.items()}) == {
        **row,
        "mean_epe_24": 8.1234,
    }


def test_names_are_unique_and_every_one_has_a_format():
    for names in (c.EVAL_HISTORY_COLUMNS, c.PER_ARCH_COLUMNS, c.columns(7)):
        assert len(set(names)) == len(names)
        assert all(c.format_value(name, 1) for name in names)


@pytest.mark.parametrize(
    ("column", "value", "text"),
    [
        ("lr", 1e-4, "1.000000e-04"),
        ("lr", 0.0, "0.000000e+00"),
        ("clip_threshold", 200.0, "200"),
        ("clip_threshold", 0.5, "0.5"),
        ("clip_threshold", 1e7, "10000000"),
        ("clip_threshold", None, ""),
        ("kendall_tau_prev", 1.0, "1.0"),
        ("kendall_tau_prev", -0.181818, "-0.1818"),
        ("kendall_tau_prev", -1e-9, "0.0"),
        ("kendall_tau_prev", None, ""),
        ("mean_epe_12", math.nan, "nan"),
        ("train_loss", math.inf, "inf"),
        ("epoch", 3, "3"),
        ("epoch", 3.0, "3"),
    ],
)
def test_formats(column, value, text):
    assert c.format_value(column, value) == text


def test_what_is_no_column_or_no_count_is_refused():
    with pytest.raises(KeyError):
        c.format_value("lern_rate", 1.0)
    with pytest.raises(AssertionError, match="epoch"):
        c.format_value("epoch", 1.5)


def test_a_code_keeps_its_commas_and_zeros():
    row = {"epoch": 1, "arch_index": 6, "epe": 7.0, "code": "0,0,0,0,2,1,2,2,2"}
    written = text_of(c.PER_ARCH_COLUMNS, [row])
    assert written.split(b"\r\n")[1] == b'1,6,7.0000,"0,0,0,0,2,1,2,2,2",'
    (again,) = csv.DictReader(io.StringIO(written.decode(), newline=""))
    assert c.parse_row(again) == {**row, "epe_ema": None}


def test_columns_of_a_later_version_are_kept_as_text():
    assert c.parse_row({"epoch": "4", "made_up": "x"}) == {"epoch": 4, "made_up": "x"}
    with pytest.raises(ValueError):
        c.parse_row({"epoch": "four"})
