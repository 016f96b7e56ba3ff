"""The training loop: batch, step, validation, curves, checkpoint, until the schedule is over."""

import math
import os
import resource
import time
from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass, field, replace

import torch

from vgg_sweep.images.check.label_order import order_doubt
from vgg_sweep.images.sets.splits import ImageSet
from vgg_sweep.images.views.augment import draw_epoch
from vgg_sweep.images.views.loader import Batch, Loader
from vgg_sweep.images.views.on_device import kept_on_device
from vgg_sweep.machine.hardware import Hardware
from vgg_sweep.plan.runs import Run
from vgg_sweep.protocols.methods import scaled_px
from vgg_sweep.runs.progress import Diverged, Reporter
from vgg_sweep.train.averaging import averaged
from vgg_sweep.train.checkpoints import Checkpoints, TrainingState
from vgg_sweep.train.curves import Window, append_row, begin_rows, read_rows
from vgg_sweep.train.loggers import Log, open_logger
from vgg_sweep.train.schedule import Budget, is_over, learning_rate
from vgg_sweep.train.step import Learner
from vgg_sweep.train.tasks import Task

CHANCE_SHARE = 0.25
"""Share of the budget after which a loss at chance is worth a warning."""


@dataclass
class Loop:
    """A run's training from `state` to its end; `state`, `window` and the net change on the way."""

    run: Run
    images: ImageSet
    task: Task
    learner: Learner
    state: TrainingState
    budget: Budget
    checkpoints: Checkpoints
    reporter: Reporter
    window: Window
    step_seconds: list[float] = field(default_factory=list)
    """Of each step, without the wait for its images."""
    _said: set[str] = field(default_factory=set)
    """What is said once a run."""

    def train(self) -> None:
        """Train until the schedule is over.

        Raises `Diverged` at the first loss or score that is not finite, and `Interrupted` when asked to stop, with a
        checkpoint of the step.
        """
        state, is_first = self.state, self.learner.ranks.is_first
        recipe = self.run.config.recipe
        if state.rules == 1:  # patience counted validations
            recipe = replace(recipe, validate_epochs=1.0)
        if is_first:
            begin_rows(self.run.folder.metrics, state.step, state.curves)
        self.learner.net.train()
        with closing(self._batches()) as batches, open_logger(self.run, state.step + 1, is_first) as log:
            while not is_over(recipe, share_done := state.step / self.budget.num_steps, state.val_errors):
                began = time.monotonic()
                self.learner.set_learning_rate(learning_rate(self.run.lr, recipe, share_done, state.val_errors))
                self._take_step(batches)
                self._log_and_validate(log)
                if share_done >= CHANCE_SHARE:
                    self._warn_at_chance(share_done)
                state.seconds += time.monotonic() - began
                self._report()
                self._save()

    def _batches(self) -> Generator[Batch]:
        """This rank's part of the batches from the state's step on, epoch after epoch."""
        config, train = self.run.config, self.images.train
        smallest, largest = config.train_scale.S
        S_px = (scaled_px(smallest, config.crop), scaled_px(largest, config.crop))
        loader = Loader(
            config.recipe.batch_size,
            config.crop,
            config.workers,
            config.data_timeout_seconds,
            pin_memory=self.learner.hardware.device.type == "cuda",
            ranks=self.learner.ranks,
            wraps=config.recipe.last_batch == "wrap",
            targets=self.task.targets,
            filter=self.learner.preprocessing.interpolation,
        )
        source = kept_on_device(loader, train, self.learner.hardware.device, self.reporter)
        epoch, first = divmod(self.state.step, self.budget.steps_per_epoch)
        while True:
            draws = draw_epoch(len(train), S_px, config.seed, epoch, self.learner.stream)
            yield from source.batches(train, draws, first)
            epoch, first = epoch + 1, 0

    def _take_step(self, batches: Generator[Batch]) -> None:
        began = time.monotonic()
        batch = next(batches)
        waited = time.monotonic() - began
        loss, error = self.learner.step(batch, self.state.step)
        seconds = time.monotonic() - began
        self.step_seconds.append(seconds - waited)
        self.window.add(loss, error, batch.mean_S_px, batch.num_images, waited, seconds)
        self.state.step += 1
        if not math.isfinite(loss):
            advice = f"lower {self.task.lr_setting}{self._from_A(' or ')}"
            raise Diverged(f"the loss is {loss} at step {self.state.step}; {advice}.")

    def _log_and_validate(self, log: Log) -> None:
        """Validate and add a row to the curves, each when it is due."""
        state, val_error = self.state, None
        if state.step % self.budget.validate_every == 0 or state.step == self.budget.num_steps:
            with averaged(self.learner.average):
                val_error = self.task.validate(self.learner, self.images.val)
            state.val_errors.append(val_error)
            if doubt := order_doubt(self.window.error, val_error, len(self.images.val), self.task.num_classes):
                self._say_once("order", doubt)
        is_due = val_error is not None or state.step % self.run.config.log_every_steps == 0
        if is_due and self.learner.ranks.is_first:
            row = self.window.row(state.step, state.step / self.budget.steps_per_epoch, self.learner.lr, val_error)
            append_row(self.run.folder.metrics, row)
            log(row)

    def _warn_at_chance(self, share_done: float) -> None:
        if self.window.is_at_chance(self.task.num_classes):
            drawn = "" if self.run.config.recipe.init in ("glorot", "he") else "recipe.init=glorot or he, or "
            self._say_once(
                "chance",
                f"after {share_done:.0%} of the budget the loss is {self.window.loss:.2f}, no better than guessing: "
                f"{self._from_A('', ', or ')}take {drawn}a lower recipe.lr",
            )

    def _from_A(self, before: str, after: str = "") -> str:
        """The advice to start from A, for a net that does so in the paper and has not done so here."""
        can = self.run.parent is None and self.run.config.model.parent is not None and self.task.num_classes > 1
        return f"{before}start from A (warm_start=paper){after}" if can else ""

    def _say_once(self, what: str, sentence: str) -> None:
        if what not in self._said:
            self._said.add(what)
            self.reporter.note(sentence)

    def _report(self) -> None:
        state, window = self.state, self.window
        self.reporter.step(
            "train",
            state.step,
            self.budget.num_steps,
            loss=window.loss,
            train_error=window.error,
            **({"val_error": state.val_errors[-1]} if state.val_errors else {}),
            lr=self.learner.lr,
            images_per_second=window.images_per_second,
            wait_share=window.wait_share,
            S_px=window.S_px,
            memory_gb=peak_memory_bytes(self.learner.hardware) / 1e9,
            eta_seconds=round(state.seconds / state.step * (self.budget.num_steps - state.step)),
        )

    def _save(self) -> None:
        """Save a checkpoint if one is due, and stop if asked to."""
        state, ranks = self.state, self.learner.ranks
        must_stop = ranks.must_stop(self.reporter)
        epoch_ends = state.step % self.budget.steps_per_epoch == 0
        if ranks.is_first and (must_stop or self.checkpoints.is_due(state.step, epoch_ends=epoch_ends)):
            state.lr, state.micro_batch = self.learner.lr, self.learner.micro_batch
            state.curves = read_rows(self.run.folder.metrics)
            self.checkpoints.save(self.learner, state)
        if must_stop:
            self.checkpoints.wait()
            self.reporter.check_stop()


def peak_memory_bytes(hardware: Hardware) -> int:
    """The most memory this process has held: on the GPU if it trains there, else of the process."""
    if hardware.device.type == "cuda":
        return torch.cuda.max_memory_allocated(hardware.device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if os.uname().sysname == "Darwin" else 1024)
