"""How damage is detected: by the SHA-256 that a JSON or YAML file holds of the rest of its content, and by recorded
hashes of other files.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vgg_sweep.errors import RunError

SEAL = "sha256"
_SEAL_LINE = re.compile(r"# sha256: [0-9a-f]{64}")


def sealed(values: Mapping[str, Any]) -> str:
    """A JSON object of `values`, and under `SEAL` of the hash of these."""
    return json.dumps({**values, SEAL: _sha256(json.dumps(values))}, indent=1) + "\n"


def unsealed(text: str | bytes) -> dict[str, Any]:
    """The values in a JSON object, also in one that has no seal. Raises `ValueError` if they are not what was sealed,
    `TypeError` if it is no object.
    """
    values = json.loads(text)
    if not isinstance(values, dict):
        raise TypeError("it is no object")
    seal = values.pop(SEAL, None)
    if seal is not None and seal != _sha256(json.dumps(values)):
        raise ValueError("its sha256 does not match its content")
    return values


def sealed_yaml(text: str) -> str:
    """`text` and, as a last line, its hash in a comment."""
    return f"{text}# sha256: {_sha256(text)}\n"


def unsealed_yaml(text: str) -> str:
    """`text` without its seal, if it has one. Raises `ValueError` if it is not what was sealed."""
    if (seal := _SEAL_LINE.search(text)) is None:
        return text
    if text != sealed_yaml(text[: seal.start()]):
        raise ValueError("its last line is the sha256 of another text; remove that line if the change was intended")
    return text[: seal.start()]


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_whole(path: Path, sha256: str, redo: str, noted: str = "manifest.json") -> None:
    """Raise `RunError` as `damaged` does if a file has not the SHA-256 that is in the file `noted`."""
    if sha256_of(path) != sha256:
        raise damaged(path, f"its sha256 is not that in {noted}", redo)


def damaged(path: Path, why: object, redo: str) -> RunError:
    """What to say of a file that is not what was written; `redo` makes it again."""
    return RunError(f"{path} is damaged ({why}); put back a copy of it, or remove only this file and {redo}")


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()
