"""With what a result was made: versions, commit, command."""

import platform
import shlex
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

from vgg_sweep import __version__

PACKAGES = ("torch", "torchvision", "numpy", "pillow")


def provenance() -> dict[str, object]:
    """The entries of record.json that say what was run; `commit` is null outside a checkout."""
    versions = {"vgg-sweep": __version__, "python": platform.python_version()}
    return {
        "versions": versions | {name: version(name) for name in PACKAGES},
        "commit": _commit(Path(__file__).resolve().parents[1]),
        "command": shlex.join(sys.orig_argv[1:]),
    }


def _commit(checkout: Path) -> str | None:
    """The commit of a checkout, marked `-dirty` if a file differs from it."""
    if not (checkout / ".git").exists():
        return None
    words = ["git", "-C", str(checkout), "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*"]
    try:
        return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
