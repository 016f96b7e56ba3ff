"""Settings of batch normalisation in training, which the paper has not."""

from dataclasses import dataclass

from vgg_sweep.config.roles import setting


@dataclass
class NormRecipe:
    """Batch normalisation (Ioffe & Szegedy 2015) makes what a net does with an image depend on the others of the batch,
    so these decide a result.
    """

    bn_images: int = setting(0, at_least=0)
    """Images over which a normalisation takes its mean and variance in training: 0, all of the batch, on however many
    processes; or a batch in groups of so many, which needs less memory and is another result.
    """
    bn_decay: bool = setting(True)
    """Whether weight decay applies to scale and shift too, as to every parameter, or spares them."""
