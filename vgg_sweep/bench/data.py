"""`bench data`: how fast training images come. The files lie in memory, so that no disk is measured."""

import tarfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from vgg_sweep.bench.timing import Effort, Progress, Row, take_turns
from vgg_sweep.config.schema import Config, Data
from vgg_sweep.errors import ConfigError
from vgg_sweep.images.decode import BadImage, size_px
from vgg_sweep.images.files import image_files
from vgg_sweep.images.sets.splits import Split
from vgg_sweep.images.views.augment import draw_epoch
from vgg_sweep.images.views.loader import Loader
from vgg_sweep.protocols.methods import scaled_px

BATCH = 32
NUM_WORKERS = (1, 2)
IMAGES_A_ROUND = 240
MOST_FILES = 1000


def bench_data(config: Config, effort: Effort, progress: Progress) -> list[Row]:
    """Training views of the images in `data.root`, a folder or a tar, with S and the crop of `config`.

    Raises `ConfigError` if there are no images.
    """
    files = files_in(config.data.root)
    rows = []
    for workers in NUM_WORKERS:
        progress(f"{len(files)} images, {workers} worker(s)")
        times = take_turns({"ours": own_epoch(split_of(files), config, workers)}, torch.device("cpu"), effort)
        rows.append(data_row("ours", workers, config, times["ours"]))
    return rows


def files_in(root: str | None) -> list[bytes]:
    """The first images under `root`."""
    if root is None:
        raise ConfigError("bench data needs data.root=PATH: a folder or a tar with images, such as some of the set's.")
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


def data_row(what: str, workers: int, config: Config, seconds: float) -> Row:
    """The figures of an epoch that takes `seconds`."""
    return Row(
        bench="data",
        what=what if workers == 1 else f"{what}, {workers} workers",
        config=config.model.name,
        seconds=seconds,
        image_px=config.crop,
        images_per_second=IMAGES_A_ROUND / seconds,
        images_per_second_per_core=IMAGES_A_ROUND / seconds / workers,
    )
