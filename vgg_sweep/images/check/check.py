"""What is wrong with a set: every image is read once, in parallel, and every problem is listed.

A problem is something to fix or to know before training; what is unusual but harmless is only counted.
"""

import hashlib
import io
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
from PIL import ExifTags, Image

from vgg_sweep.config.schema import Config
from vgg_sweep.errors import RunError
from vgg_sweep.images import decode
from vgg_sweep.images.sets.boxes import Problem, SetBoxes
from vgg_sweep.images.sets.imagenet import known_oddity
from vgg_sweep.images.sets.index import ProgressCallback
from vgg_sweep.images.sets.splits import ImageSet, Split
from vgg_sweep.images.sets.wnids import shown
from vgg_sweep.localise.boxes import Boxes
from vgg_sweep.protocols.methods import scaled_px

BLOCK = 256
"""Images between two points at which a check can be stopped."""
LARGEST_ASPECT = 4.0
"""Longer over shorter side, beyond which a square crop shows little of an image."""
LARGEST_IMBALANCE = 2.0
"""A class is too small or large beyond this factor from the median class."""
DIGEST_BYTES = 12
KINDS = {
    "undecodable": "fix or remove it, or train with data.on_bad_image=skip",
    "label": "the list of labels, or a copy of the image, gives another class: decide which is right",
    "leak": "the same pixels are in train and in val: remove one, or errors will look too low",
    "duplicate": "the same pixels occur twice in a split: remove one",
    "extension": "the extension does not match the format; the file is read by its content",
    "animated": "only the first frame is used",
    "aspect": f"longer than {LARGEST_ASPECT:g} times its width or height: a crop shows little of it",
    "small": "smaller than S, so that it is enlarged",
    "box-file": "its boxes are left out: fix or remove the annotation",
    "box-of-none": "boxes that match no image, or several of the same name: rename or remove the annotation",
    "box-class": "a box of a class that is not in the set is left out",
    "box-empty": "a box with swapped corners or without area is left out: fix it",
    "box-size": "drawn on an image of another size or orientation (data.exif_rotation): boxes may be misplaced",
    "box-outside": "a box reaches beyond its image: fix it",
    "box-other": "no box is of the image's own class, so none is learned",
    "imbalance": f"a class {LARGEST_IMBALANCE:g} times larger or smaller than the median class",
}
"""Every kind of problem, with what to make of it, the gravest first."""


@dataclass
class Findings:
    """All that a check has found so far, and what it has read."""

    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    num_images: int = 0
    num_total: int = 0
    formats: Counter[str] = field(default_factory=Counter)
    modes: Counter[str] = field(default_factory=Counter)
    """Pillow's words: L is gray, CMYK, P palette, RGBA and LA with transparency."""
    num_rotated: int = 0
    """With an EXIF orientation other than upright."""
    smaller_sides_px: Counter[int] = field(default_factory=Counter)

    def sort(self) -> None:
        """The gravest kinds first."""
        order = list(KINDS)
        self.problems.sort(key=lambda problem: order.index(problem.kind))


@dataclass(frozen=True)
class _Look:
    """What is seen of one image; one without a format is from an array."""

    error: str | None
    size_px: tuple[int, int] = (0, 0)
    format: str | None = None
    mode: str = "RGB"
    num_frames: int = 1
    is_rotated: bool = False
    digest: bytes = b""


def check_images(
    images: ImageSet, config: Config, findings: Findings, progress: ProgressCallback, mislabelled: list[list[str]]
) -> None:
    """Read all of `images` and enter what is wrong into `findings`, which is valid as far as read if this is stopped.

    `mislabelled` are images whose list of labels gives them another class.
    """
    digests = {}
    findings.num_total = len(images.train) + len(images.val)
    S_px = scaled_px(config.train_scale.S[0], config.crop)
    for id, label in mislabelled:
        findings.problems.append(Problem("label", id.partition("/")[0], id, f"its list of labels says {shown(label)}"))
    with ThreadPoolExecutor(max(1, config.workers)) as pool:
        for name, split in images.splits.items():
            digests[name] = np.zeros((len(split), DIGEST_BYTES), np.uint8)
            for index, look in enumerate(_looks(pool, split)):
                digests[name][index] = np.frombuffer(look.digest.ljust(DIGEST_BYTES, b"\0"), np.uint8)
                _enter(findings, name, split.ids[index], look, S_px)
                progress(findings.num_images, findings.num_total)
    _enter_duplicates(findings, images, digests)
    _enter_imbalance(findings, images)
    small = [problem for problem in findings.problems if problem.kind == "small"]
    if len(small) == findings.num_images:  # a choice of the configuration, no fault of any image
        findings.problems = [problem for problem in findings.problems if problem.kind != "small"]
        findings.notes.append(f"every image is smaller than S = {S_px} px and is enlarged, as intended at this crop")
    findings.sort()


def _looks(pool: ThreadPoolExecutor, split: Split) -> Iterator[_Look]:
    for first in range(0, len(split), BLOCK):
        yield from pool.map(lambda index: _look(split, index), range(first, min(first + BLOCK, len(split))))


