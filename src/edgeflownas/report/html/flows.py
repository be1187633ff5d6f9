"""The pictures a run drew at its last evaluation (RUN/pictures), as data URIs small enough for one page."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edgeflownas.report.html.markup import Markup, join, tag
from edgeflownas.report.pictures import GAP, STRIP

LARGEST = 400  # px: width of a panel on the page
QUALITY = 85  # of WebP
MOST = 6  # rows; more would make the page heavy
ROLES = {"best": "best subnet", "baseline": "baseline", "worst": "worst subnet"}


def pictures_section(run: Path, anchor: str, heading: str) -> Markup | None:
    """A row of panels for each picture of ``RUN/pictures/index.json``; None where there is none.

    A picture that cannot be read is left out with a line that says so: a page must not fail over an image.
    """
    index = _index(run / "pictures" / "index.json")
    entries = [entry for entry in index.get("pictures") or [] if isinstance(entry, dict)]
    if not entries:
        return None
    rows = [_row(run / "pictures", entry) for entry in entries[:MOST]]
    where = f"Drawn at epoch {index.get('epoch', '?')}, checkpoint {index.get('checkpoint', '?')}. "
    how = "Equal colours are equal motions within a row; the error runs from black (0 px) to pale yellow."
    head = tag("figcaption", tag("h3", heading), tag("p", where + how))
    return tag("figure", head, join(rows), id=f"fig-{anchor}", class_="flows")


def _index(path: Path) -> Mapping[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}


def _row(folder: Path, entry: Mapping[str, Any]) -> Markup:
    roles = [ROLES.get(str(role), str(role)) for role in entry.get("roles") or []]
    epe, own = entry.get("epe"), entry.get("sample_epe")
    known = (("on the evaluation set", epe), ("of this pair", own))
    figures = [f"EPE {value:.4f} px {name}" for name, value in known if _number(value)]
    words = [" and ".join(roles), str(entry.get("code", "")), str(entry.get("sample", "")), *figures]
    title = tag("h4", " · ".join(word for word in words if word))
    picture = cv2.imread(str(folder / Path(str(entry.get("file", ""))).name), cv2.IMREAD_COLOR)
    labels = [str(label) for label in entry.get("panels") or []]
    if picture is None or not labels:
        return join([title, tag("p", "This picture could not be read.", class_="note")])
    panels = [
        tag(
            "div",
            tag("img", src=_uri(panel), alt=f"{label}: {entry.get('sample', '')}"),
            tag("p", label),
        )
        for panel, label in zip(_panels(picture, len(labels)), labels, strict=True)
    ]
    return join([title, tag("div", join(panels), class_="panels")])


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _panels(picture: NDArray[Any], count: int) -> list[NDArray[Any]]:
    """The panels of a drawn row (report/pictures.py) without their label strips, which become text on the page."""
    width = (picture.shape[1] - GAP * (count - 1)) // count
    return [picture[STRIP:, place * (width + GAP) : place * (width + GAP) + width] for place in range(count)]


def _uri(panel: NDArray[Any]) -> str:
    if panel.shape[1] > LARGEST:
        height = max(1, round(panel.shape[0] * LARGEST / panel.shape[1]))
        panel = cv2.resize(panel, (LARGEST, height), interpolation=cv2.INTER_AREA)
    data = cv2.imencode(".webp", np.ascontiguousarray(panel), [cv2.IMWRITE_WEBP_QUALITY, QUALITY])[1]
    return "data:image/webp;base64," + base64.b64encode(data.data).decode("ascii")
