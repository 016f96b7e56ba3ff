"""Training (Sect. 3.1): the loop, top to bottom.

Everything random is a function of the seed and of the epoch or step, so that a run continued from a checkpoint takes
the same steps as one that was never stopped.
"""

import csv
import json
import math
import os
import resource
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from vgg_sweep.config import Config, RunError, scaled_px, test_scales
from vgg_sweep.device import Device, net_input
from vgg_sweep.images.augment import color_shift, derived_seed, draw_epoch
from vgg_sweep.images.loader import Batch, batches
from vgg_sweep.images.sources import ImageSet, Split
from vgg_sweep.images.statistics import Statistics
from vgg_sweep.images.views import rescaled, views
from vgg_sweep.nets.start import copy_all, initialise, warm_start_from_A
from vgg_sweep.nets.vgg import VGG
from vgg_sweep.nets.weights import load_state, save_weights
from vgg_sweep.plan import Run
from vgg_sweep.progress import Diverged, Reporter
from vgg_sweep.schedule import is_over, learning_rate
from vgg_sweep.store import RunFolder, atomic_path, write_text

METRICS = (
    "step",
    "epoch",
    "lr",
    "loss",
    "error",
    "val_error",
    "images_per_second",
    "wait_share",
)
NUM_CHECKPOINTS = 2
CHANCE_MARGIN = 0.02
"""A loss within this of ln(classes) has learnt nothing."""
CHANCE_SHARE = 0.25
"""Share of the budget after which that is worth a warning."""


@dataclass
class Progress:
    """Where a run is: with the weights and the momentum, all that a checkpoint holds."""

    step: int = 0
    val_errors: list[float] = field(default_factory=list)
    lr: float = 0.0
    seconds: float = 0.0


def build_net(config: Config, num_classes: int) -> VGG:
    """The net of `config`, not yet initialised."""
    return VGG(
        config.model.columns,
        width=config.width,
        classes=num_classes,
        crop=config.crop,
        dropout=config.recipe.dropout,
        pool_ceil=config.pool_ceil,
    )


