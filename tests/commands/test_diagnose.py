"""`edgeflownas diagnose` as a user runs it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from edgeflownas.cli import run

sys.path.insert(0, str(Path(__file__).parents[1] / "report" / "diagnosis"))

from synthetic import Recipe  # noqa: E402


def test_one_document_of_one_history_and_a_list_of_several(tmp_path, capsys):
    for name in ("a", "b"):
        Recipe(epochs=14).history(tmp_path / name)
    assert run(["diagnose", str(tmp_path / "a"), "--json", "--num-epochs", "30"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["verdict"] == "healthy" and document["planned_epochs"] == 30
    assert {"id", "severity", "epochs", "figures", "evidence", "why", "advice"} <= set(document["findings"][0])
    assert run(["diagnose", str(tmp_path / "a" / "eval_history.csv"), str(tmp_path / "b"), "--json"]) == 0
    assert [entry["history"] for entry in json.loads(capsys.readouterr().out)["histories"]] == ["a", "b"]


def test_text_names_findings_what_is_fine_and_what_was_not_judged(tmp_path, capsys):
    Recipe(wait=0.6).history(tmp_path / "a")
    assert run(["diagnose", str(tmp_path / "a"), "--against", str(tmp_path / "a")]) == 0
    out = capsys.readouterr().out
    for words in ("a: look here", "[warning] data_wait_high", "in order:", "not judged:", "best by", "tau to the one"):
        assert words in out
    assert ": stop" in out and "best mean EPE lower by" in out
    assert max(map(len, out.splitlines())) <= 120 + len(str(tmp_path))


def test_user_errors_end_with_their_code(tmp_path, capsys):
    (tmp_path / "x.csv").write_text("a,b\n1,2\n")
    Recipe(epochs=3).history(tmp_path / "a")
    for tokens, code in (
        ([], 64),
        ([str(tmp_path / "none")], 74),
        ([str(tmp_path / "x.csv")], 65),
        ([str(tmp_path / "a"), "--num-epochs", "2"], 64),
    ):
        assert run(["diagnose", *tokens]) == code and capsys.readouterr().err.startswith("error: ")


@pytest.mark.e2e  # a process of its own
def test_without_docstrings_it_says_what_to_do(tmp_path):
    Recipe(epochs=14).history(tmp_path / "a")
    words = [sys.executable, "-OO", "-m", "edgeflownas", "diagnose", str(tmp_path / "a")]
    ended = subprocess.run(words, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 64 and "start Python without it" in ended.stderr and "Traceback" not in ended.stderr
