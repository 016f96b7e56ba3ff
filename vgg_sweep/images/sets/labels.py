"""Labels of ILSVRC's validation images where these are not in class folders, in all common formats.

A line per image in the order of the images' numbers, or lines with the image's name; a wnid, or a number. What a number
means is the trap: the development kit counts from 1 in its own order, Caffe and its heirs from 0 in the sorted order. A
number is read by the convention of its file; where that does not fit the set and another reading does, it is refused.
"""

import re
import tarfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from vgg_sweep.errors import ConfigError
from vgg_sweep.images.sets.wnids import WNID, devkit_order, sorted_order

GROUND_TRUTH = "validation_ground_truth"
NAME = re.compile(r"ILSVRC\d{4}_val_0*(\d+)")
FIRST_DEVKIT_IDS = (490, 361, 171, 822, 297, 482, 13, 704, 599, 164, 649, 11, 73, 286, 554, 6, 648, 399, 749, 545)
"""The ILSVRC2012_IDs of validation images 1 to 20, by which a wrong order is known."""
FEW = 3
"""Images that must speak for a reading before the first twenty decide anything."""

READINGS: dict[str, tuple[str, Callable[[], list[str]], int]] = {
    "devkit": ("the development kit's numbers (1 is n02119789)", devkit_order, 1),
    "sorted": ("places in the sorted wnids (0 is n01440764)", sorted_order, 0),
    "devkit from 0": ("the development kit's numbers less 1", devkit_order, 0),
    "sorted from 1": ("places in the sorted wnids, counted from 1", sorted_order, 1),
}
"""What numbers may be: in words, the order of the wnids, and the number of the first."""


def image_number(name: str) -> int | None:
    """293 of `ILSVRC2012_val_00000293.JPEG`; None of another name."""
    match = NAME.search(name)
    return int(match[1]) if match else None


def find_labels(folders: Iterable[Path]) -> list[Path]:
    """The files and development kits in `folders` that may label the validation images."""
    found: dict[Path, None] = {}
    for folder in folders:
        for pattern in ("", "data/", "*/data/"):
            found |= dict.fromkeys(sorted(folder.glob(f"{pattern}*{GROUND_TRUTH}*.txt")))
        found |= dict.fromkeys(sorted(folder.glob("*devkit*.tar*")))
        texts = sorted(file for kind in ("*.txt", "*.csv") for file in folder.glob(kind) if file.is_file())
        found |= dict.fromkeys(file for file in texts if _is_list_of_labels(file))
    return list(found)


def read_labels(path: Path, order: str, classes: Sequence[str]) -> dict[int, str]:
    """The wnid of each validation image by its number. `classes`, sorted, are those of train, which must all occur;
    none where train is not there.

    Raises `ConfigError` if the file cannot be read, or its numbers do not fit `order` (`auto`, `sorted`, `devkit`).
    """
    rows = [_row(line) for line in _text(path).splitlines() if line.strip()]
    named = {number: word for number, word in rows if number is not None and word is not None}
    if not named:  # a line an image, in the order of their numbers
        named = dict(enumerate((word for _, word in rows if word is not None), start=1))
    if not named:
        raise ConfigError(f"{path} labels no image; its lines must look like `ILSVRC2012_val_00000001.JPEG n01751748`.")
    if all(WNID.fullmatch(word) for word in named.values()):
        return named
    if not all(word.isdigit() for word in named.values()):
        raise ConfigError(f"{path} has wnids and numbers side by side; write wnids only.")
    convention = "devkit" if all(number is None for number, _ in rows) else "sorted"
    numbers = {number: int(word) for number, word in named.items()}
    reading = convention if order == "auto" else order
    if not classes and reading == "sorted":
        classes = sorted_order()  # of a part of ILSVRC they may be places in its own list, which is not known
    return _read_numbers(path, numbers, reading, classes, is_given=order != "auto")


def misplaced_by(labels: Mapping[int, str]) -> str | None:
    """In words, the mistake that explains all the wrong classes among the first twenty images; or None."""
    truth = _true_labels(labels)
    if not truth or any(labels[number] == wnid for number, wnid in truth.items()):
        return None
    for words, wrong in mistakes():
        if all(labels[number] == wrong[wnid] for number, wnid in truth.items()):
            return words
    return None


