"""What the commands share: types of their parameters, printing, folders of runs, and asking before long work.

Imported by every command and by cli.py, so nothing heavy is imported here.
"""

from __future__ import annotations

import inspect
import io
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter, Token

from edgeflownas.errors import ConfigError, StorageError

if TYPE_CHECKING:
    from edgeflownas.report.table import Table
    from edgeflownas.train.loop import Front

    Blocks = Sequence[str | Table]

LARGEST = 10**12
UNITS = {"": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}
ASK_SECONDS, REFUSE_SECONDS = 60, 600


def _whole_number(least: int) -> Parameter:
    """Strict, because cyclopts takes 1.5 for 2."""

    def read(type_: Any, tokens: Sequence[Token]) -> int:
        text = tokens[0].value
        number = int(text) if text.isascii() and text.isdecimal() and len(text) < 20 else -1
        if not least <= number <= LARGEST:
            expected = f"a whole number from {least} to {LARGEST}, such as 50"
            raise ConfigError(f"{tokens[0].keyword} {text} must be {expected}")
        return number

    return Parameter(converter=read)


def read_size(text: str, option: str = "--size") -> tuple[int, int]:
    """Rows and columns, px.  Raises ConfigError."""
    sides = text.split("x")
    if len(sides) != 2 or not all(side.isascii() and side.isdecimal() and len(side) < 10 for side in sides):
        raise ConfigError(f"{option} {text!r} must be rows x columns in px, such as 180x240")
    return int(sides[0]), int(sides[1])


def _read_bytes(type_: Any, tokens: Sequence[Token]) -> int:
    text = tokens[0].value
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?) ?([KMGT]?I?B?)", text.strip().upper())
    unit = None if match is None else match[2] if match[2].endswith("B") or not match[2] else f"{match[2]}B"
    if match is None or unit not in UNITS or float(match[1]) * UNITS[unit] < 1:
        raise ConfigError(f"{tokens[0].keyword} {text!r} must be a size such as 8GB, 500MB or 900KiB")
    return int(float(match[1]) * UNITS[unit])


def require_writable(out: Path, option: str = "--out") -> None:
    """Before long work that ends in a file.  Raises StorageError where it cannot be written."""
    remedy = f"give another {option}"
    if not out.parent.is_dir():
        raise StorageError(f"{out}: cannot be written: there is no folder {out.parent}; make it, or {remedy}")
    if out.is_dir() or not os.access(out.parent, os.W_OK):
        raise StorageError(f"{out}: cannot be written: a folder, or in one that is read-only; {remedy}")
    if out.exists() and not out.is_file():  # replacing a pipe or a device would take it away from everybody
        raise StorageError(f"{out}: cannot be written: a pipe or a device stands there; {remedy}")


def _read_csv_place(type_: Any, tokens: Sequence[Token]) -> Path:
    """Refused at once, not after the work."""
    place = Path(tokens[0].value)
    require_writable(place, tokens[0].keyword or "--csv")
    return place


WholeNumber = Annotated[int, _whole_number(1)]
FromZero = Annotated[int, _whole_number(0)]
Size = Annotated[
    tuple[int, int],
    Parameter(
        converter=lambda type_, tokens: read_size(tokens[0].value, tokens[0].keyword),
        n_tokens=1,
        metavar="ROWSxCOLUMNS",
    ),
]
Bytes = Annotated[int, Parameter(converter=_read_bytes, metavar="SIZE")]
Csv = Annotated[Path, Parameter(converter=_read_csv_place, help="also write the (first) table to this CSV file.")]
Paths = Annotated[list[Path], Parameter(consume_multiple=True)]
# Configuration overrides as ``--group.key=value``; cli.py fills them in.
Overrides = Annotated[
    tuple[str, ...], Parameter(name="--GROUP.KEY", parse=False, show=True, show_default=False, metavar="VALUE")
]
AnyKey = Annotated[
    Overrides, Parameter(help="any configuration key, such as --train.lr 5e-5 (edgeflownas config keys lists them).")
]
OtherKeys = Annotated[
    Overrides,
    Parameter(help="configuration keys that are others here, such as --data.val_dir DIR where the data moved."),
]
Json = Annotated[bool, Parameter(help="machine-readable result on stdout.")]


def example(command: Callable[..., object]) -> str:
    """The example line of a command's docstring, which its help page shows and refusals quote; empty without one."""
    found = re.search(r"^Example: (.*)$", inspect.getdoc(command) or "", re.MULTILINE)
    return found[1] if found else ""


def is_run(path: Path) -> bool:
    """Whether an argument names a run: a run directory, weights of the package, or an npz file of TF1 weights."""
    return is_package_weights(path) or path.suffix == ".npz" or (path / "run_manifest.json").exists()


def is_package_weights(path: Path | None) -> bool:
    """Whether an argument is ``weights:NAME``; as run/weights.py says it, which is too heavy to import here."""
    return str(path).startswith("weights:")


def beside(run: Path, name: str, checkpoint: str = "latest") -> Path:
    """Where results of a run go: in its folder; of weights:NAME in NAME-``name`` here."""
    name += "" if checkpoint == "latest" else f"-{checkpoint}"
    return Path(f"{run.name.partition(':')[2]}-{name}") if is_package_weights(run) else run / name


