"""Training (Sect. 3.1): the loop, top to bottom.

Everything random is a function of the seed and of the epoch or step, so that a run continued from a checkpoint takes
the same steps as one that was never stopped.
"""

import json
import math
import os
import resource
import time
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median

import numpy as np
import torch

from vgg_sweep.config.schema import Config
from vgg_sweep.errors import ConfigError, RunError
from vgg_sweep.images.check.order import order_doubt
from vgg_sweep.images.sets.splits import ImageSet, Split
from vgg_sweep.images.sets.statistics import Statistics
from vgg_sweep.images.views.augment import derived_seed, draw_epoch
from vgg_sweep.images.views.crops import rescaled, views
from vgg_sweep.images.views.loader import Batch, Loader
from vgg_sweep.images.views.packed import packed
from vgg_sweep.images.views.preprocessing import net_input
from vgg_sweep.machine.device import Device
from vgg_sweep.machine.ranks import ALONE, Ranks
from vgg_sweep.nets.start import copy_all, initialise, warm_start_from_A
from vgg_sweep.nets.vgg import VGG, build_net
from vgg_sweep.nets.weights import load_state, save_weights
from vgg_sweep.plan.runs import Run
from vgg_sweep.protocols.methods import scaled_px, test_scales
from vgg_sweep.runs.progress import Diverged, Reporter
from vgg_sweep.runs.provenance import provenance
from vgg_sweep.train.checkpoints import Checkpoints, Progress, remove_unfinished, restore
from vgg_sweep.train.curves import Window, append_row, forget_rows_after
from vgg_sweep.train.loggers import open_logger
from vgg_sweep.train.schedule import is_over, learning_rate
from vgg_sweep.train.segments import note_segment, trained_in
from vgg_sweep.train.step import Learner

CHANCE_SHARE = 0.25
"""Share of the budget after which a loss at chance is worth a warning."""


@dataclass(frozen=True)
class Budget:
    """How long a run trains, in steps."""

    steps_per_epoch: int
    num_steps: int
    validate_every: int


def budget(run: Run, num_images: int) -> Budget:
    """The budget of `run` on `num_images` training images."""
    recipe = run.config.recipe
    steps_per_epoch = math.ceil(num_images / recipe.batch_size)
    return Budget(
        steps_per_epoch,
        num_steps=min(recipe.max_steps, math.ceil(run.epochs * steps_per_epoch)),
        validate_every=max(1, round(recipe.validate_epochs * steps_per_epoch)),
    )


def train(
    run: Run,
    images: ImageSet,
    statistics: Statistics,
    device: Device,
    reporter: Reporter,
    ranks: Ranks = ALONE,
) -> None:
    """Train `run` from its start or its newest whole checkpoint to weights.safetensors and record.json.

    Raises `Diverged` at the first loss that is not finite and `Interrupted` when asked to stop, with a checkpoint of
    the step.
    """
    config, folder = run.config, run.folder
    _check_shares(len(images.train), config.recipe.batch_size, ranks)
    device.reset_peak_memory()
    device.expect_shapes(alike=True)
    if ranks.is_first:
        remove_unfinished(folder)
    net = build_net(config, len(images.classes))
    copied = start(net, run)
    net.to(device.place, memory_format=device.memory_format)  # type: ignore[call-overload]
    learner = Learner(net, config, statistics, device, ranks, reporter.note)
    learner.lr = run.lr
    progress = restore(folder, learner, reporter) or Progress(lr=run.lr)
    if ranks.is_first:
        note_segment(folder, progress.step, device)
    images = replace(images, train=_training_split(config, images, reporter))
    the_budget = budget(run, len(images.train))
    reporter.note(
        f"training {config.model.name} at S={config.train_scale.name} on {device.name}, {device.precision}, "
        f"{device.layout}, {ranks.num_ranks} process(es): {the_budget.num_steps} steps of "
        f"{config.recipe.batch_size} images, {len(images.train)} images an epoch, from step {progress.step}"
        + (f"; {len(copied)} layers from {run.parent.id}" if run.parent else "")
    )
    window, step_seconds = Window(), list[float]()
    with closing(Checkpoints(folder, config)) as checkpoints:
        _take_steps(run, images, learner, progress, the_budget, checkpoints, window, step_seconds, reporter)
        bad_ids = ranks.gather(np.array([images.train.ids[index] for index in images.train.bad], str))
        if not ranks.is_first:
            return
        metadata = {
            "classes": json.dumps(images.classes),
            "statistics": json.dumps(asdict(statistics)),
            "pixel_max": repr(config.recipe.pixel_max),
            "data_fingerprint": images.fingerprint,
        }
        save_weights(net, folder.weights, metadata)
        folder.update_record(
            params=sum(p.numel() for p in net.parameters()),
            train_seconds=round(progress.seconds, 2),
            step_seconds=median(step_seconds) if step_seconds else None,
            checkpoint_seconds=round(checkpoints.seconds, 3),
            peak_memory_bytes=peak_memory_bytes(device),
            device=device.place.type,
            device_name=device.name,
            devices=ranks.num_ranks,
            precision=trained_in(folder),
            tf32=device.tf32,
            compile=config.compile,
            deterministic=config.deterministic,
            layout=device.layout,
            micro_batch=learner.micro_batch,
            val_error=progress.val_errors[-1] if progress.val_errors else None,
            stuck_at_chance=window.is_at_chance(len(images.classes)),
            steps=progress.step,
            copied=copied,
            **({"bad_train_images": sorted(set(bad_ids.tolist()))} if bad_ids is not None and len(bad_ids) else {}),
            **provenance(),
        )
        checkpoints.remove()


