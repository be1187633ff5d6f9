"""``edgeflownas weights``: the trained networks that come with the package."""

from cyclopts import App

from edgeflownas.commands._shared import Csv, Json, emit

app = App(name="weights", help="List the trained networks that come with the package, show one, say where it lies.")


@app.command(name="list")
def list_(*, csv: Csv | None = None, json: Json = False) -> None:
    """List the weights of the package with what they cost and how far off their flow is.

    Each is taken as weights:NAME wherever a run is.
    """
    from edgeflownas.report.console import Console
    from edgeflownas.report.views import weights_view
    from edgeflownas.run.weights import read_card, weights_names

    console, cards = Console(), [read_card(name) for name in weights_names()]
    if not cards:
        console.info("this version of the package has no weights")
    console.wrote(emit({"weights": cards}, weights_view, json, csv))


@app.command
def show(name: str, /, *, csv: Csv | None = None, json: Json = False) -> None:
    """Print the card of weights: how they were trained, on what, their errors, and what they cost on a chip.

    Args:
        name: weights of the package, as `edgeflownas weights list` names them.
    """
    from edgeflownas.report.console import Console
    from edgeflownas.report.views import card_view
    from edgeflownas.run.weights import read_card

    Console().wrote(emit(read_card(name), card_view, json, csv))


@app.command
def path(name: str, /, *, json: Json = False) -> None:
    """Print where the file of weights lies (safetensors; the card is beside it, .json).

    Args:
        name: weights of the package, as `edgeflownas weights list` names them.
    """
    from edgeflownas.run.weights import FOLDER, find_weights

    found = FOLDER / f"{find_weights(name)}.safetensors"
    emit({"name": found.stem, "path": str(found), "card": str(found.with_suffix(".json"))}, lambda d: [d["path"]], json)