def mistakes() -> Iterator[tuple[str, dict[str, str | None]]]:
    """The ways in which the orders are mixed up: in words, and the wnid that each wnid then becomes."""
    orders = {
        "the development kit's numbers were taken for places in the sorted wnids": (devkit_order(), sorted_order()),
        "places in the sorted wnids were taken for the development kit's numbers": (sorted_order(), devkit_order()),
        "places in the sorted wnids were counted from the wrong one of 0 and 1": (sorted_order(), sorted_order()),
    }
    for words, (true_order, taken_for) in orders.items():
        for shift in (-1, 0, 1):
            taken = dict(enumerate(taken_for, start=-shift))
            yield words, {wnid: taken.get(position) for position, wnid in enumerate(true_order)}


def _read_numbers(
    path: Path, numbers: dict[int, int], reading: str, classes: Sequence[str], *, is_given: bool
) -> dict[int, str]:
    readings = {name: _as_wnids(numbers, name) for name in READINGS}
    fitting = {name for name, labels in readings.items() if labels and set(classes) <= set(labels.values())}
    truths = {name: _true_labels(readings[name]).items() for name in fitting}
    decided = {name for name, truth in truths.items() if truth and truth <= readings[name].items()}
    if reading in fitting and (is_given or reading in decided or not decided):
        return readings[reading]
    among_own = dict(enumerate(classes))
    if reading == "sorted" and set(numbers.values()) == set(among_own):
        return {number: among_own[position] for number, position in numbers.items()}
    other = next(iter(sorted(decided) or sorted(fitting)), None)
    raise ConfigError(
        f"{path}: read as {READINGS[reading][0]}, its numbers do not give every class of train/ its images"
        + (", or not the right ones" if reading in fitting else "")
        + (f"; they are {READINGS[other][0]}" if other else "")
        + (f": give data.labels_order={other}." if other in ("sorted", "devkit") else "; write wnids instead.")
    )


def _as_wnids(numbers: Mapping[int, int], reading: str) -> dict[int, str]:
    """Empty if the numbers are others."""
    _, order, first = READINGS[reading]
    wnids = dict(enumerate(order(), start=first))
    return {image: wnids[number] for image, number in numbers.items()} if wnids.keys() >= set(numbers.values()) else {}


def _true_labels(labels: Mapping[int, str]) -> dict[int, str]:
    """Those of the first twenty images that have one of `labels`; empty if they are too few to tell."""
    order = devkit_order()
    truth = {number: order[id - 1] for number, id in enumerate(FIRST_DEVKIT_IDS, start=1) if number in labels}
    return truth if len(truth) >= FEW else {}


def _row(line: str) -> tuple[int | None, str | None]:
    """The image's number and its label's word, where a line has them."""
    words = re.split(r"[\s,;]+", line.strip().replace('"', ""))
    number = next((number for word in words if (number := image_number(word)) is not None), None)
    label = next((word for word in words if WNID.fullmatch(word) or word.isdigit()), None)
    return number, label


def _text(path: Path) -> str:
    try:
        if not tarfile.is_tarfile(path):
            return path.read_text(encoding="utf-8")
        with tarfile.open(path) as kit:
            for member in kit:
                if GROUND_TRUTH in member.name and (file := kit.extractfile(member)) is not None:
                    return file.read().decode()
    except (OSError, UnicodeDecodeError, tarfile.TarError, EOFError) as error:
        raise ConfigError(f"{path} cannot be read as labels ({error}); give data.labels=FILE.") from error
    raise ConfigError(f"{path} holds no *{GROUND_TRUTH}*.txt; give data.labels=FILE.")


def _is_list_of_labels(file: Path) -> bool:
    with open(file, encoding="utf-8", errors="replace") as lines:
        head = [line for line, _ in zip(lines, range(3), strict=False)]
    has_label = [_row(line) for line in head]
    names_images = any(number is not None and word is not None for number, word in has_label)
    return names_images or (bool(head) and all(WNID.fullmatch(line.strip()) for line in head) and "val" in file.name)
