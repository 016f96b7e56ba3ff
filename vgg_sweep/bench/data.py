"""`bench data`: how fast training images come, beside torchvision's and timm's ways to the same files.

The files lie in memory, so that decoding and augmentation are measured and not a disk. Ours hands over uint8 crops, as
the colour shift and the mean are taken on the device; the others hand over normalised floats.
"""

import io
import random
import tarfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from vgg_sweep.bench.timing import Progress, Row, take_turns
from vgg_sweep.config.schema import Config, Data
from vgg_sweep.errors import ConfigError
from vgg_sweep.images.decode import BadImage, decoded, size_px
from vgg_sweep.images.files import image_files
from vgg_sweep.images.sets.splits import Split
from vgg_sweep.images.views.augment import Draws, draw_epoch
from vgg_sweep.images.views.loader import Loader, draw_view
from vgg_sweep.protocols.methods import scaled_px

BATCH = 32
NUM_WORKERS = (1, 2)
IMAGES_A_ROUND = 240
MOST_FILES = 1000
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def bench_data(config: Config, seconds: float, progress: Progress) -> list[Row]:
    """Training views of the images in `data.root`, a folder or a tar, with S and the crop of `config`.

    All ways take turns. Raises `ConfigError` if there are no images.
    """
    files = _files(config.data.root)
    S_px = (scaled_px(config.train_scale.S[0], config.crop), scaled_px(config.train_scale.S[1], config.crop))
    labels_N = np.zeros(IMAGES_A_ROUND, np.int64)
    ids = [str(index) for index in range(IMAGES_A_ROUND)]
    exact = Split(ids, labels_N, lambda index: files[index % len(files)], Data(cache="none"))
    rows = []
    for workers in NUM_WORKERS:
        progress(f"{len(files)} images, {workers} worker(s): ours and the others take turns")
        works: dict[str, Callable[[], object]] = {
            "ours": _own_epoch(exact, S_px, config.crop, workers),
            "ours, by processes": _own_epoch_by_processes(exact, S_px, config.crop, workers),
            "torchvision": _torchvision_epoch(files, S_px, config.crop, workers),
        }
        if find_spec("timm"):
            works["timm"] = _timm_epoch(files, config.crop, workers)
        works["decoding alone"] = _decoding(files, workers)
        times = take_turns(works, torch.device("cpu"), seconds)
        rows += [_row(what, workers, config, times) for what in works]
    return rows


def _files(root: str | None) -> list[bytes]:
    """The first images under `root`."""
    if root is None:
        raise ConfigError("bench data needs data.root=PATH: a folder or a tar with images, such as some of the set's.")
    path, files = Path(root).expanduser(), []
    if path.is_dir():
        contents = (file.read_bytes() for file in image_files(path))
        files = [data for data, _ in zip(_images(contents), range(MOST_FILES), strict=False)]
    elif path.is_file() and tarfile.is_tarfile(path):
        with tarfile.open(path) as tar:
            members = (tar.extractfile(member) for member in tar if member.isfile())
            contents = (member.read() for member in members if member is not None)
            files = [data for data, _ in zip(_images(contents), range(MOST_FILES), strict=False)]
    if not files:
        raise ConfigError(f"data.root={root} has no images; give a folder or a tar with some.")
    return files


def _images(contents: Iterable[bytes]) -> Iterator[bytes]:
    for data in contents:
        try:
            size_px(data)
        except BadImage:
            continue
        yield data


def _own_epoch(split: Split, S_px: tuple[int, int], crop: int, workers: int) -> Callable[[], object]:
    loader, draws = Loader(BATCH, crop, workers, timeout_seconds=600), draw_epoch(len(split), S_px, 0, 0)
    return lambda: sum(len(batch.labels_N) for batch in loader.batches(split, draws, 0))


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
        draw_view(view_HWC, self.split, self.draws, index)
        return torch.from_numpy(view_HWC), 0


def _own_epoch_by_processes(split: Split, S_px: tuple[int, int], crop: int, workers: int) -> Callable[[], object]:
    """What our loader would be with processes in the place of threads."""
    dataset = _Views(split, draw_epoch(len(split), S_px, 0, 0), crop)
    return _epoch(DataLoader(dataset, BATCH, num_workers=workers, persistent_workers=True))


@dataclass
class _Files(Dataset[tuple[Any, int]]):
    """Files in memory, as torchvision's and timm's loaders take them: several times over."""

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
    return _epoch(DataLoader(_Files(files, chain), BATCH, shuffle=True, num_workers=workers, persistent_workers=True))


def _timm_epoch(files: Sequence[bytes], crop: int, workers: int) -> Callable[[], object]:
    """timm's own augmentation, a crop of random size and aspect, without the colour jitter that it adds by default."""
    from timm.data.loader import create_loader

    dataset: Any = _Files(files, None)
    return _epoch(
        create_loader(
            dataset,
            crop,
            BATCH,
            is_training=True,
            color_jitter=0.0,
            num_workers=workers,
            use_prefetcher=False,
            persistent_workers=True,
            device=torch.device("cpu"),
        )  # fmt: skip
    )


def _epoch(loader: Any) -> Callable[[], object]:
    return lambda: sum(len(labels_N) for _, labels_N in loader)


def _decoding(files: Sequence[bytes], workers: int) -> Callable[[], object]:
    """The limit of every way that decodes whole images."""

    def work() -> None:
        with ThreadPoolExecutor(workers) as pool:
            for _ in pool.map(lambda index: decoded(files[index % len(files)]).size, range(IMAGES_A_ROUND)):
                pass

    return work


def _row(what: str, workers: int, config: Config, times: dict[str, float]) -> Row:
    return Row(
        bench="data",
        what=what if workers == 1 else f"{what}, {workers} workers",
        config=config.model.name,
        image_px=config.crop,
        batch=None,
        micro_batch=None,
        precision="",
        layout="",
        compile=False,
        device="",
        seconds=times[what],
        images_per_second=IMAGES_A_ROUND / times[what],
        images_per_second_per_core=IMAGES_A_ROUND / times[what] / workers,
        speedup=times["torchvision"] / times[what],
    )
