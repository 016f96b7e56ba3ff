"""`make bench-data`: our ways of reading training images beside torchvision's and timm's, all taking turns.

Beyond what `vgg-sweep bench data` measures: our views by processes in the place of threads, torchvision's way and
timm's. Ours hands over uint8 crops, as the colour shift and the mean are taken on the device; the others hand over
normalised floats.
    python -m tests.bench.loaders data.root=DIR_OR_TAR train_scale=jitter
"""

import io
import random
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from PIL import Image
from rich.console import Console
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from vgg_sweep.bench.bench import table
from vgg_sweep.bench.measures import (
    BATCH,
    IMAGES_A_ROUND,
    NUM_WORKERS,
    data_row,
    files_in,
    own_epoch,
    split_of,
)
from vgg_sweep.bench.timing import THOROUGH, Announce, Effort, Measurement, take_turns
from vgg_sweep.cli import compose
from vgg_sweep.config.schema import Config
from vgg_sweep.images.decode import decoded
from vgg_sweep.images.sets.splits import Split
from vgg_sweep.images.views.augment import Draws, draw_epoch
from vgg_sweep.images.views.loader import Loader
from vgg_sweep.protocols.methods import scaled_px

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def bench_loaders(config: Config, effort: Effort, progress: Announce) -> list[Measurement]:
    """Every way to the images in `data.root`, with speedups over torchvision's."""
    files, rows = files_in(config.data.root), []
    split, crop = split_of(files), config.crop
    S_px = (scaled_px(config.train_scale.S[0], crop), scaled_px(config.train_scale.S[1], crop))
    for workers in NUM_WORKERS:
        works = {
            "ours": own_epoch(split, config, workers),
            "ours, by processes": _by_processes(split, S_px, crop, workers),
            "torchvision": _torchvision_epoch(files, S_px, crop, workers),
        }
        if find_spec("timm"):
            works["timm"] = _timm_epoch(files, crop, workers)
        works["decoding alone"] = decoding(files, workers)
        progress(f"{len(files)} images, {workers} worker(s): {', '.join(works)} take turns")
        times = take_turns(works, torch.device("cpu"), effort)
        rows += [
            replace(data_row(what, workers, config, seconds), speedup=times["torchvision"] / seconds)
            for what, seconds in times.items()
        ]
    return rows


@dataclass
class _Views(Dataset[tuple[torch.Tensor, int]]):
    """Our views as torch's loader takes them."""

    split: Split
    draws: Draws
    crop: int

    def __len__(self) -> int:
        return len(self.split)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        view_HWC = np.empty((self.crop, self.crop, 3), np.uint8)
        Loader(BATCH, self.crop, 0, 60).draw_view(self.split, self.draws, index, view_HWC)
        return torch.from_numpy(view_HWC), 0


def _by_processes(split: Split, S_px: tuple[int, int], crop: int, workers: int) -> Callable[[], object]:
    views = _Views(split, draw_epoch(len(split), S_px, 0, 0), crop)
    return _epoch(DataLoader(views, BATCH, num_workers=workers, persistent_workers=True))


@dataclass
class _Files(Dataset[tuple[Any, int]]):
    """Files in memory, as torch's loader takes them: several times over."""

    files: Sequence[bytes]
    transform: Callable[[Image.Image], Any] | None

    def __len__(self) -> int:
        return IMAGES_A_ROUND

    def __getitem__(self, index: int) -> tuple[Any, int]:
        with Image.open(io.BytesIO(self.files[index % len(self.files)])) as file:
            image = file.convert("RGB")
        assert self.transform is not None
        return self.transform(image), 0


@dataclass
class _SmallestSide:
    """torchvision's Resize to a smallest side drawn anew for each image, as the paper's scale jitter is."""

    S_px: tuple[int, int]

    def __call__(self, image: Image.Image) -> Image.Image:
        resized: Image.Image = transforms.functional.resize(image, [random.randint(*self.S_px)])
        return resized


def _torchvision_epoch(files: Sequence[bytes], S_px: tuple[int, int], crop: int, workers: int) -> Callable[[], object]:
    chain = transforms.Compose(
        [
            _SmallestSide(S_px),
            transforms.RandomCrop(crop),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize(MEAN, STD),
        ]
    )
    images = _Files(files, chain)
    return _epoch(DataLoader(images, BATCH, shuffle=True, num_workers=workers, persistent_workers=True))


def _epoch(loader: Any) -> Callable[[], object]:
    return lambda: sum(len(labels_N) for _, labels_N in loader)


def _timm_epoch(files: Sequence[bytes], crop: int, workers: int) -> Callable[[], object]:
    """timm's own augmentation, a crop of random size and aspect, without the colour jitter that it adds by default."""
    from timm.data.loader import create_loader

    images: Any = _Files(files, None)
    return _epoch(
        create_loader(
            images,
            crop,
            BATCH,
            is_training=True,
            color_jitter=0.0,
            num_workers=workers,
            use_prefetcher=False,
            persistent_workers=True,
            device=torch.device("cpu"),
        )
    )


def decoding(files: Sequence[bytes], workers: int) -> Callable[[], object]:
    """As many images as of an epoch, decoded and thrown away: the limit of every way that decodes whole images."""

    def work() -> None:
        with ThreadPoolExecutor(workers) as pool:
            list(pool.map(lambda index: decoded(files[index % len(files)]).size, range(IMAGES_A_ROUND)))

    return work


def main(config: Config) -> None:
    console = Console()
    console.print(table("data", bench_loaders(config, THOROUGH, console.print)))


if __name__ == "__main__":
    compose.run(main, ["data=imagenet", *sys.argv[1:]], compose.Flags())
