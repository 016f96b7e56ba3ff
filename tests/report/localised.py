"""Localisation runs of a synthetic sweep, as scoring would leave them: the boxes are the true ones, moved a little."""

from pathlib import Path

import numpy as np
import yaml

from tests.localise.boxes import write_predictions
from tests.sweeps import Spec, make_run
from vgg_sweep.localise.boxes import Boxes
from vgg_sweep.localise.stored import PassBoxes
from vgg_sweep.protocols.methods import scaled_px

SIDE_PX = 100


def true_boxes(num_images: int, num_classes: int) -> Boxes:
    """One box an image, of its class."""
    rng = np.random.default_rng(7)
    corners = rng.integers(0, 40, (num_images, 2))
    boxes = np.concatenate([corners, corners + rng.integers(20, 55, (num_images, 2))], axis=1)
    return Boxes.of_lists([[(n % num_classes, box)] for n, box in enumerate(boxes)], [(SIDE_PX, SIDE_PX)] * num_images)


def make_box_run(
    sweep: Path,
    train_scale: str,
    boxes: str = "pcr",
    trainable: str = "all",
    seed: int = 0,
    noise_px: float = 5.0,
    spec: Spec | None = None,
    model: str = "D",
) -> Path:
    """Positions: one of the centre crop, four of a dense pass; the boxes of wrong classes are as good as the true."""
    spec = spec or Spec()
    apart = make_run(sweep / "apart", model, train_scale, seed, spec)
    folder = apart.rename(sweep / f"{model}-{train_scale}-{boxes}-{trainable}-s{seed}-{apart.name[-8:]}")
    apart.parent.rmdir()
    for file in (folder / "posteriors").iterdir():
        file.unlink()
    (folder / "posteriors").rmdir()
    config = yaml.safe_load((folder / "config.yaml").read_text())
    config |= {"task": "localise", "boxes": boxes, "trainable": trainable}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    rng = np.random.default_rng([seed, int(train_scale), len(boxes + trainable)])
    truth = true_boxes(spec.num_images, spec.num_classes)
    classes_Nk = np.stack([rng.permutation(spec.num_classes) for _ in range(spec.num_images)])

    def predicted(num_positions: int) -> PassBoxes:
        true_R14 = np.repeat(truth.boxes_B4, num_positions, axis=0)[:, None]
        num_columns = 1 if boxes == "scr" else spec.num_classes
        moved = true_R14 + rng.normal(0, noise_px, (len(true_R14), num_columns, 4))
        scores = rng.random((len(true_R14), spec.num_classes))
        positions_N = np.full(spec.num_images, num_positions, np.int32)
        return PassBoxes(positions_N, classes_Nk, moved.astype(np.float32), scores.astype(np.float32))

    S = int(train_scale)
    passes = {("centre-crop", scaled_px(S, spec.crop), False): predicted(1)}
    for px in (S - 32, S, S + 32):
        passes |= {("dense", scaled_px(px, spec.crop), flip): predicted(4) for flip in (False, True)}
    labels = [n % spec.num_classes for n in range(spec.num_images)]
    images = [f"val/{n}.png" for n in range(spec.num_images)]
    names = [f"class {k}" for k in range(spec.num_classes)]
    write_predictions(folder / "boxes", passes, truth, labels, names, images=images)
    return folder
