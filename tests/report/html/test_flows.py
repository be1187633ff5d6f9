"""Pictures in the page."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path

import cv2
import numpy as np

from edgeflownas.report.html.flows import pictures_section
from edgeflownas.report.pictures import draw


def drawn(folder: Path, **changes: object) -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (90, 120, 3), dtype=np.uint8)
    flow = rng.normal(0, 2, (90, 120, 2)).astype(np.float32)
    made = draw(image, flow, np.zeros_like(flow), np.ones((90, 120), bool))
    (folder / "pictures").mkdir()
    cv2.imwrite(str(folder / "pictures/best-0.png"), cv2.cvtColor(made.picture, cv2.COLOR_RGB2BGR))
    entry = {"file": "best-0.png", "roles": ["best"], "code": "0,0", "sample": "<b>", "epe": 2.5, "panels": made.labels}
    index = {"epoch": 3, "checkpoint": "step-00000003", "pictures": [{**entry, **changes}]}
    (folder / "pictures/index.json").write_text(json.dumps(index))


def test_four_small_panels_without_their_strips(tmp_path: Path):
    drawn(tmp_path)
    section = pictures_section(tmp_path, "pictures", "Flow")
    found = re.findall(r'src="data:image/webp;base64,([^"]+)"', section)
    sizes = [cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_COLOR).shape for data in found]
    assert sizes == [(270, 360, 3)] * 4
    assert "predicted flow, full colour" in section and "&lt;b&gt;" in section and "EPE 2.5000 px" in section
    assert len(section) < 400_000


def test_no_pictures_no_section(tmp_path: Path):
    assert pictures_section(tmp_path, "pictures", "Flow") is None
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures/index.json").write_text("{torn")
    assert pictures_section(tmp_path, "pictures", "Flow") is None


def test_a_missing_picture_is_said(tmp_path: Path):
    drawn(tmp_path, file="../../elsewhere.png")
    assert "could not be read" in pictures_section(tmp_path, "pictures", "Flow")
