"""``--csv FILE`` of every command that prints a table."""

import csv
import io
import os
from inspect import signature
from pathlib import Path

import pytest

from edgeflownas import cli

WITHOUT = {  # they print no table: lines, a file, one document
    *("train", "report", "infer", "import-tf1", "config keys", "config schema", "config docs"),
    *("recipes show", "recipes copy", "weights path", "data list", "data check", "data stats", "data synth"),
}
ARCH = "0,0,0,0,2,1,2,2,2"
QUICK = {  # what needs no run: the command line, and the first heading
    "profile": (["--arch", ARCH, "--width", "4", "--size", "32x48"], "name,output,parameters,macs,int8_weight_kib"),
    "plan": (["--train-samples", "64", "--val-samples", "16"], "figure,value,from"),
    "vela": (["--list-targets"], "name,accelerator,system_config,memory_mode,ini"),
    "recipes list": ([], "name,summary"),
    "status": ([str(Path(__file__).parent)], ""),
}


def commands():
    """Function of every verb, and of every verb below one."""
    found: dict[str, object] = {}
    for name, _, _ in cli.COMMANDS:
        app = cli.app[name]
        below = {f"{name} {word}": app[word] for word in app if not word.startswith("-")}
        found |= {words: one.default_command for words, one in (below or {name: app}).items()}
    return found


def test_every_verb_has_it_or_prints_no_table():
    found = commands()
    assert found.keys() >= WITHOUT | QUICK.keys()
    assert {name for name, function in found.items() if "csv" not in signature(function).parameters} == WITHOUT


@pytest.mark.parametrize("words", sorted(commands().keys() - WITHOUT))
def test_a_place_that_cannot_be_written_is_refused_before_the_work(words, tmp_path, capsys):
    place = [str(tmp_path)] if words in ("noise", "pareto", "rank", "trust", "verify", "weights show") else []
    assert cli.run([*words.split(), *place, "--csv", str(tmp_path / "none" / "table.csv")]) == 74
    said = capsys.readouterr()
    assert "table.csv: cannot be written: there is no folder" in said.err and "another --csv" in said.err
    assert not said.out


@pytest.mark.parametrize("words", QUICK)
@pytest.mark.parametrize("json", [[], ["--json"]])
def test_the_table_is_written(words, json, tmp_path, capsys):
    line, heading = QUICK[words]
    file = tmp_path / "table.csv"
    assert cli.run([*words.split(), *line, "--csv", str(file), *json]) == 0
    assert f"wrote csv  {file}" in capsys.readouterr().err
    rows = list(csv.reader(io.StringIO(file.read_text())))
    assert file.read_text().startswith(heading) and len({len(row) for row in rows}) <= 1


def test_a_pipe_is_left_alone_and_a_link_leads_to_the_file(tmp_path, capsys):
    pipe, link, file = (tmp_path / name for name in ("pipe", "link.csv", "table.csv"))
    os.mkfifo(pipe)
    link.symlink_to(file)
    assert cli.run(["recipes", "list", "--csv", str(pipe)]) == 74 and pipe.is_fifo()
    assert "a pipe or a device stands there; give another --csv" in capsys.readouterr().err
    assert cli.run(["recipes", "list", "--csv", str(link)]) == 0
    assert link.is_symlink() and file.read_text().startswith("name,summary")
