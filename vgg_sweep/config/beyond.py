"""Settings of a recipe that the paper does not have: batch normalisation in training, and parts of later recipes."""

from dataclasses import dataclass

from vgg_sweep.config.roles import setting


@dataclass
class BeyondPaper:
    """What `Recipe` adds to the paper's; nothing, at its defaults."""

    bn_images: int = setting(0, at_least=0)
    """Images over which a batch normalisation takes its mean and variance in training: 0, all of the batch, on however
    many processes; or a batch in groups of so many, which needs less memory and is another result.
    """
    bn_decay: bool = setting(True)
    """Whether weight decay applies to scale and shift of batch normalisations too, as to every parameter."""
    zero_init_residual: bool = setting(False)
    """Whether the last batch normalisation of a block with a shortcut begins with a scale of 0, so that the block adds
    nothing at first (Goyal et al. 2017; torchvision's word).
    """
    label_smoothing: float = setting(0.0, at_least=0, below=1)
    """Share of a label that goes to all classes alike (Szegedy et al. 2016)."""
    ema_decay: float = setting(0.0, at_least=0, below=1)
    """How much of the moving average of the weights a step keeps: the average is what is validated and saved; 0 takes
    the weights themselves. In step n it keeps (1 + n) / (10 + n) at most, so that a short run forgets how it began.
    """
