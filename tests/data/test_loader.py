import itertools
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from fake_pairs import FakePairs, make_loader, wait_until
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgeflownas.errors import BadSample, DataError, Interrupted, StorageError

BAD = frozenset({1, 2, 6})


def content(batch):
    """Everything in a batch, as one comparable value."""
    arrays = (batch.images, batch.flow, batch.valid, batch.indices, batch.positions)
    assert batch.images.flags.c_contiguous
    return (
        tuple((array.shape, array.dtype.str, array.tobytes()) for array in arrays),
        (batch.names, batch.epoch, batch.step, batch.clipped_share, batch.replaced),
    )


def reference(pairs, count, **data):
    with make_loader(pairs, num_workers=0, **data) as loader:
        return [content(batch) for batch in itertools.islice(loader.batches(0), count)]


@pytest.fixture(scope="module")
def expected():
    return reference(FakePairs(7, BAD), 9, on_bad_sample="quarantine")


@given(workers=st.integers(0, 4), prefetch=st.integers(1, 6), start=st.integers(0, 5), count=st.integers(1, 4))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_same_bits_for_any_workers_prefetch_and_start(expected, workers, prefetch, start, count):
    pairs = FakePairs(7, BAD, seconds=0.0005)
    options = {"num_workers": workers, "prefetch_batches": prefetch, "on_bad_sample": "quarantine"}
    with make_loader(pairs, **options) as loader:
        found = itertools.islice(loader.batches(start // 3, start % 3), count)
        assert [content(batch) for batch in found] == expected[start : start + count]


@given(
    workers=st.integers(0, 3), asked=st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=2, max_size=6)
)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_same_bits_for_batches_asked_out_of_order_and_twice(expected, workers, asked):
    with make_loader(FakePairs(7, BAD), num_workers=workers, on_bad_sample="quarantine") as loader:
        for epoch, step in asked:
            batch = loader.next_batch(epoch, step)
            assert content(batch) == expected[3 * epoch + step]
            assert loader.next_batch(epoch, step) is batch, "models that take turns share it"


def test_batches_follow_the_plan_over_the_end_of_an_epoch():
    pairs = FakePairs(11)
    with make_loader(pairs, num_workers=2) as loader:
        found = list(itertools.islice(loader.batches(0), 5))
    assert [(b.epoch, b.step, len(b.names)) for b in found] == [(0, 0, 4), (0, 1, 4), (0, 2, 2), (1, 0, 4), (1, 1, 4)]
    assert np.concatenate([b.positions for b in found]).tolist() == list(range(18))
    plan = loader._plan
    for batch in found:
        assert np.array_equal(batch.indices, plan.indices(batch.epoch, batch.step))
        assert batch.names == tuple(pairs.names[i] for i in batch.indices)
        assert np.abs(batch.flow).max() <= 50 and batch.replaced == ()


def test_clipped_share_pools_valid_pixels():
    pairs = FakePairs(5)
    whole = {"crop_size": (20, 28), "horizontal_flip": 0, "vertical_flip": 0}
    batch = make_loader(pairs, num_workers=0, flow_clip=30, **whole).next_batch(0, 0)
    full = [pairs.read(i) for i in batch.indices]
    clipped = sum(((np.abs(p.flow) > 30).any(axis=2) & p.valid).sum() for p in full)
    assert batch.clipped_share == pytest.approx(clipped / sum(p.valid.sum() for p in full), rel=1e-12)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_bad_sample_stops_at_its_own_batch_not_when_prefetched(workers):
    plan_of = make_loader(FakePairs(12), num_workers=0)._plan
    victims = [int(index) for index in plan_of.indices(0, 2)[1:3]]
    with make_loader(FakePairs(12, frozenset(victims)), num_workers=workers) as loader:
        loader.next_batch(0, 0)
        loader.next_batch(0, 1)
        with pytest.raises(BadSample, match=f"{victims[0]:07d}-flow_01.flo: is truncated") as error:
            loader.next_batch(0, 2)
        assert error.value.path.endswith(".flo") and error.value.exit_code == 65
        assert loader.next_batch(1, 0).epoch == 1, "it goes on with others"


def test_quarantine_takes_the_next_readable_index_and_reports_every_bad_one():
    pairs = FakePairs(7, BAD)
    with make_loader(pairs, num_workers=0, on_bad_sample="quarantine", epoch_draws=7, batch=7) as loader:
        batch = loader.next_batch(0, 0)
        drawn = loader._plan.indices(0, 0)
    rule = {1: 3, 2: 3, 6: 0}
    assert batch.indices.tolist() == [rule.get(i, i) for i in drawn]
    replaced = {(f"{i:07d}", f"{j:07d}") for i, j in rule.items()}
    assert {(row.bad_name, row.by_name) for row in batch.replaced} == replaced
    assert [row.bad_name for row in batch.replaced].count("0000002") == 2, "as itself and on the way from 1 to 3"
    assert all("is truncated" in row.reason for row in batch.replaced)


@pytest.mark.parametrize(
    ("bad", "size", "said"), [(3, (9, 12), "none of the 3 training"), (0, (99, 99), r"data\.crop_size 99x99")]
)
def test_what_no_quarantine_helps_against(bad, size, said):
    loader = make_loader(FakePairs(3, frozenset(range(bad))), crop_size=size, on_bad_sample="quarantine")
    with loader, pytest.raises(DataError, match=said):
        loader.next_batch(0, 0)


def test_prefetch_is_bounded_and_hides_loading_time():
    with make_loader(alone := FakePairs(20), num_workers=0) as loader:
        loader.next_batch(0, 0)
    assert alone.reads.count == 4, "without workers nothing is loaded ahead"
    pairs = FakePairs(50, seconds=0.02)
    with make_loader(pairs, num_workers=2, prefetch_batches=3, epoch_draws=50) as loader:
        loader.next_batch(0, 0)
        assert wait_until(lambda: pairs.reads.count == 16, 5), "one batch delivered, three ahead"
        time.sleep(0.1)
        assert pairs.reads.count == 16
        before = loader.wait_seconds
        loader.next_batch(0, 1)
        assert loader.wait_seconds - before < 0.03, "four samples of 20 ms by two workers were loaded before"
        assert before > 0.03
        with pytest.raises(RuntimeError, match="closed"):
            loader.close()
            loader.next_batch(0, 2)


@pytest.mark.faults
def test_a_stuck_thread_is_an_error_within_the_timeout():
    pairs = FakePairs(12, stuck=frozenset({5}))
    with make_loader(pairs, num_workers=2, worker_timeout=0.5) as loader:
        started = time.monotonic()
        said = r"data\.worker_timeout \(0\.5 s\).*first is 0000005.*thread worker"
        with pytest.raises(StorageError, match=said) as error:
            list(itertools.islice(loader.batches(0), 6))
        assert time.monotonic() - started < 4 and error.value.exit_code == 74


@pytest.mark.faults
def test_a_signal_is_obeyed_while_the_storage_hangs():
    stops = iter([False, True])
    pairs = FakePairs(3, stuck=frozenset(range(3)))
    with make_loader(pairs, num_workers=1, stop_requested=lambda: next(stops)) as loader:
        started = time.monotonic()
        with pytest.raises(Interrupted):
            loader.next_batch(0, 0)
        assert time.monotonic() - started < 3


@pytest.mark.faults
@pytest.mark.parametrize("closed", [True, False])
def test_a_stuck_thread_does_not_hold_up_the_end_of_the_program(tmp_path, closed):
    script = tmp_path / "stuck.py"
    script.write_text(
        f"import sys\nsys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "from fake_pairs import FakePairs, make_loader\n"
        "loader = make_loader(FakePairs(3, stuck=frozenset(range(3))), num_workers=2, worker_timeout=0.1)\n"
        f"try:\n    loader.next_batch(0, 0) if {closed} else loader._begin(0, 0)\n"
        "except Exception as error:\n    print(type(error).__name__)\n"
    )
    ended = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stderr) == (0, "") and ended.stdout == ("StorageError\n" if closed else "")
