"""The command table, error printing, exit codes and start-up time."""

from __future__ import annotations

import importlib.metadata
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from cyclopts import App

from edgeflownas import cli
from edgeflownas.commands._shared import Overrides
from edgeflownas.config import Config
from edgeflownas.config.load import load_config
from edgeflownas.errors import BadSample, ConfigError, Interrupted, NonFiniteError, StorageError

HEAVY = ("torch", "numpy", "pydantic", "cv2", "ruamel", "scipy", "matplotlib")


def run_fresh(*argv: str) -> subprocess.CompletedProcess[str]:
    """The command line in a new interpreter; the last line of stderr names the heavy modules it imported."""
    code = (
        "import sys; from edgeflownas.cli import run; code = run(sys.argv[1:]);"
        f"print(*[m for m in {HEAVY} if m in sys.modules], file=sys.stderr); sys.exit(code)"
    )
    return subprocess.run([sys.executable, "-c", code, *argv], capture_output=True, text=True, timeout=60)


def test_help_lists_every_command_and_imports_nothing_heavy() -> None:
    result = run_fresh("--help")
    assert result.returncode == 0
    for name, _, _ in cli.COMMANDS:
        assert f" {name} " in result.stdout
    assert result.stderr.strip() == ""


def test_version_and_unknown_commands_import_nothing_heavy() -> None:
    result = run_fresh("--version")
    assert result.stdout.strip() == importlib.metadata.version("edgeflownas")
    assert result.stderr.strip() == ""
    result = run_fresh("trian", "smoke")
    assert result.returncode == 64
    assert result.stderr.startswith("error: unknown command 'trian'")
    assert result.stderr.endswith("did you mean 'train'?\n\n")


def test_help_is_fast() -> None:
    """The best of three within 0.5 s of processor time (the wall clock depends on who else is at work)."""
    code = "import sys, time, edgeflownas.cli as c; c.run(['--help']); sys.stderr.write(str(time.process_time()))"
    times = []
    for _ in range(3):
        result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
        times.append(float(result.stderr))
        if times[-1] < 0.5:
            return
    pytest.fail(f"--help took {times} s of processor time")


@pytest.mark.e2e  # a process of its own
def test_configuration_errors_come_before_torch() -> None:
    result = run_fresh("train", "smoke", "--train.lr_schedule", "cosin")
    assert result.returncode == 64, result.stderr
    assert "torch" not in result.stderr.splitlines()[-1].split()


@pytest.mark.e2e  # a process of its own
def test_module_entry_point() -> None:
    result = subprocess.run([sys.executable, "-m", "edgeflownas", "recipes", "list"], capture_output=True, text=True)
    assert result.returncode == 0
    assert any(line.startswith("smoke ") for line in result.stdout.splitlines())


def test_main_exits_with_the_code(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["config", "kez"])
    assert caught.value.code == 64
    assert "unknown command 'kez'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (ConfigError("bad key"), 64, "error: bad key\n"),
        (BadSample("a.flo", "truncated"), 65, "error: a.flo: truncated\n"),
        (NonFiniteError("nan"), 70, "error: nan\n"),
        (StorageError("disk"), 74, "error: disk\n"),
        (Interrupted("committed"), 75, "error: committed\n"),
        (FileNotFoundError(2, "No such file or directory", "x/y"), 74, "error: x/y: No such file or directory\n"),
        (KeyboardInterrupt(), 130, "error: interrupted\n"),
    ],
)
def test_errors_become_one_line_and_a_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: BaseException, code: int, text: str
) -> None:
    def fail(tokens: list[str]) -> None:
        raise error

    monkeypatch.setattr(cli, "call", fail)
    monkeypatch.delenv("EDGEFLOWNAS_DEBUG", raising=False)
    assert cli.run([]) == code
    assert capsys.readouterr().err == text
    monkeypatch.setenv("EDGEFLOWNAS_DEBUG", "1")
    assert cli.run([]) == code
    assert "Traceback" in capsys.readouterr().err


def test_our_own_bugs_are_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(tokens: list[str]) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(cli, "call", fail)
    with pytest.raises(ZeroDivisionError):
        cli.run([])


def test_a_closed_pipe_is_no_error() -> None:
    command = f"{sys.executable} -m edgeflownas config schema | head -c 1; exit ${{PIPESTATUS[0]}}"
    result = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert result.stderr == ""
    assert result.returncode in (0, 141)  # 0 where the pipe held all of it before head went away


