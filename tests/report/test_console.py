"""Lines, bars and the log; durations and the epoch line."""

import errno
import io
import re
from pathlib import Path

import pytest

from edgeflownas.files import clean
from edgeflownas.report.console import PLAIN_INTERVAL, Console, epoch_line, step_facts
from edgeflownas.report.table import Table, duration
from edgeflownas.report.views import ABOVE_ZERO_FLOW
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


def test_the_default_stream_is_stderr_and_a_terminal_is_recognised(monkeypatch, capsys):
    monkeypatch.setenv("TERM", "xterm")
    assert not Console(Terminal()).plain and Console(io.StringIO()).plain
    monkeypatch.setenv("TERM", "dumb")
    assert Console(Terminal()).plain
    Console().info("hello")
    assert capsys.readouterr() == ("", "hello\n")


def test_lines_go_to_screen_and_log():
    console, stream, log = plain_console()
    console.info("first\nsecond")
    console.warn("clip_checks 150, expected 300")
    console.epoch_line({"epoch": 1, "train_loss": 2.5, "improved": True})
    console.wrote({"checkpoint": Path("c"), "rows": Path("eval\x1b.csv")})
    assert log[:4] == ["first", "second", "warning: clip_checks 150, expected 300", "epoch 1  loss 2.50"]
    assert log[4:] == ["wrote checkpoint  c", "wrote rows        eval\\x1b.csv"]
    assert stream.getvalue() == "\n".join(log) + "\n"


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
        "train step 511/1000  51.1 %  loss 9  lr 0.0001  EPE 8.00  41 images/s  data wait 1.0 %  left 8 min 9 s"
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
    assert "1/10" in screen and "loss 9.25" in screen and "left 18 s" in screen and "EPE 8.50" in screen
    assert "evaluation" in screen and "3/12" in screen
    assert "news [bold]as it is[/bold]" in screen
    assert log == ["train step 1/10  10.0 %  loss 9.25  EPE 8.50  left 18 s", "news [bold]as it is[/bold]"]
    assert console._bars is None and capsys.readouterr().out == "result\n"
    with console.task("again", 2) as meter:  # bars can be opened anew
        meter.advance()


def test_bars_are_taken_down_when_work_fails():
    console = Console(Terminal(), plain=False)
    with pytest.raises(RuntimeError), console.progress(3), console.task("x", 2):
        raise RuntimeError
    assert console._bars is None


def test_the_table_is_logged_plain_from_a_terminal_and_fits_a_narrow_one(monkeypatch):
    monkeypatch.setenv("COLUMNS", "130")
    space, log, stream, plain, narrow = get_space("v1"), [], Terminal(), io.StringIO(), Terminal()
    rows = [(arch, index, 9.0 - index) for index, arch in enumerate(space.pool(3))]
    Console(stream, plain=False, log=log.append).pool_table(rows, space, 10.0)
    assert "2,2,2,2,2,2,2,2,2" in stream.getvalue() and log[2].startswith("   1      2  2,2,2,2,2,2,2,2,2")
    Console(plain).pool_table(rows, space, 10.0)
    assert plain.getvalue().splitlines() == log
    monkeypatch.setenv("COLUMNS", "80")
    Console(narrow, plain=False).pool_table([(space.pool(1)[0], 0, 9.0)], space, 10.0)
    assert max(map(len, narrow.getvalue().split("\n"))) <= 80 and "H2Out 3" in narrow.getvalue()


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


# ---- words ----


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        *((0, "0 s"), (41.4, "41 s"), (59.6, "1 min"), (725, "12 min 5 s"), (3600, "1 h"), (11520, "3 h 12 min")),
        *((183600, "2 d 3 h"), (-3, "0 s"), (None, "?"), (float("inf"), "?"), (float("nan"), "?")),
    ],
)
def test_duration(seconds, text):
    assert duration(seconds) == text


