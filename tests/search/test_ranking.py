"""The table of a ranking: written, read, refused."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeflownas.errors import DataError, StorageError
from edgeflownas.evaluate.results import read_tensors, tensor_bytes
from edgeflownas.search.ranking import CSV, TENSORS, Ranking, block_words, ranks, read_ranking, write_ranking
from edgeflownas.space import get_space

V1 = get_space("v1")
CODES = ("000000000", "000021222", "210210210")


def table(epes: tuple[float, ...] = (3.0, 1.0, 2.5), samples: bool = True, codes: tuple[str, ...] = CODES) -> Ranking:
    archs = [V1.parse(code) for code in codes]
    epe = np.array(epes)
    columns = {
        "rank": ranks(epe),
        "epe": epe,
        "epe_standard_error": epe / 10,
        "samples": np.full(len(epe), 2),
        "epe_sintel_clean": epe + 1,
        "parameters": np.arange(len(epe)),
        "sram_kib": epe / 3,
    }
    errors = np.column_stack([epe, np.full(len(epe), math.nan)]).astype(np.float16)
    kept = (errors, np.array([7, 0])) if samples else (None, None)
    facts = {"run": "überlauf", "size": "180x240"}
    return Ranking("v1", tuple(map(str, archs)), columns, block_words(V1, archs), facts, *kept)


def assert_same(one: Ranking, other: Ranking) -> None:
    assert (one.space, one.codes, one.words, one.facts) == (other.space, other.codes, other.words, other.facts)
    assert list(one.columns) == list(other.columns)
    for name, column in one.columns.items():
        assert column.dtype == other.columns[name].dtype, name
        np.testing.assert_array_equal(column, other.columns[name])
    for ours, theirs in ((one.sample_epe, other.sample_epe), (one.valid_pixels, other.valid_pixels)):
        assert (ours is None) == (theirs is None)
        if ours is not None:
            np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("samples", [True, False])
def test_written_and_read(tmp_path: Path, samples: bool):
    ranking = table(samples=samples)
    assert write_ranking(tmp_path, ranking) == {CSV: tmp_path / CSV, TENSORS: tmp_path / TENSORS}
    assert_same(ranking, read_ranking(tmp_path))
    assert_same(ranking, read_ranking(tmp_path / TENSORS))
    rows = dataclasses.replace(ranking, sample_epe=None, valid_pixels=None)
    assert_same(rows, read_ranking(tmp_path / CSV))  # facts are those of the file beside it
    assert sorted(path.name for path in tmp_path.iterdir()) == [CSV, TENSORS]
    before = [path.read_bytes() for path in tmp_path.iterdir()]
    write_ranking(tmp_path, ranking)
    assert [path.read_bytes() for path in tmp_path.iterdir()] == before


def test_the_csv_is_for_people(tmp_path: Path):
    write_ranking(tmp_path, table())
    header, first, *_ = (tmp_path / CSV).read_text().splitlines()
    blocks = "EB0,EB1,DB0,DB1,H0Out,H1,H1Out,H2,H2Out"
    figures = "code,rank,epe,epe_standard_error,samples,epe_sintel_clean"
    assert header == f"{figures},{blocks},parameters,sram_kib"
    depths, kernels = ",".join(["depth 1"] * 4), ",".join(["kernel 3"] * 5)
    assert first == f'"0,0,0,0,0,0,0,0,0",3,3.0,0.3,2,4.0,{depths},{kernels},0,1.0'


@settings(max_examples=25, deadline=None)  # each writes durably
@given(st.data())
def test_any_table_comes_back(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject):
    positions = data.draw(st.lists(st.integers(0, len(V1) - 1), min_size=1, max_size=9, unique=True))
    codes = tuple(np.base_repr(position, 3).zfill(9) for position in sorted(positions))
    number = st.floats(0.0, 1e99) | st.sampled_from([math.nan, math.inf])
    epes = tuple(data.draw(st.lists(number, min_size=len(codes), max_size=len(codes))))
    with np.errstate(over="ignore"):
        ranking = table(epes, data.draw(st.booleans()), codes)
    folder = tmp_path_factory.mktemp("any")
    write_ranking(folder, ranking)
    assert_same(ranking, read_ranking(folder))
    np.testing.assert_array_equal(read_ranking(folder / CSV).columns["epe"], ranking.columns["epe"])


def test_ranks_and_blocks():
    assert ranks(np.array([2.0, 1.0, math.nan, 1.0, math.inf])).tolist() == [3, 1, 5, 2, 4]
    assert {name: digits.tolist() for name, digits in table().blocks.items()} == {
        choice.name: [int(code[place]) for code in CODES] for place, choice in enumerate(V1.choices)
    }


def test_a_csv_that_a_user_changed(tmp_path: Path):
    """Columns of one's own (a measured latency), compact codes, missing figures, a spreadsheet's mark."""
    mine = tmp_path / "mine.csv"
    mine.write_text("\ufeffcode,epe,A,B,cpu_ms\n01,1.5,depth 1,x,\n10,2,depth 2,y,7\n")
    found = read_ranking(mine)
    assert (found.space, found.codes, found.words["A"]) == ("", ("0,1", "1,0"), ("depth 1", "depth 2"))
    np.testing.assert_array_equal(found.columns["cpu_ms"], [math.nan, 7.0])
    write_ranking(tmp_path, table())
    lines = (tmp_path / CSV).read_text().splitlines()
    mine.write_text("\n".join(f"{line},{word}" for line, word in zip(lines, ("note", "a", "b", "c"), strict=True)))
    assert (read_ranking(mine).space, read_ranking(mine).words) == ("v1", table().words)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("missing", None, "no ranking is here; give the folder"),
        ("empty.csv", "", "not readable as a ranking"),
        ("other.csv", "a,b\n1,2\n", "name every column once"),
        ("twice.csv", "code,epe,A\n0,1,x\n0,2,x\n", "a code twice"),
        ("uneven.csv", "code,epe,A\n0,1,x\n1,2\n", "line 3 has not 3 cells"),
        ("letters.csv", "code,epe,A\nx,1,x\n", "not readable as a ranking"),
        ("rows.csv", "code,epe,A\n", "it has no row"),
        ("chosen.csv", "code,kind,shortlist,epe\n0,front,best,1\n", "`edgeflownas pareto` chose"),
        ("cell.csv", 'code,epe,A\n0,1,x\n1,"1,05",y\n', r"line 3: epe '1,05' is not a number"),
        ("unit.csv", "code,epe,A,macs\n0,1,x,abc\n", r"line 2: macs 'abc' is not a number"),
        ("huge.csv", "code,epe,A\n0,1e308,x\n", r"subnet 0: epe 1e\+308 cannot be"),
        ("below.csv", "code,epe,A\n0,-1,x\n", "subnet 0: epe -1 cannot be"),
        ("error.csv", "code,epe,epe_standard_error,A\n0,1,-0.5,x\n", "epe_standard_error -0.5 cannot be"),
        ("long.csv", "code,epe,A,B\n00,1,x,x\n1,1,x,x\n", "code 1 is not as long as 0,0"),
        ("mixed.csv", "code,epe,A,B\n00,1,x,x\n01,1,y,z\n", "A is 'x' by its digit and 'y' in its column"),
        ("no_epe.csv", "code,error,A\n0,1,x\n", "no column `epe`"),
        ("no.safetensors", "nothing", "not readable as a ranking"),
        ("binary.csv", "\x00\x01\udcff", "not readable as a ranking"),
    ],
)
def test_what_is_no_ranking(tmp_path: Path, name: str, content: str | None, words: str):
    if content is not None:
        (tmp_path / name).write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(DataError, match=words) as refusal:
        read_ranking(tmp_path / name)
    assert name in str(refusal.value)


def test_folders_without_a_finished_ranking(tmp_path: Path):
    with pytest.raises(StorageError, match="cannot be written"):
        write_ranking(tmp_path / "gone", table())
    with pytest.raises(DataError, match="no ranking is here"):
        read_ranking(tmp_path)
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "plan.json").touch()
    with pytest.raises(DataError, match="not finished"):
        read_ranking(tmp_path)


def test_a_damaged_file_is_refused(tmp_path: Path):
    write_ranking(tmp_path, table())
    whole = (tmp_path / TENSORS).read_bytes()
    for cut in range(0, len(whole), 97):
        (tmp_path / TENSORS).write_bytes(whole[:cut])
        with pytest.raises(DataError, match="ranking"):
            read_ranking(tmp_path)


def test_every_bit_of_the_figures_counts(tmp_path: Path):
    """A changed figure, name or word is damage; a table from before there was a checksum is read."""
    file = tmp_path / TENSORS
    write_ranking(tmp_path, table())
    whole = file.read_bytes()
    start = 8 + int.from_bytes(whole[:8], "little")  # of the data
    for place in range(start, len(whole), 7):
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(DataError, match="ranking"):
            read_ranking(file)
    file.write_bytes(whole.replace(b"180x240", b"180x241"))
    with pytest.raises(DataError, match="checksum"):
        read_ranking(file)
    file.write_bytes(whole)
    arrays, words = read_tensors(file)
    file.write_bytes(tensor_bytes(arrays, {name: word for name, word in words.items() if name != "checksum"}))
    assert_same(table(), read_ranking(file))


def test_words_are_those_of_the_digits(tmp_path: Path):
    write_ranking(tmp_path, table())
    text = (tmp_path / CSV).read_text()
    mine = tmp_path / "mine.csv"
    mine.write_text(text.replace("depth 1", "depth 2", 1))
    with pytest.raises(DataError, match="code 0,0,0,0,0,0,0,0,0: EB0 is 'depth 1' by its digit and 'depth 2' in its"):
        read_ranking(mine)
    mine.write_text(text.replace('"0,0,', '"9,0,', 1))
    with pytest.raises(DataError, match="code 9,0,0,0,0,0,0,0,0: EB0 has no option 9"):
        read_ranking(mine)


def test_a_csv_has_the_facts_of_the_same_table_beside_it(tmp_path: Path):
    write_ranking(tmp_path, table())
    text = (tmp_path / CSV).read_text()
    for changed, facts in ((text, table().facts), (text.replace("3.0", "3.1", 1), {})):
        (tmp_path / CSV).write_text(changed)
        assert read_ranking(tmp_path / CSV).facts == facts


@pytest.mark.parametrize("name", ["v2", "v3", "v3_nobias"])
def test_a_space_is_told_by_the_words_of_its_options(tmp_path: Path, name: str):
    """Spaces share their blocks; a table of before that says v3 is v3_nobias."""
    space = get_space(name)
    archs = [space.parse(code) for code in ("00000000000", "12000011111", "21000000000")]
    columns = {"rank": np.array([1, 2, 3]), "epe": np.array([1.0, 2.0, 3.0])}
    called = "v3" if name == "v3_nobias" else name
    write_ranking(tmp_path, Ranking(called, tuple(map(str, archs)), columns, block_words(space, archs), {}))
    assert [read_ranking(tmp_path / file).space for file in (TENSORS, CSV)] == [name, name]
