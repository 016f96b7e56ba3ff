"""One step of SGD (Sect. 3.1): the same for a batch computed at once, in micro-batches, or by several processes."""

import contextlib
import math
from collections.abc import Callable, Mapping
from typing import Any

import torch

from vgg_sweep.config.schema import Config
from vgg_sweep.errors import RunError
from vgg_sweep.images.sets.statistics import Statistics
from vgg_sweep.images.views.augment import color_shift, derived_seed
from vgg_sweep.images.views.loader import Batch
from vgg_sweep.images.views.preprocessing import net_input, own_preprocessing
from vgg_sweep.machine.hardware import Hardware
from vgg_sweep.machine.ranks import ALONE, Ranks
from vgg_sweep.nets.norm import freeze, normalises_over_batch, parameter_groups, share_statistics
from vgg_sweep.nets.vgg import VGG
from vgg_sweep.train.averaging import Average
from vgg_sweep.train.micro_batches import in_groups, in_steps
from vgg_sweep.train.objectives import Objective, classification


class Learner:
    """The net and its optimizer. `micro_batch` is the most images that go through the net at once."""

    def __init__(
        self,
        net: VGG,
        config: Config,
        statistics: Statistics,
        hardware: Hardware,
        ranks: Ranks = ALONE,
        note: Callable[[str], None] = print,
        shares: Mapping[str, float] | None = None,
    ) -> None:
        self.net, self.config, self.statistics, self.hardware, self.ranks = net, config, statistics, hardware, ranks
        self.preprocessing = own_preprocessing(statistics, config.recipe.pixel_max)
        self.optimizer = make_optimizer(net, config, hardware, shares or {})
        self.scaler = torch.amp.GradScaler(hardware.device.type, enabled=hardware.precision == "fp16")
        self.lr = 0.0
        self.stream: tuple[int, ...] = ()
        """Sets the random draws apart from those of other runs of the seed."""
        own = math.ceil(config.recipe.batch_size / ranks.num_ranks)
        self.is_whole = normalises_over_batch(net)
        """Whether a batch must go through the net at once, or in groups of `recipe.bn_images`."""
        self.micro_batch = min(own, config.recipe.bn_images or own if self.is_whole else hardware.micro_batch or own)
        if self.is_whole and ranks.are_many:
            share_statistics(net)
        self.objective: Objective = classification
        self.average = Average(net, config.recipe.ema_decay) if config.recipe.ema_decay else None
        self._note = note
        self._forward = ranks.wrap(torch.compile(net) if config.compile else net)  # type: ignore[arg-type]
        self._is_first_step = True

    def set_learning_rate(self, lr: float) -> None:
        """Set the rate of the next step.

        The paper's update carries a velocity that already contains the rate (Krizhevsky et al. 2012, Sect. 5; Caffe):
        after a drop the old velocity lives on. torch multiplies its buffer by the present rate, so the buffer is
        rescaled to keep the velocity, unless `recipe.keep_velocity` is off.
        """
        if lr != self.lr and self.config.recipe.keep_velocity:
            for state in self.optimizer.state.values():
                state["momentum_buffer"].mul_(self.lr / lr)
        self.lr = lr
        for group in self.optimizer.param_groups:
            group["lr"] = lr * group.get("share", 1.0)

    def step(self, batch: Batch, step: int) -> tuple[float, float]:
        """One step on the mean loss of the effective batch. Returns that and the batch's error in percent.

        If memory does not suffice, `micro_batch` is halved and the step repeated. Raises `RunError` if it does not
        suffice for one image.
        """
        tries_first = self._is_first_step and self.ranks.are_many and not self.is_whole
        if tries_first:  # who has memory would wait for ever for who has not
            while self.ranks.any(self._accumulate(batch, step, exchange=False) is None):
                self._halve_micro_batch()
        while (sums := self._accumulate(batch, step, exchange=True)) is None:
            self._halve_micro_batch()
        self._is_first_step = False
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.average is not None:
            self.average.update()
        loss, num_wrong = self.ranks.sum(*sums)
        return loss / batch.num_images, 100 * num_wrong / batch.num_images

    def _accumulate(self, batch: Batch, step: int, *, exchange: bool) -> tuple[float, float] | None:
        """Set the gradients to those of the batch. Returns the loss and the number of wrong answers, summed over this
        rank's images; None if memory did not suffice.

        With `exchange` the gradients become those of all ranks' images.
        """
        self.optimizer.zero_grad()
        total_2 = torch.zeros(2, device=self.hardware.device)
        parts = (in_groups if self.is_whole else in_steps)(len(batch.rows), self.micro_batch)
        try:
            for part in parts:
                with contextlib.nullcontext() if exchange and part == parts[-1] else self._without_exchange():
                    total_2 += self._backward(batch, part, step)
            loss, num_wrong = total_2.tolist()
            return loss, num_wrong
        except RuntimeError as error:
            if not _is_out_of_memory(error):
                raise
        return None

    def _backward(self, batch: Batch, own: slice, step: int) -> torch.Tensor:
        """Add the gradients of the images `own` of this rank's. Returns their loss and wrong answers, each summed."""
        rows = batch.rows[own]
        self.net.draw_dropout(batch.size, rows, derived_seed("dropout", self.config.seed, step, *self.stream))
        alpha_NC = batch.alpha_NC[own].to(self.hardware.device) * self.config.recipe.color_shift_std
        images_NCHW = net_input(
            batch.images_NCHW[own].to(self.hardware.device, non_blocking=True),
            self.preprocessing,
            color_shift(alpha_NC, self.statistics),
        )
        images_NCHW = self.hardware.laid_out(images_NCHW)
        with self.hardware.autocast():
            outputs_NKhw = self._forward(images_NCHW).float()
        loss, num_wrong = self.objective(outputs_NKhw, batch, own)
        share = self.ranks.num_ranks / batch.num_images  # DistributedDataParallel then divides by the number of ranks
        self.scaler.scale(loss * share).backward()  # type: ignore[no-untyped-call]
        return torch.stack([loss.detach(), num_wrong])

    def _without_exchange(self) -> contextlib.AbstractContextManager[None]:
        if isinstance(self._forward, torch.nn.parallel.DistributedDataParallel):
            return self._forward.no_sync()
        return contextlib.nullcontext()

    def _halve_micro_batch(self) -> None:
        if self.is_whole:
            raise RunError(
                f"there is too little memory for {self.micro_batch} images at once, as batch normalisation needs them; "
                "use a smaller recipe.batch_size, or recipe.bn_images=N for statistics over N, another result."
            )
        if self.micro_batch == 1:
            raise RunError("there is too little memory for one image; use a smaller width or crop, or another device.")
        self.micro_batch = math.ceil(self.micro_batch / 2)
        self.optimizer.zero_grad()
        if self.hardware.device.type == "cuda":
            torch.cuda.empty_cache()
        self._note(f"out of memory: continuing with {self.micro_batch} images at a time, with the same result")