ROW = {
    **{"epoch": 12, "num_epochs": 200, "train_loss": 4.531, "mean_epe_12": 4.268, "median_epe_12": 4.191},
    **{"p90_epe_12": 5.02, "zero_flow_epe": 8.0211, "best_epe": 5.0931, "best_by": "p90", "coverage_share": 1.0},
    **{"clip_rate": 0.0, "seconds_left": 790.0, "std_epe_12": 0.2743, "lr": 9.9e-5, "arch_rank_12": "1:0:8.2111"},
}


def test_the_epoch_line_of_the_documentation():
    assert epoch_line(ROW) == (
        "epoch 12/200  loss 4.53  EPE mean 4.27 median 4.19 p90 5.02 (zero flow 8.02)  best p90 5.09  coverage 100 %  "
        "clip 0 %  13 min"
    )


def test_the_epoch_line_of_one_model_among_several_and_of_a_pool_with_a_moving_average():
    one = {"epoch": 3, "mean_epe_1": 4.2, "median_epe_1": 4.2, "p90_epe_1": 4.2, "zero_flow_epe": 8.0, "best_epe": 4.1}
    line = epoch_line({**one, "model": "deep", "best_by": "mean", "seconds_left": 41.4})
    assert line == "deep: epoch 3  EPE 4.20 (zero flow 8.00)  best 4.10  41 s"
    line = epoch_line({**ROW, "mean_epe_12_ema": 4.1, "clip_rate": 0.0412, "dropped_steps": 2, "seconds_left": 11525.0})
    assert "p90 5.02 (zero flow 8.02) EMA 4.10  best" in line and line.endswith(
        "clip 4.12 %  dropped steps 2  3 h 12 min"
    )


def test_what_was_not_measured_is_left_out():
    wide = {"wide_mean_epe_12": 4.6712, "wide_median_epe_12": 4.5, "wide_samples_per_arch": 1100}
    assert "(zero flow 8.02)  wide 4.67 (1,100 samples)  best p90 5.09" in epoch_line({**ROW, **wide})
    chosen = epoch_line({**ROW, **wide, "best_by": "wide_median"})
    assert "wide median 4.50 (1,100 samples)  best wide median 5.09" in chosen
    assert epoch_line({"epoch": 1, "train_loss": 2.0, "mean_epe_12": None, "dropped_steps": 0}) == "epoch 1  loss 2.00"
    assert epoch_line({"epoch": 1, "mean_epe_24_ema": 7.0, "mean_epe_24": 8.0}) == "epoch 1  EPE mean 8.00 EMA 7.00"


def test_what_sees_no_motion_is_said_in_red_on_a_terminal(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    line, terminal, plain = f"{ABOVE_ZERO_FLOW}the best subnet has 9 px", Terminal(), io.StringIO()
    for stream in (terminal, plain):
        Console(stream).tell([line, Table(["epe"], [[9.0]])])
    assert (
        "\x1b[1;31m" in terminal.getvalue().split(line[:20])[0] and "\x1b" not in terminal.getvalue().split("epe")[-1]
    )
    assert plain.getvalue().startswith(f"{line}\nepe\n")


def test_step_facts():
    facts = {"loss": 9.1234, "lr": 9.9e-5, "epe": 8.211, "images_per_second": 41.04, "data_wait_share": 0.003}
    assert step_facts(**facts) == "loss 9.123  lr 9.9e-05  EPE 8.21  41 images/s  data wait 0.3 %"
    assert "EPE 8.21 (zero flow 8.02)  41" in step_facts(**facts, zero_flow_epe=8.02)
    assert (step_facts(), step_facts(loss=float("nan"))) == ("", "loss nan")


def test_control_characters_cannot_forge_or_colour_a_log_line():
    assert clean("a\x1b[31mred\rb\udcff") == r"a\x1b[31mred\rb\udcff"
    assert clean("two\nlines, 飞") == "two\nlines, 飞"
