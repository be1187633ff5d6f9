"""The small runs and commands that both trees are asked for; every path is relative to a tree's own folder."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import _forms

TARGET, BASELINE = "0,2,1,1,0,0,1,0,1", "0,0,0,0,2,1,2,2,2"


@dataclass(frozen=True)
class Step:
    """One command line, and the exit code that the base must give (None: any)."""

    words: tuple[str, ...]
    code: int | None = 0
    ranks: int = 1
    variables: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_json(self) -> bool:
        """Whether its standard output is one document."""
        return "--json" in self.words


@dataclass(frozen=True)
class Case:
    """What is done in each tree, and which folders must end equal."""

    name: str
    steps: tuple[Step, ...]
    folders: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    before: Callable[[Path], None] | None = None
    handed: tuple[int, str] | None = None
    """(steps, folder): after so many steps the tree goes on with what the base has in this folder."""
    like: tuple[tuple[str, str], ...] = ()
    """(folder, folder) in the tree that must hold the same results: one interrupted, one not."""


def train(name: str, *words: str, recipe: str = "smoke", data: str = "data", code: int = 0, **more: object) -> Step:
    """A run of two epochs of three steps of four samples, width 4, evaluated after each."""
    options = {
        "runtime.output_root": "runs",
        "runtime.experiment_name": name,
        "runtime.num_threads": 1,
        "runtime.tensorboard": "false",
        "runtime.report": "false",
        "train.width": 4,
        "train.num_epochs": 2,
        "train.batch_size": 4,
        "train.monitor_every": "null",
        "data.train_dir": f"{data}/train",
        "data.val_dir": f"{data}/val",
        "data.crop_size": "48x64",
        "data.num_workers": 0,
        "eval.eval_pool_size": 4,
        "eval.eval_every_epoch": 1,
        "eval.eval_batches_per_arch": 1,
        "eval.bn_recal_batches": 1,
        "eval.batch_size": 3,
    }
    changed = {word.removeprefix("--").partition("=")[0] for word in words}
    kept = (f"--{key}={value}" for key, value in options.items() if key not in changed)
    return Step(("train", recipe, *kept, *words), code, **more)  # type: ignore[arg-type]


def resume(name: str, *words: str, code: int = 0, **more: object) -> Step:
    """Go on with a run."""
    return Step(("train", "--resume", f"runs/{name}", *words), code, **more)  # type: ignore[arg-type]


def asks(*words: str) -> Step:
    """A command that answers with a document."""
    return Step((*words, "--json"))


def bad_sample(work: Path) -> None:
    """A copy of the data in which one training image has lost its pixels."""
    shutil.copytree(work / "data", work / "bad", dirs_exist_ok=True)
    file = work / "bad" / "train" / "0000002-img_1.png"
    content = bytearray(file.read_bytes())
    content[60:-20] = bytes(len(content) - 80)
    file.write_bytes(content)


def other_place(work: Path) -> None:
    """The same data at another place."""
    shutil.copytree(work / "data", work / "moved", dirs_exist_ok=True)


def frames(work: Path) -> None:
    """Three frames of one motion."""
    folder = work / "frames"
    folder.mkdir(exist_ok=True)
    for number, name in enumerate(("5000000-img_0", "5000000-img_1", "5000000-img_0")):
        shutil.copy(work / "data" / "val" / f"{name}.png", folder / f"frame_{number}.png")


ONE = "--eval.eval_pool_size=1"
RICH = (
    *("--train.micro_batch_size=2", "--train.path_batches=shifted", "--train.ema_decay=0.9", "--train.monitor_every=1"),
    *("--data.horizontal_flip=0.5", "--data.vertical_flip=0.3", "--data.brightness=0.1", "--data.contrast=0.2"),
    *("--data.noise_std=0.02", "--data.num_workers=2", "--eval.wide_every_epoch=1", "--eval.train_batches=2"),
    *("--train.epoch_mode=fixed_steps", "--train.steps_per_epoch=2"),
    *("--checkpoint.every_steps=1", "--checkpoint.keep=9"),
)
CLIPPED = (
    *("--train.grad_clip_position=micro_step", "--train.grad_clip_global_norm=50", "--train.micro_batch_size=2"),
    *("--train.train_sampling_mode=random_with_replacement", "--train.epoch_mode=by_samples"),
    *("--train.train_samples_per_epoch=0.8", "--train.lr_schedule=step_decay", "--data.cache_dir=cache"),
    *("--train.precision=fp64", "--eval.best_by=mix", "--eval.selection=prefix", "--data.flow_divisor=8"),
)
STEADY = (
    *("--train.epoch_mode=fixed_steps", "--train.steps_per_epoch=2", "--train.num_epochs=3"),
    *("--train.lr_schedule=constant", "--train.lr_warmup_share=0.3", "--eval.early_stop_patience=1"),
    *("--eval.early_stop_min_delta=100", "--eval.wide_every_epoch=2", "--eval.wide_batches_per_arch=1"),
    *("--train.train_sampling_mode=sequential", "--data.flow_clip=null", "--data.channel_order=bgr"),
)
GROUP = (
    *("--train.task=standalone", ONE, f"--train.arch={TARGET}", f"--train.arch={BASELINE}"),
    "--train.arch_name=target,baseline",
)
SINGLE = (
    *("--train.task=edgeflownet", ONE, "--train.epoch_mode=near_full", "--train.batch_size=3"),
    *("--train.train_sampling_mode=random_with_replacement", "--train.micro_batch_size=2", "--train.lr=1e-3"),
    *("--train.weight_decay=0", "--train.grad_clip_global_norm=null"),
)
PUBLISHED = ("--train.batch_norm=frozen", "--train.input_normalisation=raw_0_255", "--data.channel_order=bgr")
CUT = {"EDGEFLOWNAS_CRASH_AT": "step.logged:3"}
KILLED = {"EDGEFLOWNAS_CRASH_AT": "commit.file_written:5"}
SWEPT = tuple(
    word
    for word in train("x", "--eval.train_batches=0", "--train.num_epochs=1").words[1:]
    if "experiment_name" not in word
)
DATA = ("--train", "12", "--val", "5", "--height", "56", "--width", "72")

CASES = (
    Case(
        "data",
        (
            Step(("data", "synth", "--out", "data", *DATA, "--seed", "0")),
            Step(("data", "synth", "--out", "both", *DATA, "--seed", "3", "--backward", "--occlusion")),
            asks("data", "check", "--full", "--train-dir", "data/train", "--val-dir", "data/val"),
            asks("data", "stats", "data"),
        ),
        ("data", "both"),
    ),
    Case("supernet", (train("supernet", *RICH),), ("runs/supernet",)),
    Case("supernet-v3", (train("v3", *RICH, "--train.space=v3", "--eval.eval_pool_size=3"),), ("runs/v3",)),
    Case("micro-step", (train("clipped", *CLIPPED), train("cached", *CLIPPED)), ("runs/clipped", "runs/cached")),
    Case(
        "report",
        (
            train("shown", "--runtime.report=true", "--runtime.tensorboard=true", "--eval.pictures=1"),
            Step(("report", "runs/shown", "--out", "page.html")),
            Step(("report", "runs/shown", "runs/supernet", "--out", "two.html")),
        ),
        ("runs/shown", "page.html", "two.html"),
        ("supernet",),
    ),
    Case("steady", (train("steady", *STEADY),), ("runs/steady",)),
    Case(
        "quarantine",
        (
            train("stopped", data="bad", code=65),
            train("bad", "--data.on_bad_sample=quarantine", "--data.quarantine_cap=0.5", data="bad"),
            train("bad2", "--data.on_bad_sample=quarantine", "--data.num_workers=2", data="bad"),
        ),
        ("runs/stopped", "runs/bad", "runs/bad2"),
        before=bad_sample,
    ),
    Case("standalone", (train("alone", "--train.task=standalone", ONE, f"--train.arch={TARGET}"),), ("runs/alone",)),
    Case("group", (train("pair", *GROUP),), ("runs/pair",)),
    Case(
        "group-cut",
        (train("pair_cut", *GROUP, code=137, variables=CUT), resume("pair_cut")),
        ("runs/pair_cut",),
        ("group",),
        like=(("runs/pair", "runs/pair_cut"),),
    ),
    Case(
        "distil",
        (
            train(
                "student",
                *("--train.task=distil", ONE, f"--train.arch={TARGET}", "--train.teacher=runs/supernet@best"),
                *(f"--train.teacher_arch={BASELINE}", "--train.distil_lambda=0.5", "--train.distil_weights=[1,0.5,2]"),
            ),
        ),
        ("runs/student",),
        ("supernet",),
    ),
    Case("edgeflownet", (train("published", *SINGLE, *PUBLISHED),), ("runs/published",)),
    Case("edgeflownet-trained", (train("single", *SINGLE, "--train.fast_mode=true"),), ("runs/single",)),
    Case(
        "killed",  # once in a step, once in a commit
        (
            train("killed", *RICH, code=137, variables=CUT),
            resume("killed", code=137, variables=KILLED),
            resume("killed"),
        ),
        ("runs/killed",),
        ("supernet",),
        like=(("runs/supernet", "runs/killed"),),
    ),
    Case(
        "stopped",  # as by a signal
        (
            train("halted", *RICH, "--runtime.max_seconds=1e-9", code=75),
            resume("halted", "--runtime.max_seconds=null"),
            resume("halted", "--runtime.max_seconds=null"),
        ),
        ("runs/halted",),
        ("supernet",),
        like=(("runs/supernet", "runs/halted"),),
    ),
    Case(
        "longer",
        (
            train("longer", code=0),
            resume("longer", "--train.num_epochs=3", "--train.lr_plan=restretch"),
        ),
        ("runs/longer",),
    ),
    Case(
        "fork",
        (
            Step(("train", "--resume", "runs/supernet@step-00000002", "--fork", "fork", "--train.lr=1e-3")),
            Step(
                (
                    "train",
                    "continue_fork",
                    "--resume",
                    "runs/supernet",
                    "--fork",
                    "reset",
                    "--reset-optimizer",
                    "--train.num_epochs=1",
                )
            ),
        ),
        ("runs/fork", "runs/reset"),
        ("supernet",),
    ),  # fmt: skip
    Case(
        "warm-start",
        (
            train("warm", "--train.init_from=runs/supernet@best"),
            train("taken", "--train.task=standalone", ONE, f"--train.arch={TARGET}", "--train.init_from=runs/supernet"),
        ),
        ("runs/warm", "runs/taken"),
        ("supernet",),
    ),
    Case(
        "two-ranks",
        (
            train("ranks", *RICH, "--data.num_workers=0", ranks=2),
            train("paths", "--train.distributed=path", "--train.num_epochs=1", ranks=2),
        ),
        ("runs/ranks", "runs/paths"),
    ),
    Case(
        "resume-base",  # the tree goes on with a run of the base
        (train("handed", *RICH, code=137, variables=CUT), resume("handed")),
        ("runs/handed",),
        ("supernet",),
        handed=(1, "runs/handed"),
        like=(("runs/supernet", "runs/handed"),),
    ),
    Case(
        "resume-base-group",
        (train("handed_pair", *GROUP, code=137, variables=CUT), resume("handed_pair")),
        ("runs/handed_pair",),
        ("group",),
        handed=(1, "runs/handed_pair"),
        like=(("runs/pair", "runs/handed_pair"),),
    ),
    Case(
        "read-base",  # the tree reads a run of the base
        (
            train("old", *RICH),
            asks("evaluate", "runs/old"),
            asks("compare", "runs/old", "runs/supernet"),
            asks("diagnose", "runs/old"),
            asks("noise", "runs/old"),
            asks("status", "runs/old"),
            Step(
                ("train", "--resume", "runs/old", "--fork", "old_fork", "--train.num_epochs=1", "--train.seed=4"), None
            ),
        ),
        ("runs/old",),
        ("supernet",),
        handed=(1, "runs/old"),
    ),
    Case(
        "sweep",
        (
            Step(("sweep", *SWEPT, "--name=varied", "--vary", "train.lr=1e-3,2e-3", "--dry-run", "--json")),
            Step(("sweep", *SWEPT, "--name=swept", "--seeds=0,1,2")),
        ),
        ("runs/swept",),
    ),
    Case(
        "evaluate",
        (
            asks("evaluate", "runs/supernet"),
            asks("evaluate", "runs/supernet", "--weights", "ema", "--checkpoint", "step-00000002", "--arch", BASELINE),
            asks("evaluate", "runs/supernet", "--batches", "all", "--split", "train", "--arch", TARGET),
            asks("evaluate", "runs/supernet", "--calibration-sweep", "--arch", TARGET, "--arch", BASELINE),
            asks("evaluate", "runs/single", "--data", "fc2@data", "--protocol", "edgeflownet", "--size", "48x64"),
            asks("evaluate", "runs/pair/target", "--protocol", "training", "--record", "--references", "zero,dis"),
            asks("evaluate", "--baseline", "farneback", "--data", "fc2:train@data"),
            asks("evaluate", "runs/alone", "--data.train_dir", "moved/train", "--data.val_dir", "moved/val"),
        ),
        ("runs/supernet", "runs/pair"),
        ("supernet", "group", "standalone", "edgeflownet-trained"),
        before=other_place,
    ),
    Case(
        "rank",
        (
            asks("rank", "runs/supernet", "--sample", "12", "--keep-sample-errors", "--yes"),
            asks("rank", "runs/v3", "--sample", "6", "--seed", "2", "--exact", "--out", "ranked/v3", "--yes"),
            asks(
                "rank",
                "runs/supernet",
                "--where",
                "EB0#1,DB1#2,H1#0,H2#1,H2Out#2,EB1#1",
                "--out",
                "ranked/where",
                "--data",
                "fc2:train@data",
                "--protocol",
                "training",
                "--yes",
            ),
        ),
        ("runs/supernet/ranking", "ranked"),
        ("supernet", "supernet-v3"),
    ),  # fmt: skip
    Case(
        "infer",
        (
            asks("infer", "runs/supernet", "frames", "--out", "flow"),
            asks(
                "infer",
                "runs/pair/target",
                "frames/frame_0.png",
                "frames/frame_1.png",
                "--out",
                "flow_one",
                "--formats",
                "flo",
            ),
        ),
        ("flow", "flow_one"),
        ("supernet", "group"),
        before=frames,
    ),  # fmt: skip
    Case(
        "answers",
        (
            asks("diagnose", "runs/supernet"),
            asks("diagnose", "runs/pair/target"),
            asks("diagnose", "runs/published"),
            asks("status", "runs"),
            asks("compare", "runs/supernet", "runs/v3"),
            asks("compare", "runs/pair", "runs/supernet", "--side-by-side"),
            asks("noise", "runs/supernet", "--resolution", "0.05"),
            asks("noise", "runs/supernet", "--wide", "--epoch", "1"),
            asks("noise", "runs/swept/same-seed_0", "--seeds", "runs/swept/same-seed_1", "runs/swept/same-seed_2"),
            Step(("train", *train("dry", *RICH).words[1:], "--dry-run", "--json")),
            Step(("train", *train("dry", *GROUP).words[1:], "--dry-run", "--json")),
            Step(("train", "--resume", "runs/supernet", "--dry-run", "--json")),
        ),
        (),
        ("supernet", "supernet-v3", "group", "edgeflownet", "sweep"),
    ),
    Case(
        "plan",
        (
            asks("plan", "smoke", "--train-samples", "64", "--val-samples", "16"),
            asks("plan", "supernet_fc2_180x240", "--train-samples", "17785", "--val-samples", "640"),
            asks("plan", "supernet_fc2_by_samples_half", "--train-samples", "17785", "--val-samples", "640"),
            asks("plan", "edgeflownet_fc2_352x480", "--train-samples", "17785", "--val-samples", "640"),
            Step(("plan", "--train-samples", "100", "--val-samples", "16", *RICH)),
            asks("recipes", "list"),
            asks("train", "smoke", "--print-config"),
            Step(("train", "smoke", "--print-config", "--train.lr=5e-5", "--runtime.experiment_name=0042")),
            Step(("train", "retrain_fc2_180x240", "--print-config", "--train.arch=000021222", "--train.arch_name=[]")),
            asks("config", "schema"),
            Step(("config", "keys")),
        ),
    ),
    Case("forms", tuple(_forms.steps(Step)), (), ("supernet", "group"), before=_forms.prepare),
)
