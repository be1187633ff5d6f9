"""``edgeflownas vela``: what a TFLite model costs on an Arm Ethos-U, layer by layer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeflownas.commands._shared import WholeNumber
from edgeflownas.commands._target import named_target
from edgeflownas.errors import ConfigError, StorageError

if TYPE_CHECKING:
    from edgeflownas.hardware.vela import Target
    from edgeflownas.report.console import Console

__all__ = ["vela"]


def vela(
    *models: Path,
    target: str | None = None,
    mode: str = "performance",
    arena: WholeNumber | None = None,
    ini: Path | None = None,
    accelerator: str | None = None,
    system_config: str | None = None,
    memory_mode: str | None = None,
    out: Path | None = None,
    figures: Path | None = None,
    list_targets: bool = False,
    json: bool = False,
) -> int:
    """Compile int8 TFLite models with Arm's Vela and print their cost.

    Example: edgeflownas vela MODEL.tflite [--target NAME]

    Time, SRAM and flash as Vela estimates them, operator by operator; an operator that would run on the CPU is an
    error, because Vela leaves its time out. Several models give a table. docs/vela.md says what the figures mean.

    Args:
        models: int8 .tflite files.
        target: see --list-targets, or FILE.ini,ACCELERATOR,SYSTEM_CONFIG,MEMORY_MODE; default grove-vision-ai-v2.
        mode: performance (least time) or size (least SRAM, whatever it costs in time).
        arena: SRAM that mode performance may use, KiB; often far faster than size at almost its SRAM.
        ini: one's own Vela configuration file, with the three options below: the same as --target FILE.ini,...
        accelerator: of --ini, such as ethos-u55-64.
        system_config: of --ini: NAME of a section [System_Config.NAME].
        memory_mode: of --ini: NAME of a section [Memory_Mode.NAME].
        out: write the compiled model and a JSON of each into this folder.
        figures: write pictures of each into this folder: time by operator, SRAM over time (needs matplotlib).
        list_targets: list the targets.
        json: machine-readable result on stdout.
    """
    own = {"--accelerator": accelerator, "--system-config": system_config, "--memory-mode": memory_mode}
    if list_targets:
        return _list(json)
    _require_models(models)
    chip = _target(target, ini, own)

    from edgeflownas.report.console import Console

    console = Console()
    documents = list(_compiled(models, chip, mode, arena, out, console))
    _warn(documents, console)
    if json:
        import json as encoder

        print(encoder.dumps({"models": documents}, indent=2, allow_nan=False))
    else:
        from edgeflownas.report.vela_text import comparison_text, model_text

        print(model_text(documents[0]) if len(documents) == 1 else comparison_text(documents))
    if figures is not None:
        from edgeflownas.report.vela_figure import write_vela_figures

        for document in documents:
            console.wrote({path.stem: path for path in write_vela_figures(document, figures)})
    return 0


def _list(as_json: bool) -> int:
    from edgeflownas.hardware.vela import TARGETS

    keys = ("name", "accelerator", "system_config", "memory_mode")
    rows = [
        {key: getattr(target, key) for key in keys} | {"ini": "ours" if target.ini else "Vela's own"}
        for target in TARGETS.values()
    ]
    if as_json:
        import json as encoder

        print(encoder.dumps(rows, indent=2))
    else:
        from edgeflownas.report.vela_text import targets_text

        print(targets_text(rows))
    return 0


def _require_models(models: Sequence[Path]) -> None:
    """Raises ConfigError for none, and for two of one name, whose files would overwrite each other."""
    if not models:
        raise ConfigError("give at least one int8 model: edgeflownas vela MODEL.tflite, or ask for --list-targets")
    names = [model.stem for model in models]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"two models are called {name}: their rows and files could not be told apart; rename one")


def _target(name: str | None, ini: Path | None, own: dict[str, str | None]) -> Target:
    """Raises ConfigError for options that are missing, or that would do nothing."""
    from edgeflownas.hardware.vela import own_target

    given = [option for option, value in own.items() if value is not None]
    if ini is None:
        if given:
            raise ConfigError(f"{given[0]} belongs to --ini FILE: add it, or choose a --target (--list-targets)")
        return named_target(name)
    if name is not None:
        raise ConfigError(f"--target {name} and --ini {ini} both say what to compile for: leave one of them out")
    missing = [option for option, value in own.items() if value is None]
    if missing:
        raise ConfigError(f"--ini {ini} needs {', '.join(missing)} too: {_choices(ini)}")
    return own_target(ini, *(str(value) for value in own.values()))


def _choices(ini: Path) -> str:
    from edgeflownas.hardware.vela.ini import read_ini, sections

    found = sections(read_ini(ini))
    return "; ".join(f"its sections [{kind}.NAME] are {', '.join(names) or 'none'}" for kind, names in found.items())


def _compiled(
    models: Sequence[Path], target: Target, mode: str, arena: int | None, out: Path | None, console: Console
) -> Iterator[dict[str, Any]]:
    """The document of each model; writes its files where asked."""
    from edgeflownas.hardware.vela import compile_file
    from edgeflownas.hardware.vela.description import description

    with console.task("compile", len(models)) as meter:
        for model in models:
            compiled = compile_file(model, target, mode, arena)
            document = {"name": model.stem} | description(compiled)
            if out is not None:
                console.wrote(_write(out, compiled.model, document))
            meter.advance(1)
            yield document


def _warn(documents: Sequence[dict[str, Any]], console: Console) -> None:
    """On stderr: the limit that Vela was given and did not keep."""
    from edgeflownas.report.vela_text import not_kept_text

    for document in documents:
        if not document["arena_kept"]:
            console.warn(not_kept_text(document))


def _write(folder: Path, compiled: bytes, document: dict[str, Any]) -> dict[str, Path]:
    """Raises StorageError."""
    import json as encoder

    from edgeflownas.files import replace_file

    paths = {"model": folder / f"{document['name']}_vela.tflite", "costs": folder / f"{document['name']}_vela.json"}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        replace_file(paths["model"], [compiled])
        replace_file(paths["costs"], [(encoder.dumps(document, indent=2, allow_nan=False) + "\n").encode()])
    except OSError as error:
        raise StorageError(f"{folder}: cannot be written: {error.strerror or error}; give another --out") from error
    return paths