def test_print_config_is_a_recipe(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--print-config", "--train.lr", "5e-5", "--data.crop_size=64x96"]
    assert cli.run(["train", "smoke", *arguments]) == 0
    path = tmp_path / "printed.yaml"
    path.write_text(capsys.readouterr().out)
    config = load_config("smoke", ["--train.lr=5e-5", "--data.crop_size=64x96"])
    assert load_config(path) == config
    assert cli.run(["train", "--config", "smoke", "--json", *arguments]) == 0
    assert Config(**json.loads(capsys.readouterr().out)) == config


def test_print_config_of_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "config.yaml").write_text("train: {width: 4}\n")
    assert cli.run(["train", "--resume", str(tmp_path), "--print-config", "--eval.pictures", "0"]) == 0
    printed = capsys.readouterr().out
    assert "width: 4" in printed
    assert "pictures: 0" in printed


@pytest.mark.parametrize(
    ("line", "parts"),
    [
        ("train", ["give a recipe (", "smoke, supernet", "--resume RUN_DIRECTORY"]),
        ("train smoke --resume runs/a", ["recipe smoke and --resume runs/a exclude each other"]),
        ("train --resume runs/a@best", ["newest checkpoint", "--fork NEW_NAME", "--resume runs/a"]),
        ("train continue_fork", ["continue_fork", "--resume RUN --fork NEW_NAME"]),
        ("train supernet_fc2_clip_sweep", ["edgeflownas sweep supernet_fc2_clip_sweep"]),
        ("sweep", ["give one recipe"]),
        ("sweep smoke supernet_fc2_180x240", ["one recipe expected"]),
        ("sweep smoke --sed 0,1", ["unknown option --sed", "did you mean --seeds?"]),
        ("train smoke --config smoke", ["given twice"]),
        ("train smoke --fork b", ["--fork b needs --resume"]),
        ("train --resume runs/a --reset-optimizer", ["--reset-optimizer needs --fork"]),
        ("train smoke --max-seconds soon", ["--max-seconds", "soon"]),
        ("train smoke --resum runs/a", ["unknown option --resum", "did you mean --resume?"]),
        ("train no/such.yaml", ["no/such.yaml not found"]),
        ("config keys --jsn", ["--jsn", "--json"]),
        ("config keys nothing_like_it", ["no key contains 'nothing_like_it'"]),
        ("recipes show smok", ["did you mean 'smoke'?"]),
    ],
)
def test_usage_errors(line: str, parts: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(line.split()) == 64
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    for part in parts:
        assert part in captured.err


@pytest.fixture
def go(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command `go` with overrides, and `plain` without."""
    app = App(exit_on_error=False, print_error=False)
    monkeypatch.setattr(cli, "app", app)

    @app.command
    def go(recipe=None, /, *, config=None, resume: Path | None = None, dry_run=False, overrides: Overrides = ()):  # type: ignore[no-untyped-def]
        """Go.

        Example: go RECIPE

        Args:
            recipe: recipe, or a file.
        """
        return recipe or config, resume and str(resume), dry_run, list(overrides)

    @app.command
    def plain(place: str) -> str:
        return place


@pytest.mark.usefixtures("go")
@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("smoke", ("smoke", None, False, [])),
        ("smoke --train.lr 5e-5", ("smoke", None, False, ["--train.lr=5e-5"])),
        ("--train.lr 5e-5 smoke", ("smoke", None, False, ["--train.lr=5e-5"])),
        ("--config smoke --train.lr=5e-5 --dry-run", ("smoke", None, True, ["--train.lr=5e-5"])),
        ("smoke --train.gpu_device -1 --dry-run", ("smoke", None, True, ["--train.gpu_device=-1"])),
        ("--resume runs/a --eval.pictures 0", (None, "runs/a", False, ["--eval.pictures=0"])),
        ("smoke --data.crop_size [96,128]", ("smoke", None, False, ["--data.crop_size=[96,128]"])),
        ("a/b.yaml --data.train_dir a=b", ("a/b.yaml", None, False, ["--data.train_dir=a=b"])),
        ("smoke --foo.bar 3", ("smoke", None, False, ["--foo.bar=3"])),
    ],
)
def test_overrides_are_told_from_the_rest(line: str, expected: tuple[object, ...]) -> None:
    assert cli.call(["go", *line.split()]) == expected


@pytest.mark.usefixtures("go")
@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("go --resum runs/a", "unknown option --resum .*did you mean --resume"),
        ("go smoke --dryrun", "did you mean --dry-run"),
        ("go smoke --lr 3", "unknown option --lr; did you mean --train.lr"),
        ("go smoke --batch-sise 3", "did you mean --(train|eval).batch_size"),
        ("go smoke --train 3", "--train is a group of keys"),
        ("go smoke -x", r"unknown option -x \(options: --config, --resume, --dry-run, --help; keys: "),
        ("go smoke other", "one recipe expected, got smoke and other: overrides look like --train.lr 5e-5"),
        ("go smoke --train.channels_last", "--train.channels_last needs a value.*true or false"),
        ("go smoke --train.lrr", "--train.lrr needs a value: write"),
        ("plain a --train.lr 3", "Unknown option: --train.lr"),
        ("plain a b", "Unused Tokens"),
    ],
)
def test_what_is_neither_is_refused(line: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(line.split()) == 64
    assert re.search(message, capsys.readouterr().err)


VERBS = [name for name, target, _ in cli.COMMANDS if not target.endswith(":app")]


@pytest.mark.parametrize("name", VERBS)
def test_help_pages_come_from_signature_and_docstring(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Positional arguments in the usage line, one example, and every parameter with what it means."""
    assert cli.run([name, "--help"]) == 0
    usage, _, page = capsys.readouterr().out.partition("\n")
    arguments = cli.app[name].assemble_argument_collection(parse_docstring=True)
    places = [argument.name.lstrip("-").upper() for argument in arguments if argument.index is not None]
    assert re.findall("[A-Z]{2,}", usage) == [*places, "OPTIONS"]
    assert page.count("Example: edgeflownas ") == 1
    assert [argument.name for argument in arguments if not argument.parameter.help] == []


@pytest.mark.e2e  # a process of its own
def test_help_of_commands_imports_nothing_heavy() -> None:
    code = (
        f"import sys; from edgeflownas.cli import run; pages = {[*VERBS, 'data check']};"
        "assert not any([run([*page.split(), '--help']) for page in pages]);"
        f"print(*[m for m in {HEAVY} if m in sys.modules], file=sys.stderr)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (result.returncode, result.stderr.strip()) == (0, "")


def test_a_sweep_is_one_process(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert cli.run(["sweep", "smoke", "--seeds", "0,1"]) == 64
    assert "one process" in capsys.readouterr().err


def test_config_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["config", "keys", "grad_clip", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["key"] for row in rows] == ["train.grad_clip_global_norm", "train.grad_clip_position"]
    assert cli.run(["config", "keys", "grad_clip"]) == 0
    assert capsys.readouterr().out.startswith("train.grad_clip_global_norm = 200.0  [dynamics;")
    assert cli.run(["config", "schema"]) == 0
    schema = json.loads(capsys.readouterr().out)
    assert set(schema["properties"]) == {*Config.model_fields, "sweep", "fork"}
    assert cli.run(["config", "docs"]) == 0
    page = capsys.readouterr().out
    assert cli.run(["config", "docs", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"markdown": page}


def test_recipes_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.run(["recipes", "list", "--json"]) == 0
    assert "smoke" in [row["name"] for row in json.loads(capsys.readouterr().out)]
    assert cli.run(["recipes", "copy", "smoke"]) == 0
    assert Path("smoke.yaml").read_text() == Path(load_path("smoke")).read_text()
    assert cli.run(["recipes", "copy", "smoke"]) == 64
    assert "smoke.yaml exists and is not overwritten" in capsys.readouterr().err
    assert cli.run(["recipes", "copy", "smoke", "missing/folder.yaml"]) == 74
    assert capsys.readouterr().err == "error: missing/folder.yaml: No such file or directory\n"
    assert cli.run(["recipes", "show", "smoke"]) == 0
    assert capsys.readouterr().out == Path("smoke.yaml").read_text()
    assert cli.run(["recipes", "show", "smoke", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["config"]["train"]["width"] == 8


def load_path(name: str) -> str:
    from edgeflownas.config.load import find_recipe

    return str(find_recipe(name))
