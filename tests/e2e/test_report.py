"""`edgeflownas report`, and the page that training keeps up to date."""

import json
import re
import time

import pytest
import runs
from runs import ONE_STEP, command, outcome

from edgeflownas.commands import _shared
from edgeflownas.report.page import write_report

pytestmark = pytest.mark.e2e
REPORT = "--runtime.report=true"  # which tiny runs do without
EIGHT = (REPORT, *ONE_STEP, "--eval.eval_pool_size=8", "--eval.eval_every_epoch=1")  # the baseline is the seventh


@pytest.fixture(scope="module")
def trained(place):
    return place.trained("reported", *EIGHT)


def page_data(page):
    return json.loads(re.search(r'id="data">(.*?)</script>', page.read_text(encoding="utf-8"), re.S)[1])


def test_training_leaves_page_and_pictures(trained):
    data = page_data(trained / "report.html")
    assert data["axes"]["e0"] == [1, 2] and data["runs"] == ["reported"]
    index = json.loads((trained / "pictures/index.json").read_text())
    assert (index["epoch"], index["step"]) == (
        2,
        json.loads((trained / "events.jsonl").read_text().splitlines()[-1])["global_step"],
    )
    files = {entry["file"] for entry in index["pictures"]}
    assert files == {path.name for path in (trained / "pictures").glob("*.png")}
    roles = {role for entry in index["pictures"] for role in entry["roles"]}
    assert roles == {"best", "baseline", "worst"}
    assert len({(entry["arch_index"], entry["sample"]) for entry in index["pictures"]}) == len(index["pictures"])
    epes = {
        int(row["arch_index"]): float(row["epe"])
        for row in runs.table(trained / "per_arch_epe.csv")
        if row["epoch"] == "2"
    }
    best = next(entry for entry in index["pictures"] if "best" in entry["roles"])
    assert best["arch_index"] == min(epes, key=epes.get)
    assert best["epe"] == pytest.approx(epes[best["arch_index"]], abs=1e-4)
    page = (trained / "report.html").read_text(encoding="utf-8")
    assert page.count("data:image/webp") == 6 * len(index["pictures"]) and len(page) < 3_000_000


def test_the_command_writes_the_same_page(trained, tmp_path):
    before = page_data(trained / "report.html")
    ended = command("report", trained, "--out", tmp_path / "page.html")
    assert ended.code == 0, ended.err
    assert page_data(tmp_path / "page.html") == before


def test_json_tells_verdict_and_findings(trained, tmp_path):
    ended = command("report", trained, "--out", tmp_path / "page.html", "--json")
    document = json.loads(ended.out)
    assert document["report"] == str(tmp_path / "page.html")
    assert document["runs"][0]["verdict"] in ("healthy", "look here", "stop")
    assert {"id", "severity", "evidence", "why", "advice"} <= document["runs"][0]["findings"][0].keys()


def test_several_runs_and_a_bare_table(trained, place, tmp_path):
    other = place.copy("reported", "copied")
    table = tmp_path / "somewhere" / "eval_history.csv"
    table.parent.mkdir()
    table.write_bytes((trained / "eval_history.csv").read_bytes())
    ended = command("report", trained, other, table, "--out", tmp_path / "page.html")
    assert ended.code == 0, ended.err
    assert page_data(tmp_path / "page.html")["runs"] == ["reported", "copied", "somewhere"]
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert 'id="fig-pool-0"' in text and "no run directory" in text


def test_a_run_without_an_evaluation_waits(trained, place, tmp_path):
    begun = place.copy("reported", "begun")
    for name in ("eval_history.csv", "events.jsonl", "per_arch_epe.csv"):
        (begun / name).unlink()
    ended = command("report", begun)
    assert ended.code == 0 and "No evaluation yet" in (begun / "report.html").read_text(encoding="utf-8")
    ended = command("report", begun, trained, "--out", tmp_path / "page.html")
    assert ended.code == 0 and "no evaluation yet" in ended.err
    assert page_data(tmp_path / "page.html")["runs"] == ["reported"]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ((), 64, "give at least one run"),
        (("missing",), 74, "does not exist"),
        (("{empty}",), 74, "neither a run directory"),
        (("{run}", "{run}"), 64, "given twice"),
        (("{run}", "--out", "{empty}/no/such/page.html"), 74, "cannot be written"),
        (("{run}", "--figures", "{run}/config.yaml"), 74, "figures cannot be written"),
        (("{run}/config.yaml",), 65, "no history"),
    ],
)
def test_bad_words_are_explained(trained, tmp_path, words, code, said):
    if "--figures" in words:
        pytest.importorskip("matplotlib")
    (tmp_path / "empty").mkdir()
    given = [word.format(run=trained, empty=tmp_path / "empty") for word in words]
    if "--out" not in given:
        given += ["--out", str(tmp_path / "page.html")]
    ended = command("report", *given)
    assert (ended.code, said in ended.err) == (code, True), ended.err


