"""Where the tests look for files."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
"""The checkout."""

SHARED = ROOT.parent / "shared"
"""Real photographs and tables beside the checkout, which a clone elsewhere may lack."""
