"""``edgeflownas import-tf1``: a run directory out of TF1 weights, to evaluate (and later rank and export)."""

from pathlib import Path

from edgeflownas.commands._shared import Json, Overrides, example, print_json
from edgeflownas.errors import ConfigError


def import_tf1(
    file: Path | None = None, /, *, out: Path | None = None, json: Json = False, overrides: Overrides = ()
) -> None:
    """Make a run out of TF1 weights.

    Example: edgeflownas import-tf1 FILE.npz --out RUN

    Which model (the supernet or the published EdgeFlowNet) and its width are read from the file. EdgeFlowNet gets the
    input it was trained on (BGR, 0 to 255, 352x480) and frozen batch norm; with --train.batch_norm trained it is
    recalibrated like a subnet. docs/data.md shows the six lines of TensorFlow that write FILE.npz. Give
    --data.train_dir (calibration), --data.val_dir and --data.crop_size now or when evaluating.

    Args:
        file: weights file, which the six lines of TensorFlow wrote.
        out: the run directory to make; it must not exist.
        overrides: configuration keys of the run, such as --data.train_dir DIR.
    """
    if file is None or out is None:
        raise ConfigError(f"give the weights and the run to make: {example(import_tf1)}")

    from edgeflownas.report.console import Console
    from edgeflownas.run.run import import_weights

    facts = import_weights(file, out, overrides)
    if json:
        print_json(facts)
    else:
        console = Console()
        console.info(f"{facts['tensors']} tensors of {file}: space {facts['space']}, width {facts['width']}")
        console.wrote({"run": out})
        console.info(f"next: edgeflownas evaluate {out} --data.train_dir DIR --data.val_dir DIR")
