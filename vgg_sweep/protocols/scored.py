"""What scoring a run leaves on disk: a manifest of the images, and a file for each pass."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from vgg_sweep.errors import RunError
from vgg_sweep.protocols.passes import BYTES_PER_POSTERIOR, NPY_HEADER_BYTES
from vgg_sweep.protocols.seals import damaged, unsealed

FORMAT = 1


def is_whole(folder: Path, entry: Mapping[str, Any]) -> bool:
    """Whether the file of an entry of a manifest in `folder` is there, and as long as it was written."""
    file = folder / entry["file"]
    columns = entry["C"] if "C" in entry else entry.get("K", 0)
    num_bytes = entry.get("bytes") or NPY_HEADER_BYTES + entry["N"] * columns * BYTES_PER_POSTERIOR
    return file.exists() and bool(num_bytes == file.stat().st_size)


@dataclass(frozen=True)
class Scored:
    """A folder with `manifest.json` and what that names. `redo` is the command that makes it again. Axis: N images."""

    folder: Path
    redo: str
    besides: ClassVar[tuple[str, ...]] = ()
    """Entries of the manifest that name a file beside those of the passes."""

    @property
    def are_there(self) -> bool:
        return (self.folder / "manifest.json").exists()

    @cached_property
    def _manifest_bytes(self) -> bytes:
        return (self.folder / "manifest.json").read_bytes()

    @cached_property
    def fingerprint(self) -> str:
        """Of the manifest, which holds the hashes of all files."""
        return hashlib.sha256(self._manifest_bytes).hexdigest()

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """Raises `RunError` if it is not whole."""
        try:
            manifest = unsealed(self._manifest_bytes)
            if manifest["format"] != FORMAT:
                raise ValueError(f"format {manifest['format']}")
            _ = [manifest[name] for name in ("classes", "images", "labels")]
            for name in self.file_names(manifest):
                if Path(name).name != name:
                    raise ValueError(f"{name!r} is in another folder")
            return manifest
        except (ValueError, KeyError, TypeError) as error:
            reason = f"it has no {error}" if isinstance(error, KeyError) else error
            raise RunError(
                f"{self.folder / 'manifest.json'} is not a whole manifest ({reason}); put back a copy of it, or "
                f"{self._anew}"
            ) from error

    def file_names(self, manifest: Mapping[str, Any]) -> list[str]:
        """Of all that a manifest names."""
        return sorted(entry["file"] for entry in [*manifest["files"], *(manifest[name] for name in self.besides)])

    @property
    def _anew(self) -> str:
        """What to do where there is no single file to be made again."""
        return f"remove {self.folder / 'manifest.json'} and make it again: {self.redo}"

    @cached_property
    def labels_N(self) -> NDArray[np.int64]:
        """Raises `RunError` if there is no image or a label is not one of the classes."""
        labels_N = np.array(self.manifest["labels"], dtype=np.int64)
        if len(labels_N) == 0:
            raise RunError(f"{self.folder} covers 0 images; check the validation set, {self._anew}")
        if labels_N.min() < 0 or labels_N.max() >= self.num_classes:
            raise RunError(
                f"{self.folder} has labels {labels_N.min()} to {labels_N.max()} for {self.num_classes} classes; "
                f"{self._anew}"
            )
        if len(labels_N) != len(self.manifest["images"]):
            raise RunError(
                f"{self.folder} has {len(self.manifest['images'])} images and {len(labels_N)} labels; {self._anew}"
            )
        return labels_N

    @property
    def again(self) -> str:
        """How a file is made again."""
        return f"make it again: {self.redo}"

    def unreadable(self, entry: Mapping[str, Any], why: object) -> RunError:
        """What to say of the file of an entry that is not there or not what was scored."""
        path = self.folder / entry["file"]
        if isinstance(why, FileNotFoundError):
            return RunError(f"{path} is missing; {self.again}")
        return damaged(path, why, self.again)

    @property
    def num_images(self) -> int:
        return len(self.labels_N)

    @property
    def num_classes(self) -> int:
        return len(self.manifest["classes"])

    @cached_property
    def files(self) -> dict[tuple[str, int, bool], dict[str, Any]]:
        """(method, Q, flip) -> its entry in the manifest."""
        return {(entry["method"], entry["Q"], entry["flip"]): entry for entry in self.manifest["files"]}
