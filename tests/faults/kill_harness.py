"""Kill -9 at random moments: a run interrupted again and again must end in the bits of an uninterrupted one.

A fork server makes the first run by itself (seconds: imports, kernels) and forks a child for every other start.  Each
child calls the training function, is killed at a seeded random moment, and is started again until the run is
finished; then every tensor of the last checkpoint and the bytes of events.jsonl are compared with the reference.

    from kill_harness import Call, ask, kills
    (report,) = ask(
        [
            kills(
                begin=Call("edgeflownas.cli:main", [["train", "tiny.yaml", "--runtime.output_root", "{folder}",
                                                     "--runtime.experiment_name", "{name}"]]),
                resume=Call("edgeflownas.cli:main", [["train", "--resume", "{run}"]]),
                folder=tmp_path, count=30, seed=0,
            )
        ]
    )
    assert report["kills"] >= 30 and not report["mismatches"]

``crashes`` asks for the same at named crash points (files.py) instead of random moments.

As a program it reads the same requests as JSON from standard input and prints the reports as JSON:
``python tests/faults/kill_harness.py < requests.json``.
"""

import collections
import ctypes
import dataclasses
import gc
import importlib
import importlib.util
import itertools
import json
import os
import random
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))  # run as a program or loaded by its path
from run_prints import damage_newest, fingerprint, progress  # noqa: E402

FINISHED, RESUME_ME, CRASHED = 0, 75, 137
STARTING = "start-up"
LATE = 0.8  # share of lives whose time begins after the start-up
SPAN = 0.2  # a life lasts up to this share of an uninterrupted run
STUCK = 200  # starts of one run after which something is wrong


@dataclasses.dataclass
class Call:
    """A function as ``package.module:name`` or ``/path/file.py:name``, and its arguments.

    In strings among them ``{run}`` stands for the run directory, ``{folder}`` and ``{name}`` for its two parts.
    """

    target: str
    arguments: list[Any]


def kills(begin, resume, folder, count, seed):
    """The request for at least ``count`` kills at moments drawn by ``seed``, over as many runs as it takes.

    ``begin`` starts a fresh run whose directory does not exist yet, ``resume`` goes on with an existing one; the runs
    are folder/reference, folder/trial-000 ...
    """
    return _request(begin, resume, folder) | {"kills": count, "seed": seed}


def crashes(begin, resume, folder, points):
    """The request to die at each named point once or twice, in few runs that are finished afterwards."""
    return _request(begin, resume, folder) | {"points": points}


def _request(begin, resume, folder):
    return {"begin": dataclasses.asdict(begin), "resume": dataclasses.asdict(resume), "folder": str(folder)}


