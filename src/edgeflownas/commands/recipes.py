"""``edgeflownas recipes``: the packaged configurations."""

from pathlib import Path

from cyclopts import App

from edgeflownas import limits
from edgeflownas.commands._shared import Csv, emit
from edgeflownas.errors import ConfigError
from edgeflownas.files import clean, read_file

app = App(name="recipes", help="List, show or copy the packaged recipes.")


@app.command(name="list")
def list_(*, csv: Csv | None = None, json: bool = False) -> None:
    """List the packaged recipes with what each is for.

    Args:
        json: one JSON list instead of text.
    """
    from edgeflownas.config.load import find_recipe, recipe_names
    from edgeflownas.report.console import Console
    from edgeflownas.report.table import Column, Table

    first_lines = {name: find_recipe(name).read_text(encoding="utf-8").partition("\n")[0] for name in recipe_names()}
    rows = [(name, line.lstrip("# ").strip()) for name, line in first_lines.items()]
    table = Table([Column("", name="name"), Column("", name="summary")], rows, rule=False)
    Console().wrote(emit(table.json(), lambda _: [table], json, csv))


@app.command
def show(name: str, /, *, json: bool = False) -> None:
    """Print a recipe as it is written, with its command, cost and expected result.

    Args:
        name: a recipe or a YAML file.
        json: name, text and the complete configuration as JSON.
    """
    from json import dumps

    from edgeflownas.config.load import find_recipe, load_config

    config = load_config(name)
    text = read_file(find_recipe(name), limits.YAML, ConfigError).decode(errors="replace")
    document = {"name": name, "text": text, "config": config.model_dump(mode="json")}
    print(dumps(document, indent=2) if json else text, end="")


@app.command
def copy(name: str, destination: Path | None = None, /, *, json: bool = False) -> None:
    """Copy a recipe to a file of your own to change it.

    Args:
        name: a packaged recipe.
        destination: file or folder; NAME.yaml in this folder if left out. Never overwritten.
        json: the path written, as JSON.
    """
    from json import dumps

    from edgeflownas.config.load import find_recipe, read_recipe

    source = find_recipe(name)
    target = destination or Path(source.name)
    if target.is_dir():
        target = target / source.name
    try:
        content = read_file(source, limits.YAML, ConfigError)
        with target.open("xb") as file:
            file.write(content)
    except FileExistsError:
        raise ConfigError(f"{target} exists and is not overwritten: give another name") from None
    usage = read_recipe(source)[2]
    words = f"{'train' if usage.sweep is None else 'sweep'} {target}" + " --resume RUN --fork NEW_NAME" * usage.fork
    print(dumps({"path": str(target)}) if json else clean(f"{target} written; run it: edgeflownas {words}"))
