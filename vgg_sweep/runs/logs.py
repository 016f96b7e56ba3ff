"""The log of a run, log.txt, read from its end."""

import os
from collections.abc import Iterator
from pathlib import Path

from vgg_sweep.runs.folder import RunFolder

TAIL_BYTES = 64_000
"""As much of a log is read for its last lines."""


def last_lines(path: Path, number: int | None = None) -> list[str]:
    """The last lines of a file, or all; none if it is not there."""
    try:
        with open(path, "rb") as file:
            file.seek(max(0, os.path.getsize(path) - TAIL_BYTES) if number else 0)
            lines = file.read().decode(errors="replace").splitlines()
            return lines[-number:] if number else lines
    except FileNotFoundError:
        return []


def last_words(folder: RunFolder, error: str) -> str:
    """The last line of a failed run's log that does not repeat its `error`; empty if there is none."""
    first = error.partition("\n")[0]
    lines = (line.strip() for line in reversed(last_lines(folder.log, 50)))
    return next((line for line in lines if line and not (first and first in line)), "")


def new_lines(path: Path) -> Iterator[list[str]]:
    """At each step the complete lines added to a file since, first all of them; for ever."""
    at, rest = 0, b""
    while True:
        if path.exists():
            if path.stat().st_size < at:  # begun anew
                at, rest = 0, b""
            with open(path, "rb") as file:
                file.seek(at)
                body = file.read()
            at += len(body)
            *whole, rest = (rest + body).split(b"\n")
            yield [line.decode(errors="replace") for line in whole]
        else:
            yield []
