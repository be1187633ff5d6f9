"""The steps of examples/pipeline: run once, go on, stale, stopped."""

import importlib
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from types import ModuleType

import pytest

from edgeflownas.config.load import dump_yaml, parse_yaml

PLACE = Path(__file__).resolve().parents[2] / "examples" / "pipeline"
MODULES = ("driver", "steps", "page", "collected", "published")

SCRIPT = """
import pathlib, sys, time
out, text, *more = sys.argv[1:]
folder = pathlib.Path(out)
folder.mkdir(exist_ok="again" in more)
if "fail" in more:
    sys.exit(65)
(folder / "text").write_text(text + ("!" if "again" in more else ""))
"""


@pytest.fixture
def load(monkeypatch):
    """Import a module of the example."""
    monkeypatch.syspath_prepend(str(PLACE))
    for name in MODULES:
        sys.modules.pop(name, None)
    yield importlib.import_module
    for name in MODULES:
        sys.modules.pop(name, None)


@pytest.fixture
def place(load, tmp_path):
    """Two steps, the second made from the first; the words of each can be changed."""
    steps: ModuleType = load("steps")
    script, recipe = tmp_path / "make.py", tmp_path / "recipe.yaml"
    script.write_text(SCRIPT)
    recipe.write_text("one")

    class Place:
        results = tmp_path / "results"

        def run(self, first=("a",), go_on=False):
            one, two = (self.results / name for name in ("one", "two"))
            chain = steps.Chain(self.results)
            again = (str(script), str(one), first[0], "again") if go_on else ()
            chain.run(steps.Step("one", (str(script), str(one), *first), one, (), (recipe,), again))
            chain.run(steps.Step("two", (str(script), str(two), "b"), two, ("one",)))

        def text(self, name):
            return (self.results / name / "text").read_text()

        def marker(self, name):
            return json.loads((self.results / "steps" / f"{name}.json").read_text())

    made = Place()
    made.results.mkdir()
    made.recipe, made.steps = recipe, steps
    return made


def test_a_finished_step_is_not_run_again(place, capfd):
    place.run()
    before = (place.results / "two" / "text").stat().st_mtime_ns
    assert "$ python" in capfd.readouterr().out
    place.run()
    out = capfd.readouterr().out
    assert "one: finished before" in out and "two: finished before" in out and "$ python" not in out
    assert (place.results / "two" / "text").stat().st_mtime_ns == before


def test_a_changed_setting_makes_later_steps_stale_and_keeps_what_they_made(place, capfd):
    place.run()
    capfd.readouterr()
    place.run(("c",))
    out = capfd.readouterr().out
    assert "one: stale, its command changed (a to c)" in out
    assert "two: stale, one was made from something else" in out
    assert place.text("one") == "c" and place.text("two") == "b"
    assert (place.results / "stale" / "one-1" / "text").read_text() == "a"
    assert (place.results / "stale" / "two-1" / "text").read_text() == "b"


def test_a_changed_file_makes_a_step_stale_and_a_comment_does_not(place, capfd):
    place.run()
    place.recipe.write_text("# a comment\none")
    place.run()
    assert "stale" not in capfd.readouterr().out
    place.recipe.write_text("two")
    place.run()
    assert "one: stale, recipe.yaml changed" in capfd.readouterr().out


def test_a_moved_folder_is_not_stale(place, capfd, tmp_path):
    place.run()
    place.results = place.results.rename(tmp_path / "elsewhere")
    capfd.readouterr()
    place.run()
    assert "stale" not in capfd.readouterr().out


def test_a_deleted_result_is_made_again_alone(place, capfd):
    place.run()
    (place.results / "two" / "text").unlink()
    (place.results / "two").rmdir()
    capfd.readouterr()
    place.run()
    out = capfd.readouterr().out
    assert "one: finished before" in out and place.text("two") == "b" and "stale" not in out


def test_a_step_that_failed_is_begun_again_and_the_next_one_waits(place):
    with pytest.raises(place.steps.Stopped, match="one ended with 65") as caught:
        place.run(("a", "fail"))
    assert caught.value.code == 65 and not place.marker("one")["finished"]
    assert not (place.results / "two").exists()
    with pytest.raises(place.steps.Stopped, match="65"):
        place.run(("a", "fail"))  # the half-made folder did not stand in its way
    assert not (place.results / "stale").exists()


