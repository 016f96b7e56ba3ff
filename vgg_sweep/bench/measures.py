"""What `bench` measures: a training step, the scoring of images, and the loading of training images."""

import tarfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from vgg_sweep.bench.timing import Announce, Effort, Measurement, peak_flops, peak_memory, take_turns
from vgg_sweep.config.schema import Config, Data
from vgg_sweep.errors import ConfigError, counted
from vgg_sweep.images.decode import BadImage, size_px
from vgg_sweep.images.files import image_files
from vgg_sweep.images.sets.splits import Split
from vgg_sweep.images.sets.statistics import Statistics
from vgg_sweep.images.views.augment import draw_epoch
from vgg_sweep.images.views.crops import rescaled_size
from vgg_sweep.images.views.loader import Batch, Loader
from vgg_sweep.images.views.preprocessing import own_preprocessing
from vgg_sweep.machine.hardware import DTYPES, Hardware, choose_hardware
from vgg_sweep.nets.columns import net_macs, parse_columns
from vgg_sweep.nets.fastest import fastest_choice
from vgg_sweep.nets.vgg import VGG, build_net
from vgg_sweep.protocols.methods import scaled_px, test_scales
from vgg_sweep.protocols.passes import Pass, passes_of
from vgg_sweep.score.cost import macs
from vgg_sweep.score.score import pass_posteriors
from vgg_sweep.sweep.forecast import FORWARD_AND_BACKWARD
from vgg_sweep.train.step import Learner

STATISTICS = Statistics([0.48, 0.46, 0.41], [0.01, 0.02, 0.2], torch.eye(3).tolist())
"""Speed does not depend on them."""

# Training
BATCH, QUICK_CPU_BATCH = 32, 16

# Scoring
NUM_IMAGES, QUICK_NUM_IMAGES = 8, 2
SIZE_PX = (1600, 1200)
"""Width and height of the images before they are rescaled to Q."""
SCALES_PX = (256, 384, 512)
"""Q at crop 224: those of a jittered net (Sect. 4.2)."""

# Data
NUM_WORKERS = (1, 2)
IMAGES_A_ROUND = 240
MOST_FILES = 1000


def random_net(config: Config, num_classes: int) -> VGG:
    net = build_net(config, num_classes)
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.01)
    return net


def bench_train(config: Config, num_classes: int, effort: Effort, progress: Announce) -> list[Measurement]:
    """A step with the settings of `config`.

    Images are random and in memory; `bench data` measures loading.
    """
    device, name = choose_hardware(config).device, config.model.name
    batch = QUICK_CPU_BATCH if device.type == "cpu" and not effort.thorough else BATCH
    config = replace(config, recipe=replace(config.recipe, batch_size=batch))
    progress(f"{name}: what is fastest here")
    hardware = choose_hardware(config, fastest_choice(config, num_classes, progress, training=True))
    step = own_step(config, hardware, num_classes)
    hardware.expect_shapes(alike=device.type == "cuda")  # on a CPU, memory that is kept hides what the next step takes
    progress(f"{name}: {batch} images to warm up")
    memory = peak_memory(step, device)
    hardware.expect_shapes(alike=True)
    progress(f"{name}: steps of {batch} images")
    seconds = take_turns({name: step}, device, effort, is_warm=True)[name]
    return [train_row("ours", config, hardware, num_classes, seconds, memory)]


def own_step(config: Config, hardware: Hardware, num_classes: int) -> Callable[[], object]:
    """A step as `train` takes it, on `recipe.batch_size` images in memory, not on the device."""
    net = random_net(config, num_classes)
    hardware.hold(net)
    net.train()
    learner = Learner(net, config, STATISTICS, hardware)
    learner.set_learning_rate(1e-6)
    size = config.recipe.batch_size
    images_NHWC = torch.randint(0, 256, (size, config.crop, config.crop, 3), dtype=torch.uint8)
    labels_N = torch.randint(0, num_classes, (size,))
    batch = Batch(images_NHWC.permute(0, 3, 1, 2), labels_N, torch.randn(size, 3), range(size), size, size, 0.0)
    return lambda: learner.step(batch, 0)


def train_row(
    what: str, config: Config, hardware: Hardware, num_classes: int, seconds: float, memory: int | None = None
) -> Measurement:
    """The figures of a step that takes `seconds`."""
    layers = parse_columns(config.model.columns, width=config.width, classes=num_classes, crop=config.crop)
    batch, compiled = config.recipe.batch_size, config.compile and what != "torchvision"
    needed = batch * FORWARD_AND_BACKWARD * net_macs(layers, config.crop, config.crop, pool_ceil=config.pool_ceil)
    row = _computed("train", what, config, hardware, seconds, needed, images=batch, batch=batch, image_px=config.crop)
    return replace(row, micro_batch=hardware.micro_batch or batch, compile=compiled, peak_memory_bytes=memory)


def _computed(
    bench: str, what: str, config: Config, hardware: Hardware, seconds: float, macs: int, *, images: float, **size: int
) -> Measurement:
    """The figures of work on `images` whose `macs` multiply-adds take `seconds`."""
    share_of_peak = 2 * macs / seconds / peak_flops(hardware.device, DTYPES[hardware.precision])
    on = {"precision": hardware.precision, "layout": hardware.layout, "device": hardware.name}
    rates = {"images_per_second": images / seconds, "share_of_peak": share_of_peak}
    return Measurement(bench, what, config.model.name, seconds, **size, **on, **rates)  # type: ignore[arg-type]