def _bare(name: str) -> Any:
    """A method without its wrapper, if this version of torch has given it one."""
    method = getattr(torch.optim.SGD, name)
    return getattr(method, "__wrapped__", method)


class SGD(torch.optim.SGD):
    """torch's. Its methods keep torch's compiler out, and to do so import it, two seconds of a run: these do not."""

    add_param_group, zero_grad = _bare("add_param_group"), _bare("zero_grad")
    state_dict, load_state_dict = _bare("state_dict"), _bare("load_state_dict")
    step = torch.no_grad()(_bare("step"))


def make_optimizer(net: VGG, config: Config, hardware: Hardware, shares: Mapping[str, float]) -> SGD:
    """SGD with momentum and L2 decay on all trainable parameters, biases too (the paper does not exempt them); those
    that `shares` names have such a multiple of the rate.

    Fused except for fp16: if the first step overflows, torch 2.14's fused SGD starts from momentum that nobody set.
    """
    if config.train_scale.trainable == "fc":
        freeze(net.features)
    recipe = config.recipe
    fused = hardware.precision != "fp16"
    groups = parameter_groups(net, recipe.weight_decay, bn_decay=recipe.bn_decay, shares=shares)
    return SGD(groups, recipe.lr, recipe.momentum, weight_decay=recipe.weight_decay, fused=fused)


def _is_out_of_memory(error: RuntimeError) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or "DefaultCPUAllocator" in str(error)
