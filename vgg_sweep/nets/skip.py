"""Shortcuts in a chain of modules (He et al. 2015, Sect. 3.2): a block's output, plus its input.

Axes: N images, C channels, h w positions.
"""

from collections.abc import Iterable, Iterator

from torch import Tensor, nn
from torch.nn import functional as F

from vgg_sweep.nets.layers import Shortcut


class Skip(nn.Module):
    """The sum that closes a block: maps the block's output_NChw and input_NChw to one of the output's shape.

    `start` is the index of the block's first module in its chain. The shortcut takes every second position where the
    block has stride 2, and fills the channels that the block adds with zeros or by a 1x1 convolution.
    """

    def __init__(self, shortcut: Shortcut, out_channels: int, start: int) -> None:
        super().__init__()
        self.start, self.stride = start, shortcut.stride
        self.new_channels = out_channels - shortcut.in_channels
        self.projection: nn.Sequential | None = None
        if shortcut.projects:
            normalised = shortcut.normalised
            self.projection = nn.Sequential(
                nn.Conv2d(shortcut.in_channels, out_channels, 1, stride=shortcut.stride, bias=not normalised)
            )
            if normalised:
                self.projection.append(nn.BatchNorm2d(out_channels))

    def forward(self, output_NChw: Tensor, input_NChw: Tensor) -> Tensor:
        return output_NChw + self.shortcut(input_NChw)

    def shortcut(self, input_NChw: Tensor) -> Tensor:
        """The block's input in the shape of its output."""
        if self.projection is not None:
            projected_NChw: Tensor = self.projection(input_NChw)
            return projected_NChw
        taken_NChw = input_NChw[:, :, :: self.stride, :: self.stride]
        return F.pad(taken_NChw, (0, 0, 0, 0, 0, self.new_channels)) if self.new_channels else taken_NChw


class Chain(nn.Sequential):
    """A sequence of modules in which a `Skip` also gets the input of its block."""

    def forward(self, input: Tensor) -> Tensor:
        return through(self, input)


def through(modules: Iterable[nn.Module], input: Tensor) -> Tensor:
    """What `modules`, from the first of a chain on, make of `input`."""
    output = input
    for each in outputs(modules, input):
        output = each
    return output


def outputs(modules: Iterable[nn.Module], input: Tensor) -> Iterator[Tensor]:
    """The same, behind each of them."""
    modules = list(modules)
    starts = {module.start for module in modules if isinstance(module, Skip)}
    entered = output = input
    for index, module in enumerate(modules):
        if index in starts:
            entered = output
        output = module(output, entered) if isinstance(module, Skip) else module(output)
        yield output
