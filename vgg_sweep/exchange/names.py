"""What programs call the layers of a VGG, for readers and writers alike."""

import re
from dataclasses import dataclass

FC = ("fc6", "fc7", "fc8")

_KERAS_FC = {"fc6": "fc1", "fc7": "fc2", "fc8": "predictions"}
BN_TENSORS = ("weight", "bias", "running_mean", "running_var")
"""Of a batch normalisation, in Keras's order."""
LRN_SUMS = "_sums"
"""End of the name of the layer that stands in for LRN in our .keras files, whose weights are fixed."""


def to_keras(layer: str) -> str:
    """The paper's name to that of keras.applications: conv3_1 to block3_conv1, fc6 to fc1; any other as it is."""
    return re.sub(r"^conv(\d)_(\d+)$", r"block\1_conv\2", _KERAS_FC.get(layer, layer))


def from_keras(name: str) -> str:
    """The other way round."""
    own = {theirs: ours for ours, theirs in _KERAS_FC.items()}
    return re.sub(r"^block(\d)_conv(\d+)$", r"conv\1_\2", own.get(name, name))


@dataclass(frozen=True)
class Scheme:
    """How a program names the layers of a VGG."""

    source: str
    fc: tuple[str, str, str]
    """fc6, fc7, fc8."""
    features: str | None = "features"
    """What comes before the index of a module in torchvision's order; None where layers have the paper's names."""
    convolutional: tuple[str, ...] = ()
    """Modules of `VGG` that are FC layers here and convolutions there (Sect. 3.2)."""

    def name(self, module: str, layer: str) -> str:
        """The file's name for the module of `VGG` that is `layer` of the paper."""
        if layer in FC:
            return self.fc[FC.index(layer)]
        return layer if self.features is None else module.replace("features", self.features, 1)


TORCHVISION = Scheme("torchvision", ("classifier.0", "classifier.3", "classifier.6"))
TIMM = Scheme("timm", ("pre_logits.fc1", "pre_logits.fc2", "head.fc"), convolutional=("classifier.0", "classifier.3"))
SCHEMES = (
    TORCHVISION,
    Scheme("torchvision before 0.2", ("classifier.1", "classifier.4", "classifier.6")),
    TIMM,
    Scheme("pretrained-models", ("linear0", "linear1", "last_linear"), features="_features"),
    Scheme("oxford", FC, features=None),
)
"""The second is that of torchvision until its dropout moved (pytorch/vision#107) and of conversions from Caffe of that
time; the fourth that of Cadene's pretrained-models.pytorch; the last the paper's own names, Caffe's and Keras's too."""
