"""What a result was made with: versions, code, command."""

import hashlib
import platform
import shlex
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from vgg_sweep.version import __version__

PACKAGES = ("torch", "torchvision", "numpy", "pillow")


def provenance(command: str = "") -> dict[str, Any]:
    """The entries of record.json that say what was run, by which `command`: by default that of this process."""
    return {**made_with(), "command": command or typed() or shlex.join(sys.orig_argv[1:])}


def typed() -> str:
    """The vgg-sweep command of this process as it was typed, for a shell; else empty.

    Without `--force`, so that repeating it continues.
    """
    words = ["vgg-sweep" if Path(word).name == "vgg-sweep" else word for word in sys.orig_argv]
    for index, word in enumerate(words):
        if word == "vgg-sweep" or words[index - 1 : index + 1] == ["-m", "vgg_sweep"]:
            return shlex.join(["vgg-sweep", *(word for word in words[index + 1 :] if word != "--force")])
    return ""


@cache
def made_with() -> dict[str, Any]:
    """The program of this process: `versions` of packages, `commit` of a checkout (null outside one), and `code`,
    a hash of the source files, as they were when first asked for.
    """
    package = Path(__file__).resolve().parents[1]
    own = {"vgg-sweep": __version__, "python": platform.python_version()}
    versions = own | {name: version(name) for name in PACKAGES}
    return {"versions": versions, "commit": _commit(package.parent), "code": _digest(package)}


def changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """How two answers of `made_with` differ: "torch 2.9.0, now 2.10.0". Code is named by its commit."""
    there, here = before.get("versions", {}), now["versions"]
    changed = [f"{name} {there[name]}, now {here[name]}" for name in here if there.get(name, here[name]) != here[name]]
    if before.get("code", now["code"]) != now["code"]:
        commits = [str(each["commit"])[:8] if each.get("commit") else "a release" for each in (before, now)]
        changed.append("code of " + (", now ".join(commits) if commits[0] != commits[1] else f"{commits[0]}, changed"))
    return changed


def _commit(checkout: Path) -> str | None:
    """The commit of a checkout, marked `-dirty` if a file differs from it."""
    if not (checkout / ".git").exists():
        return None
    words = ["git", "-C", str(checkout), "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*"]
    try:
        return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def _digest(package: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        digest.update(str(path.relative_to(package)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:12]
