"""Which net a file holds, and who made it: from the names and shapes of its tensors, all of which must fit.

A scheme is a way to name the layers of a net. Each net of Table 1, and each with batch normalisation, is tried, and
the only one that fits is taken. If several fit, or none, an error says so. A file without FC layers is a trunk.
"""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from vgg_sweep.config.schema import Model
from vgg_sweep.errors import ConfigError, RunError, some
from vgg_sweep.exchange.names import SCHEMES, Scheme
from vgg_sweep.nets.blocks import SKIPS
from vgg_sweep.nets.columns import CONV, FC_CHANNELS, STAGES, parse_columns
from vgg_sweep.nets.layers import STRIDE
from vgg_sweep.nets.vgg import VGG
from vgg_sweep.protocols.methods import PAPER_CROP_PX

_BEYOND_VGG = {*SKIPS, "avgpool"}
"""Words of nets that no other program's VGG is."""
SHOWN = 12
"""Tensors that a refusal names; it counts the others."""


@dataclass(frozen=True)
class Recognised:
    """The net in a file."""

    scheme: Scheme
    model: Model
    width: float
    crop: int
    classes: int
    state: dict[str, Tensor]
    """Under the names and shapes of `VGG`, in float32."""
    classifies: bool
    """Whether there are FC layers that hold numbers: in torchvision's IMAGENET1K_FEATURES they are NaN."""
    left_out: list[str]
    """Tensors of the file that are no part of the trunk which was asked for."""

    @property
    def is_trunk(self) -> bool:
        """Whether there are no FC layers."""
        return self.classes == 0


@dataclass(frozen=True)
class _Fit:
    """What a file lacks, has too much, or has in another shape for one net."""

    scheme: Scheme
    model: Model
    size: tuple[float, int, int]
    names: Mapping[str, str]
    """Tensor of `VGG` -> tensor of the file."""
    missing: list[str]
    left_over: list[str]
    misshapen: list[str]

    @property
    def num_misfits(self) -> int:
        return len(self.missing) + len(self.left_over) + len(self.misshapen)


def recognise(
    tensors: Mapping[str, Tensor],
    models: Iterable[Model],
    asked: str | None = None,
    last_layer: str | None = None,
    *,
    trunk: bool = False,
) -> Recognised:
    """The one net of `models`, or of these with batch normalisation, that has exactly these tensors: `asked` by name,
    or whichever it is. `last_layer` is what the file calls fc8 if it is not what others call it. A file without FC
    layers is a trunk; as a `trunk`, a file may hold anything else beside.

    Raises `RunError`, with a list, where none has, and for damaged numbers; `ConfigError` where several have or it is
    not the one asked for.
    """
    if is_trunk := trunk or not any(f"{name}.weight" in tensors for scheme in SCHEMES for name in scheme.fc):
        tensors = _trunk_unwrapped(tensors)
    scheme = _trunk_scheme(tensors) if is_trunk else _scheme(tensors)
    if last_layer is not None:
        if f"{last_layer}.weight" not in tensors:
            raise ConfigError(
                f"imported.last_layer={last_layer} is no layer of the file; it has {some(tensors, SHOWN)}."
            )
        scheme = replace(scheme, fc=(*scheme.fc[:2], last_layer))
    fits = [_fit(tensors, scheme, model, is_trunk=is_trunk) for model in _candidates(models, asked)]
    nearest = min(fits, key=lambda fit: fit.num_misfits)  # of trunks too: the convolutions of A are among those of D
    fewest = len(nearest.left_over) if trunk else 0
    exact = [fit for fit in fits if fit.num_misfits == len(fit.left_over) == fewest]
    if not exact:
        raise RunError(_trunk_misfit(nearest) if is_trunk else _misfit(nearest))
    by_name = {fit.model.name: fit for fit in exact}
    if asked is not None and asked not in by_name:
        raise ConfigError(f"the file holds {' or '.join(by_name)}, not {asked}; leave model={asked} out.")
    if asked is None and len(exact) > 1:
        raise ConfigError(
            f"the tensors of {' and '.join(by_name)} look alike; say which they are with "
            f"{' or '.join(f'model={name}' for name in by_name)}."
        )
    return _recognised(tensors, by_name[asked or exact[0].model.name])


def _scheme(tensors: Mapping[str, Tensor]) -> Scheme:
    def has_fc(scheme: Scheme) -> int:
        return sum(f"{name}.weight" in tensors for name in scheme.fc)

    return max(SCHEMES, key=has_fc)


def _trunk_unwrapped(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """`tensors` with the names that a trunk has where it stands alone: encoder.features.0.weight, and 0.weight of
    `vgg16().features`, become features.0.weight.
    """
    first = re.compile(r"(|.+\.)(?:_?features\.0|conv1_1)\.weight")
    prefix = next((found[1] for name in tensors if (found := first.fullmatch(name))), None)
    if prefix is None:
        return {f"features.{name}" if name[0].isdigit() else name: tensor for name, tensor in tensors.items()}
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}


def _trunk_scheme(tensors: Mapping[str, Tensor]) -> Scheme:
    for scheme in SCHEMES:
        if f"{scheme.name('features.0', 'conv1_1')}.weight" in tensors:
            return scheme
    raise RunError(
        "neither an FC layer nor a first convolution under a name that torchvision, timm, Oxford, Caffe or Keras give "
        f"it ({some(tensors, SHOWN)}); files of nets other than VGG cannot be imported."
    )


