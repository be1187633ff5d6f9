"""A process that has trained once (imports, kernels) and forks a rank for each request: milliseconds, not seconds.

``python rank_server.py FOLDER``, a place for that first run.

Requests and answers are JSON lines on standard input and output: ``{"argv", "variables", "output", "slow"}`` is
answered by the pid of a child that runs the command with its output in the files ``output`` + ``.out`` / ``.err``;
``{"wait": pid}`` by its exit status (minus the signal that killed it).
"""

import gc
import json
import os
import sys
import time
import traceback
from pathlib import Path

from edgeflownas import cli
from edgeflownas.data import loader

sys.path.insert(0, str(Path(__file__).parents[1]))
from tiny import make_tiny, tiny_options  # noqa: E402


def become(request):
    """The child: a rank as a program of its own."""
    os.environ.update(request["variables"])
    for descriptor, kind in ((1, "out"), (2, "err")):
        os.dup2(os.open(f"{request['output']}.{kind}", os.O_CREAT | os.O_WRONLY | os.O_TRUNC), descriptor)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    if request["slow"]:
        load = loader.load_training_sample

        def slow(*arguments):
            time.sleep(200 if arguments[2] else 0)  # storage that hangs from the second epoch on
            return load(*arguments)

        loader.load_training_sample = slow
    code = 1
    try:
        code = cli.run(request["argv"])
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def train_once(folder):
    options = tiny_options(make_tiny(folder / "data"), folder, "first")
    assert cli.run(["train", "smoke", *options, "--train.width=2", "--train.num_epochs=1"]) == 0


def main():
    train_once(Path(sys.argv[1]))
    gc.freeze()  # no child looks at what is here already, which would copy it
    print("ready", flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        if "wait" in request:
            answer = os.waitstatus_to_exitcode(os.waitpid(request["wait"], 0)[1])
        else:
            answer = os.fork()
            if answer == 0:
                become(request)
        print(answer, flush=True)


if __name__ == "__main__":
    main()
