"""Where the tests look for files."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
"""The checkout."""

SHARED = ROOT.parent / "shared"
"""Real photographs beside the checkout, which a clone elsewhere may lack."""

FACTS = Path(__file__).with_name("data")
"""Tables of the paper, typed in as they are printed."""