def train(
    run: Run,
    images: ImageSet,
    statistics: Statistics,
    device: Device,
    reporter: Reporter,
) -> None:
    """Train `run` from its start or its newest whole checkpoint to weights.safetensors and record.json.

    Raises `Diverged` at the first loss that is not finite and `Interrupted` when asked to stop, with a checkpoint of
    the step.
    """
    config, recipe, folder = run.config, run.config.recipe, run.folder
    net = build_net(config, len(images.classes))
    copied = start(net, run)
    net.to(device.place, memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = make_optimizer(net, config)
    progress = restore(folder, net, optimizer, reporter) or Progress(lr=run.lr)
    _forget_metrics_after(folder.metrics, progress.step)

    steps_per_epoch = math.ceil(len(images.train) / recipe.batch_size)
    num_steps = min(recipe.max_steps, math.ceil(run.epochs * steps_per_epoch))
    validate_every = max(1, round(recipe.validate_epochs * steps_per_epoch))
    reporter.note(
        f"training {config.model.name} at S={config.train_scale.name} on {device.name}, {device.precision}, "
        "channels-last: "
        f"{num_steps} steps of {recipe.batch_size} images, {len(images.train)} images an epoch, from step "
        f"{progress.step}" + (f"; {len(copied)} layers from {run.parent.id}" if run.parent else "")
    )
    window = _Window()
    step_seconds: list[float] = []
    saved_at = time.monotonic()
    stuck = False
    net.train()
    for batch in _endless(config, images.train, progress.step, steps_per_epoch):
        share_done = progress.step / num_steps
        if is_over(recipe, share_done, progress.val_errors):
            break
        set_learning_rate(
            optimizer,
            progress,
            learning_rate(run.lr, recipe, share_done, progress.val_errors),
        )
        began = time.monotonic()
        loss, error = train_step(net, optimizer, batch, progress.step, config, statistics, device)
        step_seconds.append(time.monotonic() - began)
        progress.step += 1
        progress.seconds += window.add(loss, error, len(batch.labels_N), step_seconds[-1])
        if not math.isfinite(loss):
            raise Diverged(
                f"the loss is {loss} at step {progress.step}; lower recipe.lr or start from A (warm_start=paper)."
            )

        if progress.step % validate_every == 0 or progress.step == num_steps:
            progress.val_errors.append(validate(net, config, images.val, statistics, device))
            _append_metrics(folder.metrics, progress, steps_per_epoch, window, validated=True)
        elif progress.step % config.log_every_steps == 0:
            _append_metrics(folder.metrics, progress, steps_per_epoch, window, validated=False)
        if share_done >= CHANCE_SHARE and not stuck and window.is_at_chance(len(images.classes)):
            stuck = True
            reporter.note(
                f"after {share_done:.0%} of the budget the loss is {window.loss:.2f}, no better than guessing: "
                "start from A (warm_start=paper), or take recipe.init=glorot or he, or a lower recipe.lr"
            )
        reporter.step(
            "train",
            progress.step,
            num_steps,
            loss=window.loss,
            train_error=window.error,
            lr=progress.lr,
            images_per_second=window.images_per_second,
            eta_seconds=round(progress.seconds / progress.step * (num_steps - progress.step)),
        )
        due = time.monotonic() - saved_at > 60 * config.checkpoint_every_minutes
        if due or progress.step % steps_per_epoch == 0 or reporter.stop_requested:
            save_checkpoint(folder, net, optimizer, progress)
            saved_at = time.monotonic()
            reporter.check_stop()

    metadata = {
        "classes": json.dumps(images.classes),
        "statistics": json.dumps(asdict(statistics)),
        "pixel_max": repr(recipe.pixel_max),
        "data_fingerprint": images.fingerprint,
    }
    save_weights(net, folder.weights, metadata)
    folder.update_record(
        params=sum(p.numel() for p in net.parameters()),
        train_seconds=round(progress.seconds, 2),
        step_seconds=median(step_seconds) if step_seconds else None,
        peak_memory_bytes=peak_memory_bytes(device),
        device=device.place.type,
        device_name=device.name,
        precision=device.precision,
        layout="channels-last",
        val_error=progress.val_errors[-1] if progress.val_errors else None,
        stuck_at_chance=window.is_at_chance(len(images.classes)),
        steps=progress.step,
        copied=copied,
    )
    for path in checkpoint_files(folder):
        path.unlink()


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


def make_optimizer(net: VGG, config: Config) -> torch.optim.SGD:
    """SGD with momentum and L2 decay on all trainable parameters, biases too (the paper does not exempt them)."""
    if config.train_scale.trainable == "fc":
        net.features.requires_grad_(False)
    trainable = [parameter for parameter in net.parameters() if parameter.requires_grad]
    recipe = config.recipe
    return torch.optim.SGD(
        trainable,
        recipe.lr,
        recipe.momentum,
        weight_decay=recipe.weight_decay,
        fused=True,
    )


def set_learning_rate(optimizer: torch.optim.SGD, progress: Progress, lr: float) -> None:
    """Set the rate of the next step.

    The paper's update carries a velocity that already contains the rate (Krizhevsky et al. 2012, Sect. 5; Caffe): after
    a drop the old velocity lives on. torch multiplies its buffer by the present rate, so the buffer is rescaled to keep
    the velocity.
    """
    if lr != progress.lr:
        for state in optimizer.state.values():
            state["momentum_buffer"].mul_(progress.lr / lr)
        progress.lr = lr
    for group in optimizer.param_groups:
        group["lr"] = lr


def train_step(
    net: VGG,
    optimizer: torch.optim.SGD,
    batch: Batch,
    step: int,
    config: Config,
    statistics: Statistics,
    device: Device,
) -> tuple[float, float]:
    """One step of SGD on the batch's mean cross-entropy. Returns the loss and the error in percent."""
    torch.manual_seed(derived_seed("dropout", config.seed, step))
    labels_N = batch.labels_N.to(device.place, non_blocking=True)
    shift_NC = color_shift(batch.alpha_NC.to(device.place) * config.recipe.color_shift_std, statistics)
    images_NCHW = net_input(
        batch.images_NCHW.to(device.place, non_blocking=True), statistics, config.recipe.pixel_max, shift_NC
    )
    optimizer.zero_grad()
    with device.autocast():
        scores_NK = net(images_NCHW).float().flatten(1)
    loss = F.cross_entropy(scores_NK, labels_N)
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    wrong = (scores_NK.detach().argmax(1) != labels_N).float().mean()
    return loss.item(), 100 * wrong.item()


@torch.inference_mode()
def validate(net: VGG, config: Config, split: Split, statistics: Statistics, device: Device) -> float:
    """Top-1 error in percent on the centre crop at the single test scale."""
    Q_px = test_scales(config.train_scale.S, "single", config.crop)[0]
    net.eval()
    wrong = 0
    with ThreadPoolExecutor(config.workers) as pool, device.autocast():
        for first in range(0, len(split), config.recipe.batch_size):
            indices = range(first, min(first + config.recipe.batch_size, len(split)))
            crops = pool.map(
                lambda index: views(rescaled(split.image(index), Q_px), "centre-crop", config.crop)[0],
                indices,
            )
            images_NCHW = torch.from_numpy(np.stack(list(crops))).permute(0, 3, 1, 2)
            scores_NK = net(
                net_input(images_NCHW.to(device.place, non_blocking=True), statistics, config.recipe.pixel_max)
            ).flatten(1)
            wrong += int((scores_NK.argmax(1).cpu() != torch.from_numpy(split.labels_N[first : indices.stop])).sum())
    net.train()
    return 100 * wrong / len(split)


def _endless(config: Config, split: Split, step: int, steps_per_epoch: int) -> Iterator[Batch]:
    """Batches from `step` on, epoch after epoch."""
    smallest, largest = config.train_scale.S
    S_px = (scaled_px(smallest, config.crop), scaled_px(largest, config.crop))
    epoch, first = divmod(step, steps_per_epoch)
    while True:
        draws = draw_epoch(len(split), S_px, config.seed, epoch)
        yield from batches(split, draws, config.recipe.batch_size, first, config.crop, config.workers)
        epoch, first = epoch + 1, 0


# Checkpoints


def checkpoint_files(folder: RunFolder) -> list[Path]:
    """The checkpoints of a run, newest first."""
    return sorted(folder.checkpoints.glob("step-*.pt"), reverse=True)


def save_checkpoint(folder: RunFolder, net: VGG, optimizer: torch.optim.SGD, progress: Progress) -> None:
    """Save all that the next step depends on, and remove all but the newest checkpoints."""
    folder.checkpoints.mkdir(exist_ok=True)
    state = {
        "progress": asdict(progress),
        "net": net.state_dict(),
        "optimizer": optimizer.state_dict(),
    }
    with atomic_path(folder.checkpoints / f"step-{progress.step:09d}.pt") as temporary:
        torch.save(state, temporary)
    for path in checkpoint_files(folder)[NUM_CHECKPOINTS:]:
        path.unlink()


def restore(folder: RunFolder, net: VGG, optimizer: torch.optim.SGD, reporter: Reporter) -> Progress | None:
    """Load the newest whole checkpoint, saying so of any that is not whole; None if there is none."""
    for path in checkpoint_files(folder):
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:  # torch raises many kinds for a broken file
            reporter.note(f"{path.name} is broken ({type(error).__name__}) and is passed over for the one before it")
            path.unlink()
            continue
        net.load_state_dict(state["net"])
        optimizer.load_state_dict(state["optimizer"])
        return Progress(**state["progress"])
    return None


# Figures


class _Window:
    """Running means of what is shown, over about the last twenty steps."""

    def __init__(self) -> None:
        self.loss = self.error = self.images_per_second = math.nan
        self.wait_share = 0.0
        self._ended = time.monotonic()

    def add(self, loss: float, error: float, num_images: int, step_seconds: float) -> float:
        """Take in a step; returns the seconds since the last one."""
        now = time.monotonic()
        seconds, self._ended = now - self._ended, now
        new = (loss, error, num_images / seconds, 1 - step_seconds / seconds)
        old = (self.loss, self.error, self.images_per_second, self.wait_share)
        keep = 0.95 if math.isfinite(self.loss) else 0.0
        self.loss, self.error, self.images_per_second, self.wait_share = (
            keep * before + (1 - keep) * now if keep else now for before, now in zip(old, new, strict=True)
        )
        return seconds

    def is_at_chance(self, num_classes: int) -> bool:
        return self.loss > math.log(num_classes) - CHANCE_MARGIN


def _append_metrics(
    path: Path,
    progress: Progress,
    steps_per_epoch: int,
    window: _Window,
    validated: bool,
) -> None:
    is_new = not path.exists()
    row: dict[str, Any] = {
        "step": progress.step,
        "epoch": round(progress.step / steps_per_epoch, 3),
        "lr": f"{progress.lr:.3g}",
        "loss": f"{window.loss:.5g}",
        "error": f"{window.error:.4g}",
        "val_error": f"{progress.val_errors[-1]:.5g}" if validated else "",
        "images_per_second": f"{window.images_per_second:.4g}",
        "wait_share": f"{window.wait_share:.3f}",
    }
    with open(path, "a", newline="") as file:
        writer = csv.DictWriter(file, METRICS)
        if is_new:
            writer.writeheader()
        writer.writerow(row)


def _forget_metrics_after(path: Path, step: int) -> None:
    """Drop the rows of steps that will be taken again."""
    if path.exists():
        header, *rows = path.read_text().splitlines()
        kept = [row for row in rows if row.split(",")[0].isdigit() and int(row.split(",")[0]) <= step]
        write_text(path, "\n".join([header, *kept]) + "\n")


def peak_memory_bytes(device: Device) -> int:
    """The most memory this process has held: on the GPU if it trains there, else of the process."""
    if device.place.type == "cuda":
        return torch.cuda.max_memory_allocated(device.place)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if os.uname().sysname == "Darwin" else 1024)
