"""``edgeflownas import-config``: our configuration out of one of the TF1 tool."""

from pathlib import Path

from edgeflownas.commands._shared import Csv, Json, Overrides, emit, example
from edgeflownas.errors import ConfigError


def import_config(
    file: Path | None = None,
    /,
    *,
    out: Path | None = None,
    csv: Csv | None = None,
    json: Json = False,
    overrides: Overrides = (),
) -> None:
    """Translate a configuration of the TF1 tool.

    Example: edgeflownas import-config THEIRS.yaml --out mine.yaml

    Every key is translated, is the default here, or is named with what to do instead; batch counts of evaluation and
    recalibration are copied, because they count batches of train.batch_size in both. No data are needed.

    Args:
        file: YAML file of the TF1 tool.
        out: recipe to write; it must not exist.
        json: the translation as JSON on stdout.
        overrides: keys to set in it, such as --train.space v2.
    """
    if file is None or out is None:
        raise ConfigError(f"give their file and the recipe to write: {example(import_config)}")

    from edgeflownas.config.foreign import import_config as translate
    from edgeflownas.files import replace_file
    from edgeflownas.report.console import Console
    from edgeflownas.report.table import Column, Table

    text, rows = translate(file, overrides)
    if out.exists() or out.is_symlink():
        raise ConfigError(f"{out} exists and is not overwritten: give another name")
    replace_file(out.absolute(), [text.encode()])
    shown = [[row.key, "" if row.value is None else str(row.value), row.becomes, row.note] for row in rows]
    table = Table([Column(name) for name in ("theirs", "value", "ours", "note")], shown, left="all")
    document = {"file": str(file), "out": str(out), "keys": [row._asdict() for row in rows]}
    console = Console()
    console.wrote({"recipe": out} | emit(document, lambda _: [table], json, csv))
    console.info(f"next: edgeflownas train {out} --print-config, then edgeflownas train {out} --dry-run")