def test_a_step_that_can_goes_on_with_what_it_began(place):
    with pytest.raises(place.steps.Stopped):
        place.run(("a", "fail"), go_on=True)
    place.run(("a", "fail"), go_on=True)
    assert place.text("one") == "a!" and place.text("two") == "b"


def test_a_folder_of_someone_else_is_left_alone(place):
    (place.results / "one").mkdir()
    (place.results / "one" / "mine").write_text("kept")
    with pytest.raises(place.steps.Stopped, match="not made by this chain"):
        place.run()
    assert (place.results / "one" / "mine").read_text() == "kept"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_reaches_the_command_once(tmp_path, number):
    child, parent = tmp_path / "child.py", tmp_path / "parent.py"
    child.write_text(
        textwrap.dedent(f"""
        import pathlib, signal, sys, time
        got = []
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda number, _: got.append(number))
        pathlib.Path({str(tmp_path / "up")!r}).touch()
        while not got:
            time.sleep(0.01)
        time.sleep(0.3)
        pathlib.Path({str(tmp_path / "got")!r}).write_text(str([int(n) for n in got]))
        sys.exit(75)
        """)
    )
    parent.write_text(
        f"import sys; sys.path.insert(0, {str(PLACE)!r}); import steps; sys.exit(steps.call([{str(child)!r}]))"
    )
    process = subprocess.Popen([sys.executable, str(parent)], start_new_session=True, stdout=subprocess.DEVNULL)
    end = time.monotonic() + 60
    while not (tmp_path / "up").exists():
        assert time.monotonic() < end and process.poll() is None
        time.sleep(0.01)
    os.killpg(process.pid, number)  # as a terminal does: the whole foreground group
    assert process.wait(60) == 75
    assert (tmp_path / "got").read_text() == f"[{int(number)}]"


def test_unknown_and_missing_settings_are_refused(load, tmp_path):
    driver = load("driver")
    settings = parse_yaml((PLACE / "settings.yaml").read_text(), "settings.yaml")[0]
    path = tmp_path / "settings.yaml"
    path.write_text(dump_yaml({k: v for k, v in settings.items() if k != "size"} | {"extent": "32x48"}))
    with pytest.raises(SystemExit, match="extent, size"):
        driver.Settings.read(path)


def test_every_training_is_a_valid_run_and_later_steps_name_earlier_ones(load, tmp_path):
    from edgeflownas.config.load import load_config

    driver = load("driver")
    settings = driver.Settings.read(PLACE / "settings.yaml")
    chosen = tmp_path / "pareto"
    chosen.mkdir()
    groups = {"train": {"task": "standalone", "arch": ["000021222", "111111111"], "arch_name": ["baseline", "best"]}}
    (chosen / "shortlist.yaml").write_text(dump_yaml(groups))
    steps = list(driver.steps(tmp_path, settings))
    assert len({step.name for step in steps}) == len(steps)
    seen: set[str] = set()
    for step in steps:
        assert set(step.after) <= seen
        seen.add(step.name)
        if step.command[0] == "train":
            load_config(step.command[1], list(step.command[2:]))
    commands = [step.command[0].rpartition("/")[2] for step in steps]
    order = ["data", "train", "rank", "pareto", "train", "export", "verify", "published.py", "vela", "page.py"]
    places = [commands.index(name) for name in order if name != "train"]
    assert places == sorted(places) and commands[-1] == "page.py" and commands.count("export") == 4


def test_a_shortlist_without_the_baseline_is_refused(load, tmp_path):
    driver, steps = load("driver"), load("steps")
    (tmp_path / "pareto").mkdir()
    groups = {"train": {"arch": ["111111111"], "arch_name": ["best"]}}
    (tmp_path / "pareto" / "shortlist.yaml").write_text(dump_yaml(groups))
    with pytest.raises(steps.Stopped, match="no baseline among best"):
        list(driver.steps(tmp_path, driver.Settings.read(PLACE / "settings.yaml")))
