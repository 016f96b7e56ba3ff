"""Which images of a batch go through the net together in training."""

import math

from vgg_sweep.config.schema import Config
from vgg_sweep.errors import ConfigError
from vgg_sweep.machine.ranks import Ranks


def in_steps(num_images: int, most: int) -> list[slice]:
    """`num_images` cut into parts of `most`, and what is left."""
    return [slice(start, start + most) for start in range(0, num_images, most)]


def in_groups(num_images: int, most: int) -> list[slice]:
    """`num_images` cut into as few groups of at most `most` as there can be, which differ by one image at most: a
    batch normalisation takes its statistics over one, so none should be small, and none is a single image of several.
    """
    num_groups = min(math.ceil(num_images / most), max(1, num_images // 2))
    edges = [group * num_images // num_groups for group in range(num_groups + 1)]
    return [slice(start, stop) for start, stop in zip(edges, edges[1:], strict=False)]


def check_batches(config: Config, num_images: int, ranks: Ranks, *, is_whole: bool) -> None:
    """Raise `ConfigError` if a batch of an epoch has too few images for all processes, or, where it must go through the
    net as a whole, is a single image; or if it cannot be cut into groups in the same way on several processes.
    """
    recipe = config.recipe
    if is_whole and recipe.bn_images and ranks.are_many:
        raise ConfigError(
            f"{ranks.num_ranks} processes normalise over the whole batch together, so recipe.bn_images="
            f"{recipe.bn_images} needs a single one; leave one of the two out."
        )
    if recipe.last_batch == "wrap":
        return
    smallest = min(recipe.batch_size, num_images % recipe.batch_size or recipe.batch_size)
    if smallest < ranks.num_ranks:
        raise ConfigError(
            f"a batch has {smallest} images (the last of an epoch may be smaller), too few for {ranks.num_ranks} "
            f"processes; change recipe.batch_size={recipe.batch_size} or take fewer processes."
        )
    if is_whole and smallest == 1:
        raise ConfigError(
            f"the last batch of an epoch of {num_images} images is a single one, too few for batch normalisation; "
            f"change recipe.batch_size={recipe.batch_size}, or fill that batch up with recipe.last_batch=wrap."
        )
