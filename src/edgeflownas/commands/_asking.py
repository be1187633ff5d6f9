"""Before long work: ask who sits there, refuse where nobody does."""

from __future__ import annotations

import sys

from edgeflownas.errors import ConfigError

__all__ = ["may_begin"]

ASK_SECONDS, REFUSE_SECONDS = 60, 600


def may_begin(seconds: float, shorter: str, processes: int = 1) -> bool:
    """Whether work estimated to take ``seconds`` may begin: at once below a minute, else as the terminal answers.

    Without a terminal (torchrun's processes have none of their own) it begins, unless it takes over ten minutes.

    Raises:
        ConfigError: nobody is there to ask; names --yes and what makes the work ``shorter``.
    """
    if seconds < ASK_SECONDS:
        return True
    if _is_asked(processes):
        print("go on? [y/N] ", end="", file=sys.stderr, flush=True)
        return sys.stdin.readline().strip().lower() in ("y", "yes")
    if seconds > REFUSE_SECONDS:
        from edgeflownas.report.words import duration

        raise ConfigError(f"estimated {duration(seconds)}, and nobody is there to ask: add --yes, or {shorter}")
    return True


def _is_asked(processes: int) -> bool:
    return processes == 1 and sys.stdin.isatty() and sys.stderr.isatty()
