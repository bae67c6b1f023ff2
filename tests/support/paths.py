"""Folders that tests read from and write to."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
SUPPORT = Path(__file__).parent
EVIDENCE = ROOT / "docs" / "evidence"
REAL_DATA = ROOT.parent / "shared" / "data"
