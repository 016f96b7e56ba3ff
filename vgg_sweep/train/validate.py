"""The validation during training: the centre crop at the single test scale (the paper does not say how it validated).

Axes: N images, C colours, H W pixels, K classes.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch

from vgg_sweep.config.schema import Config
from vgg_sweep.errors import RunError
from vgg_sweep.images.sets.splits import Split
from vgg_sweep.images.views.crops import rescaled, usable_or_none, views
from vgg_sweep.images.views.preprocessing import net_input
from vgg_sweep.nets.lrn import LRN, factor
from vgg_sweep.protocols.methods import test_scales
from vgg_sweep.runs.progress import Diverged
from vgg_sweep.train.step import Learner


def validate(learner: Learner, split: Split) -> float:
    """Top-1 error in percent; each rank sees its share of the images.

    Raises `Diverged` if a score is not finite, `RunError` if no image can be decoded.
    """

    def wrong(scores_NK: torch.Tensor, indices: list[int]) -> list[bool]:
        return list(scores_NK.argmax(1).cpu().numpy() != split.labels_N[indices])

    return error_of(learner, split, wrong)


def error_of(learner: Learner, split: Split, wrong: Callable[[torch.Tensor, list[int]], list[bool]]) -> float:
    """The error in percent over the images of all ranks: `wrong` says which answers are, from the net's float32
    outputs_NK for the images of these indices; it leaves out what does not count. Raises as `validate`.
    """
    num_wrong = num_seen = num_not_finite = 0
    learner.net.eval()
    with torch.inference_mode(), learner.hardware.autocast():
        for input_NCHW, indices in inputs(learner, split):
            outputs_NK = learner.net(input_NCHW).float().flatten(1)
            judged = wrong(outputs_NK, indices)
            num_seen, num_wrong = num_seen + len(judged), num_wrong + int(sum(judged))
            num_not_finite += int((~outputs_NK.isfinite()).sum())
    learner.net.train()
    wrong_in_all, seen, not_finite = learner.ranks.sum(num_wrong, num_seen, num_not_finite)
    if not seen:
        raise RunError("no validation image can be decoded; `vgg-sweep data check` lists them.")
    if not_finite:
        raise Diverged("the net's scores are not finite; lower recipe.lr.")
    return 100 * wrong_in_all / seen


def lrn_factor_spread(learner: Learner, split: Split) -> float | None:
    """Standard deviation over mean of what LRN multiplies activations by, over some images; None for a net without."""
    layers = [module for module in learner.net.modules() if isinstance(module, LRN)]
    batch = next(inputs(learner, split), None)
    if not layers or batch is None:
        return None
    factors: list[torch.Tensor] = []
    hooks = [layer.register_forward_hook(lambda _, inputs, __: factors.append(factor(inputs[0]))) for layer in layers]
    with torch.inference_mode(), learner.hardware.autocast():
        learner.net.eval()(batch[0])
    for hook in hooks:
        hook.remove()
    return max(float(each.std() / each.mean()) for each in factors)


def single_Q_px(config: Config) -> int:
    """The single test scale, at which training validates."""
    return test_scales(config.train_scale.S, "single", config.crop)[0]


def inputs(learner: Learner, split: Split) -> Iterator[tuple[torch.Tensor, list[int]]]:
    """Centre crops of this rank's images as the net's input_NCHW with their indices, a micro-batch at a time."""
    config, Q_px = learner.config, single_Q_px(learner.config)
    own, filter = learner.ranks.share(range(len(split))), learner.preprocessing.interpolation

    def centre_crop(index: int) -> np.ndarray | None:
        image = usable_or_none(split, index, Q_px)
        return None if image is None else views(rescaled(image, Q_px, filter), "centre-crop", config.crop)[0]

    with ThreadPoolExecutor(max(1, config.workers)) as pool:
        for first in range(0, len(own), learner.micro_batch):
            indices = own[first : first + learner.micro_batch]
            crops = [crop_HWC for crop_HWC in pool.map(centre_crop, indices) if crop_HWC is not None]
            if crops:
                images_NCHW = torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).to(learner.hardware.device)
                yield net_input(images_NCHW, learner.preprocessing), [i for i in indices if i not in split.bad]
