"""The Slurm script asks for another turn when, and only when, the run ended with 75.

No cluster is needed: a stand-in for the scheduler puts its own ``srun`` and ``scontrol`` on PATH, starts the batch
script as Slurm would and starts it again for each ``scontrol requeue``.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgeflownas.data.formats import write_flo

SCRIPT = Path(__file__).resolve().parents[2] / "examples/slurm/supernet.sbatch"
pytestmark = [pytest.mark.faults, pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")]

# Ends with the status named on the next line of `statuses`; after `wait` it stays until SIGUSR1 comes, as the
# trainer does, and then takes a moment to "commit".
TRAINER = """#!/bin/bash
echo "$RANK/$WORLD_SIZE/$LOCAL_RANK $MASTER_ADDR:$MASTER_PORT $*" >> "$STAND_IN/starts"
status=$(sed -n "$((${SLURM_RESTART_COUNT:-0} + 1))p" "$STAND_IN/statuses")
if [[ $status == wait* ]]; then
  trap 'sleep 0.3; echo committed >> "$STAND_IN/commits"; exit "${status#wait}"' USR1
  echo ready >> "$STAND_IN/ready"
  while true; do sleep 0.02; done
fi
mkdir -p "$RUN" && touch "$RUN/run_manifest.json"
exit "$status"
"""

# One process a task, signals handed on, highest status returned: what the script relies on.
SRUN = """#!/bin/bash
while [[ $1 == --* ]]; do echo "$1" >> "$STAND_IN/srun_options"; shift; done
pids=()
for ((task = 0; task < SLURM_NTASKS; task++)); do
  SLURM_PROCID=$task SLURM_LOCALID=$task "$@" &
  pids+=($!)
done
trap 'kill -USR1 "${pids[@]}" 2>/dev/null; signalled=yes' USR1
highest=0
for pid in "${pids[@]}"; do
  while true; do signalled=; wait "$pid"; status=$?; [[ -z $signalled ]] && break; done
  ((status > highest)) && highest=$status
done
exit "$highest"
"""

SCONTROL = """#!/bin/bash
case $1 in
  show) echo "$3" | tr ',' '\\n' ;;
  requeue) echo "$2" >> "$STAND_IN/requeues"; exit "$(cat "$STAND_IN/scontrol_status" 2>/dev/null || echo 0)" ;;
  *) echo "unexpected: scontrol $*" >&2; exit 99 ;;
