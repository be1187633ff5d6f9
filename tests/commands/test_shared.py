"""What commands share: types of parameters, folders of runs, printing."""

import json
from pathlib import Path

import pytest
from cyclopts import App

from edgeflownas import cli
from edgeflownas.commands._shared import Bytes, FromZero, Paths, Size, WholeNumber, emit, example, named_runs
from edgeflownas.errors import ConfigError, StorageError
from edgeflownas.report.table import Column, Table


@pytest.fixture(autouse=True)
def app(monkeypatch):
    monkeypatch.setattr(cli, "app", App(exit_on_error=False, print_error=False))

    @cli.app.command
    def go(
        *,
        count: WholeNumber | None = None,
        seed: FromZero = 3,
        size: Size | None = None,
        memory: Bytes | None = None,
        runs: Paths | None = None,
    ) -> list[object]:
        return [value for value in (count, seed, size, memory, runs) if value is not None]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("", [3]),
        ("--count 50 --seed=0", [50, 0]),
        ("--size 180x240", [3, (180, 240)]),
        ("--memory 900KiB", [3, 900 * 1024]),
        ("--memory 1.5g", [3, 1_500_000_000]),
        ("--memory=7", [3, 7]),
        ("--runs a b --count 1", [1, 3, [Path("a"), Path("b")]]),
    ],
)
def test_what_is_understood(line, expected):
    assert cli.call(["go", *line.split()]) == expected


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("--count 1.5", "--count 1.5 must be a whole number from 1 to 1000000000000, such as 50"),
        ("--count=0", "--count 0 must be a whole number from 1"),
        ("--count -3", "--count -3 must be a whole number from 1"),
        ("--count 9999999999999", "must be a whole number from 1"),
        ("--seed -1", "--seed -1 must be a whole number from 0"),
        ("--size 180", "--size '180' must be rows x columns in px, such as 180x240"),
        ("--size 180x-5", "--size '180x-5' must be rows x columns"),
        ("--memory 8XB", "--memory '8XB' must be a size such as 8GB, 500MB or 900KiB"),
        ("--memory 0", "--memory '0' must be a size"),
    ],
)
def test_what_is_not(line, said, capsys):
    assert cli.run(["go", *line.split()]) == 64 and said in capsys.readouterr().err


def test_a_folder_stands_for_the_runs_below_it(tmp_path):
    for name in ("x/b", "x/a", "x/.hidden", "y/a"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "run_manifest.json").touch()
    assert named_runs([tmp_path / "x"]) == {"a": tmp_path / "x/a", "b": tmp_path / "x/b"}
    both = named_runs([tmp_path / "x/a", tmp_path / "y"])
    assert both == {str(tmp_path / "x/a"): tmp_path / "x/a", str(tmp_path / "y/a"): tmp_path / "y/a"}
    with pytest.raises(ConfigError, match="is given twice"):
        named_runs([tmp_path / "x", tmp_path / "x/a"])
    (tmp_path / "none").mkdir()
    with pytest.raises(StorageError, match="neither a run directory .* nor a folder of some"):
        named_runs([tmp_path / "none"])


def test_histories_are_called_after_their_folder(tmp_path):
    (tmp_path / "a").mkdir()
    for file in (tmp_path / "a" / "eval_history.csv", tmp_path / "console.log"):
        file.touch()
    given = [tmp_path / "a" / "eval_history.csv", tmp_path / "console.log"]
    assert named_runs(given, histories=True) == {"a": given[0], "console": given[1]}
    assert named_runs([tmp_path / "a"], histories=True) == {"a": tmp_path / "a"}


def test_a_result_is_json_or_its_text_and_its_table_a_file(capsys, tmp_path):
    def view(document):
        return [f"a is {document['a']}", Table([Column("a", ".1f")], [[document["a"]]])]

    assert emit({"a": 1}, view, json=False) == {} and capsys.readouterr().out == "a is 1\n  a\n---\n1.0\n"
    emit({"a": 1}, lambda document: pytest.fail("not asked for"), json=True)
    assert json.loads(capsys.readouterr().out) == {"a": 1}
    with pytest.raises(ValueError, match="JSON"):
        emit({"a": float("nan")}, view, json=True)
    shown: list[object] = []
    assert emit({"a": 2}, view, False, tmp_path / "a.csv", shown.append) == {"csv": tmp_path / "a.csv"}
    assert (tmp_path / "a.csv").read_text() == "a\n2\n" and len(shown) == 1 and not capsys.readouterr().out


def test_the_example_is_a_line_of_the_docstring():
    def command():
        """Do it.

        Example: edgeflownas do RUN [--fast]
        """

    assert example(command) == "edgeflownas do RUN [--fast]" and example(print) == ""
