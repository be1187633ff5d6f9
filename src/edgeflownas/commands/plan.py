"""``edgeflownas plan``: what a configuration will do, cost and cover, before anything is trained."""

import sys

from edgeflownas.commands._shared import AnyKey, Csv, Json, WholeNumber, emit, named_recipe


def plan(
    recipe: str | None = None,
    /,
    *,
    config: str | None = None,
    train_samples: WholeNumber | None = None,
    val_samples: WholeNumber | None = None,
    batch_size: WholeNumber | None = None,
    steps_per_epoch: WholeNumber | None = None,
    num_epochs: WholeNumber | None = None,
    measure: bool = False,
    csv: Csv | None = None,
    json: Json = False,
    overrides: AnyKey = (),
) -> None:
    """Show steps, coverage, cost and learning rate of a run.

    Example: edgeflownas plan RECIPE, or edgeflownas plan --train-samples 17785 --batch-size 32 --num-epochs 200

    Without a recipe every other key has its default. docs/plan.md explains each row.

    Args:
        recipe: recipe, packaged (edgeflownas recipes list) or a YAML file.
        config: the recipe, if not given as the first argument.
        train_samples: training samples, instead of counting those of data.train_dir.
        val_samples: validation samples, instead of counting those of data.val_dir.
        batch_size: short for --train.batch_size.
        steps_per_epoch: short for --train.steps_per_epoch with --train.epoch_mode fixed_steps.
        num_epochs: short for --train.num_epochs.
        measure: also time a few steps and one evaluation batch on this machine; writes nothing.
    """
    chosen = named_recipe(recipe, config)

    from edgeflownas.report.console import Console
    from edgeflownas.report.run_views import plan_view
    from edgeflownas.train.plan import plan_recipe

    counts = {"train": train_samples, "val": val_samples}
    short = {"batch_size": batch_size, "steps_per_epoch": steps_per_epoch, "num_epochs": num_epochs}
    console = Console()
    document = plan_recipe(chosen, overrides, counts, short, console.task if measure else None)
    console.wrote(emit(document, plan_view, json, csv, Console(sys.stdout).show))
