"""No history with the right header brings the diagnosis down, whatever its cells hold."""

import contextlib
import json
import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from synthetic import Recipe

from edgeflownas.errors import DataError
from edgeflownas.evaluate.columns import EVAL_HISTORY_COLUMNS
from edgeflownas.report.diagnosis import diagnose
from edgeflownas.report.diagnosis.tables import continuation
from edgeflownas.report.history import read_history
from edgeflownas.report.run_views import diagnosis_document, diagnosis_view
from edgeflownas.report.table import text_of

ODD = ["", "nan", "inf", "-inf", "0", "-1", "1e300", "-1e300", "1e-300", "0.5", "3", "1e16", "7.25"]
NUMERIC = [n for n in EVAL_HISTORY_COLUMNS if n not in ("epoch", "arch_rank_12")]
TRAIN = ["train_epe_12", "train_epe_random_crop_12", "wide_difference_12", "wide_kendall_tau", "tied_pairs_12"]


def judge(folder, text):
    """Everything the command does, as strict JSON and as text."""
    file = folder / "eval_history.csv"
    file.write_text(text, encoding="utf-8", newline="")
    history = read_history(file)
    diagnosis = diagnose(history)
    json.dumps(diagnosis_document(history, diagnosis), allow_nan=False)
    json.dumps(continuation(history, history), allow_nan=False)
    text_of(diagnosis_view([(history, diagnosis)], 80))


@pytest.mark.property
@pytest.mark.parametrize("seed", range(80))
def test_any_cells(tmp_path, seed):
    draw = random.Random(seed)
    count, size = draw.randint(1, 16), draw.randint(1, 6)
    names = draw.sample([*NUMERIC, *TRAIN], draw.randint(0, len(NUMERIC)))
    names = ["epoch", "mean_epe_12", *(n for n in names if n != "mean_epe_12"), "arch_rank_12"]
    cells = draw.sample(ODD, draw.randint(2, len(ODD)))
    epes = draw.sample(["nan", "inf", "1.5", "2.5", "0", "1e300", "-1"], draw.randint(1, 7))
    lines = [",".join(n.replace("_12", f"_{size}") for n in names)]
    for epoch in range(count):
        rank = "|".join(f"{a + 1}:{a}:{draw.choice(epes)}" for a in range(size))
        lines.append(",".join([str(epoch), *(draw.choice(cells) for _ in names[1:-1]), draw.choice([rank, rank, ""])]))
    judge(tmp_path, "\n".join(lines) + "\n")


@pytest.mark.property
@pytest.mark.parametrize("seed", range(25))
def test_a_sound_history_with_some_odd_cells(tmp_path, seed):
    draw = random.Random(seed)
    header, *lines = Recipe(seed=seed, epochs=20 + seed, size=5 + seed).text().splitlines()
    table = [line.split(",") for line in lines]
    numbers = [i for i, name in enumerate(header.split(",")) if i and "rank" not in name]
    for _ in range(draw.randint(1, 40)):
        draw.choice(table)[draw.choice(numbers)] = draw.choice(ODD)
    judge(tmp_path, "\n".join([header, *map(",".join, table)]) + "\n")


NINE = Recipe(epochs=9, size=3).text()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(max_size=200), place=st.integers(0, 10**6))
def test_any_text_inside_is_judged_or_refused(tmp_path, text, place):
    place %= len(NINE)
    with contextlib.suppress(DataError):
        judge(tmp_path, NINE[:place] + text + NINE[place:])


SOUND = Recipe(epochs=4, size=3).text()


def test_a_history_that_is_being_written(tmp_path):
    """Cut anywhere in the last line: the whole rows count, the torn one is noted."""
    file = tmp_path / "eval_history.csv"
    for cut in range(1, len(SOUND) - SOUND.rindex("\n", 0, -1) - 1, 7):
        file.write_text(SOUND[:-cut])
        history = read_history(file)
        assert len(history.rows) == (4 if cut == 1 else 3), cut
        assert cut == 1 or "not complete" in " ".join(history.notes), cut