def _training_split(config: Config, images: ImageSet, reporter: Reporter) -> Split:
    """The training images, from where `data.cache` says."""
    if config.data.cache != "packed":
        return images.train

    def progress(done: int, total: int) -> None:
        reporter.step("pack", done, total)
        reporter.check_stop()

    largest_S_px = scaled_px(config.train_scale.S[1], config.crop)
    cache, workers = Path(config.cache), max(1, config.workers)
    return packed(images.train, images.fingerprint, largest_S_px, cache, workers, progress)


def _take_steps(
    run: Run,
    images: ImageSet,
    learner: Learner,
    progress: Progress,
    budget: Budget,
    checkpoints: Checkpoints,
    window: Window,
    step_seconds: list[float],
    reporter: Reporter,
) -> None:
    """Train until the schedule is over; all that changes on the way is in the arguments."""
    config, recipe, folder, ranks = run.config, run.config.recipe, run.folder, learner.ranks
    if ranks.is_first:
        forget_rows_after(folder.metrics, progress.step)
    batches = _endless(config, images.train, progress.step, budget.steps_per_epoch, learner)
    learner.net.train()
    is_warned = is_order_doubted = False
    with closing(batches), open_logger(run, progress.step + 1, ranks.is_first) as log:
        while not is_over(recipe, share_done := progress.step / budget.num_steps, progress.val_errors):
            began = time.monotonic()
            learner.set_learning_rate(learning_rate(run.lr, recipe, share_done, progress.val_errors))
            batch = next(batches)
            waited = time.monotonic() - began
            loss, error = learner.step(batch, progress.step)
            seconds = time.monotonic() - began
            step_seconds.append(seconds - waited)
            window.add(loss, error, batch.mean_S_px, batch.num_images, waited, seconds)
            progress.step += 1
            if not math.isfinite(loss):
                raise Diverged(
                    f"the loss is {loss} at step {progress.step}; lower recipe.lr or start from A (warm_start=paper)."
                )
            is_validated = progress.step % budget.validate_every == 0 or progress.step == budget.num_steps
            if is_validated:
                progress.val_errors.append(val_error := validate(learner, images.val))
                doubt = order_doubt(window.error, val_error, len(images.val), len(images.classes))
                if doubt and not is_order_doubted:
                    is_order_doubted = True
                    reporter.note(doubt)
            if ranks.is_first and (is_validated or progress.step % config.log_every_steps == 0):
                epoch = progress.step / budget.steps_per_epoch
                row = window.row(progress.step, epoch, learner.lr, val_error if is_validated else None)
                append_row(folder.metrics, row)
                log(row)
            if share_done >= CHANCE_SHARE and not is_warned and window.is_at_chance(len(images.classes)):
                is_warned = True
                reporter.note(
                    f"after {share_done:.0%} of the budget the loss is {window.loss:.2f}, no better than guessing: "
                    "start from A (warm_start=paper), or take recipe.init=glorot or he, or a lower recipe.lr"
                )
            progress.seconds += time.monotonic() - began
            _report(progress, budget, learner, window, reporter)
            ranks.share_stop(reporter)
            must_stop = reporter.stop_requested is not None
            epoch_ends = progress.step % budget.steps_per_epoch == 0
            if ranks.is_first and (must_stop or checkpoints.is_due(progress.step, epoch_ends=epoch_ends)):
                progress.lr, progress.micro_batch = learner.lr, learner.micro_batch
                checkpoints.save(learner, progress)
            if must_stop:
                checkpoints.wait()
                reporter.check_stop()


