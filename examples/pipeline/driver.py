"""The whole chain, from generated pairs to one page about files for a chip.

    python examples/pipeline/driver.py RESULTS [--settings SETTINGS.yaml]

Everything lies below RESULTS.  Stopped at any moment (Ctrl-C), the same command goes on; what is finished is not run
again.  A changed setting makes the steps stale that depend on it: they are run again, their old results kept aside.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from steps import Chain, Step, Stopped

from edgeflownas.config.load import parse_yaml

HERE = Path(__file__).resolve().parent
ARENA_KIB = 900  # what the board's vendor advises to use of its SRAM


@dataclass(frozen=True)
class Settings:
    """What SETTINGS.yaml holds, every key of it."""

    supernet: Path  # recipe
    pairs: dict[str, str]  # options of edgeflownas data synth --kind texture
    size: str  # rows x columns of the images, in training as on the chip
    target: str
    rank: dict[str, str]  # options of edgeflownas rank
    where: str  # what the chip can hold, and the time it may take
    retrain: dict[str, Any]  # keys over those of the shortlist's recipe
    check: int  # pairs that the files are verified on

    @staticmethod
    def read(path: Path) -> Settings:
        """Raises SystemExit for a key that is missing or unknown."""
        found, known = parse_yaml(path.read_text(), str(path))[0], set(Settings.__dataclass_fields__)
        if found.keys() != known:
            sys.exit(f"{path}: keys that are missing or unknown: {', '.join(sorted(found.keys() ^ known))}")
        return Settings(**found | {"supernet": path.parent / found["supernet"]})


def main() -> int:
    """Run what is left; the exit code of the command that did not end well, else 0."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path)
    parser.add_argument("--settings", type=Path, default=HERE / "settings.yaml")
    options = parser.parse_args()
    results, settings = options.results.resolve(), Settings.read(options.settings)
    results.mkdir(parents=True, exist_ok=True)
    chain = Chain(results)
    try:
        with FileLock(results / ".lock", timeout=0):
            for step in steps(results, settings):
                chain.run(step)
    except Timeout:
        sys.exit(f"{results}: another process runs this chain")
    except Stopped as stopped:
        print(stopped, file=sys.stderr)
        return stopped.code
    print(f"\nOpen {results / 'page.html'}")
    return 0


def steps(results: Path, settings: Settings) -> Iterator[Step]:
    """Every step in its order; those after `pareto` are known once it is done, because it chooses the subnets."""
    yield from searched(results, settings)
    recipe = results / "pareto" / "shortlist.yaml"
    subnets = parse_yaml(recipe.read_text(), str(recipe))[0]["train"]["arch_name"]
    if "baseline" not in subnets:
        raise Stopped(64, f"{recipe}: no baseline among {', '.join(subnets)}: rank a part of the space that holds it")
    yield from trained_alone(results, settings, recipe)
    yield from shipped(results, settings, subnets)
    yield from compared(results, settings, recipe, subnets)


def searched(results: Path, settings: Settings) -> Iterator[Step]:
    """From nothing to a shortlist of three: the best, the space's baseline, and one of the front."""
    data, supernet, ranking, chosen = (results / name for name in ("data", "supernet", "rank", "pareto"))
    command = ("data", "synth", "--kind", "texture", "--out", str(data), "--size", settings.size)
    command += options(settings.pairs)
    yield Step("data", command, data, go_on=command)

    keys = {"data.train_dir": data / "train", "data.val_dir": data / "val", "data.cache_dir": results / "cache"}
    keys |= {"data.crop_size": settings.size, "runtime.output_root": results, "runtime.experiment_name": "supernet"}
    command = ("train", str(settings.supernet), *options(keys))
    resume = ("train", "--resume", str(supernet))
    yield Step("supernet", command, supernet, ("data",), (settings.supernet,), resume)

    command = ("rank", str(supernet), "--out", str(ranking), "--target", settings.target, *options(settings.rank))
    command += ("--keep-sample-errors", "--yes")
    yield Step("rank", command, ranking, ("supernet",), go_on=command)

    objectives = f"epe,{settings.target.replace('-', '_')}_ms"
    command = ("pareto", str(ranking), "--run", str(supernet), "--minimise", objectives)
    command += ("--where", settings.where, "--top", "3", "--out", str(chosen))
    yield Step("pareto", command, chosen, ("rank",))


def trained_alone(results: Path, settings: Settings, recipe: Path) -> Iterator[Step]:
    """The shortlist, each subnet alone: from scratch, and from the supernet's weights."""
    supernet = results / "supernet"
    for start, origin in {"scratch": {}, "warm": {"train.init_from": supernet}}.items():
        group = results / start
        keys = {"runtime.output_root": results, "runtime.experiment_name": start} | origin | settings.retrain
        command = ("train", str(recipe), *options(keys))
        yield Step(start, command, group, ("pareto", "supernet"), go_on=("train", "--resume", str(group)))


def shipped(results: Path, settings: Settings, subnets: Sequence[str]) -> Iterator[Step]:
    """A folder of files for each trained subnet, verified."""
    for name in exported(subnets):
        start, subnet = name.split("_", 1)
        folder = results / "export" / name
        command = ("export", str(results / start / subnet), "--format", "tflite-int8,tflite-float")
        command += ("--size", settings.size, "--target", settings.target, "--pairs", str(settings.check))
        yield Step(f"export_{name}", (*command, "--out", str(folder)), folder, (start,))
        yield Step(f"verify_{name}", ("verify", str(folder)), None, (f"export_{name}",))


def compared(results: Path, settings: Settings, recipe: Path, subnets: Sequence[str]) -> Iterator[Step]:
    """The published network, and the subnets at its width: what they cost needs no training.  Then the page."""
    models = results / "models"
    command = (str(HERE / "published.py"), str(models), "--shortlist", str(recipe))
    yield Step("models", command, models, ("pareto",), (HERE / "published.py",))
    files = [models / f"{name}.tflite" for name in ("published_172x224", "published_176x224", *subnets)]
    for limit in ("free", f"{ARENA_KIB}"):
        costs = results / f"vela_{limit}"
        arena = () if limit == "free" else ("--arena", limit)
        command = ("vela", *map(str, files), "--target", settings.target, *arena, "--out", str(costs))
        yield Step(f"vela_{limit}", command, costs, ("models",))

    page = results / "page.html"
    before = (*(f"verify_{name}" for name in exported(subnets)), "vela_free", f"vela_{ARENA_KIB}")
    yield Step("page", (str(HERE / "page.py"), str(results)), page, before, (HERE / "page.py", HERE / "collected.py"))


def exported(subnets: Sequence[str]) -> list[str]:
    """Names of the trained subnets: scratch_best, ..."""
    return [f"{start}_{subnet}" for start in ("scratch", "warm") for subnet in subnets]


def options(values: dict[str, Any]) -> tuple[str, ...]:
    """``--key value`` of every entry."""
    return tuple(word for key, value in values.items() for word in (f"--{key}", str(value)))


if __name__ == "__main__":
    sys.exit(main())
