"""What is wrong with the boxes of a set."""

from collections.abc import Iterator

import numpy as np

from vgg_sweep.errors import RunError
from vgg_sweep.images.check.check import Findings, Problem
from vgg_sweep.images.sets.index import ProgressCallback
from vgg_sweep.images.sets.matching import SetBoxes
from vgg_sweep.images.sets.splits import ImageSet, Split
from vgg_sweep.localise.boxes import Boxes


def check_boxes(images: ImageSet, boxes: SetBoxes, findings: Findings, progress: ProgressCallback) -> None:
    """Enter what is wrong with `boxes` into `findings`; reads the header of each image that has some."""
    findings.notes += boxes.notes
    findings.problems += [Problem(fault.kind, fault.split, fault.id, fault.detail) for fault in boxes.faults]
    splits = (("train", images.train, boxes.train), ("val", images.val, boxes.val))
    total = sum(int((own.counts_N > 0).sum()) for _, _, own in splits)
    done = 0
    for name, split, own in splits:
        for row in np.flatnonzero(own.counts_N).tolist():
            findings.problems += _problems(name, split, own, row)
            done += 1
            progress(done, total)
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
        turned = ", turned by EXIF perhaps" if said == (height, width) else ""
        yield Problem("box-size", name, id, f"said to be {said[0]} x {said[1]} px, is {width} x {height} px{turned}")
    for x0, y0, x1, y1 in boxes.of(row).tolist():
        if x0 < 0 or y0 < 0 or x1 > width - 1 or y1 > height - 1:
            where = f"x {x0:g} to {x1:g}, y {y0:g} to {y1:g}, counted from 0"
            yield Problem("box-outside", name, id, f"{where}, of {width} x {height} px")
