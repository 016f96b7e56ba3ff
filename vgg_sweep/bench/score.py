"""`bench score`: dense evaluation and 150 crops, beside the same net in fp32 applied to one view after another."""

from collections.abc import Callable

import numpy as np
import torch

from vgg_sweep.bench.timing import Progress, Row, peak_flops, take_turns
from vgg_sweep.bench.train import STATISTICS
from vgg_sweep.config.schema import Config, Preprocessing
from vgg_sweep.images.views.crops import views
from vgg_sweep.images.views.preprocessing import net_input, own_preprocessing
from vgg_sweep.machine.device import Device, choose_device
from vgg_sweep.nets.columns import net_macs
from vgg_sweep.nets.fastest import fastest_choice
from vgg_sweep.nets.vgg import VGG, build_net, posteriors
from vgg_sweep.protocols.methods import scaled_px, test_scales
from vgg_sweep.protocols.passes import Pass, passes_of
from vgg_sweep.score.score import pass_posteriors

NUM_IMAGES = 8
ASPECT = 4 / 3
SCALES_PX = (256, 384, 512)
"""Q at crop 224: those of a jittered net (Sect. 4.2)."""
MULTI = "multi-crop"


def bench_score(config: Config, num_classes: int, seconds: float, progress: Progress) -> list[Row]:
    """Dense evaluation at each Q, and the 150 crops of an image at three Q, with the settings of `config` and as people
    do it: fp32, NCHW, one view at a time.
    """
    device = choose_device(config, fastest_choice(config, num_classes, progress, training=False))
    net = build_net(config, num_classes)
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.01)
    net.eval()
    preprocessing = own_preprocessing(STATISTICS, config.recipe.pixel_max)
    rows = []
    for Q in (scaled_px(Q, config.crop) for Q in SCALES_PX):
        progress(f"{config.model.name}, dense, Q={Q}")
        images_HWC = _images(Q, NUM_IMAGES)
        macs = NUM_IMAGES * net_macs(net.layers, *images_HWC[0].shape[:2], pool_ceil=config.pool_ceil)
        rows += _rows(config, net, preprocessing, {Pass("dense", Q, False): images_HWC}, macs, device, seconds)
    progress(f"{config.model.name}, 150 crops of an image")
    wanted = passes_of(MULTI, test_scales([SCALES_PX[0], SCALES_PX[-1]], "multi", config.crop))
    macs = 150 * net_macs(net.layers, config.crop, config.crop, pool_ceil=config.pool_ceil)
    images = {each: _images(each.Q, 1) for each in wanted}
    return rows + _rows(config, net, preprocessing, images, macs, device, seconds)


def _images(Q: int, count: int) -> list[np.ndarray]:
    draw = np.random.default_rng(0)
    return [draw.integers(0, 256, (Q, round(ASPECT * Q), 3), np.uint8) for _ in range(count)]


def _rows(
    config: Config,
    net: VGG,
    preprocessing: Preprocessing,
    images: dict[Pass, list[np.ndarray]],
    macs: int,
    device: Device,
    seconds: float,
) -> list[Row]:
    """Ours, and one view at a time, in turns, on the given images of each pass."""

    def ours() -> None:
        net.to(device.place, memory_format=device.memory_format)  # type: ignore[call-overload]
        for each, images_HWC in images.items():
            pass_posteriors(net, images_HWC, each, config.crop, preprocessing, device)

    def one_by_one() -> None:
        net.to(memory_format=torch.contiguous_format)
        for each, images_HWC in images.items():
            for image_HWC in images_HWC:
                for view_HWC in views(image_HWC, each.method, config.crop):
                    _one(net, view_HWC, each.flip, preprocessing, device)

    works: dict[str, Callable[[], object]] = {"ours": ours, "one by one": one_by_one}
    times = take_turns(works, device.place, seconds)
    first = next(iter(images))
    num_images = len(images[first])
    peaks = {"ours": device.dtype, "one by one": torch.float32}
    return [
        Row(
            bench="score",
            what=f"{what}, {first.method}",
            config=config.model.name,
            image_px=first.Q if first.method == "dense" else config.crop,
            batch=num_images,
            micro_batch=None,
            precision=device.precision if what == "ours" else "fp32",
            layout=device.layout if what == "ours" else "nchw",
            compile=False,
            device=device.name,
            seconds=times[what],
            images_per_second=num_images / times[what],
            share_of_peak=2 * macs / times[what] / peak_flops(device.place, peaks[what]),
            speedup=times["one by one"] / times[what],
        )
        for what in works
    ]


def _one(net: VGG, view_HWC: np.ndarray, flip: bool, preprocessing: Preprocessing, device: Device) -> np.ndarray:
    view_1CHW = torch.from_numpy(view_HWC.copy()).permute(2, 0, 1)[None].contiguous().to(device.place)
    with torch.inference_mode():
        scores_1Khw = net(net_input(view_1CHW.flip(3) if flip else view_1CHW, preprocessing))
    view_1K: np.ndarray = posteriors(scores_1Khw).cpu().numpy()
    return view_1K