def _look(split: Split, index: int) -> _Look:
    stored = split.stored(index)
    try:
        if isinstance(stored, np.ndarray):
            return _Look(None, (stored.shape[1], stored.shape[0]), digest=_digest(Image.fromarray(stored)))
        data = decode.encoded(stored)
        rgb = decode.decoded(data)
        with Image.open(io.BytesIO(data)) as image:
            is_rotated = image.getexif().get(ExifTags.Base.Orientation, 1) not in (0, 1)
            num_frames = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)  # MPO: the same picture again
            return _Look(None, rgb.size, image.format, image.mode, num_frames, is_rotated, _digest(rgb))
    except (RunError, OSError) as error:
        return _Look(str(error))


def _digest(rgb: Image.Image) -> bytes:
    return hashlib.blake2b(repr(rgb.size).encode() + rgb.tobytes(), digest_size=DIGEST_BYTES).digest()


def _enter(findings: Findings, split: str, id: str, look: _Look, S_px: int) -> None:
    def problem(kind: str, detail: str) -> None:
        findings.problems.append(Problem(kind, split, id, detail))

    findings.num_images += 1
    if look.error is not None:
        problem("undecodable", look.error)
        return
    findings.formats[look.format or "array"] += 1
    findings.modes[look.mode] += 1
    findings.num_rotated += look.is_rotated
    width, height = look.size_px
    findings.smaller_sides_px[min(width, height)] += 1
    extension = id[id.rfind(".") :].lower() if "." in id else ""
    said = Image.registered_extensions().get(extension)
    is_known = split == "train" and known_oddity(id) == look.format
    if look.format and said and look.format != said and not (said == "JPEG" and look.format == "MPO") and not is_known:
        problem("extension", f"is {look.format}")
    if look.num_frames > 1:
        problem("animated", f"{look.num_frames} frames")
    if max(width, height) > LARGEST_ASPECT * min(width, height):
        problem("aspect", f"{width} x {height} px")
    if min(width, height) < S_px:
        problem("small", f"{width} x {height} px, S is {S_px} px")


def _enter_duplicates(findings: Findings, images: ImageSet, digests: dict[str, np.ndarray]) -> None:
    """Images of the same pixels, each against the first such one, train before val."""
    splits = images.splits
    members = [(name, row) for name, split in splits.items() for row in range(len(split))]
    digests_NB = np.concatenate(list(digests.values()))
    _, firsts, inverse_N = np.unique(
        digests_NB.view(f"V{DIGEST_BYTES}").ravel(), return_index=True, return_inverse=True
    )
    first_N, is_decoded_N = firsts[inverse_N], digests_NB.any(axis=1)
    copies = np.flatnonzero((first_N != np.arange(len(first_N))) & is_decoded_N)
    for member in copies[np.argsort(first_N[copies], kind="stable")].tolist():
        (name, row), (first_name, first_row) = members[member], members[first_N[member]]
        split, first = splits[name], splits[first_name]
        differs, leaks = split.labels_N[row] != first.labels_N[first_row], name != first_name
        kinds = ["label"] * bool(differs) + ["leak"] * leaks or ["duplicate"]
        detail = f"the same pixels as {first.ids[first_row]}"
        findings.problems += [Problem(kind, name, split.ids[row], detail) for kind in kinds]


def _enter_imbalance(findings: Findings, images: ImageSet) -> None:
    for name, split in images.splits.items():
        sizes_K = np.bincount(split.labels_N, minlength=len(images.classes))
        median = float(np.median(sizes_K))
        for label in np.flatnonzero((sizes_K * LARGEST_IMBALANCE < median) | (sizes_K > median * LARGEST_IMBALANCE)):
            detail = f"{sizes_K[label]} images, the median class has {median:g}"
            findings.problems.append(Problem("imbalance", name, shown(images.classes[label]), detail))


def check_boxes(images: ImageSet, boxes: SetBoxes, findings: Findings, progress: ProgressCallback) -> None:
    """Enter what is wrong with `boxes` into `findings`; reads the header of each image that has some."""
    findings.notes += boxes.notes
    findings.problems += boxes.faults
    with_boxes = [(name, row) for name, own in boxes.splits.items() for row in np.flatnonzero(own.counts_N).tolist()]
    for done, (name, row) in enumerate(with_boxes, start=1):
        findings.problems += _problems(name, images.splits[name], boxes.splits[name], row)
        progress(done, len(with_boxes))
    findings.sort()


def _problems(name: str, split: Split, boxes: Boxes, row: int) -> Iterator[Problem]:
    id, label = split.ids[row], int(split.labels_N[row])
    if not len(boxes.of(row, label)):
        yield Problem("box-other", name, id, f"{len(boxes.of(row))} boxes, none of its own class")
    try:
        width, height = split.size_px(row)
    except RunError:
        return  # the image is listed as undecodable
    said = tuple(boxes.sizes_N2[row].tolist())
    if said != (width, height) and said != (0, 0):
        turned = ", perhaps turned by EXIF" if said == (height, width) else ""
        yield Problem("box-size", name, id, f"said to be {said[0]} x {said[1]} px, is {width} x {height} px{turned}")
    for x0, y0, x1, y1 in boxes.of(row).tolist():
        if x0 < 0 or y0 < 0 or x1 > width - 1 or y1 > height - 1:
            where = f"x {x0:g} to {x1:g}, y {y0:g} to {y1:g}, counted from 0"
            yield Problem("box-outside", name, id, f"{where}, of {width} x {height} px")
