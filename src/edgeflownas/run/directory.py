"""The run directory: everything a run writes, committed so that no interruption loses or doubles a row.

    run = RunDirectory.create(path, config, manifest)          # or RunDirectory(path)
    with run.locked():
        checkpoint = run.resume()                              # None: nothing committed yet, start at step 0
        ...
        run.events.append({"kind": "step", "step": 12, "loss": 3.25})
        run.commit(Position(12, 0, 12), state, {"model": model_tensors, "optimizer": adam_tensors})

A kill or power cut at any moment leaves the checkpoint before or the new one, never half of one: see checkpoint.py.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import socket
import sys
import time
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Self

from filelock import FileLock, Timeout

from edgeflownas import files
from edgeflownas.config.load import dump_yaml, parse_yaml, read_as_today
from edgeflownas.errors import StorageError
from edgeflownas.files import AppendLog, CsvLog, JsonLog, canonical_json, crash_point, storing
from edgeflownas.run import checkpoint as checkpoints
from edgeflownas.run.checkpoint import NONE_YET, Checkpoint, DamagedCheckpoint, Facts, Position, Tensors
from edgeflownas.run.history import converted_events
from edgeflownas.run.manifest import as_today

FORMAT = 2  # 1: events.jsonl held an evaluation's ranking as text
GROUP = "group.json"  # in a folder of several models that were trained side by side
KEPT = "events.format1.jsonl"  # the log as it was before a resume converted it


class RunDirectory:
    """One run on disk.  Reading needs no lock; appending and committing happen within :meth:`locked`.

    ``keep`` is the number of verified checkpoints that a commit leaves, beside the best.
    ``events``, ``history`` (eval_history.csv), ``training`` (training_history.csv), ``per_arch`` (per_arch_epe.csv),
    ``per_option``, ``monitor`` and ``quarantine`` hold deterministic facts and are cut back to the committed length at
    resume; ``timing`` and ``log`` (train.log) only grow.
    """

    def __init__(self, path: Path, warn: Callable[[str], None] | None = None) -> None:
        self.path = path
        self.warn = warn or (lambda message: print(f"warning: {message}", file=sys.stderr))
        document = read_identity(path)
        self.id: str = document["run"]
        self.format: int = document["format"]
        self.manifest: dict[str, Any] = document["manifest"]
        self.converted: dict[str, int] = document.get("converted", {})
        self.events, self.quarantine = JsonLog(path / "events.jsonl"), JsonLog(path / "quarantine.jsonl")
        self.history, self.per_arch = CsvLog(path / "eval_history.csv"), CsvLog(path / "per_arch_epe.csv")
        self.per_option, self.monitor = CsvLog(path / "per_option.csv"), CsvLog(path / "monitor.csv")
        self._fact_logs: tuple[AppendLog, ...] = (self.events, self.quarantine, self.history, self.per_arch)
        self.training, self.also = CsvLog(path / "training_history.csv"), CsvLog(path / "also_history.csv")
        self._fact_logs += (self.per_option, self.monitor, self.training, self.also)
        self.timing, self.log = JsonLog(path / "timing.jsonl"), AppendLog(path / "train.log")
        self.best: dict[str, Any] | None = None
        self.keep = 2
        self._folder = path / "checkpoints"
        self._verified: dict[str, Facts | None] = {}  # name -> best.json as of that checkpoint
        self._lock = RunLock(path)
        self._parent: str | None = None
        self._failure: str | None = None

    @classmethod
    def create(cls, path: Path, config: Facts, manifest: Facts, warn: Callable[[str], None] | None = None) -> Self:
        """Make a new run directory, complete or not at all.  Raises StorageError where ``path`` exists."""
        document = {"format": FORMAT, "run": uuid.uuid4().hex, "manifest": dict(manifest)}
        contents = {f"checkpoints/{NONE_YET}": b"", "config.yaml": dump_yaml(dict(config)).encode()}
        create_folder(path, contents | {"run_manifest.json": canonical_json(document)})
        return cls(path, warn)

    @property
    def config(self) -> dict[str, Any]:
        """Content of config.yaml.  Raises StorageError where it is missing or unreadable."""
        file = self.path / "config.yaml"
        try:
            document, _ = parse_yaml(file.read_text(encoding="utf-8"), str(file))
        except (OSError, ValueError) as error:
            raise StorageError(f"{file}: cannot be read: {error}") from error
        if not isinstance(document, dict):
            raise StorageError(f"{file}: {type(document).__name__}, expected the run's configuration")
        return read_as_today(document, self.path)

    def write_manifest(self, manifest: Facts) -> None:
        """Replace the facts of run_manifest.json (a resume with another plan); the run's identity stays."""
        self.manifest = dict(manifest)
        document = {"format": self.format, "run": self.id, "manifest": self.manifest}
        document |= {"converted": self.converted} if self.converted else {}
        files.replace_committed(self.path / "run_manifest.json", canonical_json(document))

    def write_file(self, name: str, content: bytes) -> None:
        """Replace a file of the run, or of a folder in it, durably.  Raises StorageError."""
        path = self.path / name
        if path.parent != self.path:
            with storing(path.parent, "make"):
                path.parent.mkdir(exist_ok=True)
        files.replace_committed(path, content)

    # ---- the lock ----

    @contextlib.contextmanager
    def locked(self) -> Iterator[Self]:
        """Hold the run against every other process.  Raises StorageError naming host and process of one that does."""
        self._lock.acquire()
        try:
            self._note_time("session", pid=os.getpid(), token=self._lock.token)
            yield self
        finally:
            for log in (*self._fact_logs, self.timing, self.log):
                log.close()
            self._lock.release()

    def _note_time(self, what: str, **facts: Any) -> None:
        self.timing.append({"what": what, "time": time.time(), **facts})

    # ---- reading ----

    def step_events(self, epoch: int) -> list[dict[str, Any]]:
        """Step events of ``epoch`` (from 1) that are already logged: an epoch entered midway sums them up too."""
        return [row for row in files.read_rows(self.events.path) if row["event"] == "step" and row["epoch"] == epoch]

    def epoch_events(self) -> list[dict[str, Any]]:
        """Facts of every epoch that is logged, oldest first; ``event`` is evaluation or epoch."""
        return list(files.read_rows(self.events.path, b'"grad_norm_p90"'))

    def checkpoints(self) -> list[str]:
        """Names of the checkpoints, newest first (not verified)."""
        return checkpoints.checkpoint_names(self._folder)

    def newest_commit(self) -> dict[str, Any] | None:
        """Manifest of the newest checkpoint whose manifest is sound; its tensors are not read."""
        for name in self.checkpoints():
            with contextlib.suppress(DamagedCheckpoint):
                return checkpoints.read_manifest(self._folder / name, self.id)
        return None

    def load(self, name: str, groups: Collection[str] | None = None) -> Checkpoint:
        """One checkpoint by name, or ``best`` / ``latest`` (a warning for each damaged one passed over).

        Only the tensor ``groups`` named, if any.  Raises StorageError (DamagedCheckpoint) naming the file.
        """
        if name == "latest":
            checkpoint, _ = self._newest_verified(groups)
            if checkpoint is None:
                raise StorageError(
                    f"{self.path}: nothing was committed yet; go on with `edgeflownas train --resume {self.path}`"
                )
            return checkpoint
        if name == "best" or name.startswith("best-"):
            name = self.read_best(name)["checkpoint"]
        if name not in (known := self.checkpoints()):
            raise StorageError(f"{self._folder / name}: no such checkpoint (there are: {', '.join(known) or 'none'})")
        return checkpoints.read_checkpoint(self._folder / name, self.id, groups)

    def _newest_verified(
        self, groups: Collection[str] | None = None, with_logs: bool = False
    ) -> tuple[Checkpoint | None, list[str]]:
        """The newest checkpoint that verifies (``with_logs``: and has its log rows), and the damaged newer ones.

        None before the first commit; raises StorageError when there were checkpoints and none is left.
        """
        damaged: list[str] = []
        for name in self.checkpoints():
            try:
                checkpoint = checkpoints.read_checkpoint(self._folder / name, self.id, groups)
                for log in self._fact_logs if with_logs else ():
                    if not log.holds(wanted := self._committed(checkpoint, log)):
                        raise DamagedCheckpoint(
                            f"{log.path}: {log.offset()} bytes, {name} was made with {wanted}: rows are missing"
                        )
            except DamagedCheckpoint as damage:
                self.warn(f"{damage}; going back to the checkpoint before {name}")
                damaged.append(name)
                continue
            self._verified[name] = checkpoint.best
            return checkpoint, damaged
        if damaged or not (self._folder / NONE_YET).exists():
            raise StorageError(
                f"{self._folder}: no usable checkpoint is left ({len(damaged)} damaged, expected at least one that "
                "verifies); restore the folder from a copy, or start anew under another runtime.experiment_name"
            )
        return None, []

    def read_best(self, which: str = "best") -> dict[str, Any]:
        """Content of best.json (``best-NAME.json``).  Raises StorageError where no evaluation has chosen a best yet."""
        path = self.path / f"{which}.json"
        if not path.exists():
            raise StorageError(f"{path}: missing: no evaluation has chosen a best checkpoint yet; use the latest one")
        best = files.read_json(path)
        if not isinstance(best, dict) or not isinstance(best.get("checkpoint"), str):
            raise StorageError(f"{path}: names no checkpoint; `edgeflownas train --resume {self.path}` writes it again")
        return best

    # ---- resuming and committing ----

    def resume(self) -> Checkpoint | None:
        """Bring the directory back to its newest verified checkpoint and return it; None before the first commit.

        Removes what an interrupted commit left, sets damaged checkpoints aside (with a warning), cuts the fact logs to
        their committed lengths and restores best.json.  Raises StorageError when checkpoints existed and none is left.
        """
        assert self._lock.held, "resume() within locked()"
        with storing(self.path, "go back to the last commit"):
            for folder in (self._folder, self.path, self.path / "sample_epe", self.path / "pictures"):
                files.remove_temporaries(folder)
            crash_point("resume.temporaries_removed")
            if self.format == 1:
                self._convert()
            checkpoint, damaged = self._newest_verified(with_logs=True)
            for name in damaged:
                self._set_aside(name)
            for log in self._fact_logs:
                log.truncate(self._committed(checkpoint, log) if checkpoint else 0)
                crash_point("resume.log_truncated")
        self.write_best(checkpoint.best if checkpoint else None)
        self._parent = checkpoint.hash if checkpoint else None
        step = checkpoint.position.step if checkpoint else 0
        self._note_time("resume", step=step, checkpoint=checkpoint.name if checkpoint else None)
        return checkpoint

    def _committed(self, checkpoint: Checkpoint, log: AppendLog) -> int:
        """Length in bytes of a log when ``checkpoint`` was made; that of a converted log is in run_manifest.json."""
        if log is self.events and checkpoint.hash in self.converted:
            return self.converted[checkpoint.hash]
        return checkpoint.logs.get(log.path.name, 0)

    def _convert(self) -> None:
        """Bring a run of format 1 to this one, once: rankings in events.jsonl become numbers, the old log is kept.

        Checkpoints know how long the old log was, so their lengths in the new one go into run_manifest.json.  Killed
        between two of the three writes, it begins again with the log that was kept.
        """
        kept = self.path / KEPT
        if not kept.exists():
            old = self.events.path.read_bytes() if self.events.path.exists() else b""
            files.replace_committed(kept, old)
        crash_point("convert.kept")
        content, lengths = converted_events(kept.read_bytes(), self.path / "per_arch_epe.csv")
        files.replace_committed(self.events.path, content)
        crash_point("convert.written")
        for name in self.checkpoints():
            with contextlib.suppress(DamagedCheckpoint):
                manifest = checkpoints.read_manifest(self._folder / name, self.id)
                # A length at which no line ends is of a log that has lost rows: it stays one that no log has.
                self.converted[manifest["hash"]] = lengths.get(manifest["logs"].get(self.events.path.name, 0), 2**62)
        self.format = FORMAT
        self.write_manifest(self.manifest)
        crash_point("convert.done")

    def write_best(self, best: Facts | None) -> None:
        """Make best.json say ``best`` (its ``checkpoint`` is a committed one), or remove it.  Raises StorageError.

        What stands under ``also`` in it goes into best-NAME.json each.
        """
        self.best = dict(best) if best is not None else None
        also = (best or {}).get("also", {})
        own = {name: value for name, value in (best or {}).items() if name != "also"}
        wanted = {"best": own, **{f"best-{name}": facts for name, facts in also.items()}}
        for path in [self.path / "best.json", *self.path.glob("best-*.json")]:
            if not wanted.get(path.stem):
                with storing(path, "remove"):
                    path.unlink(missing_ok=True)
        for name, facts in wanted.items():
            path = self.path / f"{name}.json"
            if facts and (not path.exists() or path.read_bytes() != canonical_json(facts)):
                files.replace_committed(path, canonical_json(facts))

    def commit(
        self, position: Position, state: Facts, tensors: Tensors, *, best: Facts | None = None, finished: bool = False
    ) -> str:
        """Store the run as it is at ``position`` for good and return the checkpoint's name.

        A position that is stored already changes nothing.  ``state`` is a JSON document whose non-finite floats come
        back exactly; each group of ``tensors`` becomes one safetensors file; ``best`` is the new content of best.json
        with the key ``checkpoint``, None keeps the present one; ``finished``: nothing is left to train.

        Raises StorageError where the disk refused: the former checkpoints are intact, and this object commits no more
        (after a failed fsync a second one may report success for data that is lost).
        """
        assert self._lock.held, "commit() within locked()"
        if self._failure:
            raise StorageError(f"{self.path}: not committed, an earlier write of this process failed: {self._failure}")
        began = time.perf_counter()
        try:
            if position.name in self.checkpoints():
                if self._sound(position.name, "is made again"):
                    return position.name
                with storing(self._folder, "set a damaged checkpoint aside"):
                    self._set_aside(position.name)
            logs = {}
            for log in self._fact_logs:
                log.sync()
                logs[log.path.name] = log.offset()
            with storing(self.path, "bring to the disk"):
                files.sync_folder(self.path)
            crash_point("commit.logs_synced")
            kept = best if best is not None else self.best
            facts = {"run": self.id, "logs": logs, "best": dict(kept) if kept else None, "finished": finished}
            facts |= {"parent": self._parent, "session": {"token": self._lock.token}}
            self._parent = self._put(position, state, tensors, facts)
            if best is not None:
                self.write_best(best)
            self._prune()
            seconds = round(time.perf_counter() - began, 4)
            self._note_time("commit", **asdict(position), checkpoint=position.name, seconds=seconds, finished=finished)
        except StorageError as error:
            self._failure = str(error)
            raise
        return position.name

    def _sound(self, name: str, otherwise: str) -> dict[str, Any] | None:
        """Manifest of a stored checkpoint; None, and a warning of what happens to it, where it does not verify."""
        try:
            return checkpoints.verify(self._folder / name, self.id)
        except DamagedCheckpoint as damage:
            self.warn(f"{damage}; {name} {otherwise}")
            return None

    def _put(self, position: Position, state: Facts, tensors: Tensors, facts: Facts) -> str:
        """Write and rename one checkpoint; returns its hash.  Raises StorageError, and what was written is removed."""
        temporary = self._folder / f".tmp-{uuid.uuid4().hex}"
        final = self._folder / position.name
        with storing(self._folder, f"commit {position.name}"):
            try:
                temporary.mkdir()
                crash_point("commit.temporary_made")
                digest = checkpoints.write_checkpoint(temporary, position, state, tensors, facts)
                self._lock.check()
                os.rename(temporary, final)
            except BaseException:
                shutil.rmtree(temporary, ignore_errors=True)
                raise
            crash_point("commit.renamed")
            files.sync_folder(self._folder)
            try:
                manifest = checkpoints.verify(final, self.id)
                if manifest["hash"] != digest:
                    raise DamagedCheckpoint(f"{final}: not what was written")
            except DamagedCheckpoint:
                self._set_aside(position.name)
                raise
            self._verified[position.name] = manifest["best"]
            crash_point("commit.verified")
            (self._folder / NONE_YET).unlink(missing_ok=True)
        crash_point("commit.marked")
        return digest

    def _set_aside(self, name: str) -> None:
        """Take a damaged checkpoint out of the way without deleting it.  Raises OSError."""
        target = self._folder / f".damaged-{name}"
        if target.exists():
            target = target.with_name(f"{target.name}-{uuid.uuid4().hex[:8]}")
        os.rename(self._folder / name, target)
        files.sync_folder(self._folder)
        self._verified.pop(name, None)
        crash_point("resume.damaged_set_aside")

    def _prune(self) -> None:
        """Remove all but the newest verified checkpoints and those they name as best.  Raises StorageError."""
        kept: list[str] = []
        with storing(self._folder, "remove an old checkpoint"):
            for name in self.checkpoints():
                if len(kept) < self.keep:
                    told = "does not count among the checkpoints kept"
                    if name not in self._verified and (found := self._sound(name, told)):
                        self._verified[name] = found["best"]
                    kept += [name] if name in self._verified else []
                elif name not in [c for k in kept for c in _named(self._verified[k])]:
                    # Rename first: a half-removed checkpoint must not look like a damaged one.
                    doomed = self._folder / f".tmp-pruned-{uuid.uuid4().hex}"
                    os.rename(self._folder / name, doomed)
                    crash_point("prune.renamed")
                    shutil.rmtree(doomed)
                    self._verified.pop(name, None)
                    crash_point("prune.removed")


