"""The browser that tests of pages share."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))  # chromium.py
import chromium  # noqa: E402


@pytest.fixture(scope="session")
def browser():
    """Headless Chromium; tests that need it are skipped where there is none."""
    program = chromium.find()
    if program is None:
        pytest.skip("no Chromium on the path (apt-get install chromium, or set EDGEFLOWNAS_CHROMIUM)")
    with chromium.Browser(program) as found:
        yield found
