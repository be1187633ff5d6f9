"""The command table, how a command line is read, and how errors reach the user.

Commands are registered by import string: ``edgeflownas --help`` imports none of them (no torch, numpy or pydantic).
A command's signature and docstring say all there is to know about it: what it takes, its help page, most refusals.
"""

import difflib
import os
import re
import sys
from collections.abc import Callable, Sequence
from inspect import Parameter as PythonParameter
from inspect import signature
from typing import NoReturn

import cyclopts

from edgeflownas.commands._shared import example
from edgeflownas.errors import UserError

COMMANDS = (
    ("plan", "plan:plan", "Show what a run will do, cost and cover, before it is trained."),
    ("train", "train:train", "Train a supernet from a recipe, or resume a run."),
    ("sweep", "sweep:sweep", "Train variants of a run one after the other and compare them."),
    ("evaluate", "evaluate:evaluate", "Evaluate a run on its frozen set, or anything on any data set by protocol."),
    ("rank", "rank:rank", "Rank the whole search space of a supernet run, with the cost of every subnet."),
    ("export", "export:export", "Write a subnet for a device: int8, compiled, verified, with what firmware needs."),
    ("verify", "verify:verify", "Check an exported folder again: hashes, test vectors, and against its run."),
    ("profile", "profile:profile", "What a subnet or a whole space costs: weights, operations, memory, time."),
    ("pareto", "pareto:pareto", "Choose subnets from a ranking: front, ties, shortlist, what each choice is worth."),
    ("search", "search:search", "Search a space that is too large to rank, by NSGA-II or a baseline."),
    ("fit-target", "fit_target:fit_target", "Find subnets and image sizes that fit a chip's memory and a frame rate."),
    ("vela", "vela:vela", "Compile int8 models for an Arm Ethos-U: time, SRAM and flash, layer by layer."),
    ("compare", "compare:compare", "Put runs and their results into one table, never mixing protocols."),
    ("noise", "noise:noise", "What an evaluation of a run can tell apart, and how much the training seed matters."),
    ("trust", "trust:trust", "How far a supernet's ranking holds for subnets that are trained alone."),
    ("diagnose", "diagnose:diagnose", "Say what limits a run: findings with evidence, and what to try."),
    ("report", "report:report", "Write one HTML page about a run, or several: verdict, curves, subnets, pictures."),
    ("infer", "infer:infer", "Estimate the flow of an image pair, a folder of frames or a video."),
    ("status", "status:status", "List the runs below a folder: state, step, best, time left."),
    ("data", "data:app", "Check, measure or generate a data set."),
    ("recipes", "recipes:app", "List, show or copy the packaged recipes."),
    ("weights", "weights:app", "List the trained networks that come with the package."),
    ("config", "config:app", "List the configuration keys; JSON schema and docs page made from them."),
    ("import-config", "import_config:import_config", "Translate a configuration of the TensorFlow 1 tool."),
    ("import-tf1", "import_tf1:import_tf1", "Make a run out of TensorFlow 1 weights."),
)
_OVERRIDE = re.compile(r"--[^=]*\.")  # --GROUP.KEY VALUE or --GROUP.KEY=VALUE
EXIT_USAGE, EXIT_IO, EXIT_SIGINT, EXIT_PIPE = 64, 74, 130, 141


def _version() -> str:
    from importlib.metadata import version

    return version("edgeflownas")


app = cyclopts.App(
    name="edgeflownas",
    help="Train one weight-sharing supernet of tiny optical-flow networks, rank its subnets, ship one.",
    help_epilogue="Start with: edgeflownas recipes list. Configuration keys: edgeflownas config keys.",
    version=_version,
    default_parameter=cyclopts.Parameter(negative=()),
    exit_on_error=False,
    print_error=False,
)
for _name, _target, _text in COMMANDS:
    app.command(f"edgeflownas.commands.{_target}", name=_name, help=_text)


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Entry point of the ``edgeflownas`` command: run it and exit with its code."""
    sys.exit(run(argv))


def run(argv: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code; errors that the user can mend are printed, not raised."""
    tokens = list(sys.argv[1:] if argv is None else argv)
    try:
        code = call(tokens)
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except UserError as error:
        return _fail(str(error), error.exit_code)
    except cyclopts.CycloptsError as error:
        if isinstance(error.__cause__, UserError):  # of a parameter's own type
            return _fail(str(error.__cause__), error.__cause__.exit_code)
        return _fail(_refusal(error), EXIT_USAGE)
    except BrokenPipeError:  # the reader of a pipe (head) went away; nothing is wrong here
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_PIPE
    except OSError as error:
        if error.filename is None:
            raise
        return _fail(f"{error.filename}: {error.strerror or error}", EXIT_IO)
    except KeyboardInterrupt:
        return _fail("interrupted", EXIT_SIGINT)


def _fail(message: str, code: int) -> int:
    if os.environ.get("EDGEFLOWNAS_DEBUG") == "1":
        import traceback

        traceback.print_exc()
    print(f"error: {message}", file=sys.stderr)
    return code


