"""``edgeflownas train``: start a run from a recipe, or resume one from its directory."""

from pathlib import Path

from edgeflownas.commands._shared import AnyKey, Json, named_recipe
from edgeflownas.errors import ConfigError


def train(
    recipe: str | None = None,
    /,
    *,
    config: str | None = None,
    resume: str | None = None,
    fork: str | None = None,
    reset_optimizer: bool = False,
    accept_data_change: bool = False,
    dry_run: bool = False,
    print_config: bool = False,
    max_seconds: float | None = None,
    json: Json = False,
    overrides: AnyKey = (),
) -> None:
    """Train a supernet or a single model from a recipe, or go on with a run.

    Example: edgeflownas train RECIPE [--GROUP.KEY VALUE ...], or edgeflownas train --resume RUN

    SIGINT and SIGTERM commit and exit with 75; --resume goes on with the same bits. With --fork NEW_NAME it begins a
    new run from a checkpoint instead, with changed keys.

    Args:
        recipe: recipe, packaged (edgeflownas recipes list) or a YAML file.
        config: the recipe, if not given as the first argument.
        resume: run directory to go on with; its own configuration is used. With --fork also RUN@best or
            RUN@step-00001234, the checkpoint to start from (the newest by default).
        fork: with --resume, start a new run of this name from a checkpoint, with changed keys; those that RECIPE
            (such as continue_fork) writes and those of the command line go over the run's own.
        reset_optimizer: with --fork, begin with Adam's moments at zero instead of those of the checkpoint.
        accept_data_change: with --resume, go on although files of the data hold something else now (a picture was
            mended), under the same names; run_manifest.json keeps which.
        dry_run: check everything (paths, sample counts, steps, memory) and train nothing.
        print_config: print the complete configuration as YAML (with --json as JSON) and stop.
        max_seconds: commit and exit with 75 after this many seconds.
    """
    run, checkpoint = _run_and_checkpoint(resume, fork)
    recipe = _one_source(recipe, config, run, fork)
    if fork is not None and resume is None:
        raise ConfigError(f"--fork {fork} needs --resume RUN_DIRECTORY: a fork starts from a checkpoint of another run")
    if reset_optimizer and fork is None:
        raise ConfigError("--reset-optimizer needs --fork NEW_NAME: a resumed run keeps Adam's state")
    if accept_data_change and resume is None:
        raise ConfigError("--accept-data-change needs --resume RUN: a new run takes the data as they are")
    if max_seconds is not None and not 0 < max_seconds < float("inf"):
        raise ConfigError(f"--max-seconds {max_seconds:g} must be a positive number; leave it out for no limit")

    from json import dumps

    from edgeflownas.config.load import dump_config, load_config

    if print_config:
        shown = load_config(recipe, overrides) if run is None else load_config(run / "config.yaml", overrides, recipe)
        print(dumps(shown.model_dump(mode="json"), indent=2) if json else dump_config(shown), end="\n" if json else "")
        return
    loaded = load_config(recipe, overrides) if run is None else None  # before torch: a mistake shows at once

    from edgeflownas.commands._shared import standard_front
    from edgeflownas.train.start import Options, launch

    options = Options(
        resume=run, fork=fork, checkpoint=checkpoint, overlay=None if run is None else recipe,
        reset_optimizer=reset_optimizer, accept_data_change=accept_data_change, dry_run=dry_run,
        max_seconds=max_seconds, json=json, overrides=overrides,
    )  # fmt: skip
    launch(loaded, options, standard_front())


def _run_and_checkpoint(resume: str | None, fork: str | None) -> tuple[Path | None, str]:
    """The run directory of --resume and the checkpoint behind its @."""
    if resume is None or Path(resume).exists():
        return (None if resume is None else Path(resume)), "latest"
    place, _, checkpoint = resume.rpartition("@") if "@" in resume else (resume, "", "latest")
    if checkpoint != "latest" and fork is None:
        raise ConfigError(
            f"--resume {resume}: a run goes on from its newest checkpoint; to begin a new run from {checkpoint} add "
            f"--fork NEW_NAME, to resume give --resume {place}"
        )
    return Path(place), checkpoint


def _one_source(positional: str | None, config: str | None, resume: Path | None, fork: str | None) -> str | None:
    """The recipe; exactly one of recipe and run directory must be given, or both for a fork."""
    recipe = named_recipe(positional, config)
    if recipe is not None:
        from edgeflownas.config.load import read_recipe

        usage = read_recipe(recipe)[2]
        if usage.sweep is not None:
            raise ConfigError(f"{recipe} is a sweep, several runs and their comparison: edgeflownas sweep {recipe}")
        if usage.fork and fork is None:
            raise ConfigError(
                f"{recipe} changes keys of a run that exists: edgeflownas train {recipe} --resume RUN --fork NEW_NAME"
            )
    if recipe is not None and resume is not None and fork is None:
        raise ConfigError(
            f"recipe {recipe} and --resume {resume} exclude each other: a resumed run uses its own config.yaml; "
            "give --resume alone (overrides are allowed), the recipe to start a new run, or add --fork NEW_NAME"
        )
    if recipe is None and resume is None:
        from edgeflownas.config.load import recipe_names

        raise ConfigError(f"give a recipe ({', '.join(recipe_names())}, or a YAML file) or --resume RUN_DIRECTORY")
    return recipe