def _named(best: Facts | None) -> list[str]:
    """The checkpoints that a commit names as the best of something."""
    found = [best or {}, *(best or {}).get("also", {}).values()]
    return [facts["checkpoint"] for facts in found if "checkpoint" in facts]


def create_folder(path: Path, contents: Mapping[str, bytes]) -> None:
    """Make ``path`` with ``contents`` (relative path -> bytes), whole or not at all; StorageError where it exists."""
    with storing(path, "make the run directory"):
        refuse_existing(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = _unfinished_name(path)
        try:
            for name, content in contents.items():
                (fresh / name).parent.mkdir(parents=True, exist_ok=True)
                files.write_durably(fresh / name, content)
            for folder in {(fresh / name).parent for name in contents}:
                files.sync_folder(folder)
            crash_point("create.written")
            refuse_existing(path)  # again: a rename would replace an empty folder
            os.rename(fresh, path)
        except BaseException:
            shutil.rmtree(fresh, ignore_errors=True)
            raise
        files.sync_folder(path.parent)
    crash_point("create.renamed")


def refuse_existing(path: Path) -> None:
    """Raise StorageError where something has the name of the run directory to be made."""
    if os.path.lexists(path):
        raise StorageError(
            f"{path}: exists already; go on with `edgeflownas train --resume {path}`, or choose another "
            "runtime.experiment_name"
        )


def _unfinished_name(path: Path) -> Path:
    """Where the run directory is built before it gets its name; leftovers of dead processes are removed."""
    prefix = f".new-{hashlib.sha256(path.name.encode()).hexdigest()[:8]}-{boot_id()[:8]}-"
    for leftover in path.parent.glob(f"{prefix}*"):
        pid = leftover.name.removeprefix(prefix)
        if pid.isdecimal() and (int(pid) == os.getpid() or not is_alive(int(pid))):
            shutil.rmtree(leftover)
    return path.with_name(f"{prefix}{os.getpid()}")


def read_identity(path: Path) -> dict[str, Any]:
    """Content of run_manifest.json: ``run`` (the identity) and ``manifest`` (the facts).  Raises StorageError."""
    file = path / "run_manifest.json"
    if str(path).startswith("weights:"):
        raise StorageError(
            f"{path}: weights of the package, which have neither checkpoints nor a history: give a run directory here "
            "(evaluate, rank, export, verify, infer, profile and train.init_from take such weights)"
        )
    if (path / GROUP).is_file():
        names = ", ".join(str(path / name) for name in files.read_json(path / GROUP).get("models", {}))
        raise StorageError(f"{path}: holds several models, each a run of its own: give one of {names}")
    if not file.is_file():
        raise StorageError(
            f"{path}: not a run directory (no run_manifest.json); give the folder that `edgeflownas train` made"
        )
    document = files.read_json(file)
    keys = {"format", "run", "manifest"}
    if not isinstance(document, dict) or not keys <= document.keys() or not isinstance(document["manifest"], dict):
        raise StorageError(f"{file}: not the manifest of a run (expected the keys format, run, manifest)")
    if document["format"] not in (1, FORMAT):
        raise StorageError(
            f"{file}: format {document['format']}, this version reads {FORMAT}: use the version that wrote it"
        )
    with contextlib.suppress(KeyError, TypeError):  # an incomplete manifest, which whoever reads the entry refuses
        task, code = document["manifest"]["keys"]["identity"]["train.task"], document["manifest"]["code"]
        if task == "qat":
            commit = f", commit {code['commit'][:10]}" if code["commit"] else ""
            raise StorageError(
                f"{path}: a run of train.task qat, which this version no longer has: open it with the version that "
                f"wrote it ({code['version']}{commit})"
            )
    return {**document, "manifest": as_today(document["manifest"])}


# ---- the lock ----


class RunLock:
    """Exclusive right to write into ``folder``: one writer at a time, and its name for whoever comes second.

    The kernel's ``flock`` excludes (filelock's; it is free the moment its holder dies, however it dies, and its
    descriptor is not inherited).  ``lease.json`` beside it says who holds it and carries a token that every commit
    checks again, for file systems whose ``flock`` does not reach other machines.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.token: str | None = None
        self._lock = FileLock(folder / "LOCK", timeout=0, thread_local=False, is_singleton=False)

    @property
    def held(self) -> bool:
        """Whether this object holds the lock."""
        return self.token is not None

    def acquire(self) -> None:
        """Take the lock or raise StorageError naming the holder; a refused attempt changes nothing."""
        with storing(self.folder / "LOCK", "lock the folder"):
            try:
                self._lock.acquire()
            except Timeout:
                owner = _holder_in_words(self.folder)
                raise StorageError(
                    f"{self.folder}: in use by {owner}; wait for it to end or stop it, then try again"
                ) from None
        crash_point("lock.acquired")
        token = uuid.uuid4().hex
        process = {"pid": os.getpid(), "process_started": _process_started(os.getpid())}
        machine = {"host": socket.gethostname(), "boot_id": boot_id()}
        lease = {**process, **machine, "started": time.time(), "token": token}
        try:
            files.replace_committed(self.folder / "lease.json", canonical_json(lease))
        except StorageError:
            self._lock.release()
            raise
        self.token = token
        crash_point("lock.lease_written")

    def check(self) -> None:
        """Raise StorageError if another process took the run over meanwhile (a lock lost by the file system)."""
        assert self.token is not None, "the run is not locked"
        if files.read_json(self.folder / "lease.json").get("token") != self.token:
            self.token = None  # the lease is no longer ours to remove
            raise StorageError(
                f"{self.folder}: taken over by {_holder_in_words(self.folder)}; nothing more was written"
            )

    def release(self) -> None:
        """Give the lock back."""
        if self.token is not None:
            (self.folder / "lease.json").unlink(missing_ok=True)
        self.token = None
        self._lock.release()


def boot_id() -> str:
    """Identity of this boot of this machine, empty where the system does not tell."""
    path = Path("/proc/sys/kernel/random/boot_id")
    return path.read_text().strip() if path.exists() else ""


def _process_started(pid: int) -> int | None:
    """Start time of a process in clock ticks since boot: tells a process from a later one of the same number."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else int(fields[19])  # a zombie holds nothing any more


def is_alive(pid: int, started: int | None = None) -> bool:
    """Whether process ``pid`` of this machine runs (and is the one that began at ``started`` ticks)."""
    if Path("/proc/self/stat").exists():
        found = _process_started(pid)
        return found is not None and started in (None, found)
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def holder(folder: Path) -> dict[str, Any] | None:
    """Lease of the process that holds the run, None if none does; takes no lock.

    Key ``here``: a live process of this machine (True), or one of another, which cannot be looked at from here.
    """
    if not (folder / "lease.json").exists():
        return None
    try:
        lease = dict(files.read_json(folder / "lease.json", cap=2**16))
        here = lease["boot_id"] == boot_id() and lease["host"] == socket.gethostname()
        if here and not is_alive(lease["pid"], lease["process_started"]):
            return None
    except (StorageError, KeyError, TypeError, ValueError):
        return None
    return {**lease, "here": here}


def _holder_in_words(folder: Path) -> str:
    lease = holder(folder)
    if lease is None:
        return f"a process that has only just started (host {socket.gethostname()} or another)"
    since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(lease["started"]))
    return f"process {lease['pid']} on host {lease['host']} since {since}"