def calibrated_elsewhere(run: Path | None, calibration_data: str | None, overrides: Sequence[str]) -> tuple[str, ...]:
    """The overrides with --calibration-data, which only weights of the package take.  Raises ConfigError."""
    if calibration_data is None:
        return tuple(overrides)
    if not is_package_weights(run):
        raise ConfigError(
            f"--calibration-data {calibration_data} is for weights:NAME; other runs are calibrated on their training "
            "data, and --data.train_dir says where these are"
        )
    return (*overrides, f"--data.train_dir={calibration_data}")


def named_recipe(positional: str | None, option: str | None) -> str | None:
    """The recipe given as the first argument or by --config.  Raises ConfigError for both."""
    if positional is not None and option is not None:
        raise ConfigError(f"recipe given twice, as {positional} and as --config {option}: give one")
    return option if positional is None else positional


def print_json(document: Any) -> None:
    """A machine-readable result.  Raises ValueError for NaN and infinities, which JSON does not know."""
    import json

    print(json.dumps(document, indent=2, allow_nan=False))


def emit(
    document: Any,
    view: Callable[[Any], Blocks],
    json: bool,
    csv: Path | None = None,
    show: Callable[[Blocks], object] | None = None,
) -> dict[str, Path]:
    """Print a result: as JSON, or its ``view`` by ``show``; its first table as CSV.  Gives the files by name."""
    blocks = [] if json and csv is None else view(document)
    if json:
        print_json(document)
    elif show is not None:
        show(blocks)
    elif sys.stdout.isatty():
        from edgeflownas.report.console import Console

        Console(sys.stdout).tell(blocks)
    else:
        from edgeflownas.report.table import text_of

        print(text_of(blocks))
    return {} if csv is None else {"csv": write_table(blocks, csv)}


def write_table(blocks: Blocks, path: Path) -> Path:
    """The first table of ``blocks`` as CSV; of none an empty file."""
    from edgeflownas.files import replace_file

    content = next((block.csv() for block in blocks if not isinstance(block, str)), b"")
    replace_file(path.resolve(), [content])  # what a link leads to, not the link
    return path


def text_width(plain: int) -> int:
    """Columns of stdout, ``plain`` where it is no terminal."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else plain


def named_runs(given: Iterable[Path], histories: bool = False) -> dict[str, Path]:
    """The runs given, by name and in order; a folder that is none stands for those right below it.

    A run is called after its folder, or as it was given where two folders are called alike.  With ``histories`` files
    and folders with an eval_history.csv count too.  Raises ConfigError: one named twice; StorageError: a folder that is
    neither a run nor a folder of runs.
    """

    def is_one(path: Path) -> bool:
        if (path / "run_manifest.json").exists() or not histories:
            return (path / "run_manifest.json").exists()
        from edgeflownas.report.logs import history_files

        return bool(history_files(path))

    paths: list[Path] = []
    for path in given:
        found = [path]
        if path.is_dir() and not is_one(path):
            found = sorted(
                child for child in path.glob("*") if child.is_dir() and child.name[0] != "." and is_one(child)
            )
            if not found:
                histories_too = ", nor a folder with a history or a log, nor a folder of runs"
                others = histories_too if histories else " nor a folder of some"
                raise StorageError(f"{path}: neither a run directory (no run_manifest.json){others}")
        for run in found:
            if run.resolve() in [known.resolve() for known in paths]:
                raise ConfigError(f"{run} is given twice: name each run once")
            paths.append(run)
    files = [path.stem in ("eval_history", "eval_epe_history", "train") and path.is_file() for path in paths]
    folders = [path.resolve().parent if file else path.resolve() for path, file in zip(paths, files, strict=True)]
    names = [folder.name if folder.is_dir() else folder.stem for folder in folders]
    return {name if names.count(name) == 1 else str(path): path for name, path in zip(names, paths, strict=True)}


def may_begin(seconds: float, shorter: str, processes: int = 1) -> bool:
    """Whether work estimated to take ``seconds`` may begin: at once below a minute, else as the terminal answers.

    Without a terminal (torchrun's processes have none of their own) it begins, unless it takes over ten minutes:
    ConfigError, which names --yes and what makes the work ``shorter``.
    """
    if seconds < ASK_SECONDS:
        return True
    if _is_asked(processes):
        print("go on? [y/N] ", end="", file=sys.stderr, flush=True)
        return sys.stdin.readline().strip().lower() in ("y", "yes")
    if seconds > REFUSE_SECONDS:
        from edgeflownas.report.table import duration

        raise ConfigError(f"estimated {duration(seconds)}, and nobody is there to ask: add --yes, or {shorter}")
    return True


def _is_asked(processes: int) -> bool:
    return processes == 1 and sys.stdin.isatty() and sys.stderr.isatty()


def standard_front() -> Front:
    """What training shows: progress on stderr, TensorBoard, comparison pictures, the page of the run."""
    from edgeflownas.report.console import Console, Tracker
    from edgeflownas.report.pictures import draw
    from edgeflownas.train.loop import Front

    def console(log: Callable[[str], None] | None) -> Console:
        return Console(io.StringIO(), plain=True) if log is None else Console(log=log)

    return Front(console=console, tracker=Tracker, draw=draw, report=_report)


def _report(run: Path) -> None:
    from edgeflownas.report.page import write_report

    write_report({run.resolve().name: run}, run / "report.html")
