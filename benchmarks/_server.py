"""Runs command lines of one tree, each in a fork of a process that has imported the large libraries already.

Started by _trees.py with the tree's interpreter, in the tree's folder.  Reads a request a line ({"argv", "variables",
"out", "err", "limit"}), answers with the exit code.  What a command does is what ``python -m edgeflownas`` does; it
starts two seconds sooner.
"""

from __future__ import annotations

import importlib
import json
import os
import runpy
import signal
import sys

LIBRARIES = (
    *(
        "numpy",
        "torch",
        "torch.distributed",
        "torch.nn.functional",
        "torch._dynamo",
        "cv2",
        "pydantic",
        "cyclopts",
        "yaml",
    ),
    *("ruamel.yaml", "safetensors.torch", "scipy.stats"),
)


def serve() -> list[str] | None:
    """Answer requests until there are none (None), or return the words of a request: then this is the fork for it."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        request = json.loads(line)
        child = os.fork()
        if child == 0:
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            for number, name in ((1, "out"), (2, "err")):
                os.dup2(os.open(request[name], os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
            os.environ.update(request["variables"])
            os.close(answers.fileno())
            signal.alarm(request["limit"])
            return list(request["argv"])
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        print(code, file=answers, flush=True)
    return None


def main() -> None:
    """Import, then serve; in a fork, run the command."""
    del sys.path[0]  # this script's own folder
    for library in LIBRARIES:
        try:
            importlib.import_module(library)
        except ImportError:
            continue
    words = serve()
    if words is not None:
        sys.argv = ["edgeflownas", *words]
        runpy.run_module("edgeflownas", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
