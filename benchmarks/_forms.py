"""Command lines, mostly mistakes, whose exit code and words (numbers masked) must stay."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

SMOKE = (
    *("train", "smoke", "--runtime.output_root=runs", "--runtime.tensorboard=false", "--runtime.report=false"),
    *("--data.train_dir=data/train", "--data.val_dir=data/val", "--data.crop_size=48x64", "--train.width=4"),
)
CODE = "0,2,1,1,0,0,1,0,1"
OTHER = "0,0,0,0,2,1,2,2,2"

FORMS = (
    (),
    ("--version",),
    ("trian", "smoke"),
    ("wibble",),
    ("train",),
    ("train", "smok"),
    ("train", "nowhere.yaml"),
    ("train", "broken.yaml"),
    ("train", "twice.yaml"),
    ("train", "unknown.yaml"),
    ("train", "typed.yaml"),
    ("train", "list.yaml"),
    ("train", "binary.yaml"),
    ("train", "smoke", "--train.lrr=1e-3"),
    ("train", "smoke", "--trian.lr=1e-3"),
    ("train", "smoke", "--train.lr=fast"),
    ("train", "smoke", "--train.lr=-1"),
    ("train", "smoke", "--train.lr"),
    ("train", "smoke", "--train.lr=1e-3", "--train.lr=1e-3"),
    ("train", "smoke", "--train.width=7"),
    ("train", "smoke", "--train.width=8.0"),
    ("train", "smoke", "--train.batch_size=true"),
    ("train", "smoke", "--train.lr_schedule=cosin"),
    ("train", "smoke", "--train.space=v9"),
    ("train", "smoke", "--data.crop_size=48"),
    ("train", "smoke", "--data.crop_size=48xx64"),
    ("train", "smoke", "--train.micro_batch_size=99"),
    ("train", "smoke", "--train.steps_per_epoch=3"),
    ("train", "smoke", "--train.epoch_mode=fixed_steps"),
    ("train", "smoke", "--train.batch_norm=frozen", "--train.task=standalone"),
    ("train", "smoke", "--train.task=standalone"),
    ("train", "smoke", "--train.task=standalone", "--train.arch=0,0"),
    ("train", "smoke", "--train.task=standalone", f"--train.arch={CODE}", f"--train.arch={OTHER}"),
    ("train", "smoke", "--train.task=distil", f"--train.arch={CODE}"),
    ("train", "smoke", "--runtime.experiment_name=../up"),
    ("train", "smoke", "--eval.wide_batches_per_arch=2"),
    ("train", "smoke", "--max-seconds=0"),
    ("train", "smoke", "--fork", "new"),
    ("train", "smoke", "--resume", "runs/supernet"),
    ("train", "smoke", "other"),
    ("train", "smoke", "--config", "smoke"),
    ("train", "supernet_fc2_clip_sweep"),
    ("train", "continue_fork"),
    (*SMOKE, "--data.train_dir=nowhere"),
    (*SMOKE, "--data.train_dir=empty"),
    (*SMOKE, "--data.crop_size=480x640"),
    (*SMOKE, "--runtime.experiment_name=supernet"),
    (*SMOKE, "--train.init_from=nowhere", "--runtime.experiment_name=x"),
    (*SMOKE, "--train.init_from=runs/pair/target", "--runtime.experiment_name=x"),
    ("train", "--resume", "nowhere"),
    ("train", "--resume", "empty"),
    ("train", "--resume", "runs/supernet@best"),
    ("train", "--resume", "runs/supernet"),
    ("train", "--resume", "runs/supernet", "--train.width=8"),
    ("train", "--resume", "runs/supernet", "--train.lr=1e-5"),
    ("train", "--resume", "runs/supernet", "--train.num_epochs=5"),
    ("train", "--resume", "runs/supernet", "--data.train_dir=data/val"),
    ("train", "--resume", "runs/supernet", "--fork", "supernet"),
    ("train", "--resume", "runs/supernet@step-99", "--fork", "new"),
    ("train", "--resume", "runs/pair", "--fork", "new"),
    ("train", "--resume", "runs/truncated"),
    ("train", "--resume", "runs/all_truncated"),
    ("train", "--resume", "runs/no_manifest"),
    ("train", "--resume", "runs/no_config"),
    ("train", "--resume", "runs/future"),
    ("evaluate",),
    ("evaluate", "nowhere"),
    ("evaluate", "runs/pair"),
    ("evaluate", "runs/supernet", "--arch", "0,0"),
    ("evaluate", "runs/supernet", "--arch", "000021229"),
    ("evaluate", "runs/supernet", "--checkpoint", "step-99"),
    ("evaluate", "runs/supernet", "--data", "sintel"),
    ("evaluate", "runs/supernet", "--data", "fc3@data"),
    ("evaluate", "runs/supernet", "--size", "48x64"),
    ("evaluate", "runs/all_truncated"),
    ("evaluate", "runs/supernet"),
    ("rank", "nowhere"),
    ("rank", "runs/supernet", "--where", "EB9=1"),
    ("rank", "runs/supernet", "--memory", "lots"),
    ("rank", "runs/pair/target"),
    ("infer", "runs/supernet", "data/val"),
    ("infer", "nowhere", "a.png", "b.png"),
    ("compare", "runs/supernet"),
    ("compare", "runs/supernet", "runs/supernet"),
    ("compare", "runs/supernet", "runs/pair/target"),
    ("status", "nowhere"),
    ("status", "empty"),
    ("status", "runs/supernet", "--jsonn"),
    ("noise", "runs/pair/target"),
    ("diagnose", "empty"),
    ("plan", "smoke"),
    ("plan", "smoke", "--train-samples", "many"),
    ("sweep", "smoke"),
    ("sweep", "smoke", "--vary", "train.lr=1e-3"),
    ("data", "check", "--train-dir", "nowhere", "--val-dir", "data/val"),
    ("data", "stats", "empty"),
    ("data", "synth", "--out", "data", "--train", "3", "--val", "1", "--seed", "5"),
    ("data", "synth", "--out", "small", "--train", "1", "--val", "1", "--seed", "0", "--height", "5"),
    ("recipes", "show", "smok"),
    ("import-tf1", "nowhere.npz", "--out", "runs/tf1"),
    ("profile", "--arch", "0,0", "--size", "48x64"),
)
FILES = {
    "broken.yaml": "train:\n  lr: [1e-3\ndata: {\n",
    "twice.yaml": "train:\n  lr: 1.0e-3\n  width: 8\n  lr: 2.0e-3\n",
    "unknown.yaml": "train:\n  lrr: 1.0e-3\n",
    "typed.yaml": "train:\n  batch_size: eight\n  lr: 5e-5\n  fast_mode: on\n",
    "list.yaml": "- train\n- data\n",
}


def steps(step: Callable[..., Any]) -> Iterator[Any]:
    """One step for each form; any exit code will do, if both trees give it."""
    for words in FORMS:
        yield step(words, None)


def prepare(work: Path) -> None:
    """The files and the damaged runs that the forms name; ``runs/supernet`` and ``runs/pair`` exist."""
    for name, text in FILES.items():
        (work / name).write_text(text)
    (work / "binary.yaml").write_bytes(bytes(range(256)))
    (work / "empty").mkdir(exist_ok=True)
    for name in ("truncated", "all_truncated", "no_manifest", "no_config", "future"):
        shutil.copytree(work / "runs" / "supernet", work / "runs" / name, dirs_exist_ok=True)
    newest = max((work / "runs" / "truncated" / "checkpoints").glob("step-*"), key=lambda path: path.name[:13])
    for path in (work / "runs" / "truncated" / "checkpoints").glob(f"{newest.name[:13]}*"):
        _cut(path / "model.safetensors")
    for path in (work / "runs" / "all_truncated" / "checkpoints").glob("step-*"):
        _cut(path / "model.safetensors")
    (work / "runs" / "no_manifest" / "run_manifest.json").unlink()
    (work / "runs" / "no_config" / "config.yaml").unlink()
    manifest = work / "runs" / "future" / "run_manifest.json"
    content = json.loads(manifest.read_text())
    manifest.write_text(json.dumps({**content, "format": 99}))


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:1000])
