"""How `edgeflownas train` tells recipe, overrides and its own options apart."""

from __future__ import annotations

from pathlib import Path

import pytest
from cyclopts import App
from hypothesis import given
from hypothesis import strategies as st

from edgeflownas.commands._overrides import OverrideTokens, split_overrides
from edgeflownas.errors import ConfigError

OPTIONS = ("--config", "--resume", "--dry-run")


@pytest.fixture
def app() -> App:
    app = App(result_action="return_value", exit_on_error=False, print_error=False)

    @app.default
    def command(*tokens: OverrideTokens, config: str | None = None, resume: Path | None = None, dry_run: bool = False):  # type: ignore[no-untyped-def]
        recipe, overrides = split_overrides(tokens, OPTIONS)
        return recipe or config, resume and str(resume), dry_run, overrides

    return app


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("smoke", ("smoke", None, False, [])),
        ("smoke --train.lr 5e-5", ("smoke", None, False, ["--train.lr=5e-5"])),
        ("--train.lr 5e-5 smoke", ("smoke", None, False, ["--train.lr=5e-5"])),
        ("--config smoke --train.lr=5e-5 --dry-run", ("smoke", None, True, ["--train.lr=5e-5"])),
        ("--train.lr 5e-5 --config=smoke", ("smoke", None, False, ["--train.lr=5e-5"])),
        ("smoke --train.gpu_device -1 --dry-run", ("smoke", None, True, ["--train.gpu_device=-1"])),
        ("--resume runs/a --eval.pictures 0", (None, "runs/a", False, ["--eval.pictures=0"])),
        ("--eval.pictures 0 --resume=runs/a", (None, "runs/a", False, ["--eval.pictures=0"])),
        ("smoke --data.crop_size [96,128]", ("smoke", None, False, ["--data.crop_size=[96,128]"])),
        ("a/b.yaml --data.train_dir a=b", ("a/b.yaml", None, False, ["--data.train_dir=a=b"])),
    ],
)
def test_split(app: App, line: str, expected: tuple[object, ...]) -> None:
    assert app(line.split()) == expected


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--resum runs/a", "unknown option --resum .*did you mean --resume"),
        ("smoke --dryrun", "did you mean --dry-run"),
        ("smoke --resum=runs/a", "unknown option --resum .*did you mean --resume"),
        ("smoke --lr 3", "unknown option --lr; did you mean --train.lr"),
        ("smoke --batch-sise 3", "did you mean --(train|eval).batch_size"),
        ("smoke --train 3", "--train is a group of keys"),
        ("smoke -x", "unknown option -x"),
        ("smoke other", "one recipe expected, got smoke and other"),
        ("smoke --train.channels_last", "--train.channels_last needs a value.*true or false"),
        ("smoke --train.channels_last --dry-run", "--train.channels_last needs a value"),
        ("smoke --train.lrr", "--train.lrr needs a value: write"),
    ],
)
def test_refused(app: App, line: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        app(line.split())


@given(st.permutations(["smoke", "--train.lr=1", "--data.flow_clip=null", "--dry-run"]))
def test_the_order_of_tokens_does_not_matter(tokens: list[str]) -> None:
    recipe, overrides = split_overrides([token for token in tokens if token != "--dry-run"], OPTIONS)
    assert recipe == "smoke"
    assert sorted(overrides) == ["--data.flow_clip=null", "--train.lr=1"]
