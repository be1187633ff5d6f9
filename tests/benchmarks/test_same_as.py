"""The comparison of two trees sees what differs, and only that."""

import json
from typing import Any

import numpy as np
import pytest
from _cases import CASES
from _contents import document_differences, folder_differences, masked, plain_event, text_differences
from safetensors.numpy import save_file
from same_as import chosen

TEXT = {"event": "evaluation", "epoch": 1, "arch_rank_3": "1:2:1.2346|2:0:2.0000|2:1:2.5000"}
NUMBERS = {"event": "evaluation", "epoch": 1, "epes": [2.0, 2.5, 1.23456], "ranks": [2, 2, 1], "codes": ["0", "1", "2"]}
EVENTS = [{"event": "step", "step": 1, "loss": 3.25}, TEXT]


def run_in(folder):
    """Some files of a run."""
    folder.mkdir()
    (folder / "events.jsonl").write_text("".join(json.dumps(row) + "\n" for row in EVENTS))
    (folder / "run_manifest.json").write_text(
        json.dumps({"format": 1, "run": "0" * 32, "manifest": {"keys": {"a": 1}}})
    )
    (folder / "eval_history.csv").write_text("epoch,mean_epe_3,eval_seconds\n1,1.9,0.2\n")
    (folder / "train.log").write_text("epoch 1 loss 3.25\ntrain step 1/4 left 3 s\nwrote run runs/a\n")
    (folder / "config.yaml").write_text("train:\n  lr: 0.001\n")
    save_file({"w": np.ones(3, np.float32)}, folder / "model.safetensors")
    return folder


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("events.jsonl", "".join(json.dumps(row) + "\n" for row in (EVENTS[0], NUMBERS)), None),
        ("events.jsonl", json.dumps({**EVENTS[0], "loss": 3.5}) + "\n", ".loss: 3.25 | 3.5"),
        ("events.jsonl", json.dumps(EVENTS[0]) + "\n", "2 rows | 1 rows"),
        ("run_manifest.json", json.dumps({"format": 2, "run": "1" * 32, "manifest": {"keys": {"a": 1}}}), None),
        ("run_manifest.json", json.dumps({"format": 2, "run": "", "manifest": {"keys": {"a": 2}}}), ".a: 1 | 2"),
        ("eval_history.csv", "epoch,mean_epe_3,eval_seconds\n1,1.9,0.7\n", None),
        ("eval_history.csv", "epoch,mean_epe_3,eval_seconds\n1,1.8,0.2\n", "line 2 mean_epe_3: '1.9' | '1.8'"),
        ("train.log", "epoch 1 loss 3.26\nwrote run  runs/a\n", None),
        ("train.log", "epoch 1 loss 3.25\nwrote all runs/a\n", "+wrote all runs/a"),
        ("config.yaml", "train: {lr: 0.001}\n", None),
        ("config.yaml", "train: {lr: 0.002}\n", ".train.lr: 0.001 | 0.002"),
        ("more.txt", "more", "more.txt: only in the tree"),
        ("events.jsonl", "{", "cannot be read"),
    ],
)
def test_files_differ_where_their_content_does(tmp_path, name, content, said):
    base, tree = run_in(tmp_path / "base"), run_in(tmp_path / "tree")
    assert folder_differences(base, tree, []) == []
    (tree / name).write_text(content)
    found = folder_differences(base, tree, [])
    assert (said is None and found == []) or (said is not None and any(said in line for line in found)), found


PAGE = """<h2>Accuracy</h2><p>EPE <b>2.5</b> px of 2 subnets</p><table><tr><th>version<td>1.0.0</table>
<figure id="fig-time">took 3.5 s</figure><figure id="fig-epe"><table><tr><td>1<td>2.5</table></figure>
<script type="application/json">{"charts": [{"topic": "epe", "y": [2.5], "colour": "c0"}]}</script>"""


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("<p>EPE <b>2.5</b>", "<div>\n EPE <em class=x>2.5</em>", None),  # other markup
        ("took 3.5 s", "took 4.5 s", None),
        ("1.0.0", "1.0.1 0123456789", None),
        (', "colour": "c0"', ', "runs": [0]', None),
        ("<b>2.5</b>", "<b>2.6</b>", "+2.6"),
        ("<td>2.5", "<td>2.6", "+2.6"),
        ("<td>1<td>2.5", "<td>2.5<td>1", "+2.5"),
        ("of 2 subnets", "of two subnets", "+px of two subnets"),
        ("[2.5]", "[2.6]", "[0].charts[0].y[0]: 2.5 | 2.6"),
        ('"colour": "c0"', '"colour": "c1"', ".colour: only in the tree"),
    ],
)
def test_pages_differ_where_they_say_something_else(tmp_path, old, new, said):
    base, tree = run_in(tmp_path / "base"), run_in(tmp_path / "tree")
    assert old in PAGE
    (base / "report.html").write_text(PAGE)
    (tree / "report.html").write_text(PAGE.replace(old, new))
    found = folder_differences(base, tree, [])
    assert (said is None and found == []) or (said is not None and any(said in line for line in found)), found


def test_tensors_differ_by_one_bit(tmp_path):
    base, tree = run_in(tmp_path / "base"), run_in(tmp_path / "tree")
    save_file({"w": np.array([1, 1, np.nextafter(np.float32(1), np.float32(2))])}, tree / "model.safetensors")
    assert folder_differences(base, tree, []) == ["model.safetensors w F32 [3]"]
    (tree / "model.safetensors").unlink()
    assert folder_differences(base, tree, []) == ["model.safetensors: only in the base"]


def test_both_forms_of_an_evaluation_are_the_same_numbers():
    assert plain_event(TEXT) == plain_event(NUMBERS)
    assert plain_event(TEXT) != plain_event({**NUMBERS, "epes": [2.0, 2.5, 1.2347]})
    assert plain_event(TEXT) != plain_event({**NUMBERS, "ranks": [2, 3, 1]})


def test_times_and_identities_are_masked_and_nothing_else():
    one: dict[str, Any] = {"run_id": "a", "eval_seconds": 1.0, "best": {"checkpoint": "s", "hash": "a"}, "step": 4}
    two: dict[str, Any] = {"run_id": "b", "eval_seconds": 2.0, "best": {"checkpoint": "s", "hash": "b"}, "step": 4}
    assert document_differences(one, two) == []
    assert document_differences(one, {**two, "step": 5}) == [".step: 4 | 5"]
    assert document_differences({"a": 1}, {"a": True}) != [] != document_differences({"a": 1}, {"a": 1.0})
    assert document_differences({"a": [1]}, {"a": [1, 2]}) != []
    assert masked("12.5 images/s in /tmp/x", ["/tmp/x"]) == ["# images/s in PLACE"]
    assert text_differences("error: a 1", "error: b 2", []) == ["-error: a #", "+error: b #"]


def test_a_case_brings_those_it_needs():
    names = [case.name for case in CASES]
    assert len(set(names)) == len(names)
    assert [case.name for case in chosen(["distil"])] == ["data", "supernet", "distil"]
    assert all(set(case.needs) <= set(names[: names.index(case.name)]) for case in CASES)
