import sys
from pathlib import Path

# Worker processes get the parent's sys.path, so they find the pairs of fake_pairs.py too.
sys.path.insert(0, str(Path(__file__).parent))
