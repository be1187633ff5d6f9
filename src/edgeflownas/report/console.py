"""What a person sees while a command works: on a terminal a live bar, elsewhere plain lines now and then.

Everything goes to stderr; stdout belongs to results.  The plain form of every line also goes to ``log`` (the run's
train.log), so that a log holds what the screen showed.
"""

from __future__ import annotations

import functools
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import numpy as np
from numpy.typing import NDArray

from edgeflownas.errors import ConfigError
from edgeflownas.files import clean, encoded
from edgeflownas.report.table import Table, duration, told
from edgeflownas.report.views import ABOVE_ZERO_FLOW, pool_table

if TYPE_CHECKING:
    from rich.console import Console as RichConsole
    from rich.progress import Progress
    from rich.text import Text
    from torch.utils.tensorboard import SummaryWriter

STYLES = {"warning: ": "bold yellow", ABOVE_ZERO_FLOW: "bold red"}
PLAIN_INTERVAL = 10.0  # seconds between plain progress lines
WIDTH = 120  # characters of a plain line


class Console:
    """The one object through which trainer and commands talk to a person.

    Args:
        stream: where to write, stderr if None.
        plain: True for lines without bars and colours, False for a terminal; None asks the stream.
        log: called with every plain line (without line end).
        clock: seconds that only ever grow; replaced in tests.
    """

    def __init__(
        self,
        stream: TextIO | None = None,
        plain: bool | None = None,
        log: Callable[[str], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.stream = sys.stderr if stream is None else stream
        terminal = self.stream.isatty() and os.environ.get("TERM", "") not in ("dumb", "unknown")
        self.plain = not terminal if plain is None else plain
        self.clock = clock
        self._log = log
        self._lost = False
        self._bars: Progress | None = None
        self._rich: RichConsole | None = None
        if not self.plain:
            from rich.console import Console as RichConsole  # only a terminal needs it

            self._rich = RichConsole(file=self.stream, force_terminal=True, highlight=False)

    def info(self, text: str) -> None:
        """A line (or several) of news."""
        self._say(text)

    def warn(self, text: str) -> None:
        """Something the user should look at, though work goes on."""
        self._say(line := f"warning: {text}", _style(line))

    def epoch_line(self, row: Mapping[str, Any]) -> None:
        """One line for a finished epoch, from a row of eval_history.csv and more: see :func:`epoch_line`."""
        self._say(epoch_line(row), style="green" if row.get("improved") else None)

    def pool_table(self, *pool: Any) -> None:
        """The pool ranked by EPE, of what :func:`views.pool_table` takes."""
        self.show([pool_table(*pool)])

    def tell(self, blocks: Sequence[str | Table]) -> None:
        """Lines and tables as text; lines that must be seen in colours on a terminal."""
        for block in blocks:
            if isinstance(block, str):
                self._say(block, _style(block))
            elif block.printed:
                self._say(block.text())

    def show(self, blocks: Sequence[str | Table]) -> None:
        """Lines and tables; on a terminal in colours, and as text where their columns have to move for room."""
        for block in blocks:
            if isinstance(block, str):
                self._say(block, _style(block))
                continue
            if self._rich is None:
                self._write(block.text(WIDTH))
            elif block.width > self._rich.width and any(column.below for column in block.columns):
                self._rich.print(_text(block.text(self._rich.width)))
            else:
                self._rich.print(block.rich())
            self._record(block.text(WIDTH))

    def wrote(self, paths: Mapping[str, Path]) -> None:
        """Name what was written and where: ``{"checkpoint": path, ...}``."""
        width = max(map(len, paths), default=0)
        for name, path in paths.items():
            self._say(f"wrote {name.ljust(width)}  {path}")

    def progress(self, total_steps: int, start_step: int = 0, label: str = "train") -> AbstractContextManager[Meter]:
        """Progress of a whole run that begins (or goes on) at ``start_step``."""
        return self._meter(label, total_steps, start_step, "step")

    def task(self, label: str, total: int) -> AbstractContextManager[Meter]:
        """Progress of something shorter, perhaps within a run: an evaluation, a recalibration, a generation."""
        return self._meter(label, total, 0, "")

    @contextmanager
    def _meter(self, label: str, total: int, start: int, unit: str) -> Iterator[Meter]:
        if self._rich is None:
            yield Meter(self, label, total, start, unit)
            return
        outermost = self._bars is None
        bars = self._bars = self._bars or _new_bars(self._rich)
        if outermost:
            bars.start()
        bar = bars.add_task(label, total=total, completed=start, facts="", left="")
        try:
            yield Meter(self, label, total, start, unit, functools.partial(bars.update, bar))
        finally:
            bars.remove_task(bar)
            if outermost:
                bars.stop()
                self._bars = None

    def _say(self, text: str, style: str | None = None) -> None:
        text = clean(text)
        if self._rich is None:
            self._write(text)
        else:
            self._rich.print(_text(text, style or ""), soft_wrap=True)
        self._record(text)

    def _write(self, text: str) -> None:
        """A reader that went away (a closed pipe or terminal) must not end a run of days; the log says it happened."""
        if self._lost:
            return
        encoding = getattr(self.stream, "encoding", None) or "utf-8"
        try:
            self.stream.write(text.encode(encoding, "backslashreplace").decode(encoding) + "\n")
            self.stream.flush()
        except OSError as error:
            self._lost = True
            self._record(f"warning: console output is lost from here on ({error})")

    def _record(self, text: str) -> None:
        if self._log is not None:
            for line in text.split("\n"):
                self._log(line)


class Meter:
    """One running progress; made by Console.progress and Console.task."""

    def __init__(
        self, console: Console, label: str, total: int, start: int, unit: str, draw: Callable[..., None] | None = None
    ) -> None:
        self._console = console
        self._label, self._total, self._start, self._unit, self._draw = label, total, start, unit, draw
        self._done = start
        self._began = console.clock()
        self._next_line = self._began if unit else self._began + PLAIN_INTERVAL  # short tasks stay silent

    @property
    def seconds_left(self) -> float | None:
        """For the rest, at the average pace so far (evaluations and commits included); None before the first step."""
        if self._done <= self._start:
            return None
        return (self._console.clock() - self._began) / (self._done - self._start) * (self._total - self._done)

    def update(self, step: int, **figures: float | None) -> None:
        """Show that ``step`` of the total are done, those before the start included, with figures of STEP_FACTS."""
        self._done = step
        facts, left = step_facts(**figures), f"left {duration(self.seconds_left)}"
        if self._draw is not None:
            self._draw(completed=step, facts=facts, left=left)
        now = self._console.clock()
        if now < self._next_line:
            return
        self._next_line = now + PLAIN_INTERVAL
        share = f"{100.0 * step / self._total:.1f} %" if self._total else ""
        words = (f"{self._label} {self._unit}".rstrip() + f" {step}/{self._total}", share, facts, left)
        line = clean("  ".join(word for word in words if word))
        if self._draw is None:
            self._console._write(line)
        self._console._record(line)

    def advance(self, count: int = 1) -> None:
        """``count`` more units are done."""
        self.update(self._done + count)


def _style(line: str) -> str | None:
    """How a line stands out on a terminal."""
    return next((style for start, style in STYLES.items() if line.startswith(start)), None)


def _text(text: str, style: str = "") -> Text:
    from rich.text import Text

    return Text(text, style=style)


def _new_bars(console: RichConsole) -> Progress:
    """Bars below the lines; stdout is left alone, it belongs to results.  In a narrow window only the facts wrap."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.table import Column

    def column(field: str) -> TextColumn:
        return TextColumn(f"{{task.{field}}}", markup=False, table_column=Column(no_wrap=field != "fields[facts]"))

    return Progress(
        column("description"),
        BarColumn(bar_width=20, table_column=Column(no_wrap=True)),
        MofNCompleteColumn(table_column=Column(no_wrap=True)),
        column("fields[facts]"),
        column("fields[left]"),
        console=console,
        refresh_per_second=4,
        redirect_stdout=False,
        transient=True,
    )


STEP_FACTS = {
    "loss": "loss {:.4g}",  # the latest
    "lr": "lr {:.2g}",
    "epe": "EPE {:.2f}",  # mean of the pool at the latest evaluation, px
    "zero_flow_epe": "(zero flow {:.2f})",  # of the same pixels
    "images_per_second": "{:.3g} images/s",  # training pairs
    "data_wait_share": "data wait {:.1%}",  # of the time
}


def step_facts(**figures: float | None) -> str:
    """``loss 9.12  lr 9.9e-05  EPE 4.27 (zero flow 8.02)  41 images/s  data wait 0.3 %``; what is None is left out."""
    assert figures.keys() <= STEP_FACTS.keys(), f"not all of {', '.join(figures)} have words"
    known = (form.format(figures[name]) for name, form in STEP_FACTS.items() if figures.get(name) is not None)
    return "  ".join(known).replace("  (", " (").replace("%", " %")


def epoch_line(row: Mapping[str, Any]) -> str:
    """One line for a finished epoch.

    Args:
        row: a row of eval_history.csv (evaluate/columns.py), of which any part may be missing or None, with these
            beside it: ``num_epochs``, ``best_by`` (eval.best_by), ``seconds_left`` (of the whole run) and ``model``
            (its name among several).

    Returns:
        e.g. ``epoch 12/200  loss 4.53  EPE mean 4.27 median 4.19 p90 5.02 (zero flow 8.02)  best p90 5.02
        coverage 100 %  clip 0 %  13 min``, with the time left at its end; of a single model
        ``EPE 4.27 (zero flow 8.02)  best 4.27``; after a wide evaluation also ``wide 4.67 (640 samples)``.
    """
    mean = next((name for name in row if name.startswith("mean_epe_") and not name.endswith("_ema")), "mean_epe_1")
    several = mean != "mean_epe_1"
    figures = [(word, row.get(mean.replace("mean", word))) for word in ("mean", "median", "p90")[: 3 if several else 1]]
    epes = [f"{word} {epe:.2f}" if several else f"{epe:.2f}" for word, epe in figures if epe is not None]
    beside = (("zero_flow_epe", "(zero flow {:.2f})"), (f"{mean}_ema", "EMA {:.2f}"))
    epes += [form.format(row[name]) for name, form in beside if row.get(name) is not None]
    left, place = row.get("seconds_left"), f"epoch {row['epoch']}" + told(row.get("num_epochs"), "/{}", "")
    by = str(row.get("best_by") or "").replace("_", " ")
    rare = by.removeprefix("wide ") if by.startswith("wide ") else "mean"  # of the wide evaluation, where one was due
    wide = told(row.get(f"wide_{mean.replace('mean', rare)}"), "wide" + f" {rare}" * (rare != "mean") + " {:.2f}", "")
    wide += told(row.get("wide_samples_per_arch"), " ({:,} samples)", "")
    facts = (
        ("{}", f"{row['model']}: {place}" if row.get("model") else place),
        ("loss {:.2f}", row.get("train_loss")),
        ("EPE {}", " ".join(epes) or None),
        ("{}", wide or None),
        (f"best {by if several else ''}".rstrip() + " {:.2f}", row.get("best_epe")),
        ("coverage {:.3g} %", _percent(row.get("coverage_share"))),
        ("clip {:.3g} %", _percent(row.get("clip_rate"))),
        ("dropped steps {}", row.get("dropped_steps") or None),
        # without seconds beside minutes
        ("{}", None if left is None else duration(left if left < 60 else 60 * round(left / 60))),
    )
    return "  ".join(form.format(value) for form, value in facts if value is not None)


def _percent(share: float | None) -> float | None:
    return None if share is None else 100.0 * share


class Tracker(AbstractContextManager["Tracker"]):
    """Curves and pictures of one run.

    Each start adds one event file to ``directory``.  A resumed run gives ``purge_step``, the first step it will log
    again: TensorBoard then hides what an abandoned tail of the run wrote at that step and beyond.  These files are
    for the eye only; the facts of a run are in events.jsonl.

    Args:
        directory: folder for the event files, made if missing.
        enabled: False makes every method a no-op and nothing is imported or written.
        purge_step: first step not to be trusted in older files; None for a fresh run.

    Raises:
        ConfigError: enabled without the tensorboard package.
    """

    def __init__(self, directory: Path, enabled: bool = True, purge_step: int | None = None) -> None:
        self._writer: SummaryWriter | None = None
        if enabled:
            try:
                from torch.utils.tensorboard import SummaryWriter  # the import alone takes a second
            except ImportError as error:
                raise ConfigError(
                    f"runtime.tensorboard true needs the package tensorboard ({error}): "
                    "pip install tensorboard, or set runtime.tensorboard to false"
                ) from error
            place = str(directory)
            if encoded(place) != os.fsencode(place):  # it cannot write where the name of a folder is not UTF-8
                directory.mkdir(parents=True, exist_ok=True)
                place = f"/proc/self/fd/{os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)}"
            self._writer = SummaryWriter(place, purge_step=purge_step)

    @property
    def enabled(self) -> bool:
        """Whether anything is written (drawing pictures costs time)."""
        return self._writer is not None

    def scalars(self, step: int, values: Mapping[str, float | None]) -> None:
        """Log each ``tag: value`` at ``step``; None (not measured) is left out, NaN and infinity are kept."""
        if self._writer is not None:
            for tag, value in values.items():
                if value is not None:
                    self._writer.add_scalar(tag, float(value), step)

    def images(self, step: int, tag: str, picture: NDArray[np.uint8]) -> None:
        """Log one RGB picture, uint8 [H, W, 3]."""
        if self._writer is not None:
            self._writer.add_image(tag, picture, step, dataformats="HWC")

    def flush(self) -> None:
        """Hand everything to the operating system, every runtime.summary_flush_every steps."""
        if self._writer is not None:
            self._writer.flush()

    def close(self) -> None:
        """Flush and end the event file; later calls do nothing."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def __exit__(self, *error: object) -> None:
        self.close()
