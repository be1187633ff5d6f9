"""Reading histories: every form, while they are written, and what is refused."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeflownas.errors import ConfigError, UserError
from edgeflownas.report.history import read_history

CASES: dict[str, dict[str, Any]] = json.loads((Path(__file__).parent / "histories.json").read_text())
"""By what they show: texts of files, which of them is read, and what was approved: the history, or the refusal."""


def written(folder, files, read):
    for name, text in files.items():
        (folder / name).write_bytes(text.encode())
    return folder / read


def shown(path):
    """Everything that was read, NaN and infinities as words."""
    try:
        history = read_history(path)
    except UserError as error:
        return {"refused": type(error).__name__, "says": str(error).replace(str(path.parent), "")}
    names = sorted(history.columns)
    return {
        "pool": [history.pool_size, history.planned_epochs, history.baseline_index, list(history.codes)],
        "columns": {name: list(map(str, history.text(name))) for name in names},
        "epes": [list(map(str, row)) for row in history.epes.tolist()],
        "notes": list(history.notes),
        "run": history.run and [history.run.config, history.run.timing, history.run.per_option, history.run.monitor],
    }


@pytest.mark.parametrize("name", CASES)
def test_a_history_is_read_or_refused_as_approved(name, tmp_path):
    case = CASES[name]
    (tmp_path / "run").mkdir()
    found = shown(written(tmp_path / "run", case["files"], case["read"]))
    assert json.loads(json.dumps(found).replace(str(tmp_path), "")) == case["found"]


def test_columns_as_numbers_and_planned_epochs_that_are_given(tmp_path):
    case = CASES["canonical names whatever the pool size"]
    history = read_history(written(tmp_path, case["files"], case["read"]))
    assert history.column("mean_epe_12").tolist() == history.known("mean_epe_12").tolist() == [3.0, 2.5]
    assert np.isnan(history.column("zero_flow_epe")).all() and not len(history.known("zero_flow_epe"))
    assert history.planned(200).planned_epochs == 200 and history.planned(None) is history
    with pytest.raises(ConfigError, match="below the last epoch 2"):
        history.planned(1)
