"""`bench score`: dense evaluation and multi-crop, beside the same net in fp32 applied to one view after another."""

from dataclasses import replace
from functools import partial

import numpy as np
import torch

from vgg_sweep.bench.timing import Effort, Progress, Row, peak_flops, take_turns
from vgg_sweep.bench.train import STATISTICS
from vgg_sweep.config.schema import Config
from vgg_sweep.images.views.crops import rescaled_size, views
from vgg_sweep.images.views.preprocessing import own_preprocessing
from vgg_sweep.machine.device import Device, choose_device
from vgg_sweep.nets.fastest import fastest_choice
from vgg_sweep.nets.vgg import build_net
from vgg_sweep.protocols.methods import scaled_px, test_scales
from vgg_sweep.protocols.passes import Pass, passes_of
from vgg_sweep.score.cost import macs
from vgg_sweep.score.score import pass_posteriors

NUM_IMAGES, QUICK_NUM_IMAGES = 8, 2
SIZE_PX = (1600, 1200)
"""Width and height of the images before they are rescaled to Q."""
SCALES_PX = (256, 384, 512)
"""Q at crop 224: those of a jittered net (Sect. 4.2)."""


def bench_score(config: Config, num_classes: int, effort: Effort, progress: Progress) -> list[Row]:
    """Dense evaluation at each Q, and crops of an image, 50 at each Q, with the settings of `config` and as people do
    it: fp32, NCHW, one view at a time. Unless thorough, fewer images, and crops at the middle Q alone.
    """
    device = choose_device(config, fastest_choice(config, num_classes, progress, training=False))
    device.expect_shapes(alike=False)
    net = build_net(config, num_classes).eval()
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.01)
    plain = replace(device, precision="fp32", layout="nchw")
    preprocessing = own_preprocessing(STATISTICS, config.recipe.pixel_max)
    num_images = NUM_IMAGES if effort.thorough else QUICK_NUM_IMAGES
    works = [([Pass("dense", scaled_px(Q, config.crop), False)], num_images, float(num_images)) for Q in SCALES_PX]
    crop_scales_px = test_scales([SCALES_PX[0], SCALES_PX[-1]], "multi", config.crop)
    taken_px = crop_scales_px if effort.thorough else crop_scales_px[1:2]
    works.append((passes_of("multi-crop", taken_px), 1, len(taken_px) / len(crop_scales_px)))
    rows = []
    for wanted, count, worth in works:
        method, Q = wanted[0].method, wanted[0].Q
        progress(f"{config.model.name}, {method}" + (f", Q = {Q}" if method == "dense" else ""))
        images = [(each, _images(each.Q, count)) for each in wanted]
        singles = [
            (replace(each, method="dense"), [view_HWC])
            for each, images_HWC in images
            for image_HWC in images_HWC
            for view_HWC in views(image_HWC, method, config.crop)
        ]

        def scored(how: Device, parts: list[tuple[Pass, list[np.ndarray]]]) -> None:
            net.to(how.place, memory_format=how.memory_format)  # type: ignore[call-overload]
            for each, images_HWC in parts:
                pass_posteriors(net, images_HWC, each, config.crop, preprocessing, how)

        ways = {"ours": partial(scored, device, images), "one by one": partial(scored, plain, singles)}
        times = take_turns(ways, device.place, effort)
        total = sum(macs(wanted, config, num_classes, [SIZE_PX] * count).values())
        rows += [
            Row(
                bench="score",
                what=f"{what}, {method}",
                config=config.model.name,
                seconds=times[what],
                image_px=Q if method == "dense" else config.crop,
                batch=count,
                precision=how.precision,
                layout=how.layout,
                device=device.name,
                images_per_second=worth / times[what],
                share_of_peak=2 * total / times[what] / peak_flops(device.place, how.dtype),
                speedup=times["one by one"] / times[what],
            )
            for what, how in (("ours", device), ("one by one", plain))
        ]
    return rows


def _images(Q: int, count: int) -> list[np.ndarray]:
    width, height = rescaled_size(*SIZE_PX, Q)
    return list(np.random.default_rng(0).integers(0, 256, (count, height, width, 3), np.uint8))