esac
"""


@dataclass
class Scheduler:
    """Starts the batch script, and again after every requeue, as slurmctld would."""

    folder: Path
    tasks: int = 1
    extra_environment: dict[str, str] = field(default_factory=dict)
    tools: dict[str, str] = field(default_factory=lambda: {"edgeflownas": TRAINER, "srun": SRUN, "scontrol": SCONTROL})
    words: tuple[str, ...] = ("smoke", "test", "--train.lr", "1e-3")

    def __post_init__(self):
        tools = self.folder / "bin"
        tools.mkdir()
        for name, text in self.tools.items():
            (tools / name).write_text(text)
            (tools / name).chmod(0o755)

    def lines(self, name):
        file = self.folder / name
        return file.read_text().splitlines() if file.exists() else []

    def environment(self, restart):
        count = {"SLURM_RESTART_COUNT": str(restart)} if restart else {}  # Slurm leaves it unset at the first start
        return {
            "PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}",
            "STAND_IN": str(self.folder),
            "RUN": str(self.folder / "runs/test"),
            "EDGEFLOWNAS_RUNS": str(self.folder / "runs"),
            "SLURM_JOB_ID": "4711",
            "SLURM_JOB_NODELIST": "node1,node2",
            "SLURM_NTASKS": str(self.tasks),
            **count,
            **self.extra_environment,
        }

    def start(self, restart=0):
        command = ["bash", str(SCRIPT), *self.words]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, env=self.environment(restart), stdout=pipe, stderr=pipe, text=True)

    def run(self, *statuses):
        """Run the job until nobody asks for it again; the last status and everything printed."""
        (self.folder / "statuses").write_text("".join(f"{status}\n" for status in statuses))
        printed, restart = "", 0
        while True:
            asked = len(self.lines("requeues"))
            job = self.start(restart)
            out, error = job.communicate(timeout=30)
            printed += out + error
            if len(self.lines("requeues")) == asked or "scontrol requeue failed" in error:
                return job.returncode, printed
            restart += 1


@pytest.fixture
def scheduler(tmp_path):
    return Scheduler(tmp_path)


def test_interrupted_run_is_queued_again_once_and_resumed(scheduler):
    status, printed = scheduler.run(75, 0)
    assert status == 0
    assert scheduler.lines("requeues") == ["4711"]
    first, second = scheduler.lines("starts")
    run = scheduler.folder / "runs/test"
    address = "0/1/0 node1:24711"
    root = f"--runtime.output_root {run.parent} --runtime.experiment_name test"
    assert first == f"{address} train smoke {root} --train.lr 1e-3"
    assert second == f"{address} train --resume {run}"
    assert "restart 1" in printed


@pytest.mark.parametrize("status", [0, 1, 64, 65, 70, 74, 137])
def test_no_other_end_is_queued_again(scheduler, status):
    assert scheduler.run(status)[0] == status
    assert scheduler.lines("requeues") == []
    assert len(scheduler.lines("starts")) == 1


def test_gives_up_after_the_allowed_restarts(tmp_path):
    scheduler = Scheduler(tmp_path, extra_environment={"EDGEFLOWNAS_MAX_REQUEUES": "2"})
    status, printed = scheduler.run(*[75] * 9)
    assert status == 75
    assert len(scheduler.lines("starts")) == 3
    assert "EDGEFLOWNAS_MAX_REQUEUES=2" in printed


def test_every_task_is_a_rank(tmp_path):
    scheduler = Scheduler(tmp_path, tasks=3)
    scheduler.run(75, 0)
    ranks = sorted(line.split()[0] for line in scheduler.lines("starts"))
    assert ranks == sorted(["0/3/0", "1/3/1", "2/3/2"] * 2)
    assert "--kill-on-bad-exit=0" in scheduler.lines("srun_options")


@pytest.mark.parametrize("tasks", [1, 2])
@pytest.mark.parametrize("sent", [signal.SIGUSR1, signal.SIGTERM])
def test_signal_to_the_batch_shell_reaches_the_ranks_and_waits_for_their_commit(tmp_path, sent, tasks):
    scheduler = Scheduler(tmp_path, tasks=tasks)
    (tmp_path / "statuses").write_text("wait75\n")
    job = scheduler.start()
    deadline = time.monotonic() + 20
    while len(scheduler.lines("ready")) < tasks and time.monotonic() < deadline:
        time.sleep(0.02)
    job.send_signal(sent)
    time.sleep(0.1)
    job.send_signal(sent)  # a second one during the commit changes nothing
    out, error = job.communicate(timeout=30)
    assert (job.returncode, scheduler.lines("requeues")) == (0, ["4711"]), out + error
    assert scheduler.lines("commits") == ["committed"] * tasks


def test_signal_before_the_trainer_listens_is_an_interruption_too(tmp_path):
    deaf = TRAINER.replace('trap \'sleep 0.3; echo committed >> "$STAND_IN/commits"; exit "${status#wait}"\' USR1', "")
    assert deaf != TRAINER
    scheduler = Scheduler(tmp_path, tools={"edgeflownas": deaf, "srun": SRUN, "scontrol": SCONTROL})
    (tmp_path / "statuses").write_text("wait75\n")
    job = scheduler.start()
    deadline = time.monotonic() + 20
    while not scheduler.lines("ready") and time.monotonic() < deadline:
        time.sleep(0.02)
    job.send_signal(signal.SIGUSR1)
    out, error = job.communicate(timeout=30)
    assert (job.returncode, scheduler.lines("requeues")) == (0, ["4711"]), out + error
    assert scheduler.run(138)[0] == 138, "without a signal of ours 138 is a failure"


def test_refused_requeue_is_not_called_success(scheduler):
    (scheduler.folder / "scontrol_status").write_text("1")
    status, printed = scheduler.run(75)
    assert status == 75
    assert "scontrol requeue failed" in printed


def test_missing_arguments_are_explained():
    done = subprocess.run(["bash", str(SCRIPT)], capture_output=True, text=True, timeout=30)
    assert done.returncode != 0
    assert "usage: sbatch" in done.stderr


@pytest.mark.e2e
def test_two_ranks_of_the_real_trainer_go_on_where_they_were_interrupted(tmp_path):
    write_pairs(tmp_path / "data")
    words = ("smoke", "test", *OVERRIDES, "--data.train_dir", str(tmp_path / "data/train"))
    scheduler = Scheduler(
        tmp_path,
        tasks=2,
        tools={"srun": SRUN, "scontrol": SCONTROL},
        words=(*words, "--data.val_dir", str(tmp_path / "data/val")),
        extra_environment={
            "PATH": f"{tmp_path / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}",
            "SLURM_JOB_NODELIST": "localhost",
        },
    )
    job = scheduler.start()
    deadline = time.monotonic() + 60
    while len(scheduler.lines("runs/test/events.jsonl")) < 5 and time.monotonic() < deadline and job.poll() is None:
        time.sleep(0.02)
    job.send_signal(signal.SIGUSR1)
    out, error = job.communicate(timeout=60)
    assert (job.returncode, scheduler.lines("requeues")) == (0, ["4711"]), out + error
    steps = len(scheduler.lines("runs/test/events.jsonl"))
    scheduler.tasks = 1  # one process may go on with what two began
    again = scheduler.start(restart=1)
    out, error = again.communicate(timeout=120)
    assert (again.returncode, scheduler.lines("requeues")) == (0, ["4711"]), out + error
    assert "not queued again" in out
    assert len(scheduler.lines("runs/test/events.jsonl")) > steps


OVERRIDES = [
    "--train.width=2",
    "--train.batch_size=2",
    "--train.num_epochs=12",
    "--train.monitor_every=null",
    "--runtime.report=false",
    "--data.crop_size=[32,48]",
    "--data.num_workers=0",
    "--eval.eval_pool_size=3",
    "--eval.batch_size=2",
    "--eval.eval_every_epoch=100",
    "--runtime.tensorboard=false",
]


def write_pairs(folder):
    for split, count in (("train", 4), ("val", 2)):
        (folder / split).mkdir(parents=True)
        for i in range(count):
            noise = np.random.Philox(key=i).random_raw(48 * 64 * 6 // 8).view(np.uint8).reshape(48, 64, 6)
            for k in (0, 1):
                assert cv2.imwrite(str(folder / split / f"{i:07d}-img_{k}.png"), noise[..., 3 * k : 3 * k + 3])
            write_flo(folder / split / f"{i:07d}-flow_01.flo", np.full((48, 64, 2), i, np.float32))
