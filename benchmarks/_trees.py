"""Two trees of this project side by side: the working tree and an earlier commit, each with an interpreter."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "edgeflownas" / "environments"
LIMIT = 600  # seconds a command may take


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str
    seconds: float


class Server:
    """The process of _server.py that runs the commands of one tree, one at a time."""

    def __init__(self, tree: Tree) -> None:
        program = [tree.python, str(Path(__file__).with_name("_server.py"))]
        self.process = subprocess.Popen(
            program, cwd=tree.work, env=tree.environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.out, self.err = tree.work / "tmp" / "stdout", tree.work / "tmp" / "stderr"

    def run(self, words: Sequence[str], variables: Mapping[str, str] | None) -> Ended:
        """One command line."""
        assert self.process.stdin is not None and self.process.stdout is not None
        files = {"out": str(self.out), "err": str(self.err)}
        request = {"argv": list(words), "variables": dict(variables or {}), "limit": LIMIT, **files}
        started = time.monotonic()
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        code = int(self.process.stdout.readline())
        out, err = (path.read_text(encoding="utf-8", errors="replace") for path in (self.out, self.err))
        return Ended(code, out, err, time.monotonic() - started)

    def close(self) -> None:
        """End the process."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait()


@dataclass
class Tree:
    """A checkout, the interpreter that runs it, and the folder that its commands see as their own."""

    name: str
    root: Path
    python: str
    work: Path
    threads: int = 1
    server: Server | None = None

    def environment(self, **variables: str) -> dict[str, str]:
        """What a command sees: nothing of the caller's settings, a home of its own."""
        kept = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH", "LANG") if name in os.environ}
        own = {"PYTHONPATH": str(self.root / "src"), "HOME": str(self.work), "TMPDIR": str(self.work / "tmp")}
        plain = {"COLUMNS": "120", "TERM": "dumb", "NO_COLOR": "1", "PYTHONWARNINGS": "ignore"}
        return kept | own | plain | {"OMP_NUM_THREADS": str(self.threads)} | variables

    def run(self, words: Sequence[str], ranks: int = 1, variables: Mapping[str, str] | None = None) -> Ended:
        """``edgeflownas`` with these words, in the tree's folder; several ``ranks`` by torchrun."""
        if self.server is not None and ranks == 1:
            return self.server.run(words, variables)
        module = ["-m", "edgeflownas"]
        if ranks > 1:
            module = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}", *module]
        return self.python_run([*module, *words], variables)

    def python_run(self, words: Sequence[str], variables: Mapping[str, str] | None = None) -> Ended:
        """The interpreter with these words."""
        environment = self.environment(**(variables or {}))
        started = time.monotonic()
        ended = subprocess.run(
            [self.python, *words],
            cwd=self.work, env=environment, capture_output=True, encoding="utf-8", errors="replace",
            stdin=subprocess.DEVNULL, timeout=LIMIT,
        )  # fmt: skip
        return Ended(ended.returncode, ended.stdout, ended.stderr, time.monotonic() - started)


class Trees(NamedTuple):
    """The commit that is compared with, and the working tree."""

    base: Tree
    tree: Tree


@contextlib.contextmanager
def two_trees(
    commit: str, keep: Path | None, same_environment: bool, threads: int = 1, served: bool = False
) -> Iterator[Trees]:
    """Check ``commit`` out beside the working tree, in ``keep`` or in a temporary folder that is removed at the end.

    With ``served`` commands start in a fork of a process that has the large libraries, not in an interpreter of their
    own: two seconds sooner.
    """
    place = Path(tempfile.mkdtemp(prefix="same_as-")) if keep is None else keep.resolve()
    try:
        base = place / "base"
        shutil.rmtree(base, ignore_errors=True)
        for name in ("base", "tree"):
            shutil.rmtree(place / f"work_{name}", ignore_errors=True)
            (place / f"work_{name}" / "tmp").mkdir(parents=True)
        check_out(commit, base)
        python = sys.executable if same_environment else environment_of(base)
        trees = Trees(
            Tree("base", base, python, place / "work_base", threads),
            Tree("tree", ROOT, sys.executable, place / "work_tree", threads),
        )
        with contextlib.ExitStack() as servers:
            for tree in trees if served else ():
                tree.server = Server(tree)
                servers.callback(tree.server.close)
            yield trees
    finally:
        if keep is None:
            shutil.rmtree(place, ignore_errors=True)


def check_out(commit: str, folder: Path) -> None:
    """The files of ``commit``; git keeps no note of the folder."""
    folder.mkdir(parents=True)
    with tempfile.TemporaryFile() as archive:
        subprocess.run(["git", "-C", str(ROOT), "archive", "--format=tar", commit], stdout=archive, check=True)
        archive.seek(0)
        with tarfile.open(fileobj=archive) as files:
            files.extractall(folder, filter="data")


def environment_of(base: Path) -> str:
    """Interpreter of an environment with the packages that ``base`` asks for, made once for each list of them."""
    wanted = [(base / name).read_bytes() for name in ("constraints.txt", "pyproject.toml")]
    key = hashlib.sha256(b"".join([*wanted, sys.version.encode()])).hexdigest()[:16]
    folder = CACHE / key
    done = folder / "complete"
    if not done.exists():
        print(f"installing the packages of the base into {folder}, once ...", file=sys.stderr, flush=True)
        shutil.rmtree(folder, ignore_errors=True)
        words = ["make", "-C", str(base), "install", f"VENV={folder}", f"PYTHON={sys.executable}"]
        made = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if made.returncode:
            raise SystemExit(f"{made.stdout[-3000:]}\nerror: {' '.join(words)} failed; --same-environment goes without")
        done.touch()
    return str(folder / "bin" / "python")
