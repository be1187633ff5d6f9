"""``edgeflownas profile``: what subnets cost, in weights, operations and memory once deployed, and in time."""

from pathlib import Path

from edgeflownas.commands._shared import Csv, FromZero, Json, Size, WholeNumber, emit, require_writable, write_table
from edgeflownas.errors import ConfigError


def profile(
    run: Path | None = None,
    *,
    arch: str | None = None,
    space: str | None = None,
    width: WholeNumber | None = None,
    size: Size | None = None,
    out: Path | None = None,
    measure_cpu: bool = False,
    sample: WholeNumber | None = None,
    threads: WholeNumber | None = None,
    seed: FromZero | None = None,
    target: str | None = None,
    csv: Csv | None = None,
    json: Json = False,
) -> None:
    """Cost of one subnet or of a whole space.

    Example: edgeflownas profile --arch CODE | --space NAME | RUN [--arch CODE]

    Parameters, multiply-adds, int8 weights and the peak of the int8 activations; needs neither data nor weights.
    docs/cost.md says what is counted.

    Args:
        run: take space, width and size from this run, or weights:NAME.
        arch: one subnet, stage by stage; default: every subnet of the space.
        space: search space (v1 with --arch).
        width: channels after E0 (32).
        size: rows x columns of the images, px (180x240, or the crop of the run).
        out: write a row for each subnet to this CSV file.
        measure_cpu: also measure the time of a forward pass on this machine, batch 1.
        sample: how many subnets of a space to measure (20), drawn uniformly; the others stay nan.
        threads: of the measurement (1).
        seed: of the draw (0).
        target: also the time on this chip by a table of operators, such as grove-vision-ai-v2.
    """
    if run is None and arch is None and space is None:
        raise ConfigError("say what to profile: --arch CODE, --space NAME (such as v1), or a run")
    for name, value in {"sample": sample, "threads": threads, "seed": seed}.items():
        if value is not None and not measure_cpu:
            raise ConfigError(f"--{name} belongs to a measurement: add --measure-cpu, or leave it out")
        if value is not None and arch is not None and name != "threads":
            raise ConfigError(f"--{name} draws subnets, and --arch is one: leave one of them out")
    for name, given in {"space": space, "width": width}.items():
        if run is not None and given is not None:
            raise ConfigError(f"--{name} {given}: {run} has its own; leave --{name} out, or the run")
    if out is not None:
        require_writable(out)

    from edgeflownas.hardware.costs import space_costs
    from edgeflownas.report.chip_views import measured_times, profile_document, profile_table, profile_view
    from edgeflownas.report.console import Console
    from edgeflownas.space import get_space

    if run is None:
        network = get_space(space or "v1"), width or 32, (180, 240)
    else:
        from edgeflownas.run.run import run_network

        network = run_network(run)
    network = *network[:2], size or network[2]
    console, facts = Console(), dict[str, str]()
    archs = list(network[0]) if arch is None else [network[0].parse(arch)]
    columns = space_costs(*network, archs)
    if target is not None:
        from edgeflownas.hardware.vela_table import chip_latency

        model = chip_latency(target, *network, console.warn, console.task)
        columns, facts = columns | model.costs(*network, archs), model.facts
    if measure_cpu:
        columns |= measured_times(network, archs, sample or 20, seed or 0, threads or 1, console)
    written = emit(profile_document(network, archs, columns, facts), profile_view, json, csv)
    if out is not None:
        written["table"] = write_table([profile_table(network[0], archs, columns, facts)], out)
    console.wrote(written)
