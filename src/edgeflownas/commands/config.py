"""``edgeflownas config``: what can be configured, for people, editors and the docs."""

from cyclopts import App

from edgeflownas.commands._shared import emit, print_json

app = App(name="config", help="List the configuration keys; JSON schema and docs page made from them.")


@app.command
def keys(text: str | None = None, /, *, json: bool = False) -> None:
    """List every configuration key with default, accepted values and meaning.

    Args:
        text: only keys whose name or meaning contains this.
        json: one JSON list instead of text.
    """
    import dataclasses
    from json import dumps

    from edgeflownas.config.keys import keys as all_keys
    from edgeflownas.errors import ConfigError

    wanted = (text or "").lower()
    found = {full: key for full, key in all_keys().items() if wanted in full.lower() or wanted in key.help.lower()}
    if not found:
        raise ConfigError(f"no key contains {text!r}: edgeflownas config keys lists all")
    rows = [{"key": full} | dataclasses.asdict(key) for full, key in found.items()]
    lines = [
        f"{full} = {dumps(key.default)}  [{key.kind}; {key.values}]\n    {' '.join(key.help.split())}"
        for full, key in found.items()
    ]
    emit(rows, lambda _: lines, json)


@app.command
def schema(*, json: bool = False) -> None:
    """Print the JSON schema of a recipe, for completion and checks in editors.

    Args:
        json: accepted for uniformity; the output is JSON either way.
    """
    from edgeflownas.config.describe import json_schema

    print_json(json_schema())


@app.command
def docs(*, json: bool = False) -> None:
    """Print docs/configuration.md, generated from the configuration models.

    Args:
        json: the page as the value of "markdown".
    """
    from json import dumps

    from edgeflownas.config.describe import configuration_markdown

    page = configuration_markdown()
    print(dumps({"markdown": page}) if json else page, end="\n" if json else "")
