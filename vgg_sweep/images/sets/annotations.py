"""Files that say where the objects of images are: the XML of ILSVRC and of VOC, in folders or tars, and CSV.

Their content is read as it is, first and last pixel of a box as they count them; `boxes.py` interprets it.
"""

import csv
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import NamedTuple
from xml.etree import ElementTree

from vgg_sweep.errors import ConfigError
from vgg_sweep.images.files import files, is_visible
from vgg_sweep.images.sets.index import ProgressCallback

TARS = (".tar", ".tgz", ".tar.gz", ".tar.xz", ".tar.bz2")
CORNERS = ("xmin", "ymin", "xmax", "ymax")
HEADS = {
    "file": ("file", "filename", "image", "path", "image_id"),
    "xmin": ("x0", "xmin", "x_min", "left"),
    "ymin": ("y0", "ymin", "y_min", "top"),
    "xmax": ("x1", "xmax", "x_max", "right"),
    "ymax": ("y1", "ymax", "y_max", "bottom"),
    "class": ("class", "label", "name", "wnid"),
    "width": ("width",),
    "height": ("height",),
}
"""What a CSV's columns may be called in a first line of names; width and height are the image's."""
CSV_LINE = "`file,x0,y0,x1,y1` or `file,x0,y0,x1,y1,class`"


class AnnotatedBox(NamedTuple):
    """One box as a file has it."""

    name: str | None
    """Of its class; None where the file does not say."""
    corners: tuple[float, float, float, float]


@dataclass
class Annotation:
    """The annotation of one image."""

    path: str
    """Of the annotation in its folder or tar, or of the image in a CSV, without the ending."""
    size_px: tuple[int, int] = (0, 0)
    """Width and height of the image; 0 where they are not said."""
    drawn: list[AnnotatedBox] = field(default_factory=list)
    error: str = ""
    """Why it cannot be used; no box of it is."""


def annotations_in(path: Path, progress: ProgressCallback) -> Iterator[Annotation]:
    """All that a folder, a tar or a CSV says. Raises `ConfigError` if it is none of these or cannot be read."""
    if path.is_dir():
        found = [(inside, Path(entry.path)) for _, inside, entry in files(path) if inside.lower().endswith(".xml")]
        for done, (inside, file) in enumerate(sorted(found), start=1):
            yield read_xml(inside, file.read_bytes())
            progress(done, len(found))
    elif path.name.lower().endswith(TARS):
        yield from _in_tar(path, progress)
    elif path.suffix.lower() in (".csv", ".txt") and path.is_file():
        yield from read_csv(path)
    else:
        raise ConfigError(
            f"data.boxes={path} is neither a folder or tar of XML files nor a CSV; give one of these, a CSV with lines "
            f"such as {CSV_LINE}."
        )


def _in_tar(path: Path, progress: ProgressCallback) -> Iterator[Annotation]:
    try:
        with tarfile.open(path) as tar:
            for done, member in enumerate(tar, start=1):
                parts = PurePosixPath(member.name).parts
                if member.isfile() and member.name.lower().endswith(".xml") and all(map(is_visible, parts)):
                    file = tar.extractfile(member)
                    assert file is not None, "a file of the archive"
                    yield read_xml(member.name, file.read())
                progress(done, 0)
    except (OSError, EOFError, tarfile.TarError) as error:
        raise ConfigError(f"{path} is not a whole archive ({error}); copy it again.") from error


def read_xml(path: str, content: bytes) -> Annotation:
    """The annotation of ILSVRC or VOC: `<size>` and `<object>`s with `<name>` and `<bndbox>`, read by name."""
    annotation = Annotation(path[: -len(".xml")])
    try:
        root = ElementTree.fromstring(content)
    except ElementTree.ParseError as error:
        annotation.error = f"is no XML ({error})"
        return annotation
    size = root.find("size")
    if size is not None:
        annotation.size_px = (_whole(size.findtext("width")), _whole(size.findtext("height")))
    for number, thing in enumerate(root.iter("object"), start=1):
        texts = [thing.findtext(f"bndbox/{corner}") for corner in CORNERS]
        corners = [_number(text) for text in texts]
        if None in corners:
            lacking = next(name for name, value in zip(CORNERS, corners, strict=True) if value is None)
            annotation.error = f"object {number} has no number as its {lacking}"
            annotation.drawn.clear()
            return annotation
        x0, y0, x1, y1 = (float(value) for value in corners if value is not None)
        annotation.drawn.append(AnnotatedBox((thing.findtext("name") or "").strip() or None, (x0, y0, x1, y1)))
    return annotation


def _number(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if abs(value) < 1e9 else None  # neither NaN nor infinite


def _whole(text: str | None) -> int:
    value = _number(text)
    return int(value) if value is not None and value > 0 else 0


def read_csv(path: Path) -> list[Annotation]:
    """A line a box: `CSV_LINE`, or other columns under a first line that names them.

    Raises `ConfigError` naming the first line that is no box.
    """
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            rows = [(number, row) for number, row in enumerate(csv.reader(file), start=1) if any(map(str.strip, row))]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(f"{path} cannot be read as a CSV ({error}); write lines such as {CSV_LINE}.") from error
    columns, boxes = _columns(path, rows)
    found: dict[str, Annotation] = {}
    for number, row in boxes:
        texts = {name: row[column].strip() for name, column in columns.items() if column < len(row)}
        corners = [_number(texts.get(name)) for name in CORNERS]
        if not texts.get("file") or None in corners:
            raise ConfigError(f"{path}:{number} is `{','.join(row)}`; write {CSV_LINE}, numbers in pixels.")
        x0, y0, x1, y1 = (float(value) for value in corners if value is not None)
        name = texts["file"].replace("\\", "/")
        size_px = (_whole(texts.get("width")), _whole(texts.get("height")))
        image = found.setdefault(name, Annotation(str(PurePosixPath(name).with_suffix("")), size_px))
        image.drawn.append(AnnotatedBox(texts.get("class") or None, (x0, y0, x1, y1)))
    return list(found.values())


def _columns(
    path: Path, rows: Sequence[tuple[int, list[str]]]
) -> tuple[dict[str, int], Sequence[tuple[int, list[str]]]]:
    """Where each column is, by the names of the first line if it has no numbers, and the lines after these."""
    first = [cell.strip().lower() for cell in rows[0][1]] if rows else []
    if not rows or len(first) > 4 and all(_number(cell) is not None for cell in first[1:5]):
        return dict(zip(("file", *CORNERS, "class"), range(6), strict=True)), rows
    columns = {name: first.index(word) for name, words in HEADS.items() for word in reversed(words) if word in first}
    if not {"file", *CORNERS} <= columns.keys():
        raise ConfigError(
            f"{path}:{rows[0][0]} is `{','.join(rows[0][1])}`, neither a box nor the names of columns; write "
            f"{CSV_LINE}."
        )
    return columns, rows[1:]
