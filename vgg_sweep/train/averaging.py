"""The moving average of a net's weights over the steps of training (`recipe.ema_decay`)."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


@contextmanager
def averaged(average: "Average | None") -> Iterator[None]:
    """The net has the average for its weights, if there is one, until the block ends."""
    if average is None:
        yield
        return
    average.exchange()
    try:
        yield
    finally:
        average.exchange()


class Average:
    """The exponential moving average of all numbers of `net`, including running statistics of batch normalisations.

    It begins at the weights that `net` has.
    """

    def __init__(self, net: nn.Module, decay: float) -> None:
        self._net, self._decay, self._num_steps = net, decay, 0
        self._tensors = {name: tensor.detach().clone() for name, tensor in net.state_dict().items()}

    def update(self) -> None:
        """Take the weights after a step in."""
        self._num_steps += 1
        decay = min(self._decay, (1 + self._num_steps) / (10 + self._num_steps))
        with torch.no_grad():
            for name, tensor in self._net.state_dict().items():
                if tensor.is_floating_point():
                    self._tensors[name].lerp_(tensor, 1 - decay)
                else:
                    self._tensors[name].copy_(tensor)

    def install(self) -> None:
        """Give the net the average for its weights."""
        self._net.load_state_dict(self._tensors)

    def exchange(self) -> None:
        """Let net and average change their numbers."""
        own = {name: tensor.detach().clone() for name, tensor in self._net.state_dict().items()}
        self.install()
        self._tensors = own

    def state(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {"num_steps": self._num_steps, "tensors": self._tensors}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from what `state` gave."""
        self._num_steps = state["num_steps"]
        tensors: dict[str, Tensor] = state["tensors"]
        for name, tensor in tensors.items():
            self._tensors[name].copy_(tensor)
