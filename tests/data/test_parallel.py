"""Work in order by processes: what they return, and that none survives whatever is killed or interrupted."""

import contextlib
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from fake_pairs import wait_until
from fake_work import Work

from edgeflownas.data.parallel import WorkerDied, in_processes
from edgeflownas.errors import BadSample

HERE = Path(__file__).parent


def pids():
    return [child.pid for child in multiprocessing.active_children()]


def gone(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def test_results_come_in_order_and_errors_in_their_place():
    results = in_processes(Work(bad=5), range(30), 2)
    assert [next(results) for _ in range(5)] == [0, 1, 4, 9, 16]
    with pytest.raises(BadSample, match="5: is truncated") as error:
        next(results)
    assert error.value.path == "5" and not pids()
    with pytest.raises(TypeError) as unexpected:
        list(in_processes(Work(), ["text"], 1))
    assert "in __call__" in "".join(unexpected.value.__notes__), "the traceback of the process"


@pytest.mark.faults
@pytest.mark.parametrize(
    "moments", [pytest.param(1, id="once"), pytest.param(50, id="random moments", marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT])
def test_a_killed_process_is_an_error_and_leaves_nothing_behind(number, moments):
    chance = random.Random(int(number))
    for _ in range(moments):
        results = in_processes(Work(seconds=0.002), iter(int, 1), 2)
        next(results)  # both are started, one is up
        hit = threading.Timer(chance.random() * 0.5, os.kill, (chance.choice(pids()), number))
        hit.start()
        started = time.monotonic()
        with pytest.raises(WorkerDied, match=f"was killed by {number.name}"):
            for _ in results:
                assert time.monotonic() - started < 10
        hit.join()
        assert not pids()


@pytest.mark.faults
def test_stopped_processes_end_with_the_iterator():
    with contextlib.closing(in_processes(Work(), range(100), 2)) as results:
        next(results)
        found = pids()
        for pid in found:
            os.kill(pid, signal.SIGSTOP)
        started = time.monotonic()
    assert time.monotonic() - started < 5 and len(found) == 2 and all(gone(pid) for pid in found)


@pytest.mark.faults
def test_processes_ignore_signals_and_hold_neither_torch_nor_descriptors(tmp_path):
    with open(tmp_path / "LOCK", "w") as lock:
        os.set_inheritable(lock.fileno(), True)
        with contextlib.closing(in_processes(Work(seconds=0.001), range(2000), 1)) as results:
            for count in range(3):
                assert next(results) == count**2
                (pid,) = pids()
                for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
                    os.kill(pid, number)
            assert sum(1 for _ in zip(results, range(20), strict=False)) == 20 and not gone(pid)
            assert "libtorch" not in Path(f"/proc/{pid}/maps").read_text()
            descriptors = Path(f"/proc/{pid}/fd").iterdir()
            assert not any(os.path.realpath(fd).endswith("LOCK") for fd in descriptors)
            assert not signal.pthread_sigmask(signal.SIG_BLOCK, []), "this thread's signal mask is as before"


@pytest.mark.faults
@pytest.mark.parametrize("killed", [True, False])
def test_processes_die_with_a_parent_whose_script_has_no_main_guard(tmp_path, killed):
    script = tmp_path / "unguarded.py"
    script.write_text(
        f"import multiprocessing, sys\nsys.path.insert(0, {str(HERE)!r})\nprint('script runs', flush=True)\n"
        "from fake_work import Work\nfrom edgeflownas.data.parallel import in_processes\n"
        "results = in_processes(Work(), range(100), 2)\nnext(results)\n"
        "print(*(child.pid for child in multiprocessing.active_children()), flush=True)\nsys.stdin.read()\n"
    )
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, str(script)], **pipes) as parent:
        lines = [parent.stdout.readline() for _ in range(2)]
        parent.kill() if killed else parent.stdin.close()
        assert lines[0] == "script runs\n"
        found = [int(word) for word in lines[1].split()]
        assert len(found) == 2 and wait_until(lambda: all(gone(pid) for pid in found), 10)
        assert parent.wait(10) == (-signal.SIGKILL if killed else 0), "the end of a program does not wait for them"
