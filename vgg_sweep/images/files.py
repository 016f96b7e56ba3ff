"""Which files are images: one rule for training, scoring, prediction and measurements.

An image is a file, or a link to one, with one of `EXTENSIONS`. What is hidden (a name with a leading dot, such as
macOS's ._1.jpg or .ipynb_checkpoints/) or put there by other programs (`FOREIGN`), and anything below it, is not.
"""

import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

EXTENSIONS = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".gif", ".tif", ".tiff", ".ppm")
FOREIGN = ("__MACOSX", "@eaDir")
"""Folders of macOS's archives and of Synology's thumbnails."""

Entry = tuple[str, str, "os.DirEntry[str]"]
"""The folder that a file lies in, the file's path from the first folder, and its entry."""


def is_visible(name: str) -> bool:
    """Whether a file or folder of this name counts."""
    return not name.startswith(".") and name not in FOREIGN


def is_image_name(path: str) -> bool:
    """Whether a file at `path` in a folder or archive is an image by its name."""
    return path.lower().endswith(EXTENSIONS) and all(map(is_visible, PurePosixPath(path).parts))


def is_image(entry: "os.DirEntry[str]") -> bool:
    return entry.name.lower().endswith(EXTENSIONS) and _ends(entry.is_file)


def leads_nowhere(path: str) -> bool:
    """Whether this is a broken link: its file is missing, or it leads back to itself."""
    return os.path.lexists(path) and not os.path.exists(path)


def _ends(is_kind: Callable[[], bool]) -> bool:
    """What a directory's entry says of its kind: nothing, if it is a link that leads back to itself."""
    try:
        return is_kind()
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        return False


def files(
    folder: Path,
    on_folder: Callable[[Path], None] = lambda folder: None,
    before: str = "",
    above: tuple[os.stat_result, ...] = (),
) -> Iterator[Entry]:
    """Each visible file below `folder`. Links are followed, but not round a cycle; `above` are the folders above."""
    on_folder(folder)
    here, inner = folder.stat(), []
    if any(os.path.samestat(here, each) for each in above):
        return
    with os.scandir(folder) as entries:
        for entry in filter(lambda entry: is_visible(entry.name), entries):
            if _ends(entry.is_dir):
                inner.append(entry.name)
            else:
                yield str(folder), before + entry.name, entry
    for name in sorted(inner):
        yield from files(folder / name, on_folder, f"{before}{name}/", (*above, here))


def image_files(folder: Path) -> list[Path]:
    """The images below `folder`, sorted."""
    return sorted(Path(entry.path) for _, _, entry in files(folder) if is_image(entry))
