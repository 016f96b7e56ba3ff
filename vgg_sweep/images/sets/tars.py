"""Images inside tars that are not extracted: where each begins and how long it is."""

import tarfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from vgg_sweep.errors import ConfigError
from vgg_sweep.images.files import is_image_name
from vgg_sweep.images.sets.index import FoundImage, Listing, ProgressCallback, silent

MIB = 2**20


def scan_train_tar(listing: Listing, path: Path, progress: ProgressCallback) -> None:
    """The images of a tar of class tars, as ILSVRC2012_img_train.tar is, or of a tar of class folders."""
    loose: dict[str, list[FoundImage]] = defaultdict(list)
    listing.stamp(path)
    for member, tar in _members(path):
        progress(member.offset_data // MIB, path.stat().st_size // MIB)
        name = Path(member.name)
        if name.suffix == ".tar":
            inner = tar.extractfile(member)
            assert inner is not None, "a regular member has content"
            images = images_in(path, f"train/{name.stem}", inner=inner, offset=member.offset_data)
            listing.add("train", name.stem, images)
        elif is_image_name(member.name):
            id = f"train/{name.parent.name}/{name.name}"
            loose[name.parent.name].append(FoundImage(id, str(path), member.offset_data, member.size))
    for class_name, images_of_class in loose.items():
        listing.add("train", class_name, images_of_class)


def images_in(
    path: Path, id: str, progress: ProgressCallback = silent, *, inner: IO[bytes] | None = None, offset: int = 0
) -> Iterator[FoundImage]:
    """The images of a tar, or of the tar `inner` that begins at `offset` in it; their ids are `id` and their names."""
    num_mib = path.stat().st_size // MIB
    for member, _ in _members(path, inner):
        if is_image_name(member.name):
            name = Path(member.name).name
            yield FoundImage(f"{id}/{name}", str(path), offset + member.offset_data, member.size)
        progress(member.offset_data // MIB, num_mib)


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
