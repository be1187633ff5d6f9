"""Tests here import their neighbours."""

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parent)]  # report_histories.py, test_page.py
