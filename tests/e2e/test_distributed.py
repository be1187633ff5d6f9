"""Several processes against one: the same weights, the same rows, and no rank left waiting."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numeric import relative_difference
from runs import Place, command, contents, rows, state, tensors
from tiny import make_tiny

pytestmark = pytest.mark.e2e
THREE_STEPS = (
    "--train.epoch_mode=fixed_steps",
    "--train.steps_per_epoch=3",
    "--train.num_epochs=1",
    "--train.batch_size=4",
    "--train.micro_batch_size=2",
    "--train.lr=1e-4",
    "--train.lr_schedule=constant",
    "--eval.eval_pool_size=2",
    "--train.monitor_every=2",
)
MANY_EPOCHS = (*THREE_STEPS, "--train.num_epochs=100", "--eval.eval_every_epoch=50", "--train.monitor_every=null")
# With a device autograd starts threads, which a forked child of the server would lack.
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
LIMIT = {"fp64": 1e-10, "fp32": 1e-5}


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


class Ranks:
    """`edgeflownas` as several ranks, described in the environment as torchrun and Slurm do."""

    def __init__(self, server: Server, words: list[str], world: int, slow: int | None) -> None:
        self.server, port = server, str(free_port())
        self.outputs = [server.folder / f"rank-{port}-{rank}" for rank in range(world)]
        self.pids = []
        for rank, output in enumerate(self.outputs):
            variables = {"RANK": str(rank), "WORLD_SIZE": str(world), "LOCAL_RANK": str(rank)}
            variables |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
            request = {"argv": words, "variables": variables, "output": str(output), "slow": slow == rank}
            self.pids.append(server.ask(request))

    def running(self) -> bool:
        """Whether every rank is there (one that ended is a zombie until it is waited for)."""
        states = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] for pid in self.pids]
        return "Z" not in states

    def signal(self, ranks: list[int]) -> None:
        for rank in ranks:
            os.kill(self.pids[rank], signal.SIGTERM)

    def ended(self, timeout: float = 300) -> list[tuple[int, str, str]]:
        """Exit code, stdout and stderr of every rank; one that lives on is killed (-9)."""
        timer = threading.Timer(timeout, lambda: [os.kill(pid, signal.SIGKILL) for pid in self.pids])
        timer.start()
        codes = [self.server.ask({"wait": pid}) for pid in self.pids]
        timer.cancel()
        files = [[Path(f"{output}.{kind}").read_text() for kind in ("out", "err")] for output in self.outputs]
        return [(code, out, err) for code, (out, err) in zip(codes, files, strict=True)]


class Server:
    """The fork server of rank_server.py."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        program = [sys.executable, str(Path(__file__).parent / "rank_server.py"), str(folder)]
        self.process = subprocess.Popen(program, stdin=-1, stdout=-1, text=True, env=ENVIRONMENT)
        assert self.process.stdout is not None and self.process.stdout.readline() == "ready\n"

    def ask(self, request: dict[str, Any]) -> int:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def start(self, world: int, *words: object, slow: int | None = None) -> Ranks:
        return Ranks(self, ["train", *map(str, words)], world, slow)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("ranks"))
    yield server
    assert server.process.stdin is not None and server.process.stdout is not None
    server.process.stdin.close()
    server.process.wait(30)
    server.process.stdout.close()


@pytest.fixture(scope="module")
def several(place: Place) -> Place:
    """A place whose data hold twelve training pairs, with the runs of one process in it."""
    place.data = make_tiny(place.folder / "twelve", train=12)
    for precision in LIMIT:
        place.trained(f"one_{precision}", *THREE_STEPS, f"--train.precision={precision}")
    return place


def distance(one: Path, other: Path, buffers: bool) -> float:
    """Norm of the difference over the norm, weights or batch-norm buffers."""
    ours, theirs = tensors(one), tensors(other)
    assert ours.keys() == theirs.keys()
    names = [name for name in ours if name.startswith("model/") and ("running_" in name) == buffers]
    difference = sum(np.square(ours[n].astype(np.float64) - theirs[n].astype(np.float64)).sum() for n in names)
    return float(np.sqrt(difference / sum(np.square(ours[n].astype(np.float64)).sum() for n in names)))


def assert_same_run(one: Path, other: Path, limit: float) -> None:
    assert distance(one, other, buffers=False) <= limit and distance(one, other, buffers=True) <= limit
    ours, theirs = rows(one), rows(other)
    assert [row["event"] for row in ours] == [row["event"] for row in theirs]
    assert len(rows(one, "monitor")) == 2
    for a, b in zip(ours, theirs, strict=True):
        assert_close(a, b, 1e3 * limit)


def assert_close(a: Any, b: Any, limit: float) -> None:
    if isinstance(a, dict):
        assert a.keys() == b.keys()
        for key in a.keys() - {"arch_rank_2"}:  # its rounded figures may differ in the last digit
            assert_close(a[key], b[key], limit)
    elif isinstance(a, float) or (a and isinstance(a, list) and all(isinstance(x, float) for x in a)):
        assert relative_difference(b, a) <= limit
    else:
        assert a == b


