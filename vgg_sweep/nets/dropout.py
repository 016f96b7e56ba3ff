"""Dropout that is a function of a seed and of an image's row in the batch, not of the process that computes it."""

from collections.abc import Sequence

import torch
from torch import Generator, Tensor, nn


class Dropout(nn.Dropout):
    """Dropout of FC units in training, with the mask that was drawn last; the identity otherwise."""

    def __init__(self, p: float, channels: int) -> None:
        super().__init__(p)
        self.channels = channels
        self._mask_NC11 = torch.empty(0)

    def draw(self, num_images: int, rows: Sequence[int], generator: Generator) -> None:
        """Draw the mask of a whole batch of `num_images` and keep that of the images `rows`."""
        shape = (num_images, self.channels, 1, 1)
        drawn_NC11 = torch.rand(shape, generator=generator, device=generator.device)
        self._mask_NC11 = (drawn_NC11[list(rows)] >= self.p) / (1 - self.p)

    def forward(self, input: Tensor) -> Tensor:
        if not self.training or self.p == 0:
            return input
        return input * self._mask_NC11.to(input.dtype)
