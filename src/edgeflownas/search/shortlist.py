"""The recipe with which a shortlist is trained alone, side by side on the same batches."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from edgeflownas.config import Config
from edgeflownas.config.load import dump_yaml, explain, load_config, read_recipe
from edgeflownas.errors import ConfigError

PLAN = "retrain_fc2_180x240"
"""The packaged recipe whose training plan (epochs, learning rate, clipping) is taken."""
TRAIN_OF_RUN = ("width", "input_normalisation", "batch_size", "micro_batch_size")
EVAL_OF_RUN = ("eval_batches_per_arch", "batch_size", "bn_recal_batches")


def run_around(ranking: Path) -> Path | None:
    """The run in which `edgeflownas rank` leaves its folder by default."""
    folder = (ranking if ranking.is_dir() else ranking.parent).resolve().parent
    return folder if (folder / "run_manifest.json").is_file() else None


def shortlist_recipe(document: Mapping[str, Any], run: Path | None = None) -> tuple[str, str]:
    """YAML of task standalone for the document's shortlist, and a sentence on where its keys are from.

    The plan is that of the packaged recipe :data:`PLAN`.  Width, batch, data and the size of the evaluation sets are
    those of the ranked ``run`` where it is given, so that the EPEs compare; else width and size as the ranking says.

    Raises:
        ConfigError: ``run`` is no run or its keys do not fit a standalone run, the ranking does not say its width and
            size and there is no run, or the space is not a declared one.
    """
    facts = document["facts"]
    if run is not None and not (run / "config.yaml").is_file():
        raise ConfigError(f"{run}: no run is here (config.yaml not found); give the run that was ranked with --run")
    if run is None and not {"width", "size"} <= facts.keys():
        raise ConfigError(
            "no recipe: a table alone does not say of which width and image size its subnets are; give the run that "
            "was ranked with --run, or the folder that `edgeflownas rank` wrote"
        )
    groups, _, _ = read_recipe(PLAN)
    codes = [",".join(document["codes"][position]) for position in document["shortlist"]]
    name = "".join(c if c.isalnum() or c in "._-" else "_" for c in facts.get("run", document["space"]))
    groups["runtime"] = {"experiment_name": f"shortlist_{name}"}
    groups["train"] |= {"space": document["space"], "arch": codes, "arch_name": document["shortlist_names"]}
    if run is not None:
        found = load_config(run / "config.yaml")
        groups["train"] |= {key: getattr(found.train, key) for key in TRAIN_OF_RUN}
        groups["data"] = found.data.model_dump(mode="json", exclude_defaults=True)
        groups["eval"] |= {key: getattr(found.eval, key) for key in EVAL_OF_RUN}
        origin = f"width, batch, data and evaluation of {run}, plan of recipe {PLAN}"
    else:
        groups["train"] |= {"width": int(facts["width"])}
        groups["data"] |= {"crop_size": [int(part) for part in facts["size"].split("x")]}
        origin = f"recipe {PLAN} with the ranking's width and size: check data.train_dir and data.val_dir"
    try:
        Config.model_validate(groups)
    except ValidationError as error:
        raise ConfigError("no recipe can be made of this shortlist: " + "; ".join(explain(error))) from None
    objectives = ", ".join(document["objectives"])
    where = f" where {document['where']}" if document["where"] else ""
    head = (
        f"# {len(codes)} subnets of space {document['space']} chosen by {objectives}{where}, each trained alone.\n"
        f"# command:  edgeflownas train THIS_FILE   (one of them: --train.arch CODE --train.arch_name NAME)\n"
        f"# keys:     {origin}\n"
    )
    return head + dump_yaml(groups), origin
