"""Settings of features and of the probes on them (Appendix B)."""

from dataclasses import dataclass

from vgg_sweep.config.roles import request

IMAGE, BOX = "image", "box"
"""Which part of an image is described: all of it, or the box of the person that its label is about."""


@dataclass
class Transfer:
    """Which features are computed of a set's images, and how they are probed. "Not stated": the paper does not say."""

    layers: list[str] = request(["fc7"])
    """Layers whose activations, after the ReLU and averaged over their positions, are the features: fc7, the
    "penultimate layer", fc6, pool5, conv5_3 ...; each is probed.
    """
    scales: list[str] = request(["multi"])
    """Test scales Q: `single` {256}, `multi` {256,384,512}, `five` {256,384,512,640,768}, at crop 224 and scaled with
    it, or pixels. The paper takes five for VOC, which it found 0.3 % better than three, and three for Caltech.
    """
    method: str = request("dense", choices=("dense", "centre-crop"))
    pool: str = request("auto", choices=("auto", "mean", "max", "stack"))
    """Over the scales: `mean`, `max` or `stack`, the descriptors one behind the other; `auto` as the paper has it: mean
    for VOC, stack for all other sets.
    """
    normalise: str = request("once", choices=("once", "blocks"))
    """L2 normalisation: `once`, of the whole descriptor after stacking; `blocks`, of each scale and net and then of the
    whole. Not stated.
    """
    C: list[float] = request([0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0, 10000.0])
    """Constants of the SVM to choose from, from the smallest on until two in a row do worse, on `held_out` of the
    training images; then it is trained on all. Not stated.
    """
    held_out: float = request(0.2, above=0, below=1)
    difficult: str = request("leave-out", choices=("leave-out", "negative"))
    """What an image on which a class has only "difficult" objects (label 0) is in training that class. Not stated; in
    testing it is neither right nor wrong.
    """
    split: str = request("auto", choices=("auto", "own", "drawn"))
    """`own`, the set's training and test images; `drawn`, at random of each class; `auto`: drawn for Caltech and the
    fractals, own for all others.
    """
    num_splits: int = request(3, above=0)
    """How many splits are drawn."""
    train_per_class: int | None = request(None, above=0)
    """Training images drawn of a class; null takes 60 for Caltech-256 and 30 for others."""
    test_per_class: int | None = request(None, above=0)
    """Test images drawn of a class at most; null takes all that are left for Caltech-256 and 50 for others."""
    split_seed: int = request(0)
    shots: list[int] = request([])
    """Few-shot: also train on so many images of each class."""
    controls: bool = request(True)
    """Also probe the same net with random weights, and the mean colour of the images, at the smallest Q."""
    aggregations: bool = request(False)
    """Also compare ways to build a descriptor: a centre crop, one Q, all Q averaged, maximised and stacked, and
    five Q averaged.
    """
