"""A net's weights under the names of torchvision and of timm, and the code that uses them there.

The names and shapes of torchvision's VGG are also ours. timm's FC layers are convolutions, as in Sect. 3.2.
"""

from collections import OrderedDict
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor, nn

from vgg_sweep.config.imported import Preprocessing
from vgg_sweep.errors import ConfigError
from vgg_sweep.exchange.names import TIMM, Scheme
from vgg_sweep.exchange.tag import KEY, tag_text
from vgg_sweep.nets.columns import FC_CHANNELS, STAGES
from vgg_sweep.nets.layers import Layer
from vgg_sweep.nets.vgg import VGG, FullyConnected
from vgg_sweep.predict.trained import TrainedNet
from vgg_sweep.protocols.methods import PAPER_CROP_PX

Channels = tuple[int | str, ...]
"""A column as torchvision and timm write it: the channels of its 3x3 convolutions, "M" for a max-pool."""

NAMES: dict[Channels, str] = {
    (64, "M", 128, "M", 256, 256, "M", 512, 512, "M", 512, 512, "M"): "vgg11",
    (64, 64, "M", 128, 128, "M", 256, 256, "M", 512, 512, "M", 512, 512, "M"): "vgg13",
    (64, 64, "M", 128, 128, "M", *[256] * 3, "M", *[512] * 3, "M", *[512] * 3, "M"): "vgg16",
    (64, 64, "M", 128, 128, "M", *[256] * 4, "M", *[512] * 4, "M", *[512] * 4, "M"): "vgg19",
}
"""What both call the columns A, B, D and E."""

_NO_WEIGHTS = ['with torch.device("meta"):  # random weights would take longer than all the rest']


def save_state_dict(loaded: TrainedNet, path: Path, scheme: Scheme) -> None:
    """Write the state dict of `scheme`'s VGG, with its tag where torch keeps the versions of modules, and no library
    looks for weights. Raises `ConfigError` for a column that its VGG cannot be.
    """
    _check_column(loaded.net, scheme.source)
    state: OrderedDict[str, Tensor] = OrderedDict()
    for name, tensor in file_state(loaded).items():
        module, _, key = name.rpartition(".")
        fc = loaded.net.get_submodule(module)
        if key == "weight" and isinstance(fc, FullyConnected) and module in scheme.convolutional:
            tensor = tensor.reshape(len(tensor), -1, fc.kernel, fc.kernel)
        state[f"{scheme.name(module, loaded.net.layer_names[module])}.{key}"] = tensor
    vars(state)["_metadata"] = {KEY: tag_text(loaded, file_preprocessing(loaded))}
    torch.save(state, path)


def state_dict_example(loaded: TrainedNet, file: str, scheme: Scheme) -> list[str]:
    """See `exporting.Format`."""
    model = _timm_model if scheme is TIMM else _torchvision_model
    ceil = any(isinstance(module, nn.MaxPool2d) and module.ceil_mode for module in loaded.net.features)
    rounding = [
        "for module in net.features:",
        '    if hasattr(module, "ceil_mode"):',
        "        module.ceil_mode = True  # for images larger than the crop",
    ]
    return [
        *model(loaded.net),
        f"net.load_state_dict(torch.load({file!r}, weights_only=True), assign=True)",
        *(rounding if ceil else []),
        *input_lines(loaded),
        "with torch.no_grad():",
        "    posteriors_NK = net.eval()(torch.from_numpy(images_NCHW)).softmax(1)",
    ]


def file_preprocessing(loaded: TrainedNet) -> Preprocessing:
    """What images become for weights as `file_state` has them: for an imported net, as the file that it came from."""
    return loaded.config.preprocessing if loaded.config.imported.sha256 is not None else loaded.preprocessing


def file_state(loaded: TrainedNet) -> dict[str, Tensor]:
    """The weights under our names, which are torchvision's. Those of an imported net are the tensors of the file that
    it came from, so that conv1_1 is in its order of the colours.
    """
    state = {name: tensor.contiguous() for name, tensor in loaded.net.state_dict().items()}
    if file_preprocessing(loaded).channel_order == "BGR":
        state["features.0.weight"] = state["features.0.weight"].flip(1)
    return state