def _report(progress: Progress, budget: Budget, learner: Learner, window: Window, reporter: Reporter) -> None:
    reporter.step(
        "train",
        progress.step,
        budget.num_steps,
        loss=window.loss,
        train_error=window.error,
        lr=learner.lr,
        S_px=window.S_px,
        images_per_second=window.images_per_second,
        wait_share=window.wait_share,
        memory_gb=peak_memory_bytes(learner.device) / 1e9,
        eta_seconds=round(progress.seconds / progress.step * (budget.num_steps - progress.step)),
    )


def start(net: VGG, run: Run) -> list[str]:
    """Give `net` its initial weights: random, then what the parent of the run lends.

    Returns the names of the layers copied.
    """
    generator = torch.Generator().manual_seed(derived_seed("init", run.config.seed))
    initialise(net, run.config.recipe.init, generator)
    if run.parent is None:
        return []
    if not run.parent.folder.is_trained:
        raise RunError(
            f"{run.id} starts from {run.parent.id}, which has no weights in {run.parent.folder.path}; train that first."
        )
    parent_state = load_state(run.parent.folder.weights)
    tensors = copy_all(net, parent_state) if run.fine_tunes else warm_start_from_A(net, parent_state)
    return list(dict.fromkeys(net.layer_names[name.rpartition(".")[0]] for name in tensors))


@torch.inference_mode()
def validate(learner: Learner, split: Split) -> float:
    """Top-1 error in percent on the centre crop at the single test scale; each rank sees its share of the images."""
    net, config, device = learner.net, learner.config, learner.device
    Q_px = test_scales(config.train_scale.S, "single", config.crop)[0]
    own = learner.ranks.share(range(len(split)))
    num_wrong = num_seen = 0

    def centre_crop(index: int) -> np.ndarray | None:
        image = split.image_or_none(index)
        return None if image is None else views(rescaled(image, Q_px), "centre-crop", config.crop)[0]

    net.eval()
    with ThreadPoolExecutor(max(1, config.workers)) as pool, device.autocast():
        for first in range(0, len(own), learner.micro_batch):
            indices = own[first : first + learner.micro_batch]
            crops = [crop_HWC for crop_HWC in pool.map(centre_crop, indices) if crop_HWC is not None]
            labels_N = split.labels_N[[index for index in indices if index not in split.bad]]
            num_seen += len(labels_N)
            if not crops:
                continue
            images_NCHW = torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2)
            scores_NK = net(net_input(images_NCHW.to(device.place), learner.preprocessing)).flatten(1)
            num_wrong += int((scores_NK.argmax(1).cpu().numpy() != labels_N).sum())
    net.train()
    num_wrong_in_all, num_seen_in_all = learner.ranks.sum(num_wrong, num_seen)
    if not num_seen_in_all:
        raise RunError("no validation image can be decoded; `vgg-sweep data check` lists them.")
    return 100 * num_wrong_in_all / num_seen_in_all


def _endless(config: Config, split: Split, step: int, steps_per_epoch: int, learner: Learner) -> Generator[Batch]:
    """This rank's part of the batches from `step` on, epoch after epoch."""
    smallest, largest = config.train_scale.S
    S_px = (scaled_px(smallest, config.crop), scaled_px(largest, config.crop))
    loader = Loader(
        config.recipe.batch_size,
        config.crop,
        config.workers,
        config.data_timeout_seconds,
        pin_memory=learner.device.place.type == "cuda",
        ranks=learner.ranks,
    )
    epoch, first = divmod(step, steps_per_epoch)
    while True:
        yield from loader.batches(split, draw_epoch(len(split), S_px, config.seed, epoch), first)
        epoch, first = epoch + 1, 0


def _check_shares(num_images: int, batch_size: int, ranks: Ranks) -> None:
    smallest = min(batch_size, num_images % batch_size or batch_size)
    if smallest < ranks.num_ranks:
        raise ConfigError(
            f"a batch has {smallest} images (the last of an epoch may be smaller), too few for {ranks.num_ranks} "
            f"processes; change recipe.batch_size={batch_size} or take fewer processes."
        )


def peak_memory_bytes(device: Device) -> int:
    """The most memory this process has held: on the GPU if it trains there, else of the process."""
    if device.place.type == "cuda":
        return torch.cuda.max_memory_allocated(device.place)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if os.uname().sysname == "Darwin" else 1024)
