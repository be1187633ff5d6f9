"""``edgeflownas vela``: what a TFLite model costs on an Arm Ethos-U, layer by layer."""

from pathlib import Path

from edgeflownas.commands._shared import Csv, Json, WholeNumber, emit
from edgeflownas.errors import ConfigError


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
    csv: Csv | None = None,
    json: Json = False,
) -> None:
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
    """
    from edgeflownas.hardware.targets import TARGETS, target_of_options
    from edgeflownas.hardware.vela import compile_file, description, write_compiled
    from edgeflownas.report.chip_views import not_kept_text, targets_view, vela_view
    from edgeflownas.report.console import Console

    if list_targets:
        keys = ("name", "accelerator", "system_config", "memory_mode")
        rows = [
            {key: getattr(one, key) for key in keys} | {"ini": "ours" if one.ini else "Vela's own"}
            for one in TARGETS.values()
        ]
        Console().wrote(emit(rows, targets_view, json, csv))
        return
    if not models:
        raise ConfigError("give at least one int8 model: edgeflownas vela MODEL.tflite, or ask for --list-targets")
    names = [model.stem for model in models]
    if twice := [name for name in names if names.count(name) > 1]:
        raise ConfigError(f"two models are called {twice[0]}: their rows and files could not be told apart; rename one")
    chip = target_of_options(target, ini, accelerator, system_config, memory_mode)

    console, documents = Console(), []
    with console.task("compile", len(models)) as meter:
        for model in models:
            compiled = compile_file(model, chip, mode, arena)
            documents.append({"name": model.stem} | description(compiled))
            if out is not None:
                console.wrote(write_compiled(out, compiled.model, documents[-1]))
            meter.advance(1)
    for document in documents:
        if not document["arena_kept"]:
            console.warn(not_kept_text(document))
    console.wrote(emit({"models": documents}, lambda _: vela_view(documents), json, csv))
    if figures is not None:
        from edgeflownas.report.plot import write_vela_figures

        for document in documents:
            console.wrote({path.stem: path for path in write_vela_figures(document, figures)})