def ask(requests, timeout=600.0):
    """Run the harness in one process of its own for all requests and return a report of each."""
    threads = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    threads["CUDA_VISIBLE_DEVICES"] = ""  # with a device autograd starts threads, which a forked child would lack
    done = subprocess.run(
        [sys.executable, __file__],
        input=json.dumps(requests),
        capture_output=True,
        text=True,
        timeout=timeout,
        env=os.environ | threads,
    )
    if done.returncode:
        raise RuntimeError(f"kill harness ended with {done.returncode}:\n{done.stderr[-4000:]}")
    reports: list[dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
    return reports


class Server:
    """The process that forks the trials."""

    def __init__(self, request):
        self.begin, self.resume = request["begin"], request["resume"]
        self.folder = Path(request["folder"])
        self.wanted = request.get("kills", 0)
        self.points = request.get("points", [])
        self.random = random.Random(request.get("seed"))
        self.hits: collections.Counter[str] = collections.Counter()
        self.kills = self.starts = self.orphans = 0
        self.mismatches: list[str] = []
        self.began: Path | None = None  # the run that the last life began
        self.phase_file = self.folder / "phase"
        self.output = self.folder / "output.txt"

    def run(self):
        """Two whole runs first, one of them here, then trials until enough kills hit and each point was died at."""
        began = time.monotonic()
        os.environ["EDGEFLOWNAS_PHASE_FILE"] = str(self.phase_file)
        self._first(self.folder / "reference")
        reference = fingerprint(self.folder / "reference")
        warm = time.monotonic()
        self._start(self.folder / "repeated", None)
        duration = time.monotonic() - warm
        self._compare(self.folder / "repeated", reference)
        trials = 0
        while self.kills < self.wanted:
            path = self.folder / f"trial-{trials:03d}"
            self._until_finished(path, duration)
            self._compare(path, reference)
            trials += 1
        if self.points:
            self._crash_everywhere(reference)
        return {
            "kills": self.kills,
            "runs": trials,
            "starts": self.starts,
            "hits": dict(self.hits.most_common()),
            "mismatches": self.mismatches,
            "orphans": self.orphans,
            "seconds_of_a_run": round(duration, 2),
            "seconds": round(time.monotonic() - began, 2),
        }

    def _first(self, path):
        """A whole run in this process: what a first run takes long for (imports, kernels) is there for every child."""
        code = called(self.begin, path)
        assert code == FINISHED, f"{path}: ended with {code}"
        gc.freeze()  # no child looks at what is here already, which would copy it

    def _until_finished(self, path, duration):
        """Start and kill until the run ends by itself; waits grow while no start gets further than the one before."""
        span, before = SPAN * duration, progress(path)
        for _ in range(STUCK):
            enough = self.kills >= self.wanted
            if self._start(path, None if enough else self.random.uniform(0.0, span)):
                return
            now = progress(path)
            span, before = (SPAN * duration if now != before else 1.3 * span), now
        raise RuntimeError(f"{path}: not finished after {STUCK} starts")

    def _crash_everywhere(self, reference):
        """Die at the first passage of each point, and at the second in the next life, in as few runs as it takes."""
        runs = (self.folder / f"crash-{number:03d}" for number in itertools.count())
        path = next(runs)
        for point in self.points:
            lives = [f"{point}:1", f"{point}:2"]
            if point == "resume.damaged_set_aside":  # is only passed where there is damage
                lives.insert(0, "prune.removed:1")
            for place in lives:
                whole = False  # whether a run from its beginning to its end has not passed the place
                while not whole and not self._dies(path, place):
                    whole = self.began == path
                    self._compare(path, reference)
                    path = next(runs)
                if not place.startswith(point):
                    damage_newest(path)
        self._until_finished(path, 0.0)
        self._compare(path, reference)

    def _dies(self, path, place):
        """One life of the run that ends at ``place``; False where the run was finished before."""
        self.began = None if path.exists() else path
        os.environ["EDGEFLOWNAS_CRASH_AT"] = place
        try:
            return not self._start(path, None)
        finally:
            del os.environ["EDGEFLOWNAS_CRASH_AT"]

    def _start(self, path, delay):
        """One life of the trainer, killed after ``delay`` seconds; True when it finished the run before."""
        self.starts += 1
        self.phase_file.write_text(STARTING)
        pid = os.fork()
        if pid == 0:
            self._child(self.resume if path.exists() else self.begin, path)
        descriptor = os.pidfd_open(pid)
        ended = delay is not None and self.random.random() < LATE and self._wait_for_work(descriptor)
        ended = ended or bool(select.select([descriptor], [], [], delay)[0])
        os.close(descriptor)
        if not ended:
            os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
        self._wait_for_group(pid)
        if not ended:
            self.kills += 1
            self.hits[self.phase_file.read_text().strip()] += 1
            return False
        code = os.waitstatus_to_exitcode(status)
        if code == CRASHED and "EDGEFLOWNAS_CRASH_AT" in os.environ:
            self.kills += 1
            self.hits[self.phase_file.read_text().strip()] += 1
            return False
        if code not in (FINISHED, RESUME_ME):
            raise RuntimeError(f"{path}: ended with {code}\n{self.output.read_text()[-4000:]}")
        return code == FINISHED

    def _wait_for_work(self, descriptor):
        """Wait for the first named place (start-up is long and would take most kills); True if it ended."""
        while self.phase_file.read_text().strip() == STARTING:
            if select.select([descriptor], [], [], 0.005)[0]:
                return True
        return False

    def _child(self, call, path):
        """Never returns."""
        code = 70
        try:
            os.setpgid(0, 0)
            handle = os.open(self.output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            null = os.open(os.devnull, os.O_RDONLY)
            for source, target in ((null, 0), (handle, 1), (handle, 2)):
                os.dup2(source, target)
            code = called(call, path)
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)

    def _wait_for_group(self, group):
        """Every process the trainer started must be gone within 10 s of its death."""
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            try:
                while os.waitpid(-group, os.WNOHANG)[0]:
                    pass
            except ChildProcessError:
                return  # we adopt orphans (see adopt_orphans), so no child of the group means none at all
            time.sleep(0.002)
        self.orphans += 1
        os.killpg(group, signal.SIGKILL)

    def _compare(self, path, reference):
        found = fingerprint(path)
        for name in sorted(reference.keys() | found.keys()):
            if reference.get(name) != found.get(name):
                self.mismatches.append(f"{path.name}: {name} {found.get(name)} expected {reference.get(name)}")
        leftovers = [str(p) for p in path.rglob(".tmp-*")]
        self.mismatches += [f"{path.name}: left behind {name}" for name in leftovers]


def filled(value, path):
    """The arguments with the run directory in place of its placeholders."""
    if isinstance(value, str):
        return value.replace("{run}", str(path)).replace("{folder}", str(path.parent)).replace("{name}", path.name)
    return [filled(item, path) for item in value] if isinstance(value, list) else value


def called(call, path):
    """The exit status that calling the function gives."""
    try:
        return resolve(call["target"])(*filled(call["arguments"], path)) or 0
    except SystemExit as leaving:
        return leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None)


def resolve(target):
    """The function behind ``module:name`` or ``file.py:name``."""
    module, _, name = target.rpartition(":")
    if not module.endswith(".py"):
        return getattr(importlib.import_module(module), name)
    if module not in sys.modules:
        spec = importlib.util.spec_from_file_location(Path(module).stem, module)
        assert spec is not None and spec.loader is not None
        sys.modules[module] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[module])
    return getattr(sys.modules[module], name)


def adopt_orphans():
    """Become the parent of processes whose parent dies, so that they can be waited for (Linux)."""
    set_child_subreaper = 36
    ctypes.CDLL(None).prctl(set_child_subreaper, 1, 0, 0, 0)


def main():
    """Serve the requests of standard input."""
    adopt_orphans()
    import torch

    torch.set_num_threads(1)
    reports = []
    for request in json.load(sys.stdin):
        Path(request["folder"]).mkdir(parents=True, exist_ok=True)
        reports.append(Server(request).run())
    print(json.dumps(reports))


if __name__ == "__main__":  # spawned loader workers import this file under another name
    main()
