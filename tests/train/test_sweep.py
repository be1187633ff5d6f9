"""The plan of a sweep on disk: what joins it, what is refused, and the state of its runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgeflownas.errors import ConfigError, Interrupted, NonFiniteError, StorageError
from edgeflownas.run.directory import RunDirectory
from edgeflownas.train import start
from edgeflownas.train import sweep as module
from edgeflownas.train.sweep import PLAN, Sweep, open_sweep, plan_sweep, read_plan, run_state, run_sweep


def planned(root: Path, lrs: str = "1e-3,2e-3", seeds: str = "0", *words: str) -> Sweep:
    return plan_sweep("smoke", [f"--runtime.output_root={root}", *words], [f"train.lr={lrs}"], seeds, "s")


def names(root: Path) -> list[str]:
    return list(read_plan(root / "s"))


def test_the_plan_holds_runs_in_their_order_and_grows(tmp_path: Path) -> None:
    open_sweep(planned(tmp_path, "2e-3,1e-3"))
    assert names(tmp_path) == ["lr_2e-3-seed_0", "lr_1e-3-seed_0"]
    before = (tmp_path / "s" / PLAN).read_bytes()
    open_sweep(planned(tmp_path))
    assert (tmp_path / "s" / PLAN).read_bytes() == before
    open_sweep(planned(tmp_path, "1e-3,4e-3", "0,1"))
    assert len(names(tmp_path)) == 5 and names(tmp_path)[:2] == ["lr_2e-3-seed_0", "lr_1e-3-seed_0"]
    entry = read_plan(tmp_path / "s")["lr_4e-3-seed_1"]
    assert (entry["variant"], entry["seed"], entry["keys"]) == ("lr_4e-3", 1, {"train.lr": "4e-3"})
    assert "runtime.seed" not in entry["settings"] and "runtime.num_threads" not in entry["settings"]


@pytest.mark.parametrize("lrs", ["1e-3,2e-3", "5e-3,6e-3"])
def test_other_settings_are_refused(tmp_path: Path, lrs: str) -> None:
    open_sweep(planned(tmp_path))
    open_sweep(planned(tmp_path, lrs, "0", "--data.num_workers=0"))  # changes no figure
    with pytest.raises(ConfigError, match="train.width: 8 then, 4 now"):
        open_sweep(planned(tmp_path, lrs, "0", "--train.width=4"))
    with pytest.raises(ConfigError, match=r"eval\.bn_recal_batches"):
        open_sweep(planned(tmp_path, lrs, "0", "--eval.bn_recal_batches=3"))


def test_a_plan_of_an_older_version_stands_for_the_defaults(tmp_path: Path) -> None:
    open_sweep(planned(tmp_path))
    file = tmp_path / "s" / PLAN
    document = json.loads(file.read_text())
    for _, entry in document["runs"]:
        del entry["settings"]["train.ema_decay"]
    file.write_text(json.dumps(document))
    open_sweep(planned(tmp_path, "1e-3,9e-3"))
    with pytest.raises(ConfigError, match="ema_decay"):
        open_sweep(planned(tmp_path, "1e-3,9e-3", "0", "--train.ema_decay=0.5"))


def test_another_folder_is_not_taken(tmp_path: Path) -> None:
    (tmp_path / "s").mkdir()
    open_sweep(planned(tmp_path))  # an empty one may be
    (tmp_path / "s" / PLAN).write_text("{}")
    with pytest.raises(StorageError, match="not the plan"):
        open_sweep(planned(tmp_path))
    (tmp_path / "s" / PLAN).rename(tmp_path / "s" / "notes.txt")
    with pytest.raises(StorageError, match="is no sweep"):
        open_sweep(planned(tmp_path))


def test_states(tmp_path: Path) -> None:
    sweep = planned(tmp_path)
    run = sweep.runs[0]
    assert run_state(sweep.folder / run.name) == "new"
    RunDirectory.create(sweep.folder / run.name, run.config.model_dump(mode="json"), {})
    assert run_state(sweep.folder / run.name) == "begun"


class Launched:
    """Stands for train.launch: notes what it was asked, and does what it is told."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *outcomes: BaseException | None) -> None:
        self.asked: list[str] = []
        self.outcomes = list(outcomes)
        monkeypatch.setattr(start, "launch", self)
        monkeypatch.setattr(module, "run_state", lambda path: {"lr_1e-3-seed_0": "finished"}.get(path.name, "begun"))

    def __call__(self, config: object, options: start.Options, front: object) -> int:
        assert config is None and options.resume is not None
        self.asked.append(options.resume.name)
        if error := self.outcomes.pop(0):
            raise error
        return 0


def test_finished_runs_are_skipped_and_a_diverged_one_does_not_stop_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    launched, said, ended = Launched(monkeypatch, NonFiniteError("nan"), None), list[str](), list[int]()
    sweep = planned(tmp_path, "1e-3,2e-3,3e-3")
    failed = run_sweep(sweep, None, said.append, lambda: ended.append(1))  # type: ignore[arg-type]
    assert launched.asked == ["lr_2e-3-seed_0", "lr_3e-3-seed_0"] and failed == ["lr_2e-3-seed_0"]
    assert len(ended) == 1 and said[0] == "sweep run 1 of 3: lr_1e-3-seed_0, finished"


def test_an_interruption_ends_the_sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    launched = Launched(monkeypatch, Interrupted("SIGTERM"))
    with pytest.raises(Interrupted, match=r"SIGTERM\nsweep run 2 of 3; the same command goes on"):
        run_sweep(planned(tmp_path, "1e-3,2e-3,3e-3"), None, lambda text: None, lambda: None)  # type: ignore[arg-type]
    assert launched.asked == ["lr_2e-3-seed_0"]