def bench_score(config: Config, num_classes: int, effort: Effort, progress: Announce) -> list[Measurement]:
    """Dense evaluation at each Q, and crops of an image, 50 at each Q, with the settings of `config`. Unless thorough,
    fewer images, and crops at the middle Q alone.
    """
    hardware = choose_hardware(config, fastest_choice(config, num_classes, progress, training=False))
    hardware.expect_shapes(alike=False)
    net, rows = random_net(config, num_classes).eval(), []
    for wanted, count, worth in score_works(config.crop, effort):
        method, Q = wanted[0].method, wanted[0].Q
        progress(f"{config.model.name}, {method}" + (f", Q = {Q}" if method == "dense" else ""))
        images = [(each, random_images(each.Q, count)) for each in wanted]
        times = take_turns({"": partial(scored, net, config, hardware, images)}, hardware.device, effort)
        rows.append(score_row("ours", config, hardware, num_classes, (wanted, count, worth), times[""]))
    return rows


def score_works(crop: int, effort: Effort) -> Iterator[tuple[list[Pass], int, float]]:
    """Passes, the images that go through them, and how many images that is worth: dense at each Q, then crops."""
    num_images = NUM_IMAGES if effort.thorough else QUICK_NUM_IMAGES
    for Q in SCALES_PX:
        yield [Pass("dense", scaled_px(Q, crop), False)], num_images, float(num_images)
    scales_px = test_scales([SCALES_PX[0], SCALES_PX[-1]], "multi", crop)
    taken_px = scales_px if effort.thorough else scales_px[1:2]
    yield passes_of("multi-crop", taken_px), 1, len(taken_px) / len(scales_px)


def scored(net: VGG, config: Config, hardware: Hardware, parts: Sequence[tuple[Pass, list[np.ndarray]]]) -> None:
    hardware.hold(net)
    preprocessing = own_preprocessing(STATISTICS, config.recipe.pixel_max)
    for each, images_HWC in parts:
        pass_posteriors(net, images_HWC, each, config.crop, preprocessing, hardware)


def score_row(
    what: str,
    config: Config,
    hardware: Hardware,
    num_classes: int,
    work: tuple[list[Pass], int, float],
    seconds: float,
) -> Measurement:
    """The figures of one of `score_works` that takes `seconds`."""
    wanted, count, worth = work
    method, Q = wanted[0].method, wanted[0].Q
    needed = sum(macs(wanted, config, num_classes, [SIZE_PX] * count).values())
    image_px = Q if method == "dense" else config.crop
    what = f"{what}, {method}"
    return _computed("score", what, config, hardware, seconds, needed, images=worth, batch=count, image_px=image_px)


def random_images(Q: int, count: int) -> list[np.ndarray]:
    width, height = rescaled_size(*SIZE_PX, Q)
    return list(np.random.default_rng(0).integers(0, 256, (count, height, width, 3), np.uint8))


def bench_data(config: Config, effort: Effort, progress: Announce) -> list[Measurement]:
    """Training views of the images in `data.root`, a folder or a tar, with S and the crop of `config`. The files are in
    memory, so that no disk is measured.

    Raises `ConfigError` if there are no images.
    """
    files = files_in(config.data.root)
    rows = []
    for workers in NUM_WORKERS:
        progress(f"{len(files)} images, {counted(workers, 'worker')}")
        times = take_turns({"ours": own_epoch(split_of(files), config, workers)}, torch.device("cpu"), effort)
        rows.append(data_row("ours", workers, config, times["ours"]))
    return rows


def files_in(root: str | None) -> list[bytes]:
    """The first images under `root`."""
    if root is None:
        raise ConfigError("bench data needs data.root=PATH: a folder or a tar of images.")
    files = list(islice(filter(_is_image, _contents(Path(root).expanduser())), MOST_FILES))
    if not files:
        raise ConfigError(f"data.root={root} has no images; give a folder or a tar with some.")
    return files


def _contents(path: Path) -> Iterator[bytes]:
    if path.is_dir():
        yield from (file.read_bytes() for file in image_files(path))
    elif path.is_file() and tarfile.is_tarfile(path):
        with tarfile.open(path) as tar:
            members = (tar.extractfile(member) for member in tar if member.isfile())
            yield from (member.read() for member in members if member is not None)


def _is_image(data: bytes) -> bool:
    with suppress(BadImage):
        return bool(size_px(data))
    return False


def split_of(files: Sequence[bytes]) -> Split:
    """The files as training images, several times over where there are few, all of one class."""
    ids = [str(index) for index in range(IMAGES_A_ROUND)]
    labels_N = np.zeros(IMAGES_A_ROUND, np.int64)
    return Split(ids, labels_N, lambda index: files[index % len(files)], Data(cache="none"))


def own_epoch(split: Split, config: Config, workers: int) -> Callable[[], object]:
    """An epoch of `split` by our loader."""
    loader = Loader(BATCH, config.crop, workers, timeout_seconds=600)
    smallest, largest = config.train_scale.S
    draws = draw_epoch(len(split), (scaled_px(smallest, config.crop), scaled_px(largest, config.crop)), 0, 0)
    return lambda: sum(len(batch.labels_N) for batch in loader.batches(split, draws, 0))


def data_row(what: str, workers: int, config: Config, seconds: float) -> Measurement:
    """The figures of an epoch that takes `seconds`."""
    what, rate = what if workers == 1 else f"{what}, {workers} workers", IMAGES_A_ROUND / seconds
    rates = {"images_per_second": rate, "images_per_second_per_core": rate / workers}
    return Measurement("data", what, config.model.name, seconds, image_px=config.crop, **rates)  # type: ignore[arg-type]
