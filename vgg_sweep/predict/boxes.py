"""The boxes that a trained net predicts, on unlabelled images (Appendix A).

Axes: P positions of one image in all passes, K classes, G guesses.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from vgg_sweep.errors import ConfigError
from vgg_sweep.localise.geometry import clipped
from vgg_sweep.localise.merging import USUAL_THRESHOLD, merged_at
from vgg_sweep.machine.hardware import Hardware
from vgg_sweep.plan.folders import read_run
from vgg_sweep.predict.predict import BoxGuess, Prediction, decoded_ahead
from vgg_sweep.predict.trained import TrainedNet
from vgg_sweep.protocols.means import Protocol
from vgg_sweep.protocols.passes import Pass, passes_of
from vgg_sweep.runs.folder import RunFolder
from vgg_sweep.score.batches import at_each_Q
from vgg_sweep.score.localiser import Localiser, classifier_of
from vgg_sweep.score.score import FORWARD_PX

COLOUR = "#e6194b"
"""Of the box, on light and dark images."""
LEAST_PX = 320
"""Smallest side of a picture with boxes: smaller images are enlarged, so that the words on them can be read."""


def localiser_of(path: Path, loaded: TrainedNet, hardware: Hardware) -> Localiser:
    """The net that was loaded from `path`, with that which rates its boxes.

    Raises `ConfigError` if it is not in the folder of a run that localises, `RunError` if the net that rates is not
    there any more.
    """
    if loaded.config.task != "localise" or path.is_file():
        raise ConfigError(
            f"{path} is not the folder of a run that predicts boxes, as `vgg-sweep train task=localise` makes them; "
            "name one, or leave --boxes out."
        )
    classifier = classifier_of(read_run(RunFolder(path)), loaded.classes)
    return Localiser(loaded.net, classifier, loaded.config, len(loaded.classes), loaded.preprocessing, hardware)


def predict_boxes(
    localiser: Localiser, paths: Sequence[Path], protocol: Protocol, num_guesses: int
) -> Iterator[Prediction]:
    """The best guesses of each image, in the order of `paths`: the boxes of a class at all positions, scales and flips
    merged as OverFeat's are. An image that cannot be read comes with the reason, and the others go on.
    """
    passes = passes_of(protocol.method, protocol.test_scales)
    largest_Q_px = max(each.Q for each in passes)
    per_batch = max(1, FORWARD_PX[localiser.hardware.device.type] // largest_Q_px**2)
    config = localiser.config
    localiser.to_device()
    with ThreadPoolExecutor(max(1, config.workers)) as pool:
        for batch in decoded_ahead(pool, paths, per_batch, largest_Q_px, config.data.exif_rotation):
            images = [prediction.image for prediction in batch if prediction.image is not None]
            found = iter(_found(pool, localiser, images, passes, num_guesses))
            for each in batch:
                yield replace(each, guesses=next(found)) if each.image is not None else each


def _found(
    pool: ThreadPoolExecutor,
    localiser: Localiser,
    images: Sequence[Image.Image],
    passes: Sequence[Pass],
    num_guesses: int,
) -> list[list[BoxGuess]]:
    boxes: list[list[NDArray[np.float32]]] = [[] for _ in images]
    scores: list[list[NDArray[np.float32]]] = [[] for _ in images]
    for each, images_HWC in at_each_Q(pool, images, passes, localiser.preprocessing.interpolation):
        predicted = localiser.predicted(images_HWC, [image.size for image in images], each)
        for number, (boxes_PK4, scores_PK) in enumerate(predicted):
            boxes[number].append(boxes_PK4)
            scores[number].append(scores_PK)
    return [
        _guesses(np.concatenate(own), np.concatenate(rated), image.size, num_guesses)
        for own, rated, image in zip(boxes, scores, images, strict=True)
    ]


def _guesses(
    boxes_PK4: NDArray[np.float32], scores_PK: NDArray[np.float32], size_px: tuple[int, int], num_guesses: int
) -> list[BoxGuess]:
    posteriors_K = scores_PK.mean(axis=0)
    best_G = np.argsort(-posteriors_K, kind="stable")[:num_guesses]
    boxes_GP4 = boxes_PK4[:, best_G % boxes_PK4.shape[1]].swapaxes(0, 1)
    [boxes_G4] = merged_at(boxes_GP4, scores_PK[:, best_G].T, "overfeat", [USUAL_THRESHOLD])
    found = zip(best_G.tolist(), clipped(boxes_G4, *size_px), strict=True)
    return [BoxGuess(label, float(posteriors_K[label]), box_4) for label, box_4 in found]


def drawn(image: Image.Image, guess: BoxGuess, name: str) -> Image.Image:
    """`image` with the box of a guess and its `name`; enlarged if it is small."""
    factor = max(1, -(-LEAST_PX // min(image.size)))
    picture = image.convert("RGB").resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)
    pen, line_px = ImageDraw.Draw(picture), max(2, min(picture.size) // 150)
    font = ImageFont.load_default(max(12, min(picture.size) // 25))
    left, top, right, bottom = (round(float(edge) * factor) for edge in guess.box_4 + [0, 0, 1, 1])
    pen.rectangle((left, top, max(left, right - 1), max(top, bottom - 1)), outline=COLOUR, width=line_px)
    text = f" {name} {100 * guess.posterior:.0f} % "
    corner = (left, top - 1.4 * font.size if top >= 1.4 * font.size else top)  # type: ignore[union-attr]
    pen.rectangle(pen.textbbox(corner, text, font), fill=COLOUR)
    pen.text(corner, text, "white", font)
    return picture