def _candidates(models: Iterable[Model], asked: str | None) -> list[Model]:
    """`models` and these with batch normalisation, each column once. Shortcuts without parameters leave no trace in a
    file, so a net with them is one only if it is asked for.

    Raises `RunError` for a net with one FC layer, whose size its tensors do not say.
    """
    models = list(models)
    if any(model.name == asked and "avgpool" in model.columns for model in models):
        raise RunError(f"{asked} ends in avgpool, and such nets are not imported; use its run's folder as it is.")
    known = [model for model in models if model.name == asked or not _BEYOND_VGG & set(model.columns)]
    normalised = [each for model in known if (each := _normalised(model)) is not None]
    return list({tuple(model.columns): model for model in [*normalised, *known]}.values())


def _normalised(model: Model) -> Model | None:
    """`model` with batch normalisation after every convolution; None where something does that already."""
    if {"LRN", "BN"} & set(model.columns) or _BEYOND_VGG & set(model.columns):
        return None
    columns = [part for word in model.columns for part in ([word] if word == "maxpool" else [word, "BN"])]
    return Model(f"{model.name}-BN", columns)


def _size(tensors: Mapping[str, Tensor], scheme: Scheme, model: Model, *, is_trunk: bool) -> tuple[float, int, int]:
    """Width, crop and number of classes, from the FC layers; the paper's where these do not say it. A trunk has no
    class, and any crop suits it.
    """
    if is_trunk:
        first, word = tensors[f"{scheme.name('features.0', 'conv1_1')}.weight"], CONV.fullmatch(model.columns[0])
        assert word is not None, "a column begins with a convolution"
        return len(first) / int(word[2]), PAPER_CROP_PX, 0
    fc6, fc8 = (tensors.get(f"{name}.weight") for name in (scheme.fc[0], scheme.fc[2]))
    if fc6 is None:
        return 1.0, PAPER_CROP_PX, 1000
    width, classes = fc6.shape[0] / FC_CHANNELS, 1000 if fc8 is None else fc8.shape[0]
    channels = parse_columns(model.columns, width=width, classes=classes, crop=PAPER_CROP_PX)[-3].in_channels
    side = max(1, round(math.sqrt(math.prod(fc6.shape[1:]) / channels)))
    return width, side * STRIDE**STAGES, classes


def _fit(tensors: Mapping[str, Tensor], scheme: Scheme, model: Model, *, is_trunk: bool) -> _Fit:
    width, crop, classes = size = _size(tensors, scheme, model, is_trunk=is_trunk)
    with torch.device("meta"):
        net = VGG(model.columns, width=width, crop=crop, classes=classes)
    names, missing, misshapen = {}, [], []
    for own, expected in net.state_dict().items():
        part, index, *inside = own.split(".")
        theirs = ".".join([scheme.name(f"{part}.{index}", net.layer_of(own)), *inside])
        key = inside[-1]
        names[own] = theirs
        if theirs in tensors:
            shape = _as_matrix(theirs, tensors[theirs], own).shape
            if shape != expected.shape:
                misshapen.append(f"{theirs} {list(tensors[theirs].shape)} instead of {list(expected.shape)}")
        elif key != "num_batches_tracked":  # which torchvision's files of before 2018 do not have
            missing.append(theirs)
    left_over = [name for name in tensors if name not in names.values()]
    return _Fit(scheme, model, size, names, missing, left_over, misshapen)


def _as_matrix(theirs: str, tensor: Tensor, own: str) -> Tensor:
    """An FC layer's weight as a matrix, also where it is kept as a convolution (Sect. 3.2)."""
    is_fc = own.startswith("classifier.") and own.endswith(".weight")
    return tensor.flatten(1) if is_fc and tensor.ndim > 1 else tensor


def _recognised(tensors: Mapping[str, Tensor], fit: _Fit) -> Recognised:
    state = {}
    for own, theirs in fit.names.items():
        if theirs in tensors:
            tensor = _as_matrix(theirs, tensors[theirs], own)
            state[own] = (tensor.float() if tensor.is_floating_point() else tensor).contiguous()
        else:
            state[own] = torch.tensor(0)
    unusable = [own for own, tensor in state.items() if not tensor.isfinite().all()]
    if broken := [fit.names[own] for own in unusable if own.startswith("features.")]:
        raise RunError(f"{some(broken, SHOWN)} hold non-finite numbers; the file is damaged: download it again.")
    width, crop, classes = fit.size
    classifies = classes > 0 and not unusable
    return Recognised(fit.scheme, fit.model, width, crop, classes, state, classifies, fit.left_over)


def _trunk_misfit(fit: _Fit) -> str:
    if fit.num_misfits > len(fit.left_over):
        return _misfit(fit)
    return (
        f"the file holds the convolutions of {fit.model.name} without its FC layers, and {some(fit.left_over, SHOWN)}; "
        "give imported.trunk=true to take only the convolutions."
    )


def _misfit(fit: _Fit) -> str:
    parts = {"lacks": fit.missing, "also has": fit.left_over, "has in another shape": fit.misshapen}
    last = fit.scheme.fc[2]
    said = "; it ".join(f"{verb} {some(names, SHOWN)}" for verb, names in parts.items() if names)
    return (
        f"no net of Table 1 has exactly these tensors. The nearest is {fit.model.name} in {fit.scheme.source}'s names: "
        f"the file {said}. Every tensor must have its place in the net."
        + f" If the last layer has another name than {last}, give imported.last_layer=NAME."
        * (f"{last}.weight" in fit.missing)
    )


def with_rgb_input(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A net whose first layer takes B, G, R, for images in R, G, B: the same sums in another order."""
    first = next(iter(state))
    return {**state, first: state[first].flip(1).contiguous()}
