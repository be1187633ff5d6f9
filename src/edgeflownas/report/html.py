"""Pages from templates/ (Jinja2, every value escaped): one file with everything inside, which loads nothing."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import ChoiceLoader, Environment, FileSystemLoader, PackageLoader, StrictUndefined


class Table(NamedTuple):
    """What the macro ``table`` shows; the first cell of a row is its header."""

    caption: str
    header: Sequence[str]
    rows: Iterable[Sequence[str]]
    note: str = ""


def page(template: str, folder: Path | None = None, **values: Any) -> str:
    """A page that extends ``base.html``, as text.

    Args:
        template: its file below templates/, or in ``folder``, where it may use everything of templates/.
        folder: where else templates lie.
        values: what the template shows; ``base.html`` asks for ``title``, ``status`` and ``data`` (JSON for scripts).

    Raises:
        ValueError: a number in ``data`` that is not finite; JSON has no word for it.
    """
    return _environment(folder).get_template(template).render(**values)


@functools.cache
def _environment(folder: Path | None) -> Environment:
    package = PackageLoader("edgeflownas.report")
    loader = package if folder is None else ChoiceLoader([FileSystemLoader(folder), package])
    made = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
        keep_trailing_newline=True,
    )  # fmt: skip
    made.policies["json.dumps_kwargs"] = {"separators": (",", ":"), "allow_nan": False}
    made.globals["source"] = lambda name: package.get_source(made, name)[0]  # styles and scripts are no templates
    return made