def input_lines(loaded: TrainedNet) -> list[str]:
    """Lines that make images_NCHW of pixels_NCHW, for weights as `file_state` has them."""
    own = file_preprocessing(loaded)
    pixels = "pixels_NCHW[:, ::-1]" if own.channel_order == "BGR" else "pixels_NCHW"
    lines = [
        f"mean_C11 = np.array({own.mean}, np.float32)[:, None, None]",
        f"images_NCHW = {pixels} * np.float32({own.pixel_max} / 255) - mean_C11  # {own.channel_order}",
    ]
    if own.std != [1.0, 1.0, 1.0]:
        lines.append(f"images_NCHW /= np.array({own.std}, np.float32)[:, None, None]")
    return lines


def paper_name(net: VGG) -> str | None:
    """What torchvision and timm call the net, such as vgg16, if it is one of theirs but for the number of classes."""
    fc6 = net.layers[-3]
    channels = _channels(net)
    if channels not in NAMES or (fc6.kernel, fc6.out_channels) != (PAPER_CROP_PX // 2**STAGES, FC_CHANNELS):
        return None
    return NAMES[channels] + ("_bn" if _has_batch_norm(net) else "")


def _torchvision_model(net: VGG) -> list[str]:
    """Lines that make the net of torchvision's parts, without its weights."""
    fc6, fc7, fc8 = net.layers[-3:]
    if (name := paper_name(net)) is not None:
        return [
            "import torch",
            "import torchvision",
            "",
            *_NO_WEIGHTS,
            f"    net = torchvision.models.{name}(num_classes={fc8.out_channels})",
        ]
    return [
        "import torch",
        "from torch import nn",
        "from torchvision.models.vgg import VGG, make_layers",
        "",
        *_NO_WEIGHTS,
        f"    net = VGG(make_layers({list(_channels(net) or ())}, batch_norm={_has_batch_norm(net)}))",
        f"    net.avgpool = nn.Identity()  # the last feature map of a crop is {fc6.kernel} x {fc6.kernel}",
        f"    net.classifier[0] = nn.Linear({fc6.in_channels * fc6.kernel**2}, {fc6.out_channels})",
        f"    net.classifier[3] = nn.Linear({fc7.in_channels}, {fc7.out_channels})",
        f"    net.classifier[6] = nn.Linear({fc8.in_channels}, {fc8.out_channels})",
    ]


def _timm_model(net: VGG) -> list[str]:
    """Lines that make the net of timm's parts, without its weights."""
    fc6, _, fc8 = net.layers[-3:]
    if (name := paper_name(net)) is not None:
        return [
            "import timm",
            "import torch",
            "",
            *_NO_WEIGHTS,
            f'    net = timm.create_model("{name}", num_classes={fc8.out_channels})',
        ]
    norm = ", norm_layer=nn.BatchNorm2d" if _has_batch_norm(net) else ""
    return [
        "import torch",
        "from timm.layers import ClassifierHead",
        "from timm.models.vgg import VGG, ConvMlp",
        "from torch import nn",
        "",
        *_NO_WEIGHTS,
        f"    net = VGG({list(_channels(net) or ())}{norm})",
        f"    net.pre_logits = ConvMlp({fc6.in_channels}, {fc6.out_channels}, kernel_size={fc6.kernel})",
        f"    net.head = ClassifierHead({fc8.in_channels}, {fc8.out_channels})",
    ]


def _has_batch_norm(net: VGG) -> bool:
    return any(isinstance(module, nn.BatchNorm2d) for module in net.features)


def _channels(net: VGG) -> Channels | None:
    """The column as both libraries write it, None if it has layers that their VGG has not."""
    if _foreign(net) is not None:
        return None
    named = [layer for layer in net.layers if layer.kind in ("conv", "maxpool")]
    return tuple("M" if layer.kind == "maxpool" else layer.out_channels for layer in named)


def _foreign(net: VGG) -> Layer | None:
    """The first layer that both libraries' VGG has not: it has 3x3 convolutions, all with batch normalisation or none,
    max-pools and three FC layers.
    """
    is_normalised = _has_batch_norm(net)
    for layer, below in pairwise(net.layers):
        is_theirs = layer.kind in ("bn", "maxpool", "fc") or (
            layer.kind == "conv" and (layer.kernel, layer.stride) == (3, 1) and (below.kind == "bn") == is_normalised
        )
        if not is_theirs:
            return layer
    return None


def _check_column(net: VGG, library: str) -> None:
    if (layer := _foreign(net)) is not None:
        raise ConfigError(
            f"{library}'s VGG has only 3x3 convolutions and max-pools, BN behind each or none, and no {layer.name} "
            f"({layer.word}); export it to safetensors, onnx or pt2."
        )