def call(tokens: Sequence[str]) -> object:
    """What the command gives back; configuration overrides go to its parameter ``overrides``, where it has one."""
    words = [token for token in tokens if token not in ("--help", "-h")]
    names, apps, _ = app.parse_commands(words)
    asked = apps[-1]
    configured = asked.default_command is not None and "overrides" in signature(asked.default_command).parameters
    rest, pairs = list(tokens), list[tuple[str, str]]()
    if len(words) < len(tokens):
        _complete_help(names, asked)
    elif configured and any(_OVERRIDE.match(token) for token in tokens):
        # cyclopts cannot read them: the keys live in the configuration models, imported only when they are needed.
        from edgeflownas.config.load import parse_overrides

        pairs, rest = parse_overrides(tokens)
    command, bound, _ = app.parse_args(rest)
    if pairs:
        bound.arguments["overrides"] = tuple(f"--{key}={value}" for key, value in pairs)
    return command(*bound.args, **bound.kwargs)


def _complete_help(names: Sequence[str], command: cyclopts.App) -> None:
    """Let the help page of a command show its whole docstring, and its positional arguments in the usage line."""
    if command.default_command is None:
        return
    command.help = None  # else the line of the command table
    arguments = command.assemble_argument_collection()
    if not any(argument.required and argument.index is None for argument in arguments):
        places = [_placeholder(argument) for argument in arguments if argument.index is not None]
        command.usage = " ".join(["Usage: edgeflownas", *names, *places, "[OPTIONS]"])


def _placeholder(argument: cyclopts.Argument) -> str:
    """``RUN``, ``[RUN]`` where it may be left out, ``RUNS ...`` for any number."""
    label = argument.name.lstrip("-").upper()
    if argument.field_info.kind is PythonParameter.VAR_POSITIONAL:
        return f"{label} ..."
    return label if argument.required else f"[{label}]"


def _refusal(error: cyclopts.CycloptsError) -> str:
    """The sentence for a command line that does not fit the signature: ours where cyclopts's would not help."""
    if isinstance(error, cyclopts.UnknownCommandError) and error.app is not None and error.unused_tokens:
        # cyclopts would import every command to write its own message.
        token = error.unused_tokens[0]
        names = [name for name in error.app if not name.startswith("-")]
        return f"unknown command {token!r} (commands: {', '.join(names)}){_hint(token, names, repr)}"
    if error.app is not None and error.app.default_command is not None:
        arguments = error.app.assemble_argument_collection(parse_docstring=True)
        configured = any(argument.field_info.name == "overrides" for argument in arguments)
        if configured and isinstance(error, cyclopts.UnknownOptionError):
            options = [argument.name for argument in arguments if argument.parse and argument.index is None]
            return _unknown_option((error.token.keyword or error.token.value).partition("=")[0], [*options, "--help"])
        missing = isinstance(error, cyclopts.MissingArgumentError) and error.keyword is None
        further = isinstance(error, cyclopts.UnusedCliTokensError) and configured
        places = [argument for argument in arguments if argument.index is not None]
        line = example(error.app.default_command)
        if line and (further or (missing and error.argument is not None and error.argument.index is not None)):
            return _wrong_places(error, places, line)
    error.verbose = False
    return " ".join(str(error).split())


def _wrong_places(error: cyclopts.CycloptsError, places: Sequence[cyclopts.Argument], line: str) -> str:
    """Too few or too many positional arguments; each is called what its description begins with."""
    called = [re.split(r"[,(;:.]", argument.parameter.help or "")[0].strip() for argument in places]
    expected = " and ".join(f"{'at most ' * bool(place)}one {name}" for place, name in enumerate(called))
    if len(called) > 1:
        return f"{expected} expected: {line}"
    if isinstance(error, cyclopts.MissingArgumentError):
        return f"give the {called[0]}: {line}"
    _, bound, further, _ = app.parse_known_args(error.root_input_tokens)
    got = " and ".join(map(str, [*bound.args, *further]))
    return f"{expected} expected, got {got}: overrides look like --train.lr 5e-5"


def _unknown_option(option: str, options: list[str]) -> str:
    from edgeflownas.config.keys import groups, keys

    by_name = {key.name: f"--{full}" for full, key in keys().items()}
    name = option.lstrip("-").replace("-", "_")
    if name in groups():  # --train
        return f"{option} is a group of keys: set one as {option}.KEY VALUE (edgeflownas config keys {name}.)"
    if name in by_name:  # --lr
        return f"unknown option {option}; did you mean {by_name[name]}?"
    close = difflib.get_close_matches(name, by_name, n=1, cutoff=0.6)
    hint = _hint(option, options) or (f"; did you mean {by_name[close[0]]}?" if close else "")
    return f"unknown option {option} (options: {', '.join(options)}; keys: edgeflownas config keys){hint}"


def _hint(name: str, known: Sequence[str], shown: Callable[[str], str] = str) -> str:
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    return f"; did you mean {shown(close[0])}?" if close else ""
