"""Which images of a batch go through the net together in training."""

import math


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
