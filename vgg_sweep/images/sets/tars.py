"""Images inside tars that stay packed: where each begins and how long it is."""

import tarfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from vgg_sweep.errors import ConfigError
from vgg_sweep.images.files import is_image_name
from vgg_sweep.images.sets.index import Entries, FoundImage, Listing, ProgressCallback

MIB = 2**20


def scan_train_tar(listing: Listing, path: Path, progress: ProgressCallback) -> dict[str, Entries]:
    """The images of a tar of class tars, as ILSVRC2012_img_train.tar is, or of a tar of class folders."""
    found: dict[str, Entries] = {}
    loose: dict[str, list[FoundImage]] = defaultdict(list)
    listing.stamp(path)
    for member, tar in _members(path):
        progress(member.offset_data // MIB, path.stat().st_size // MIB)
        name = Path(member.name)
        if name.suffix == ".tar":
            inner = tar.extractfile(member)
            assert inner is not None, "a regular member has content"
            found[name.stem] = _class_entries(listing, path, name.stem, inner, member.offset_data)
        elif is_image_name(member.name.removeprefix("./")):
            id = f"train/{name.parent.name}/{name.name}"
            loose[name.parent.name].append(FoundImage(id, str(path), member.offset_data, member.size))
    return found | {name: Entries.of(images, listing.containers) for name, images in loose.items()}


def scan_class_tar(listing: Listing, path: Path) -> Entries:
    """The images of one class, whose wnid the tar bears as its name."""
    listing.stamp(path)
    return _class_entries(listing, path, path.stem, None, 0)


def scan_val_tar(listing: Listing, path: Path, progress: ProgressCallback) -> Iterator[FoundImage]:
    """The images of ILSVRC2012_img_val.tar; an id is the path in the tar."""
    listing.stamp(path)
    for member, _ in _members(path):
        if is_image_name(member.name.removeprefix("./")):
            yield FoundImage(member.name, str(path), member.offset_data, member.size)
        progress(member.offset_data // MIB, path.stat().st_size // MIB)


def _class_entries(listing: Listing, path: Path, name: str, inner: IO[bytes] | None, offset: int) -> Entries:
    images = (
        FoundImage(f"train/{name}/{Path(member.name).name}", str(path), offset + member.offset_data, member.size)
        for member, _ in _members(path, inner)
        if is_image_name(member.name.removeprefix("./"))
    )
    return Entries.of(images, listing.containers)


def _members(path: Path, inner: IO[bytes] | None = None) -> Iterator[tuple[tarfile.TarInfo, tarfile.TarFile]]:
    """The regular files of a tar, or of the tar `inner` in it, one after the other.

    Raises `ConfigError` if it is cut short or compressed: an image could not be read from where it lies.
    """
    try:
        with tarfile.open(path, "r:", fileobj=inner) as tar:
            while (member := tar.next()) is not None:
                tar.members = []  # type: ignore[attr-defined]  # which would keep every member
                if member.isreg():
                    yield member, tar
    except (tarfile.TarError, EOFError) as error:
        raise ConfigError(
            f"{path} is not a whole, uncompressed tar ({error}); compare its size and checksum with the source's and "
            "copy it again, or extract it."
        ) from error
