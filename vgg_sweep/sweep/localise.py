"""What a run that localises needs beside one that classifies: the boxes of its images, and the net it was made from."""

from vgg_sweep.config.imported import Preprocessing
from vgg_sweep.errors import ConfigError
from vgg_sweep.images.sets.boxes import open_boxes
from vgg_sweep.images.sets.matching import SetBoxes
from vgg_sweep.images.sets.splits import ImageSet
from vgg_sweep.machine.device import choose_device
from vgg_sweep.machine.ranks import Ranks
from vgg_sweep.nets.vgg import build_net
from vgg_sweep.nets.weights import load_weights
from vgg_sweep.plan.runs import Run
from vgg_sweep.runs.files import read_json, write_json
from vgg_sweep.runs.progress import Reporter
from vgg_sweep.score.boxes import score_boxes
from vgg_sweep.score.localiser import Localiser, classifier_of
from vgg_sweep.score.manifest import scoring_choice


def boxes_of(run: Run, images: ImageSet, reporter: Reporter, ranks: Ranks) -> SetBoxes | None:
    """The boxes of `images`, written down where the run begins, with what was noticed said; None if it classifies.

    Raises `ConfigError` as `open_boxes`, or if the run began with other boxes.
    """
    if run.config.task == "classify":
        return None
    boxes = open_boxes(run.config, images, lambda done, total: reporter.step("boxes", done, total))
    origin = read_json(run.folder.origin)
    if origin.get("boxes_fingerprint", boxes.fingerprint) != boxes.fingerprint:
        raise ConfigError(
            f"{run.id} was made from other boxes than these; give out=DIR for a run of these, or put those back."
        )
    if ranks.is_first and "boxes_fingerprint" not in origin:
        for note in boxes.notes:
            reporter.note(note)
        write_json(run.folder.origin, origin | {"boxes_fingerprint": boxes.fingerprint})
    return boxes


def score_localiser(
    run: Run, images: ImageSet, boxes: SetBoxes, preprocessing: Preprocessing, reporter: Reporter, ranks: Ranks
) -> None:
    """Compute the passes of `run` that are missing; its parent rates the boxes."""
    config, folder = run.config, run.folder
    choice = ranks.agree(lambda: scoring_choice(config, folder, len(images.classes), reporter.note))
    net = build_net(config, len(images.classes))
    load_weights(net, folder.weights)
    classifier, device = classifier_of(run, images.classes), choose_device(config, choice)
    localiser = Localiser(net, classifier, config, len(images.classes), preprocessing, device)
    score_boxes(run, localiser, images, boxes, reporter, ranks)
    ranks.wait()
