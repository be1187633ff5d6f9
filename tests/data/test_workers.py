from __future__ import annotations

import itertools
import os
import random
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest
from fake_pairs import FakePairs, make_loader, wait_until

from edgeflownas.errors import Interrupted, StorageError

HERE = Path(__file__).parent


def gone(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


@pytest.mark.faults
def test_a_stuck_thread_is_an_error_within_the_timeout():
    pairs = FakePairs(12, stuck=frozenset({5}))
    with make_loader(pairs, num_workers=2, worker_timeout=0.5) as loader:
        started = time.monotonic()
        with pytest.raises(
            StorageError, match=r"data\.worker_timeout \(0\.5 s\).*first is 0000005.*thread worker"
        ) as error:
            for _ in itertools.islice(loader.batches(0), 6):
                pass
        assert time.monotonic() - started < 4
        assert error.value.exit_code == 74


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
def test_killed_and_stopped_processes_are_errors_and_leave_nothing_behind():
    options = {"num_workers": 2, "worker_kind": "process", "worker_timeout": 20}
    for number, message in [
        (signal.SIGKILL, "was killed by SIGKILL"),
        (signal.SIGSTOP, r"data\.worker_timeout \(1 s\)"),
    ]:
        with make_loader(FakePairs(12), **options) as loader:
            loader.next_batch(0, 0)  # both are up
            pids = loader._workers.pids
            os.kill(pids[0], number)
            loader._data = loader._data.model_copy(update={"worker_timeout": 1.0})
            started = time.monotonic()
            with pytest.raises(StorageError, match=message) as error:
                for _ in itertools.islice(loader.batches(0, 1), 40):
                    pass
            assert time.monotonic() - started < 5
            assert "resume the run" in str(error.value)
            assert all(gone(pid) for pid in pids)


@pytest.mark.slow
@pytest.mark.faults
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP, signal.SIGSEGV, signal.SIGABRT])
def test_a_worker_hit_at_a_random_moment_is_noticed(number):
    chance = random.Random(int(number))
    for _ in range(50):
        pairs = FakePairs(40, seconds=0.002)
        with make_loader(pairs, num_workers=2, worker_kind="process", worker_timeout=2) as loader:
            pids = loader._workers.pids
            hit = threading.Timer(chance.random() * 0.8, os.kill, (chance.choice(pids), number))
            hit.start()
            started = time.monotonic()
            with pytest.raises(StorageError):
                for _ in loader.batches(0):
                    assert time.monotonic() - started < 10
            hit.join()
        assert all(gone(pid) for pid in pids)


@pytest.mark.faults
def test_process_workers_ignore_signals_and_hold_neither_torch_nor_descriptors(tmp_path):
    with open(tmp_path / "LOCK", "w") as lock:
        os.set_inheritable(lock.fileno(), True)
        with make_loader(FakePairs(12), num_workers=1, worker_kind="process") as loader:
            (pid,) = loader._workers.pids
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
                os.kill(pid, number)  # while it starts
            loader.next_batch(0, 0)
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
                os.kill(pid, number)
            for step in (1, 2):
                loader.next_batch(0, step)
            assert loader._workers.pids == (pid,) and not gone(pid)
            assert "libtorch" not in Path(f"/proc/{pid}/maps").read_text()
            descriptors = Path(f"/proc/{pid}/fd").iterdir()
            assert not any(os.path.realpath(fd).endswith("LOCK") for fd in descriptors)
            assert not signal.pthread_sigmask(signal.SIG_BLOCK, []), "this thread's signal mask is as before"


@pytest.mark.faults
def test_workers_die_with_a_killed_parent_whose_script_has_no_main_guard(tmp_path):
    script = tmp_path / "unguarded.py"
    script.write_text(
        textwrap.dedent(
            f"""
            import sys
            sys.path.insert(0, {str(HERE)!r})
            print("script runs", flush=True)
            from fake_pairs import FakePairs
            from edgeflownas.config import DataConfig
            from edgeflownas.data.loader import Loader
            from edgeflownas.data.order import BatchPlan
            plan = BatchPlan(12, 4, 1, "full_pass", "sequential", None, None, 0)
            data = DataConfig(crop_size=(9, 12), num_workers=2, worker_kind="process")
            loader = Loader(FakePairs(12), plan, data, 0)
            loader.next_batch(0, 0)
            print(*loader._workers.pids, flush=True)
            sys.stdin.read()
            """
        )
    )
    with subprocess.Popen(
        [sys.executable, str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        lines = [parent.stdout.readline() for _ in range(2)]
        parent.kill()
        assert lines[0] == "script runs\n"
        pids = [int(word) for word in lines[1].split()]
        assert len(pids) == 2
        assert wait_until(lambda: all(gone(pid) for pid in pids), 10)
