"""Figures put into words: durations and the one line of an epoch.  Plain ASCII, the same on a terminal and in a log."""

from __future__ import annotations

import math
from collections.abc import Mapping

__all__ = ["SRAM_COUNT", "clean", "counted", "duration", "epoch_line", "scaled", "step_facts"]

SRAM_COUNT = (  # docs/vela.md has the measurement
    "sram_kib: a count, at most 5.4 % above Vela's without a limit of the arena at widths 16 to 32, 63 % at width 8"
)
_UNITS = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))


def duration(seconds: float | None) -> str:
    """``41 s``, ``12 min 5 s``, ``3 h 12 min``, ``2 d 3 h``; ``?`` where it is unknown."""
    if seconds is None or not math.isfinite(seconds):
        return "?"
    left = max(0, round(seconds))
    for (size, name), (next_size, next_name) in zip(_UNITS, _UNITS[1:], strict=False):
        if left >= size:
            rest = left % size // next_size
            return f"{left // size} {name}" + (f" {rest} {next_name}" if rest else "")
    return f"{left} s"


def counted(number: int, noun: str) -> str:
    """``1 subnet``, ``1,200 subnets``."""
    return f"{number:,} {noun}{'s' * (number != 1)}"


def scaled(value: float, unit: str) -> str:
    """Three digits with the prefix that fits: ``774 kB``, ``1.65 GMAC``."""
    power = max((power for power in range(5) if round(value / 1000**power, 9) >= 1), default=0)
    return f"{float(f'{value / 1000**power:.3g}'):g} {' kMGT'[power].strip()}{unit}"


def clean(text: str) -> str:
    """Text safe for a log line: control characters (a file name may hold them) are spelt out (backslash x1b)."""
    return "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text)


def step_facts(
    *,
    loss: float | None = None,
    lr: float | None = None,
    epe: float | None = None,
    images_per_second: float | None = None,
    data_wait_share: float | None = None,
) -> str:
    """``loss 9.12  lr 9.9e-05  epe 8.21  41 images/s  data wait 0.3 %``; what is None is left out."""
    facts = (
        ("loss {:.4g}", loss),
        ("lr {:.2g}", lr),
        ("epe {:.2f}", epe),
        ("{:.3g} images/s", images_per_second),
        ("data wait {:.1%}", data_wait_share),
    )
    return "  ".join(form.format(value) for form, value in facts if value is not None).replace("%", " %")


def epoch_line(row: Mapping[str, object]) -> str:
    """One line for a finished epoch.

    Args:
        row: a row of eval_history.csv (evaluate/columns.py), of which any part may be missing or None, with these
            beside it: ``num_epochs``, ``improved`` (True where this evaluation is the best so far, marked by ``*``),
            ``seconds_left`` (of the whole run) and ``model`` (its name among several).

    Returns:
        e.g. ``epoch 3/200 step 1668 loss 9.12 lr 9.9e-05 mean_epe_12 8.21 std 0.27 best 8.21* clip_rate 0.01
        data wait 0.3 % 41 images/s left 3 h 12 min``.
    """
    mean = next((name for name in row if name.startswith("mean_epe_") and not name.endswith("_ema")), "mean_epe")
    epochs = row.get("num_epochs")
    facts = (
        ("{}:", row.get("model") or None),
        (f"epoch {{}}{'' if epochs is None else f'/{epochs}'}", row.get("epoch")),
        ("step {}", row.get("global_step")),
        ("loss {:.4g}", row.get("train_loss")),
        ("lr {:.2g}", row.get("lr")),
        (mean + " {:.2f}", row.get(mean)),
        ("std {:.2f}", row.get(mean.replace("mean", "std"))),
        ("ema {:.2f}", row.get(mean + "_ema")),
        (f"best {{:.2f}}{'*' if row.get('improved') else ''}", row.get("best_epe")),
        ("clip_rate {:.2f}", row.get("clip_rate")),
        ("dropped_steps {}", row.get("dropped_steps") or None),
        ("data wait {:.1%}", row.get("data_wait_share")),
        ("{:.3g} images/s", row.get("images_per_second")),
    )
    words = [form.format(value) for form, value in facts if value is not None]
    if row.get("seconds_left") is not None:
        words.append(f"left {duration(float(str(row['seconds_left'])))}")
    return " ".join(words).replace("%", " %")
