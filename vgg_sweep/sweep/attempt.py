"""Train and score one run in this process, whose lock and status are `work`'s."""

import os
from pathlib import Path

import torch

from vgg_sweep.config.imported import Preprocessing
from vgg_sweep.images.sets.boxes import SetBoxes
from vgg_sweep.images.sets.sources import open_images
from vgg_sweep.images.sets.splits import ImageSet, sampled
from vgg_sweep.images.sets.statistics import statistics
from vgg_sweep.images.views.preprocessing import in_rgb, of_trained
from vgg_sweep.machine.hardware import choose_hardware
from vgg_sweep.machine.ranks import Ranks, join_ranks
from vgg_sweep.nets.vgg import build_net
from vgg_sweep.nets.weights import load_weights, read_metadata
from vgg_sweep.plan.runs import Run
from vgg_sweep.runs.progress import Reporter
from vgg_sweep.score.boxes import score_boxes
from vgg_sweep.score.localiser import Localiser, classifier_of
from vgg_sweep.score.manifest import scoring_choice
from vgg_sweep.score.sanity import check_sanity, classes_of, for_the_net
from vgg_sweep.score.score import score
from vgg_sweep.sweep.origin import begin_with, boxes_of, own_statistics
from vgg_sweep.train.segments import training_choice
from vgg_sweep.train.tasks import only_with_boxes
from vgg_sweep.train.train import train

SMOKE_IMAGES = 64
"""On which a try is validated and scored."""


def train_and_score(run: Run, reporter: Reporter) -> None:
    """Train `run` if it is not trained or imported, then compute the passes that are missing."""
    config, folder = run.config, run.folder
    ranks = join_ranks(config.device)
    device = choose_hardware(config).device
    if ranks.is_first:
        folder.update_status(device=device.type, gpus=_gpus(device, ranks.num_ranks))
    listing = "draw" if config.data.source == "fractals" else "list"
    images = open_images(config, lambda done, total: reporter.step(listing, done, total))
    if ranks.is_first:
        begin_with(run, images, reporter.note)
    if config.smoke:
        images = sampled(images, config.recipe.max_steps * config.recipe.batch_size, SMOKE_IMAGES)
    boxes = boxes_of(run, images, reporter, write=ranks.is_first)
    if config.imported.sha256 is not None:
        images, preprocessing = for_the_net(images, classes_of(folder)), in_rgb(config.preprocessing)
    else:
        preprocessing = _trained(run, images, boxes, reporter, ranks)
    _score(run, images, boxes, preprocessing, reporter, ranks)


def _trained(run: Run, images: ImageSet, boxes: SetBoxes | None, reporter: Reporter, ranks: Ranks) -> Preprocessing:
    """Train `run` if it is not trained. Returns the preprocessing of its images."""
    config = run.config
    figures = statistics(
        images, Path(config.cache), max(1, config.workers), lambda done, total: reporter.step("mean", done, total)
    )
    figures = own_statistics(run, figures, write=ranks.is_first)
    if not run.folder.is_trained:
        choice = ranks.agree(lambda: training_choice(run, len(images.classes), reporter.note))
        if boxes is not None:
            images, boxes = only_with_boxes(images, boxes, reporter.note)
        train(run, images, figures, choose_hardware(config, choice), reporter, ranks, boxes)
        ranks.wait()
    return of_trained(config, read_metadata(run.folder.weights))


def _score(
    run: Run,
    images: ImageSet,
    boxes: SetBoxes | None,
    preprocessing: Preprocessing,
    reporter: Reporter,
    ranks: Ranks,
) -> None:
    """Compute the passes of `run` that are missing; of one that localises its parent rates the boxes."""
    config, folder, num_classes = run.config, run.folder, len(images.classes)
    scored = folder.posteriors if boxes is None else folder.boxes
    choice = ranks.agree(lambda: scoring_choice(config, scored, num_classes, reporter.note))
    net, hardware = build_net(config, num_classes), choose_hardware(config, choice)
    load_weights(net, folder.weights)
    if boxes is not None:
        localiser = Localiser(net, classifier_of(run, images.classes), config, num_classes, preprocessing, hardware)
        score_boxes(run, localiser, images, boxes, reporter, ranks)
    else:
        if config.imported.sha256 is not None:
            sanity = check_sanity(net, config, images, hardware)
            if ranks.is_first:
                folder.update_record(sanity=sanity)
        score(net, config, folder, images, preprocessing, hardware, reporter, ranks)
    ranks.wait()


def _gpus(device: torch.device, num_ranks: int) -> list[str]:
    """The GPUs of a run as CUDA_VISIBLE_DEVICES names them, or else by their numbers; none on a CPU."""
    if device.type != "cuda":
        return []
    first = device.index or 0
    numbers = range(first, first + num_ranks)
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return [visible.split(",")[number] for number in numbers] if visible else [str(number) for number in numbers]
