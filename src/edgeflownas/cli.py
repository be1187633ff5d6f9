"""The command table, and how errors reach the user.

Commands are registered by import string: ``edgeflownas --help`` imports none of them (no torch, numpy or pydantic).
"""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from cyclopts import App, CycloptsError, Parameter, UnknownCommandError

from edgeflownas.errors import UserError

__all__ = ["app", "main", "run"]

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
    ("config", "config:app", "List the configuration keys; JSON schema and docs page made from them."),
    ("import-tf1", "import_tf1:import_tf1", "Make a run out of TensorFlow 1 weights."),
)
TRAIN_USAGE = """\
Usage: edgeflownas train RECIPE [--GROUP.KEY VALUE ...] [OPTIONS]
       edgeflownas train --resume RUN [OPTIONS]
       edgeflownas train [RECIPE] --resume RUN[@CHECKPOINT] --fork NEW_NAME

RECIPE is a packaged recipe (edgeflownas recipes list) or a YAML file.
Every configuration key is an option, e.g. --train.lr 5e-5 (they are listed
by edgeflownas config keys). SIGINT and SIGTERM commit and exit with 75;
--resume goes on with the same bits.
"""
PLAN_USAGE = """\
Usage: edgeflownas plan RECIPE [--GROUP.KEY VALUE ...] [OPTIONS]
       edgeflownas plan --train-samples N [--GROUP.KEY VALUE ...] [OPTIONS]

RECIPE is a packaged recipe (edgeflownas recipes list) or a YAML file; without
one every key that is not given has its default. docs/plan.md explains each row.
"""
SEARCH_USAGE = """\
Usage: edgeflownas search RUN [--GROUP.KEY VALUE ...] [OPTIONS]
       edgeflownas search --table RANKING [OPTIONS]
"""
USAGES = {"train": TRAIN_USAGE, "plan": PLAN_USAGE, "search": SEARCH_USAGE}
EXIT_USAGE, EXIT_IO, EXIT_SIGINT, EXIT_PIPE = 64, 74, 130, 141


def _version() -> str:
    from importlib.metadata import version

    return version("edgeflownas")


def _build() -> App:
    table = App(
        name="edgeflownas",
        help="Train one weight-sharing supernet of tiny optical-flow networks, rank its subnets, ship one.",
        help_epilogue="Start with: edgeflownas recipes list. Configuration keys: edgeflownas config keys.",
        version=_version,
        default_parameter=Parameter(negative=()),
        result_action="return_value",
        exit_on_error=False,
        print_error=False,
        suppress_keyboard_interrupt=False,  # run() says it
    )
    for name, target, text in COMMANDS:
        usage = {"usage": USAGES[name]} if name in USAGES else {}
        table.command(f"edgeflownas.commands.{target}", name=name, help=text, **usage)
    return table


app = _build()


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Entry point of the ``edgeflownas`` command: run it and exit with its code."""
    sys.exit(run(argv))


def run(argv: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code; errors that the user can mend are printed, not raised."""
    tokens = list(sys.argv[1:] if argv is None else argv)
    try:
        code = app(tokens)
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except UserError as error:
        return _fail(str(error), error.exit_code)
    except CycloptsError as error:
        return _fail(_usage_problem(error), EXIT_USAGE)
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


def _usage_problem(error: CycloptsError) -> str:
    if isinstance(error, UnknownCommandError) and error.app is not None and error.unused_tokens:
        # cyclopts would import every command to write its own message.
        token = error.unused_tokens[0]
        names = [name for name in error.app if not name.startswith("-")]
        close = difflib.get_close_matches(token, names, n=1, cutoff=0.6)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        return f"unknown command {token!r} (commands: {', '.join(names)}){hint}"
    error.verbose = False
    return " ".join(str(error).split())
