"""Examples of predicted boxes, right ones and wrong ones, drawn on their images beside the true ones."""

import numpy as np
from PIL import Image, ImageDraw, ImageOps

from vgg_sweep.localise.evaluate import answers, counted, wrong
from vgg_sweep.localise.geometry import Floats, iou
from vgg_sweep.report.page.gallery import NUM_EXAMPLES, Example, Gallery, example
from vgg_sweep.report.results.localised import OF_TRUE_CLASS, BoxRun
from vgg_sweep.report.results.results import Sweep

TRUTH, GUESS, EDGE = "#ffffff", "#ff8c00", "#000000"
"""White is true, orange guessed, each with a black edge, so that they are seen on any picture."""


def box_galleries(sweep: Sweep) -> list[Gallery]:
    """Of the sweep's run with the lowest error of Table 8; empty without localisation runs whose boxes are at hand."""
    errors = sweep.localised.errors
    if errors.empty or (sweep.bundle is not None and not sweep.bundle.has_posteriors):
        return []
    of_nets = errors[(errors["rule"] == "centre") & (errors["what"] == OF_TRUE_CLASS) & (errors["control"] == "")]
    best = of_nets["run_id"].iloc[int(of_nets["error"].argmin())]
    run = next(run for run in sweep.localised.runs if run.id == best)
    predictions = run.scored
    labels_N1, truth = predictions.labels_N[:, None], predictions.truth
    passes = predictions.passes("centre-crop", run.scales("single")) or []
    found_N4 = answers(passes, labels_N1, truth.boxes.sizes_N2, "best", [0.0])[0, :, 0]
    wrong_N = wrong(labels_N1, found_N4[:, None], truth.boxes, predictions.labels_N)
    is_counted_N = counted(truth, predictions.labels_N)
    galleries = []
    for title, is_shown_N in (("Right", ~wrong_N), ("Wrong", wrong_N)):
        rows = np.flatnonzero(is_shown_N & is_counted_N)
        note = (
            f"{len(rows):,} of {is_counted_N.sum():,} images, the true class given, one centre crop ({run.id}). White: "
            "the true boxes of the class; orange: the predicted one."
        )
        spread = rows[np.linspace(0, len(rows) - 1, min(NUM_EXAMPLES, len(rows)), dtype=int)] if len(rows) else rows
        galleries.append(Gallery(f"Boxes: {title.lower()}", note, [_example(run, n, found_N4[n]) for n in spread]))
    return [gallery for gallery in galleries if gallery.examples]


def _example(run: BoxRun, n: int, guess_4: Floats) -> Example:
    manifest, truth = run.scored.manifest, run.scored.truth
    image, label = manifest["images"][n], manifest["labels"][n]
    true_b4 = truth.boxes.of(int(n), label)
    overlap = float(iou(guess_4[None], true_b4).max())
    width, height = truth.boxes.sizes_N2[n].tolist()

    def draw(picture: Image.Image) -> Image.Image:
        upright = picture if picture.size == (width, height) else ImageOps.exif_transpose(picture)
        if upright.size != (width, height):
            raise ValueError(f"{image} is {upright.size}, not {(width, height)} as when it was scored.")
        return drawn(upright, true_b4, guess_4)

    return example(run, manifest, int(n), f"overlap {overlap:.2f}", {}, draw)


def drawn(picture: Image.Image, true_b4: Floats, guess_4: Floats) -> Image.Image:
    """The picture with the boxes drawn on it, thin enough to see what is in them."""
    picture = picture.convert("RGB")
    draw, width = ImageDraw.Draw(picture), max(1, round(max(picture.size) / 90))
    for box_4, colour in [*((each, TRUTH) for each in true_b4), (guess_4, GUESS)]:
        x0, y0, x1, y1 = (round(float(each)) for each in box_4)
        if x1 < x0 or y1 < y0:
            continue  # no box was predicted
        draw.rectangle((x0 - 1, y0 - 1, x1 + 1, y1 + 1), outline=EDGE, width=width + 2)
        draw.rectangle((x0, y0, x1, y1), outline=colour, width=width)
    return picture
