"""start_from: layers of another net, of any column, that fit into this one (Sect. 3.1 does so only from A)."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from vgg_sweep.nets.norm import FrozenBatchNorm, freeze, normalisations
from vgg_sweep.nets.vgg import VGG


@dataclass(frozen=True)
class Fitted:
    """What happened to the layers that have tensors, by name: conv3_1, bn3_1, fc8."""

    copied: list[str]
    new: list[str]
    """Layers of the net that keep the weights they were drawn with."""
    unfit: dict[str, str] = field(default_factory=dict)
    """Why one of the new was not copied although the other net has it."""
    left: list[str] = field(default_factory=list)
    """Layers of the other net that this one has not."""


def copy_fitting(net: VGG, state: Mapping[str, Tensor], other: VGG, *, unfit: Mapping[str, str]) -> Fitted:
    """Copy into `net` each layer of `state`, the tensors of `other`, that has the same name and shape there and holds
    numbers; but for those that are known not to fit, each with the reason.
    """
    ours, theirs = _tensors_of(net, net.state_dict()), _tensors_of(other, state)
    reasons = {layer: unfit.get(layer) or _misfit(ours[layer], theirs[layer]) for layer in ours if layer in theirs}
    copied = [layer for layer, reason in reasons.items() if reason is None]
    for layer in copied:
        for name, tensor in ours[layer].items():
            tensor.copy_(theirs[layer][name])
    return Fitted(
        copied,
        new=[layer for layer in ours if layer not in copied],
        unfit={layer: reason for layer, reason in reasons.items() if reason is not None},
        left=[layer for layer in theirs if layer not in ours],
    )


def _tensors_of(net: VGG, state: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """The tensors of each layer of `net`, without the name of its module: fc6 -> weight, bias."""
    layers: dict[str, dict[str, Tensor]] = {}
    for module, layer in net.layer_names.items():
        prefix = f"{module}."
        own = {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}
        if own:
            layers[layer] = own
    return layers


def _misfit(own: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> str | None:
    """Why a layer cannot be copied; None if it can."""
    if own.keys() != other.keys():
        return f"it has {', '.join(other)} there"
    for name, tensor in own.items():
        if tensor.shape != other[name].shape:
            return f"its {name} is {list(other[name].shape)} there and {list(tensor.shape)} here"
    return None if all(tensor.isfinite().all() for tensor in other.values()) else "it is not a number (NaN) there"


def freeze_but(net: VGG, trained: Collection[str]) -> None:
    """Leave all layers but those `trained` as they are in training."""
    for module, layer in net.layer_names.items():
        if layer not in trained:
            freeze(net.get_submodule(module))


def keep_statistics(net: VGG, copied: Collection[str]) -> None:
    """Let the batch normalisations of the layers `copied` go on with the mean and variance that they have, in training
    as in scoring: a set to fine-tune on is often too small, and its batches too, to take others from. Scale and shift
    may be trained.
    """
    for module, layer in net.layer_names.items():
        if layer in copied:
            for norm in normalisations(net.get_submodule(module)):
                norm.__class__ = FrozenBatchNorm


def empty_net(columns: list[str], width: float) -> VGG:
    """The layers of a column without their numbers; its FC layers are of no size."""
    with torch.device("meta"):
        return VGG(columns, width=width, classes=1, crop=32)
