"""Training (Sect. 3.1): from initial weights or a checkpoint to the weights' file and the record.

Everything random is a function of the seed, of how far the run is from its first ancestor at another scale, and of the
epoch or step, so that a run continued from a checkpoint takes the same steps as one that was never stopped.
"""

import json
from contextlib import closing
from dataclasses import asdict
from statistics import median

import numpy as np

from vgg_sweep.config.checks import check_batches
from vgg_sweep.config.imported import Preprocessing
from vgg_sweep.images.sets.boxes import SetBoxes
from vgg_sweep.images.sets.sources import refuse_dropped
from vgg_sweep.images.sets.splits import ImageSet
from vgg_sweep.images.sets.statistics import Statistics
from vgg_sweep.machine.hardware import Hardware
from vgg_sweep.machine.ranks import ALONE, Ranks
from vgg_sweep.nets.columns import LEAST_LRN_SPREAD
from vgg_sweep.nets.vgg import build_net
from vgg_sweep.nets.weights import save_weights
from vgg_sweep.plan.runs import Run
from vgg_sweep.protocols.seals import sha256_of
from vgg_sweep.runs.progress import Diverged, Reporter
from vgg_sweep.runs.provenance import provenance
from vgg_sweep.train.beginning import Beginning, begin, fine_tuning_stream
from vgg_sweep.train.checkpoints import Checkpoints, TrainingState, restore
from vgg_sweep.train.loop import Loop, peak_memory_bytes
from vgg_sweep.train.schedule import budget
from vgg_sweep.train.segments import note_segment, trained_in
from vgg_sweep.train.step import Learner
from vgg_sweep.train.tasks import task_of
from vgg_sweep.train.validate import lrn_factor_spread


def train(
    run: Run,
    images: ImageSet,
    statistics: Statistics,
    hardware: Hardware,
    reporter: Reporter,
    ranks: Ranks = ALONE,
    boxes: SetBoxes | None = None,
) -> None:
    """Train `run` from its start or its newest whole checkpoint to weights.safetensors and record.json. With `boxes` it
    learns these.

    Raises `Diverged` at the first loss, score or weight that is not finite, `Interrupted` when asked to stop, with a
    checkpoint of the step, and `ConfigError` for what can no longer be trained.
    """
    config, folder = run.config, run.folder
    refuse_dropped(config.data)
    hardware.reset_peak_memory()
    hardware.expect_shapes(alike=True)
    net = build_net(config, len(images.classes))
    beginning = begin(net, run, images.classes)
    hardware.hold(net)
    learner = Learner(net, config, statistics, hardware, ranks, reporter.note, beginning.shares)
    learner.preprocessing = beginning.preprocessing or learner.preprocessing
    check_batches(config, len(images.train), ranks.num_ranks, is_whole=learner.is_whole)
    task = task_of(config, images, boxes)
    learner.lr, learner.objective = run.lr, task.objective
    state = restore(folder, learner, reporter) or TrainingState(lr=run.lr)
    if ranks.is_first:
        note_segment(folder, state.step, hardware)
        if run.parent is not None and state.step == 0:
            folder.update_record(parent_weights_sha256=run.parent.folder.weights_fingerprint())
    learner.stream = fine_tuning_stream(run) if state.rules > 1 else ()
    the_budget = budget(run, len(images.train))
    reporter.note(
        f"training {config.model.name} at S={config.train_scale.name}{task.name} on {hardware.name}, "
        f"{hardware.precision}, {hardware.layout}{f', {ranks.num_ranks} processes' * (ranks.num_ranks > 1)}: "
        f"{the_budget.num_steps} steps of "
        f"{config.recipe.batch_size} images, {len(images.train)} images an epoch, from step {state.step}"
        + (f"; {len(beginning.copied)} layers from {run.parent.id}" if run.parent else "")
    )
    if beginning.note:
        reporter.note(beginning.note)
    with closing(Checkpoints(folder, config)) as checkpoints:
        loop = Loop(run, images, task, learner, state, the_budget, checkpoints, reporter, state.window)
        loop.train()
        if learner.average is not None:
            learner.average.install()
        if not all(tensor.isfinite().all() for tensor in net.state_dict().values()):
            raise Diverged(f"the weights are not finite after step {state.step}; lower recipe.lr.")
        bad_ids = ranks.gather(np.array([images.train.ids[index] for index in images.train.bad], str))
        if not ranks.is_first:
            return
        if bad_ids is not None and len(bad_ids):
            folder.update_record(bad_train_images=sorted(set(bad_ids.tolist())))
        _record(loop, beginning)
        # Last: with weights a run is trained, and has its record.
        metadata = _metadata(images, statistics, config.recipe.pixel_max, beginning.preprocessing)
        save_weights(net, folder.weights, metadata, lambda sha256: folder.update_record(weights_sha256=sha256))
        checkpoints.remove()


def _record(loop: Loop, beginning: Beginning) -> None:
    """Write down what was used for the training, what it cost, and how it ended."""
    learner, state, hardware, folder = loop.learner, loop.state, loop.learner.hardware, loop.run.folder
    folder.update_record(
        params=sum(p.numel() for p in learner.net.parameters()),
        train_seconds=round(state.seconds, 2),
        step_seconds=median(loop.step_seconds) if loop.step_seconds else None,
        checkpoint_seconds=round(loop.checkpoints.seconds, 3),
        peak_memory_bytes=peak_memory_bytes(hardware),
        device=hardware.device.type,
        device_name=hardware.name,
        devices=learner.ranks.num_ranks,
        precision=trained_in(folder),
        tf32=hardware.tf32,
        compile=learner.config.compile,
        deterministic=learner.config.deterministic,
        layout=hardware.layout,
        micro_batch=learner.micro_batch,
        val_error=state.val_errors[-1] if state.val_errors else None,
        stuck_at_chance=loop.window.is_at_chance(loop.task.num_classes),
        steps=state.step,
        copied=beginning.copied,
        **beginning.record,
        rules=state.rules,
        metrics_sha256=sha256_of(folder.metrics),
        **_lrn(learner, loop.images, loop.reporter),
        **provenance(folder.command),
    )


def _metadata(
    images: ImageSet, statistics: Statistics, pixel_max: float, preprocessing: Preprocessing | None
) -> dict[str, str]:
    """What the file of the weights says of them: classes, and what an image becomes before it enters the net."""
    own = {} if preprocessing is None else {"preprocessing": json.dumps(asdict(preprocessing))}
    return {
        "classes": json.dumps(images.classes),
        "statistics": json.dumps(asdict(statistics)),
        "pixel_max": repr(pixel_max),
        "data_fingerprint": images.fingerprint,
        **own,
    }


def _lrn(learner: Learner, images: ImageSet, reporter: Reporter) -> dict[str, float]:
    """For the record: how much the factor of LRN varies, if the net has LRN; said where it hardly does."""
    if (spread := lrn_factor_spread(learner, images.val)) is None:
        return {}
    if spread < LEAST_LRN_SPREAD:
        reporter.note(
            f"the LRN factor varies by only {spread:.2%}, so this net does not test LRN; recipe.pixel_max=255, as in "
            "the paper, makes its activations large enough"
        )
    return {"lrn_factor_spread": spread}
