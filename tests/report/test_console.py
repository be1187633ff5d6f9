"""Lines, bars and the log."""

import errno
import io
import re

import pytest

from edgeflownas.report.console import PLAIN_INTERVAL, Console
from edgeflownas.space import get_space


class Clock:
    """Seconds that pass when a test says so."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Pipe(io.StringIO):
    def write(self, text: str) -> int:
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")


def plain_console(**options):
    stream, log = io.StringIO(), []
    return Console(stream, log=log.append, **options), stream, log


def test_a_terminal_is_recognised(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    assert not Console(Terminal()).plain
    assert Console(io.StringIO()).plain
    monkeypatch.setenv("TERM", "dumb")
    assert Console(Terminal()).plain


def test_the_default_stream_is_stderr(capsys):
    Console().info("hello")
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "hello\n")


def test_lines_go_to_screen_and_log():
    console, stream, log = plain_console()
    console.info("first\nsecond")
    console.warn("clip_checks 150, expected 300: look at train.micro_batch_size")
    console.epoch_line({"epoch": 1, "train_loss": 2.5, "improved": True})
    assert log == [
        "first",
        "second",
        "warning: clip_checks 150, expected 300: look at train.micro_batch_size",
        "epoch 1 loss 2.5",
    ]
    assert stream.getvalue() == "\n".join(log) + "\n"


def test_wrote_names_the_paths(tmp_path):
    console, stream, _ = plain_console()
    console.wrote({"checkpoint": tmp_path / "c", "rows": tmp_path / "eval\x1b.csv"})
    assert stream.getvalue() == f"wrote checkpoint  {tmp_path}/c\nwrote rows        {tmp_path}/eval\\x1b.csv\n"


def test_plain_progress_speaks_at_most_every_ten_seconds_and_knows_the_time_left():
    clock = Clock()
    console, stream, log = plain_console(clock=clock)
    with console.progress(1000, start_step=500, label="train") as meter:
        assert meter.seconds_left is None
        for step in range(501, 526):
            clock.now += 1.0
            meter.update(step, loss=9.0, lr=1e-4, epe=8.0, images_per_second=41.0, data_wait_share=0.01)
    assert PLAIN_INTERVAL == 10.0
    lines = stream.getvalue().splitlines()
    assert lines == log
    assert [re.match(r"train step (\d+)/1000", line)[1] for line in lines] == ["501", "511", "521"]
    assert lines[1] == (
        "train step 511/1000  51.1 %  loss 9  lr 0.0001  epe 8.00  41 images/s  data wait 1.0 %  left 8 min 9 s"
    )


def test_a_short_task_is_silent_and_a_long_one_is_not():
    clock = Clock()
    console, stream, _ = plain_console(clock=clock)
    with console.task("evaluation", 12) as meter:
        for _ in range(12):
            clock.now += 0.5
            meter.advance()
    assert stream.getvalue() == ""
    with console.task("evaluation", 12) as meter:
        for _ in range(12):
            clock.now += 6.0
            meter.advance()
    assert stream.getvalue().splitlines()[0] == "evaluation 2/12  16.7 %  left 1 min"
    assert len(stream.getvalue().splitlines()) == 6


def test_terminal_shows_bars_within_bars_and_logs_plain_lines(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "160")
    stream, log, clock = Terminal(), [], Clock()
    console = Console(stream, plain=False, log=log.append, clock=clock)
    with console.progress(10) as meter:
        clock.now += 2.0
        meter.update(1, loss=9.25, epe=8.5)
        console.info("news [bold]as it is[/bold]")
        with console.task("evaluation", 12) as inner:
            inner.update(3)
            console._bars.refresh()
        print("result")  # stdout is not taken over by the bars
        console._bars.refresh()
    screen = stream.getvalue()
    assert "1/10" in screen and "loss 9.25" in screen and "left 18 s" in screen and "epe 8.50" in screen
    assert "evaluation" in screen and "3/12" in screen
    assert "news [bold]as it is[/bold]" in screen
    assert log == ["train step 1/10  10.0 %  loss 9.25  epe 8.50  left 18 s", "news [bold]as it is[/bold]"]
    assert console._bars is None and capsys.readouterr().out == "result\n"
    with console.task("again", 2) as meter:  # bars can be opened anew
        meter.advance()


def test_bars_are_taken_down_when_work_fails():
    console = Console(Terminal(), plain=False)
    with pytest.raises(RuntimeError), console.progress(3), console.task("x", 2):
        raise RuntimeError
    assert console._bars is None


def test_the_table_is_logged_plain_from_a_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "130")
    space, log, stream = get_space("v1"), [], Terminal()
    rows = [(arch, index, 9.0 - index) for index, arch in enumerate(space.pool(3))]
    Console(stream, plain=False, log=log.append).pool_table(rows, space, 10.0)
    assert "2,2,2,2,2,2,2,2,2" in stream.getvalue() and log[2].startswith("   1      2  2,2,2,2,2,2,2,2,2")
    plain = io.StringIO()
    Console(plain).pool_table(rows, space, 10.0)
    assert plain.getvalue().splitlines() == log


def test_the_table_fits_a_narrow_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    space, stream = get_space("v1"), Terminal()
    Console(stream, plain=False).pool_table([(space.pool(1)[0], 0, 9.0)], space, 10.0)
    assert max(map(len, stream.getvalue().split("\n"))) <= 80 and "H2Out 3" in stream.getvalue()


def test_a_closed_pipe_does_not_end_the_run():
    log = []
    console = Console(Pipe(), log=log.append)
    console.info("one")
    console.info("two")
    assert log == ["warning: console output is lost from here on ([Errno 32] Broken pipe)", "one", "two"]


def test_a_stream_without_the_letters_gets_escapes():
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii", newline="\n")
    Console(stream).info("run 飞")
    assert raw.getvalue() == b"run \\u98de\n"
