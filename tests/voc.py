"""A small set in the layout of VOC's archives."""

from pathlib import Path

import numpy as np
from PIL import Image

from vgg_sweep.images.sets.voc import ACTIONS


def actions_tree(root: Path) -> Path:
    """VOCdevkit/VOC2012 with lists of the ten actions and of `other`: two images a part, each of two persons."""
    folder, generator = root / "VOCdevkit" / "VOC2012", np.random.default_rng(0)
    for name in ("ImageSets/Action", "JPEGImages", "Annotations"):
        (folder / name).mkdir(parents=True)
    for part, images in (("train", ["2010_000001", "2010_000002"]), ("val", ["2010_000003", "2010_000004"])):
        for image in images:
            pixels = generator.integers(0, 256, (20, 30, 3), np.uint8)
            Image.fromarray(pixels).save(folder / "JPEGImages" / f"{image}.jpg", "PNG")
            objects = "".join(
                f"<object><name>person</name><bndbox><ymin>3</ymin><xmin>{x}</xmin><ymax>12</ymax><xmax>{x + 9}</xmax>"
                "</bndbox><part><name>head</name></part></object>"
                for x in (1, 21)
            )
            size = "<size><width>30</width><height>20</height></size>"
            (folder / "Annotations" / f"{image}.xml").write_text(f"<annotation>{size}{objects}</annotation>")
        for k, name in enumerate((*ACTIONS, "other")):
            rows = [f"{image}  {n} {1 if (k + n) % 2 else -1:>2}" for image in images for n in (1, 2)]
            (folder / "ImageSets" / "Action" / f"{name}_{part}.txt").write_text("\n".join(rows) + "\n")
    return folder
