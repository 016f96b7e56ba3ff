"""What a run begins with: random weights, and layers of its parent (Sect. 3.1)."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch

from vgg_sweep.config.imported import Preprocessing
from vgg_sweep.errors import RunError
from vgg_sweep.images.views.augment import derived_seed
from vgg_sweep.images.views.preprocessing import of_trained
from vgg_sweep.nets.initial import copy_all, draw_weights, warm_start_from_A, zero_blocks
from vgg_sweep.nets.start import Fitted, copy_fitting, empty_net, freeze_but, keep_statistics
from vgg_sweep.nets.vgg import VGG
from vgg_sweep.nets.weights import load_state, read_metadata
from vgg_sweep.plan.runs import Run


@dataclass(frozen=True)
class Beginning:
    """The state of a net before its first step."""

    copied: list[str]
    """Names of the layers that are the parent's."""
    shares: dict[str, float] = field(default_factory=dict)
    """Parameters whose rate is such a multiple of the run's."""
    preprocessing: Preprocessing | None = None
    """That of the net which the run starts from, whose layers need it; None for the training set's own."""
    record: dict[str, Any] = field(default_factory=dict)
    """What the record says of it besides."""
    note: str = ""
    """What is said of it."""


def begin(net: VGG, run: Run, classes: Sequence[str]) -> Beginning:
    """Give `net` its initial weights and freeze the layers that the run does not train.

    Raises `RunError` if the parent has no weights, or none that fit.
    """
    if run.config.start_from is None:
        copied = set_initial_weights(net, run)
        if run.trainable != "all":
            new = [layer for layer in net.layer_names.values() if layer not in copied]
            freeze_but(net, _trained(net, run.trainable, new))
        return Beginning(copied)
    draw(net, run)
    parent = _trained_parent(run)
    preprocessing = of_trained(parent.config, read_metadata(parent.folder.weights))
    fitted = copy_layers(net, run, parent, classes)
    if not fitted.copied:
        reasons = "; ".join(f"{layer}: {reason}" for layer, reason in list(fitted.unfit.items())[:2])
        raise RunError(f"no layer of {parent.id} fits into {run.id} ({reasons or 'they have other names'}).")
    keep_statistics(net, fitted.copied)
    trained = _trained(net, run.trainable, fitted.new)
    freeze_but(net, trained)
    frozen = [layer for layer in [*fitted.copied, *fitted.new] if layer not in trained]
    new_lr = run.lr if run.config.task == "localise" else run.config.recipe.lr
    own = {name: parameter for name, parameter in net.named_parameters() if parameter.requires_grad}
    is_new = {name: net.layer_of(name) in fitted.new for name in own}
    return Beginning(
        fitted.copied,
        {name: new_lr / run.lr for name in own if is_new[name] and new_lr != run.lr},
        preprocessing,
        {
            "start_from": {
                "run": parent.id,
                "new": fitted.new,
                "unfit": fitted.unfit,
                "left": fitted.left,
                "frozen": frozen,
                "preprocessing": asdict(preprocessing),
            }
        },
        _note(parent, fitted, frozen, (run.lr, new_lr), preprocessing),
    )


def copy_layers(net: VGG, run: Run, parent: Run, classes: Sequence[str]) -> Fitted:
    """Copy what fits of the trained `parent` into `net`, that of `run` for `classes`; the last layer only where it says
    the same things of the same classes.
    """
    weights = parent.folder.weights
    theirs = json.loads(read_metadata(weights)["classes"])
    unfit = {}
    if (run.config.task, run.config.boxes) != (parent.config.task, parent.config.boxes):
        unfit[net.layers[-1].name] = "what it predicts is something else there"
    elif theirs != list(classes):
        same = len(theirs) == len(classes)
        unfit[net.layers[-1].name] = (
            "its classes are different there" if same else f"it has {len(theirs)} classes there"
        )
    other = empty_net(parent.config.model.columns, parent.config.width)
    return copy_fitting(net, load_state(weights), other, unfit=unfit)


def _trained(net: VGG, trainable: str, new: Sequence[str]) -> set[str]:
    """The layers that are trained: those that `trainable` names, and all that are new."""
    fc = [layer.name for layer in net.layers if layer.kind == "fc"]
    named = {"all": list(net.layer_names.values()), "fc": fc, "last": fc[-1:]}[trainable]
    return {*named, *new}


def _note(
    parent: Run, fitted: Fitted, frozen: list[str], rates: tuple[float, float], preprocessing: Preprocessing
) -> str:
    unfit = [f"{layer} does not fit ({reason})" for layer, reason in fitted.unfit.items()]
    mean = ", ".join(f"{value:g}" for value in preprocessing.mean)
    parts = [
        f"starts from {parent.id}: {len(fitted.copied)} layers copied ({_span(fitted.copied)})",
        f"new: {', '.join(fitted.new) or 'none'}",
        *unfit,
        *([f"not taken: {', '.join(fitted.left)}"] if fitted.left else []),
        *([f"frozen: {_span(frozen)}"] if frozen else []),
        f"copied layers learn at {rates[0]:g}, new ones at {rates[1]:g}",
        f"images as that net takes them: RGB, 0 to {preprocessing.pixel_max:g}, mean {mean}",
    ]
    return "; ".join(parts)


def _span(layers: Sequence[str]) -> str:
    """conv1_1 ... fc7."""
    return layers[0] if len(layers) == 1 else f"{layers[0]} ... {layers[-1]}"


def fine_tuning_stream(run: Run) -> tuple[int, ...]:
    """What sets the random draws of a run apart from those of the runs that it fine-tunes: how many these are, and S;
    under start_from, which run that is.

    Empty for a run that does not go on from another one of its own net.
    """
    num_ancestors, S = 0, run.config.train_scale.S
    if run.config.start_from is not None and run.parent is not None:
        return (int.from_bytes(hashlib.sha256(run.parent.id.encode()).digest()[:4]), *S)
    while run.fine_tunes and run.parent is not None:
        num_ancestors, run = num_ancestors + 1, run.parent
    return (num_ancestors, *S) if num_ancestors else ()


def draw(net: VGG, run: Run) -> None:
    """Give `net` random weights, by the seed."""
    generator = torch.Generator().manual_seed(derived_seed("init", run.config.seed))
    draw_weights(net, run.config.recipe.init, generator)
    if run.config.recipe.zero_init_residual:
        zero_blocks(net)
    if run.config.task == "localise" and run.config.localise.init != "recipe":
        draw_weights(net.classifier[-1], run.config.localise.init, generator)


def set_initial_weights(net: VGG, run: Run) -> list[str]:
    """Give `net` its initial weights: random, then what the parent that the paper gives the run lends.

    Returns the names of the layers copied.
    """
    draw(net, run)
    if run.parent is None:
        return []
    parent = _trained_parent(run)
    parent_state = load_state(parent.folder.weights)
    if run.config.task == "localise" or run.fine_tunes:
        tensors = copy_all(net, parent_state, but_last=run.config.task == "localise")
    else:
        tensors = warm_start_from_A(net, parent_state, empty_net(parent.config.model.columns, parent.config.width))
    return list(dict.fromkeys(net.layer_of(name) for name in tensors))


def _trained_parent(run: Run) -> Run:
    assert run.parent is not None
    if not run.parent.folder.is_trained:
        raise RunError(
            f"{run.id} starts from {run.parent.id}, which has no weights in {run.parent.folder.path}; train that first."
        )
    return run.parent