def test_figures_for_papers(trained, tmp_path):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed (the extra figures)")
    few = (
        "epoch",
        "global_step",
        "mean_epe_8",
        "arch_rank_8",
        "split_label",
        "lr",
    )  # every figure: tests/report/test_plot.py
    history = tmp_path / "eval_history.csv"
    lines = [[row[name] for name in few] for row in runs.table(trained / "eval_history.csv")]
    history.write_text("".join(",".join(line) + "\n" for line in [few, *lines]))
    assert command("report", history, "--out", tmp_path / "page.html", "--figures", tmp_path / "one").code == 0
    files = {path.name: path.read_bytes() for path in (tmp_path / "one").iterdir()}
    charts = {chart["id"] for chart in page_data(tmp_path / "page.html")["charts"]} | {"pool"}
    assert len(charts) > 3 and set(files) == {f"{name}.{form}" for name in charts for form in ("png", "svg")}
    assert b"EPE (px)</text>" in files["epe.svg"], "text stays text"


def test_a_failing_report_never_ends_a_run(place, trained, monkeypatch):
    def broken(run):
        raise ZeroDivisionError("planted")

    monkeypatch.setattr(_shared, "_report", broken)
    ended = place.train("unreported", *EIGHT)
    assert ended.code == 0
    assert ended.err.count("the report was not refreshed (ZeroDivisionError: planted)") == 2
    assert outcome(place.runs / "unreported") == outcome(trained), "what is shown changes nothing that is trained"


def test_pictures_are_of_the_last_evaluation_only(place, trained):
    run = place.copy("reported", "one-picture")
    (run / "pictures/worst-7.png").write_bytes(b"old")
    ended = place.resume("one-picture", "--train.num_epochs=3", "--train.lr_plan=keep")
    assert ended.code == 0, ended.err
    assert json.loads((run / "pictures/index.json").read_text())["epoch"] == 3
    assert not (run / "pictures/worst-7.png").exists()
    run = place.trained("pictures-off", REPORT, *ONE_STEP, "--train.num_epochs=1", "--eval.pictures=0")
    assert (run / "report.html").exists() and not (run / "pictures").exists()


def test_single_model(place):
    run = place.trained("single", REPORT, *ONE_STEP, "--train.task=edgeflownet", "--eval.eval_pool_size=1")
    ids = {chart["id"] for chart in page_data(run / "report.html")["charts"]}
    assert "epe" in ids and ids.isdisjoint({"ranks", "archs", "tau"})
    index = json.loads((run / "pictures/index.json").read_text())
    assert {tuple(entry["roles"]) for entry in index["pictures"]} == {("best",)}


def test_refresh_is_fast(trained, place):
    """200 evaluations of 12 subnets: well under the time of one evaluation."""
    long = place.copy("reported", "long")
    rows = (long / "eval_history.csv").read_text().splitlines()
    arch = (long / "per_arch_epe.csv").read_text().splitlines()
    table, archs = rows[:1], arch[:1]
    for epoch in range(1, 201):
        table.append(re.sub(r"^\d+", str(epoch), rows[-1]))
        archs += [re.sub(r"^\d+", str(epoch), line) for line in arch[-8:]]
    (long / "eval_history.csv").write_text("\n".join(table) + "\n")
    (long / "per_arch_epe.csv").write_text("\n".join(archs) + "\n")
    (long / "events.jsonl").write_text("")
    write_report({"long": long}, long / "report.html")  # imports
    started = time.process_time()
    write_report({"long": long}, long / "report.html")
    assert len(page_data(long / "report.html")["axes"]["e0"]) == 200
    assert time.process_time() - started < 1.0, "0.5 s on a quiet machine"
