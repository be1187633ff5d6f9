"""The lock of a folder that one process at a time may write into, and who holds it."""

from __future__ import annotations

import os
import socket
import time
import uuid
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from edgeflownas.errors import StorageError
from edgeflownas.files import canonical_json, crash_point, read_json, replace_committed, storing


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
        lease = {
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "process_started": _process_started(os.getpid()),
            "boot_id": boot_id(),
            "started": time.time(),
            "token": token,
        }
        try:
            replace_committed(self.folder / "lease.json", canonical_json(lease))
        except StorageError:
            self._lock.release()
            raise
        self.token = token
        crash_point("lock.lease_written")

    def check(self) -> None:
        """Raise StorageError if another process took the run over meanwhile (a lock lost by the file system)."""
        assert self.token is not None, "the run is not locked"
        if read_json(self.folder / "lease.json").get("token") != self.token:
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

    The key ``here`` tells whether the holder is a live process of this machine (True) or one of another machine,
    which cannot be looked at from here (False).
    """
    if not (folder / "lease.json").exists():
        return None
    try:
        lease = dict(read_json(folder / "lease.json", cap=2**16))
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
