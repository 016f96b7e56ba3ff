"""Files that are whole or not there: written to a temporary name, synced, renamed."""

import os
import re
import secrets
import shutil
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vgg_sweep.errors import RunError
from vgg_sweep.protocols.seals import sealed, unsealed

TEMPORARY = re.compile(r"\.(.+)\.[a-z0-9_]{8}")


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`, synced and renamed to it if the block succeeds, removed if not.

    The file is readable as the umask allows, even if a library made it for its owner only.
    """
    temporary = temporary_path(path)
    temporary.touch(exist_ok=False)
    mode = temporary.stat().st_mode
    try:
        yield temporary
        temporary.chmod(mode)
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def temporary_path(path: Path) -> Path:
    """A name beside `path` that nothing else has."""
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}")


def remove_temporaries(folder: Path, *, of: Collection[str] = (), but: Collection[str] = ()) -> None:
    """Remove what killed processes were writing in `folder`: the temporary files `of` some names, or of all `but` some.

    Call it where no living process can be writing one of these.
    """
    for path in folder.rglob(".*"):
        if (found := TEMPORARY.fullmatch(path.name)) and found[1] not in but and (not of or found[1] in of):
            path.unlink(missing_ok=True)


def remove(paths: Iterable[Path]) -> None:
    """Remove files, and folders with all that is in them."""
    for path in paths:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def num_bytes(path: Path) -> int:
    """Of a file, or of all files in a folder."""
    return sum(file.stat().st_size for file in (path, *path.rglob("*")) if file.is_file())


def write_bytes(path: Path, body: bytes) -> None:
    """Write a whole file atomically."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(body)


def write_text(path: Path, text: str) -> None:
    """Write a whole text file atomically, in UTF-8; file names that are not UTF-8 are written as their bytes."""
    write_bytes(path, text.encode(errors="surrogateescape"))


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write a whole JSON file atomically, sealed, so that `read_json` notices what changes in it."""
    write_text(path, sealed(value))


def update_json(path: Path, values: dict[str, Any]) -> None:
    """Add to a JSON file, which may not be there yet."""
    write_json(path, read_json(path) | values)


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in `path`; empty if there is no file. Raises `RunError` if it is not what was written."""
    try:
        return unsealed(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError) as error:
        advice = "put back a copy of it, or remove only this file and repeat the command"
        raise RunError(f"{path} cannot be read ({error}); {advice}.") from error
