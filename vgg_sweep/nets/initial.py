"""Initial weights (Sect. 3.1): random, or those of another net.

Tensors of other nets are named and shaped as in `weights.safetensors`, which is also the state dict of `VGG`.
"""

from collections.abc import Mapping
from itertools import pairwise

import torch
from torch import Generator, Tensor, nn

from vgg_sweep.errors import RunError
from vgg_sweep.nets.inherited import taken_from
from vgg_sweep.nets.skip import Skip
from vgg_sweep.nets.vgg import VGG

NORMAL_STD = 0.01
"""Of AlexNet. Sect. 3.1 prints a variance of 10^-2, which as a std of 0.1 makes the scores of net A explode."""
LITERAL_STD = 0.1


def draw_weights(net: nn.Module, init: str, generator: Generator) -> None:
    """Draw all weights of a net or a part of one anew, in place, from `generator` alone; biases become 0.

    `init` is `normal` (std 0.01), `literal` (variance 10^-2 as printed), `glorot` (uniform, Glorot & Bengio
    2010, the paper's later advice) or `he` (normal, by fan-in, He et al. 2015).
    """
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            with torch.no_grad():
                module.weight.copy_(_drawn(module.weight, init, generator))
                if module.bias is not None:
                    module.bias.zero_()


def zero_blocks(net: VGG) -> None:
    """Let each block that ends in a batch normalisation add 0 to its shortcut: its last scale becomes 0."""
    for last, below in pairwise(net.features):
        if isinstance(below, Skip) and isinstance(last, nn.BatchNorm2d):
            nn.init.zeros_(last.weight)


def _drawn(weight: Tensor, init: str, generator: Generator) -> Tensor:
    drawn = torch.empty(weight.shape, device=generator.device)  # in C order: a seed means the same in every layout
    match init:
        case "normal":
            return drawn.normal_(0, NORMAL_STD, generator=generator)
        case "literal":
            return drawn.normal_(0, LITERAL_STD, generator=generator)
        case "glorot":
            return nn.init.xavier_uniform_(drawn, generator=generator)
        case "he":
            return nn.init.kaiming_normal_(drawn, nonlinearity="relu", generator=generator)
        case _:
            raise ValueError(init)


def warm_start_from_A(net: VGG, parent_state: Mapping[str, Tensor], parent: VGG) -> list[str]:
    """Copy four conv and three FC layers of `parent`, a net A whose trained tensors are `parent_state`, by stage and
    name (Sect. 3.1); the others stay as they are. With A-BN's conv layers come their normalisations, running statistics
    too.

    Returns the names of the tensors of `net` that were set. Raises `RunError` if one is missing, on either side, or of
    another shape.
    """
    modules, theirs = ({layer: module for module, layer in each.layer_names.items()} for each in (net, parent))
    layers = taken_from(theirs)
    if lacking := [layer for layer in layers if layer not in modules]:
        raise RunError(f"The net has no {', '.join(lacking)} to take from A; set model.parent=null.")
    sources = {
        f"{modules[layer]}.{tensor}": f"{theirs[layer]}.{tensor}"
        for layer in layers
        for tensor in net.get_submodule(modules[layer]).state_dict()
    }
    return _copy(net, parent_state, sources)


def copy_all(net: VGG, parent_state: Mapping[str, Tensor], *, but_last: bool = False) -> list[str]:
    """Copy every tensor of the same column of Table 1, as for S=384 from S=256 (Sect. 3.1); `but_last`, not those of
    the last FC layer, which stays as it was drawn (Appendix A).

    Returns the names of the tensors. Raises `RunError` if one is missing, left over, or of another shape.
    """
    names = net.state_dict().keys()
    if extra := [name for name in parent_state if name not in names]:
        raise RunError(f"The net has no place for {', '.join(extra)}; use weights of the same column of Table 1.")
    last = net.layers[-1].name if but_last else None
    return _copy(net, parent_state, {name: name for name in names if net.layer_of(name) != last})


def _copy(net: VGG, parent_state: Mapping[str, Tensor], sources: Mapping[str, str]) -> list[str]:
    """Set the tensors of `net` that are the keys of `sources`, all or none, from the tensors that these map to."""
    state = net.state_dict()
    if missing := [source for source in sources.values() if source not in parent_state]:
        raise RunError(f"The weights lack {', '.join(missing)}; use weights of the net that the run starts from.")
    wrong = [
        f"{source} is {list(parent_state[source].shape)}, and {name} of the net is {list(state[name].shape)}"
        for name, source in sources.items()
        if parent_state[source].shape != state[name].shape
    ]
    if wrong:
        raise RunError("; ".join(wrong) + ". " + _advice(net, parent_state))
    for name, source in sources.items():
        state[name].copy_(parent_state[source])
    return list(sources)


def _advice(net: VGG, parent_state: Mapping[str, Tensor]) -> str:
    fc8 = [name for name in parent_state if name.startswith("classifier.") and name.endswith(".bias")][-1]
    given, own = len(parent_state[fc8]), net.layers[-1].out_channels
    if given != own:
        return f"The weights have {given} classes, the net {own}: use weights for {own} classes or set classes={given}."
    return "Use weights of the same model, width and crop."
