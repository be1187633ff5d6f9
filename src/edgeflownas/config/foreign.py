"""Configurations of the TF1 tool: every key is translated, is the default here, or is named with what to do instead.

:data:`KEYS` says of each key what becomes of it.  A text that names a key of ours takes the value over; any other text
says why nothing is written; a function writes into the groups and returns its words.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path, PurePath
from typing import Any, NamedTuple

from pydantic import ValidationError

from edgeflownas.config.keys import Config, groups, keys
from edgeflownas.config.load import dump_yaml, explain, parse_overrides, read_yaml, set_key
from edgeflownas.errors import ConfigError

Groups = dict[str, dict[str, Any]]
Foreign = Mapping[str, Any]  # their keys in full (data.ft3d_train_augment.min_scale) -> value
Rule = str | Callable[[Any, Foreign, Groups], str]
ALL_BATCHES = 10_000  # more than any evaluation set has; all samples are used, and a note says so
DEFAULT = "the default here"
# Ends of notes that nothing follows from:
NOTHING = (
    DEFAULT,
    "is off",
    "is not FT3D",
    "there as here",
    "are one key",
    "below it",
)  # ends of notes that nothing follows from
SWITCHES = (".enabled", ".load_checkpoint", ".reset_early_stop_on_resume")


class Translated(NamedTuple):
    """One of their keys: where it went (keys of ours, or nothing) and why."""

    key: str
    value: Any
    becomes: str
    note: str


def import_config(path: Path, overrides: tuple[str, ...] = ()) -> tuple[str, list[Translated]]:
    """The YAML text of our configuration, and what became of every key.

    Raises ConfigError for a file that is no configuration of the TF1 tool, and where the result would not be valid.
    """
    written, _ = read_yaml(path, "a YAML configuration of the TF1 tool")
    if not isinstance(written, dict) or not foreign_file(written):
        raise ConfigError(f"{path}: not a configuration of the TF1 tool (data.input_height, train.lr_min, ...)")
    theirs = dict(_flat(written))
    made: Groups = {}
    rows = []
    for key, value in theirs.items():
        before = {f"{g}.{n}": v for g, own in made.items() for n, v in own.items()}
        try:
            note = _translate(key, value, theirs, made)
        except (TypeError, ValueError):
            raise ConfigError(f"{path}: {key}: {_shown(value)} cannot be read: mend it there") from None
        after = {f"{g}.{n}": v for g, own in made.items() for n, v in own.items()}
        changed = [f"{name}: {_shown(v)}" for name, v in after.items() if name not in before or before[name] != v]
        rows.append(Translated(key, value, ", ".join(changed), note))
    _space_and_task(theirs, made, rows)
    for key, text in parse_overrides(overrides)[0]:
        set_key(made, key, text)
    try:
        Config.model_validate(made)
    except ValidationError as error:
        lines = "\n  ".join(explain(error, made))
        raise ConfigError(f"{path}: the translation would not be valid:\n  {lines}\nmend that key in {path}") from None
    head = [f"# Made from {path.name}, a configuration of the TF1 tool; what is not translated:"]
    told = (row for row in rows if not row.becomes and not row.note.endswith(NOTHING))
    head += [f"#   {row.key}: {_shown(row.value)}  ({row.note})" for row in told]
    order = [group for group in Config.model_fields if group in made]
    return "\n".join([*head, dump_yaml({group: made[group] for group in order})]), rows


def foreign_file(written: Mapping[Any, Any]) -> list[str]:
    """Keys of a file that only the TF1 tool has; one alone may be a slip."""
    inner = [f"{group}.{name}" for group, own in written.items() if isinstance(own, dict) for name in own]
    known = {".".join(key.split(".")[:2]) for key in KEYS} - keys().keys()
    alone = {key.partition(".")[2] or key for key in known} - groups().keys()
    return [key for key in [*inner, *map(str, written)] if key in (known if "." in key else alone)]


def _flat(value: Any, above: str = "") -> list[tuple[str, Any]]:
    """Their keys in full; lists, and mappings of codes by name, stay values."""
    if not isinstance(value, dict) or above in WHOLE:
        word = value.lower() if isinstance(value, str) and above.endswith(SWITCHES) else ""
        return [(above, word in ("yes", "on", "true") if word else value)]  # booleans of YAML 1.1
    return [pair for name, below in value.items() for pair in _flat(below, f"{above}.{name}" if above else str(name))]


def _shown(value: Any) -> str:
    text = dump_yaml(value).removesuffix("\n").removesuffix("...").strip().replace("\n", " ")
    return text if len(text) <= 60 else text[:57] + "..."


def _translate(key: str, value: Any, theirs: Foreign, made: Groups) -> str:
    if value is None:
        return "not set, " + DEFAULT
    rule = KEYS.get(key)
    if rule is None and "." not in key and (same := [full for full in KEYS if full.endswith(f".{key}")]):
        rule = KEYS[same[0]]  # without its group
    if rule is None:
        return "unknown to import-config: left out"
    if callable(rule):
        return rule(value, theirs, made)
    if rule in keys():
        _put(made, rule, value)
        return ""
    return rule


def _put(made: Groups, key: str, value: Any) -> None:
    group, _, name = key.partition(".")
    default = keys()[key].default
    if isinstance(value, str) and not keys()[key].takes_text and re.fullmatch(r"[-+.\d]+(?:e[-+]?\d+)?", value, re.I):
        value = float(value) if re.search(r"[.e]", value, re.I) else int(value)  # a number in quotes
    as_float = isinstance(value, int) and not isinstance(value, bool) and isinstance(default, float)
    made.setdefault(group, {})[name] = float(value) if as_float else value


# ---- rules ----


def _sintel(value: Any, theirs: Foreign, made: Groups) -> str:
    """The whole of eval.sintel becomes one entry of eval.also."""
    get = {name: theirs.get(f"eval.sintel.{name}") for name in SINTEL}
    if not get["dataset_root"]:
        return "without eval.sintel.dataset_root it is off"
    part = "clean" if "clean" in str(get["sintel_list"]).lower() else "final"
    if get["sintel_list"]:
        made.setdefault("data", {})["roots"] = {"sintel_lists": str(get["sintel_list"])}
    listed = "-val" if get["sintel_list"] else ""
    entry = {"data": f"sintel:{part}{listed}@{get['dataset_root']}", "every_epoch": int(get["eval_every_epoch"] or 5)}
    entry |= {"protocol": "edgeflownet"} | ({"max_samples": int(get["max_samples"])} if get["max_samples"] else {})
    made.setdefault("eval", {})["also"] = [entry]
    return f"one entry of eval.also: the middle 416x1024, its best in best-sintel_{part}{listed}.json"


def _is(usual: Any, instead: str) -> Rule:
    """The usual value is what is done here; for another one there is no key."""
    return lambda value, theirs, made: DEFAULT if value in (usual, None) else instead


def _off_at_zero(key: str) -> Rule:
    def rule(value: Any, theirs: Foreign, made: Groups) -> str:
        _put(made, key, value or None)
        return "0 is off" if not value else ""

    return rule


def _name(value: Any, theirs: Foreign, made: Groups) -> str:
    plain = re.sub(r"[^\w.-]", "_", str(value)).lstrip(".-") or "imported"
    _put(made, "runtime.experiment_name", plain)
    return "" if plain == value else "a name of letters, digits, dot, dash, underscore"


def _gpu(value: Any, theirs: Foreign, made: Groups) -> str:
    _put(made, "train.gpu_device", value or "auto")
    return "" if value else "GPU 0 where there is one, else the CPU"


def _parallel(value: Any, theirs: Foreign, made: Groups) -> str:
    if value != "arch_parallel":
        return DEFAULT
    count = len(str(theirs.get("train.gpu_devices", "0,1,2")).split(","))
    if not _codes(theirs):
        _put(made, "train.distributed", "path")
    return f"start it with: torchrun --nproc_per_node {count} -m edgeflownas train FILE"


def _steps(value: Any, theirs: Foreign, made: Groups) -> str:
    if theirs.get("train.epoch_mode", "fixed_steps") != "fixed_steps":
        return f"ignored with epoch_mode {theirs['train.epoch_mode']}, there as here"
    _put(made, "train.epoch_mode", "fixed_steps")
    _put(made, "train.steps_per_epoch", value)
    return ""


def _epoch_mode(value: Any, theirs: Foreign, made: Groups) -> str:
    if value == "full_pass" and theirs.get("train.train_sampling_mode") == "random":
        _put(made, "train.epoch_mode", "near_full")
        return "draws with replacement are no full pass: as many whole batches as the split holds"
    if value == "fixed_steps" and "train.steps_per_epoch" not in theirs:
        _put(made, "train.steps_per_epoch", 50)
    _put(made, "train.epoch_mode", value)
    return ""


def _sampling(value: Any, theirs: Foreign, made: Groups) -> str:
    _put(made, "train.train_sampling_mode", "random_with_replacement" if value == "random" else value)
    return ""


def _floor(value: Any, theirs: Foreign, made: Groups) -> str:
    rate = float(theirs.get("train.lr") or 1e-4)
    if theirs.get("train.lr_schedule", "cosine") != "cosine":
        return "the floor of a cosine, which this is not"
    _put(made, "train.lr_final_ratio", float(f"{min(float(value) / rate, 1.0):.12g}"))
    return "the floor as a share of lr"


def _schedule(value: Any, theirs: Foreign, made: Groups) -> str:
    if value in ("cosine", "constant"):
        _put(made, "train.lr_schedule", value)
        return ""
    return "there is no such schedule: cosine is taken; see train.lr_schedule (step_decay, one_cycle, fast_anneal)"


def _patience(value: Any, theirs: Foreign, made: Groups) -> str:
    if not value:
        return "0 is off, " + DEFAULT
    _put(made, "eval.early_stop_patience", value)
    return "counts evaluations"


def _distil(value: Any, theirs: Foreign, made: Groups) -> str:
    if not theirs.get("train.distill.enabled"):
        return "distillation is off"
    what = "a subnet is taught here (task distil), a supernet is not" if not _codes(theirs) else "once it is imported"
    return f"{what}: edgeflownas import-tf1 TEACHER.npz --out TEACHER, then --train.task distil --train.teacher TEACHER"


def _folder(split: str) -> Rule:
    def rule(value: Any, theirs: Foreign, made: Groups) -> str:
        if theirs.get("data.dataset") == "FT3D":
            return "FlyingThings3D is found by data.ft3d_flow_base_path"
        base = PurePath(str(theirs.get("data.base_path") or ""))
        inside = PurePath(str(value))
        path = inside if inside.is_relative_to(base) else base / inside
        _put(made, f"data.{split}_dir", path.as_posix())
        return ""

    return rule


def _base(value: Any, theirs: Foreign, made: Groups) -> str:
    if theirs.get("data.dataset") == "FT3D":
        return "FlyingThings3D is found by data.ft3d_flow_base_path"
    for split in ("train", "val"):
        if f"data.{split}_dir" not in theirs:
            _put(made, f"data.{split}_dir", (PurePath(str(value)) / split).as_posix())
    return "before train_dir and val_dir"


def _things(value: Any, theirs: Foreign, made: Groups) -> str:
    """``flying_things3d:clean-train-future@ROOT`` from the folders of frames and flows."""
    if theirs.get("data.dataset") != "FT3D":
        return "data.dataset is not FT3D"
    frames = theirs.get("data.ft3d_frames_base_paths") or []
    frames = [frames] if isinstance(frames, str) else list(frames)
    looks = {look for look in ("clean", "final") for path in frames if f"{look}pass" in str(path)} or {"clean"}
    ways = theirs.get("data.ft3d_directions") or ["into_future", "into_past"]
    way = {word.removeprefix("into_") for word in ([ways] if isinstance(ways, str) else ways)}
    look = "both" if len(looks) == 2 else looks.pop()
    side = f"-{way.pop()}" if len(way) == 1 else ""
    root = PurePath(str(value))
    while root.name and root.name.lower() in ("train", "test", "optical_flow"):
        root = root.parent
    _put(made, "data.train_dir", f"flying_things3d:{look}-train{side}@{root.as_posix()}")
    _put(made, "data.val_dir", f"flying_things3d:{look}-test{side}@{root.as_posix()}")
    return "ROOT holds frames_cleanpass/ (or frames_finalpass/) and optical_flow/"


def _of_things(rule: Rule) -> Rule:
    def only(value: Any, theirs: Foreign, made: Groups) -> str:
        if theirs.get("data.dataset") != "FT3D":
            return "data.dataset is not FT3D"
        return rule(value, theirs, made) if callable(rule) else _translate_to(rule, value, made)

    return only


def _translate_to(key: str, value: Any, made: Groups) -> str:
    if key not in keys():
        return key
    _put(made, key, value)
    return ""


def _augments(value: Any, theirs: Foreign, made: Groups) -> str:
    if not value:
        return "augmentation is off"
    for key, usual in AUGMENTS.values():
        made.setdefault("data", {}).setdefault(key, usual)
    return "with the keys below it; those left out have their usual values"


def _augmented(key: str) -> Rule:
    def rule(value: Any, theirs: Foreign, made: Groups) -> str:
        if not theirs.get("data.ft3d_train_augment.enabled"):
            return "augmentation is off"
        told = {"data.brightness": "a shift here, a factor there", "data.contrast": "about the mean of both images"}
        return _translate_to(key, value, made) or told.get(key, "")

    return _of_things(rule)


def _size(value: Any, theirs: Foreign, made: Groups) -> str:
    sizes = [int(theirs.get(f"data.input_{side}") or usual) for side, usual in (("height", 180), ("width", 240))]
    _put(made, "data.crop_size", sizes)
    return "height and width are one key"


def _workers(value: Any, theirs: Foreign, made: Groups) -> str:
    made.setdefault("data", {}).setdefault("num_workers", value)
    return ""


def _whole(value: Any, theirs: Foreign, made: Groups) -> str:
    if not _codes(theirs):
        return "of single models; a supernet's evaluation is eval_batches_per_arch"
    _put(made, "eval.eval_batches_per_arch", value or ALL_BATCHES)
    return "" if value else "0 is the whole set: more batches than any has"


def _pool(value: Any, theirs: Foreign, made: Groups) -> str:
    if _codes(theirs):
        return "a single model is a pool of one"
    _put(made, "eval.eval_pool_size", value)
    return ""


def _per_arch(value: Any, theirs: Foreign, made: Groups) -> str:
    if _codes(theirs) and "eval.eval_batches" in theirs:
        return "a single model's evaluation is eval_batches"
    _put(made, "eval.eval_batches_per_arch", value)
    return "batches of train.batch_size, there as here"


def _recal(value: Any, theirs: Foreign, made: Groups) -> str:
    _put(made, "eval.bn_recal_batches", value)
    return "batches of train.batch_size, there as here"


_START = "edgeflownas import-tf1 WEIGHTS.npz --out RUN (docs/data.md), then --train.init_from RUN"
_RESUME = f"checkpoints of TensorFlow are not resumed: {_START}; a run of ours: edgeflownas train --resume RUN"
_CODE = "train.arch (see below)"
AUGMENTS: Mapping[str, tuple[str, Any]] = {  # ours, and the usual value
    "min_scale": ("scale_min", -0.4),
    "max_scale": ("scale_max", 0.8),
    "spatial_aug_prob": ("scale_probability", 0.8),
    "stretch_prob": ("stretch_probability", 0.8),
    "max_stretch": ("stretch", 0.2),
    "h_flip_prob": ("horizontal_flip", 0.5),
    "v_flip_prob": ("vertical_flip", 0.1),
    "brightness": ("brightness", 0.4),
    "contrast": ("contrast", 0.4),
    "saturation": ("saturation", 0.4),
    "asymmetric_color_aug_prob": ("asymmetric_colour", 0.2),
    "eraser_aug_prob": ("eraser", 0.5),
    "eraser_min_size": ("eraser_min", 50),
    "eraser_max_size": ("eraser_max", 100),
}
DISTIL = ("enabled", "lambda", "teacher_type", "teacher_ckpt", "teacher_arch_code", "layer_weights")
SINTEL = ("dataset_root", "sintel_list", "patch_size", "eval_every_epoch", "max_samples", "ckpt_name")
WHOLE = ("arch_codes", "model_names", "model_variants", "arch_code", "model_name")
KEYS: Mapping[str, Rule] = {
    "runtime.experiment_name": _name,
    "runtime.output_root": "runtime.output_root",
    "runtime.seed": "runtime.seed",
    "train.gpu_device": _gpu,
    "train.gpu_devices": "torchrun takes one GPU after the other from train.gpu_device on",
    "train.multi_gpu_mode": _parallel,
    "train.num_epochs": "train.num_epochs",
    "train.epoch_mode": _epoch_mode,
    "train.steps_per_epoch": _steps,
    "train.train_sampling_mode": _sampling,
    "train.train_crop_mode": _is("random", "training crops are random here"),
    "train.batch_size": "train.batch_size",
    "train.micro_batch_size": _off_at_zero("train.micro_batch_size"),
    "train.lr": "train.lr",
    "train.lr_min": _floor,
    "train.optimizer": _is("adam", "Adam is the one optimiser here"),
    "train.lr_schedule": _schedule,
    "train.weight_decay": "train.weight_decay",
    "train.grad_clip_global_norm": _off_at_zero("train.grad_clip_global_norm"),
    "train.supernet_mode": "fair cycles of every space follow from its options: nothing to set",
    "train.uncertainty_type": _is("LinearSoftplus", "the loss here is LinearSoftplus"),
    "train.early_stop_patience": _patience,
    **dict.fromkeys(
        (f"train.distill.{n}" for n in DISTIL),
        _distil,
    ),
    "data.dataset": _is("FC2", "FlyingThings3D: see data.ft3d_flow_base_path"),
    "data.base_path": _base,
    "data.train_dir": _folder("train"),
    "data.val_dir": _folder("val"),
    "data.input_height": _size,
    "data.input_width": _size,
    "data.flow_channels": _is(2, "flow has two channels, and the network two of uncertainty"),
    "data.fc2_num_workers": _workers,
    "data.fc2_eval_num_workers": "evaluation samples are read once and held in memory",
    "data.prefetch_batches": _off_at_zero("data.prefetch_batches"),
    "data.eval_prefetch_batches": "evaluation samples are read once and held in memory",
    "data.ft3d_frames_base_paths": _of_things("with data.ft3d_flow_base_path"),
    "data.ft3d_flow_base_path": _things,
    "data.ft3d_directions": _of_things("with data.ft3d_flow_base_path"),
    "data.ft3d_flow_divisor": _of_things("data.flow_divisor"),
    "data.ft3d_num_workers": _of_things(_workers),
    "data.ft3d_excluded_flow_paths": _of_things("data.exclude"),
    "data.ft3d_train_augment.enabled": _of_things(_augments),
    **{f"data.ft3d_train_augment.{name}": _augmented(f"data.{ours}") for name, (ours, _) in AUGMENTS.items()},
    "eval.eval_every_epoch": "eval.eval_every_epoch",
    "eval.eval_pool_size": _pool,
    "eval.bn_recal_batches": _recal,
    "eval.eval_batches_per_arch": _per_arch,
    "eval.eval_batches": _whole,
    "eval.early_stop_patience": _patience,
    "eval.early_stop_min_delta": "eval.early_stop_min_delta",
    **dict.fromkeys(
        (f"eval.sintel.{n}" for n in SINTEL),
        _sintel,
    ),
    "checkpoint.load_checkpoint": _is(False, _RESUME),
    "checkpoint.resume_experiment_name": _is("", _RESUME),
    "checkpoint.reset_early_stop_on_resume": "a resume that changes eval.* begins best and early stop anew",
    "checkpoint.resume_ckpt_name": "a resume takes the newest checkpoint; a fork also RUN@best",
    "checkpoint.init_mode": _is("none", _START),
    "checkpoint.init_experiment_dir": _is("", _START),
    "checkpoint.init_ckpt_name": "RUN@best or RUN@latest behind train.init_from",
    "arch_code": _CODE,
    "arch_codes": _CODE,
    "model_name": "train.arch_name (see below)",
    "model_names": "train.arch_name (see below)",
    "model_variants": "variants of one model are archs here: give their codes as train.arch",
    "backbone_arch_code": "a backbone alone is no arch: give the whole code as train.arch",
}  # fmt: skip


# ---- space and task, from codes and names ----


def _codes(theirs: Foreign) -> dict[str, str]:
    """Arch codes of single models by name ("" without one)."""
    given = theirs.get("arch_codes") or theirs.get("arch_code")
    names = theirs.get("model_names") or theirs.get("model_name") or []
    names = names if isinstance(names, list) else [names] if isinstance(names, str) else []
    if isinstance(given, Mapping):
        return {str(name): _code(code) for name, code in given.items()}
    if isinstance(given, list) and given and all(isinstance(part, int) for part in given):
        given = [given]
    codes = [_code(code) for code in (given if isinstance(given, list) else [given] if given else [])]
    names = names if len(names) == len(codes) else [""] if len(codes) == 1 else [f"model{i}" for i in range(len(codes))]
    return dict(zip(map(str, names), codes, strict=True))


def _code(value: Any) -> str:
    digits = value if isinstance(value, list) else re.findall(r"\d", str(value))
    return ",".join(map(str, digits))


def _space_and_task(theirs: Foreign, made: Groups, rows: list[Translated]) -> None:
    """The space is not in their files: it follows from the number of digits, and from v1, v2, v3 in the names."""
    codes = _codes(theirs)
    names = " ".join(
        str(theirs.get(key, "")) for key in ("runtime.experiment_name", "runtime.output_root", "model_name")
    )
    said = re.findall(r"(?<![a-z0-9])v([123])(?![0-9])", names.lower())
    space = f"v{said[-1]}" if said else "v1"
    note = f"{space} by the names" if said else "v1 unless you say otherwise (--train.space v2)"
    if codes:
        digits = {code.count(",") + 1 for code in codes.values()}
        if digits == {9}:
            space, note = "v1", "nine digits"
        elif digits == {11} and space == "v1":
            space, note = "v3", "eleven digits are v3 unless you say otherwise (--train.space v2)"
        train = made.setdefault("train", {})
        train |= {"task": "standalone", "arch": list(codes.values())}
        if len(codes) > 1:
            train["arch_name"] = [
                re.sub(r"[^\w.-]", "_", name).lstrip(".-") or f"model{i}" for i, name in enumerate(codes)
            ]
        shown = f"train.task: standalone, train.arch: {_shown(train['arch'])}"
        rows.append(Translated("arch_code", "; ".join(codes.values()), shown, ""))
    elif "edgeflownet" in str(theirs.get("model_name", "")).lower().replace("_", ""):
        made.setdefault("train", {}).update({"task": "edgeflownet"})
        rows.append(Translated("model_name", theirs["model_name"], "train.task: edgeflownet", ""))
        return
    _put(made, "train.space", space)
    rows.append(Translated("(search space)", None, f"train.space: {space}", note))