@pytest.mark.parametrize(("shares", "world", "precision"), [("data", 2, "fp32"), ("path", 3, "fp64")])
def test_ranks_against_one_process(several: Place, server: Server, shares: str, world: int, precision: str) -> None:
    name = f"{shares}{world}_{precision}"
    words = (f"--train.precision={precision}", f"--train.distributed={shares}")
    for code, out, err in server.start(world, *several.words(name, *THREE_STEPS, *words)).ended():
        assert (code, out) == (0, ""), err
    assert_same_run(several.runs / f"one_{precision}", several.runs / name, LIMIT[precision])
    lines = (several.runs / name / "train.log").read_text().splitlines()
    assert len([line for line in lines if "| epoch 1/1" in line]) == 1  # one rank speaks and writes


def test_what_ranks_drift_apart_by_is_rounding(several: Place, server: Server) -> None:
    """Adam turns the last digit of a small gradient into a whole step: float32 drifts, float64 does not in 16 steps."""
    words = (*THREE_STEPS, "--train.steps_per_epoch=16", "--train.lr=1e-3", "--train.monitor_every=null")
    apart = {}
    for precision in LIMIT:
        own = (*words, f"--train.precision={precision}")
        one = several.trained(f"sixteen_{precision}", *own)
        name = f"sixteen_two_{precision}"
        assert [code for code, _, _ in server.start(2, *several.words(name, *own)).ended()] == [0, 0]
        losses = [[row["loss"] for row in rows(run, "step")] for run in (one, several.runs / name)]
        apart[precision] = np.abs(np.divide(*losses) - 1.0)
    assert apart["fp64"].max() < 1e-8 and apart["fp32"][:4].max() < 1e-5
    assert apart["fp32"].max() > 100 * apart["fp64"].max(), "else there is nothing to explain"


