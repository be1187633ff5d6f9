"""An outlier epoch is named alone: neither its neighbours on a smooth curve nor a step to another level."""

import pytest
from synthetic import Recipe

from edgeflownas.evaluate.noise import pool_statistics, rank_string
from edgeflownas.report.diagnosis import RULES
from edgeflownas.report.history import read_history

PLACES = (6, 12, 18, 25, 40, 55)
NAMES = ("mean_epe_12", "std_epe_12", "median_epe_12", "p90_epe_12", "per_arch_epe_min", "per_arch_epe_max")


def outlier(folder, *moves):
    """What is found in a smooth history; a move is first and last epoch, one arch or all, and by so many px."""

    def edit(rows, epes):
        for first, last, arch, by in moves:
            epes[first - 1 : last, slice(None) if arch is None else arch] += by
        for row, values in zip(rows, epes.tolist(), strict=True):
            figures = pool_statistics(values)
            shown = (figures.mean, figures.std, figures.median, figures.p90, figures.min, figures.max)
            row.update(zip(NAMES, shown, strict=True), arch_rank_12=rank_string(values))

    return RULES["outlier_epoch"](Recipe(epochs=60, noise=0.0, jitter=0.0004, edit=edit).history(folder))


@pytest.mark.parametrize(("arch", "by"), [(4, 1.5), (None, 0.4)])
@pytest.mark.parametrize("epoch", PLACES)
def test_one_arch_or_all_move_and_only_one_is_named(epoch, arch, by, tmp_path):
    finding = outlier(tmp_path, (epoch, epoch, arch, by))
    assert finding is not None and finding.epochs == (epoch,) and finding.to_json()["epoch"] == epoch
    assert finding.figures.get("arch_index") == arch and ("arch 4" in finding.evidence) == (arch is not None)


def test_two_outliers_are_both_listed_and_the_larger_is_the_epoch(tmp_path):
    finding = outlier(tmp_path, (20, 20, 4, 1.0), (40, 40, 4, 2.5))
    assert finding is not None
    document = finding.to_json()
    assert document["epoch"] == 40 and document["epochs"] == document["figures"]["outliers"] == [20, 40]


@pytest.mark.parametrize("arch", [4, None])
@pytest.mark.parametrize("epoch", [10, 31, 57, 59])
def test_a_new_level_is_no_outlier(epoch, arch, tmp_path):
    assert outlier(tmp_path, (epoch, 60, arch, 1.0)) is None


def test_a_smooth_history_has_none(tmp_path):
    assert outlier(tmp_path) is None


def judged(history, epes, file):
    """Outliers in a history rewritten with other EPEs."""
    lines = ["epoch,mean_epe_12,std_epe_12,arch_rank_12"]
    for epoch, values in zip(history.epochs, epes, strict=True):
        lines.append(f"{epoch},{values.mean():.4f},{values.std():.4f},{rank_string(values.tolist())}")
    file.write_text("\n".join(lines) + "\n")
    finding = RULES["outlier_epoch"](read_history(file))
    return () if finding is None else finding.epochs


@pytest.mark.golden
@pytest.mark.parametrize("epoch", PLACES)
def test_outliers_of_the_samples_may_stand_anywhere(shared, tmp_path, epoch):
    flat, healthy = (read_history(shared / "samples" / name) for name in ("loss_falls_epe_flat", "healthy"))
    epes = flat.epes.copy()
    usual = (epes[45] + epes[47]) / 2
    jump, epes[46] = epes[46] - usual, usual
    if epoch <= len(epes):
        epes[epoch - 1] += jump
        assert judged(flat, epes, tmp_path / "flat.csv") == (epoch,)
    for arch, by in ((4, 1.5), (slice(None), 0.3)):
        epes = healthy.epes.copy()
        epes[epoch - 1, arch] += by
        assert judged(healthy, epes, tmp_path / "healthy.csv") == (epoch,)