@pytest.mark.slow  # the same environment as of `Ranks`, from three programs of their own
def test_torchrun(several: Place) -> None:
    words = several.words("torchrun", *THREE_STEPS, "--train.distributed=path", "--train.precision=fp64")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", f"--master-port={free_port()}"]
    program = [*torchrun, "-m", "edgeflownas", "train", *words]
    done = subprocess.run(program, env=ENVIRONMENT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert_same_run(several.runs / "one_fp64", several.runs / "torchrun", LIMIT["fp64"])


def test_pool_dealt_to_ranks_gives_the_rows_of_one(several: Place, server: Server) -> None:
    """With the same weights (a rate that changes none) every figure is the same to the bit, whoever scores an arch."""
    words = ("--train.lr=1e-30", "--eval.eval_pool_size=3", "--train.ema_decay=0.5", "--eval.wide_every_epoch=1")
    words += ("--eval.train_batches=2", "--train.steps_per_epoch=2")
    one = several.trained("eval_one", *THREE_STEPS, *words)
    assert [code for code, _, _ in server.start(2, *several.words("eval_two", *THREE_STEPS, *words)).ended()] == [0, 0]
    two = several.runs / "eval_two"
    assert (one / "per_arch_epe.csv").read_bytes() == (two / "per_arch_epe.csv").read_bytes()
    assert state(one)["last_epes"] == state(two)["last_epes"]
    (ours,), (theirs,) = rows(one, "evaluation"), rows(two, "evaluation")
    names = [name for name in ours if "epe" in name or "eval" in name or name == "ranks"]
    assert {"wide_ranks", "train_epe_random_crop_3", "smallest_difference_3"} <= set(ours)
    kept = [{path.name: path.read_bytes() for path in (run / "sample_epe").iterdir()} for run in (one, two)]
    assert kept[0] == kept[1] and len(kept[0]) == 2
    assert len(names) > 15 and [ours[name] for name in names] == [theirs[name] for name in names]


def test_more_ranks_than_archs(several: Place, server: Server) -> None:
    keys = ("--train.distributed=both", "--train.precision=fp64", "--eval.eval_pool_size=1")
    ranks = server.start(2, *several.words("few_archs", *THREE_STEPS, *keys))
    assert [code for code, _, _ in ranks.ended()] == [0, 0]
    run = several.runs / "few_archs"
    assert max(distance(several.runs / "one_fp64", run, buffers) for buffers in (False, True)) <= LIMIT["fp64"]
    assert state(run)["last_epes"] == pytest.approx(state(several.runs / "one_fp64")["last_epes"][:1], rel=1e-9)


def test_ranks_fine_tune_as_one_process_does(several: Place, server: Server) -> None:
    """Frozen batch norm: its statistics are those of the rank that calibrates."""
    alone = ("--train.arch=0,0,0,0,2,1,2,2,2", "--eval.eval_pool_size=1", "--train.precision=fp64")
    source = several.trained(
        "tuning_source", *THREE_STEPS, "--train.task=standalone", *alone, "--train.steps_per_epoch=1"
    )
    words = (
        *THREE_STEPS,
        "--train.task=standalone",
        *alone,
        f"--train.init_from={source}",
        "--train.steps_per_epoch=2",
    )
    words = (*words, "--train.batch_norm=frozen", "--train.ema_decay=0.5")
    one = several.trained("tuned_one", *words)
    for code, out, err in server.start(2, *several.words("tuned_two", *words)).ended():
        assert (code, out) == (0, ""), err
    two = several.runs / "tuned_two"
    assert distance(one, two, buffers=True) == 0 and distance(one, two, buffers=False) <= LIMIT["fp64"]
    assert state(one)["last_epes"] == pytest.approx(state(two)["last_epes"], rel=1e-9)


def wait_for_rows(run: Path, count: int, ranks: Ranks) -> None:
    deadline = time.monotonic() + 300
    while not (run / "events.jsonl").exists() or (run / "events.jsonl").read_bytes().count(b"\n") < count:
        assert time.monotonic() < deadline and ranks.running(), ranks.ended(0.1)
        time.sleep(0.02)


@pytest.mark.parametrize("whom", [[0, 1], [1]], ids=["all", "the other"])
def test_a_signal_ends_every_rank_and_resume_goes_on(several: Place, server: Server, whom: list[int]) -> None:
    """A signal to one rank stops all: the flag travels with the gradient."""
    name = f"signalled{len(whom)}"
    ranks = server.start(2, *several.words(name, *MANY_EPOCHS, "--train.monitor_every=1"))
    run = several.runs / name
    wait_for_rows(run, 4, ranks)  # two steps and the reading before each
    ranks.signal(whom)
    results = ranks.ended()
    assert [code for code, _, _ in results] == [75, 75], results  # a rank left waiting would end with 74 or be killed
    assert ("SIGTERM" if len(whom) == 2 else "another rank was asked to stop") in results[0][2]
    assert not any("Traceback" in err for _, _, err in results)
    step = state(run)["step"]
    assert step == len(rows(run, "step")) >= 2
    resumed = server.start(2, "--resume", run, "--max-seconds=0.2")
    assert [code for code, _, _ in resumed.ended()] == [75, 75]
    assert state(run)["step"] >= step and "resumed at step" in (run / "train.log").read_text()
    alone = several.resume(name, "--max-seconds=0.2")  # one process may go on with what two began
    assert alone.code == 75


def test_a_rank_that_waits_for_data_stops_with_the_others(several: Place, server: Server) -> None:
    """The storage of rank 1 hangs: its signal finds it waiting for a batch, rank 0 in the sum that waits for it."""
    ranks = server.start(2, *several.words("waiting", *MANY_EPOCHS, "--data.num_workers=1"), slow=1)
    wait_for_rows(several.runs / "waiting", 4, ranks)  # three steps and the end of the epoch
    time.sleep(0.5)
    ranks.signal([0, 1])
    results = ranks.ended()
    assert [code for code, _, _ in results] == [75, 75], results
    assert state(several.runs / "waiting")["step"] == 3


def test_an_error_of_the_writing_rank_ends_the_others(several: Place, server: Server) -> None:
    before = contents(several.runs / "one_fp32")
    results = server.start(2, *several.words("one_fp32", *THREE_STEPS)).ended()
    assert results[0][0] == 74 and "exists already" in results[0][2]
    assert results[1][0] == 74 and "another rank ended" in results[1][2] and "Traceback" not in results[1][2]
    assert contents(several.runs / "one_fp32") == before


def test_a_killed_rank_ends_the_others(several: Place, server: Server) -> None:
    ranks = server.start(2, *several.words("killed", *MANY_EPOCHS))
    wait_for_rows(several.runs / "killed", 2, ranks)
    os.kill(ranks.pids[1], signal.SIGKILL)
    results = ranks.ended()
    assert [code for code, _, _ in results] == [74, -9] and "another rank ended" in results[0][2]
    assert several.resume("killed", "--max-seconds=0.2").code == 75


def test_dry_run_prints_once(several: Place, server: Server) -> None:
    results = server.start(2, *several.words("dry", *THREE_STEPS, "--dry-run", "--json")).ended()
    assert [code for code, _, _ in results] == [0, 0]
    assert json.loads(results[0][1])["total_steps"] == 3 and results[1][1] == ""


def test_a_ranking_by_two_ranks(several: Place, server: Server, tmp_path: Path) -> None:
    """Each takes half of the units; the table has the bytes of one process."""
    words = ["rank", str(several.runs / "one_fp32"), "--sample", "8", "--keep-sample-errors"]
    ended = command(*words, "--out", tmp_path / "one")
    assert ended.code == 0, ended.err
    ranks = Ranks(server, [*words, "--out", str(tmp_path / "two"), "--json"], 2, None).ended()
    assert [code for code, _, _ in ranks] == [0, 0], ranks
    assert json.loads(ranks[0][1])["subnets"] == 8 and ranks[1][1:] == ("", "")
    assert "by 2 processes" in ranks[0][2]
    for name in ("ranking.csv", "ranking.safetensors"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
