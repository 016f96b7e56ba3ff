"""Batches of training views, prepared by threads while the net computes.

Threads suffice: Pillow reads, decodes and rescales outside Python's lock. They share the decoded images, and need
neither /dev/shm nor a copy of the index for each of them. What was measured is in docs/loader.md.

Axes: N images of a batch that fall to this process, C = 3 colours, H W pixels, P positions of the map of a view.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from queue import SimpleQueue

import numpy as np
import torch

from vgg_sweep.errors import RunError
from vgg_sweep.images.decode import BadImage
from vgg_sweep.images.sets.splits import Split
from vgg_sweep.images.views.augment import Draws, training_view
from vgg_sweep.images.views.targets import NO_TARGET, Targets, training_crop
from vgg_sweep.machine.ranks import ALONE, Ranks

BATCHES_AHEAD = 2


@dataclass(frozen=True)
class Batch:
    """This process's images of an effective batch."""

    images_NCHW: torch.Tensor
    """uint8, in channels-last memory."""
    labels_N: torch.Tensor
    alpha_NC: torch.Tensor
    rows: Sequence[int]
    """Of the effective batch, those of these images."""
    size: int
    """Rows of the effective batch."""
    num_images: int
    """Images of the effective batch: fewer than its rows where some could not be decoded and are left out."""
    mean_S_px: float
    """Of the effective batch."""
    targets_NP4: torch.Tensor | None = None
    """What the images teach of boxes (`targets.Targets`), where boxes are learnt."""


@dataclass(frozen=True)
class Loader:
    """How batches are made."""

    batch_size: int
    crop: int
    workers: int
    timeout_seconds: float
    pin_memory: bool = False
    ranks: Ranks = ALONE
    """Who share the rows of a batch."""
    wraps: bool = False
    """Whether the last batch of an epoch is filled up with the epoch's first images."""
    targets: Targets | None = None
    """Where boxes are learnt, what the images of the split teach."""
    filter: str = "bilinear"
    """Of the rescaling to S."""

    def batches(self, split: Split, draws: Draws, first: int) -> Iterator[Batch]:
        """The epoch's batches from number `first` on, in the order of the draws; the last one may be smaller,
        unless it `wraps`.

        Raises `RunError` naming an image that cannot be read, or not in time.
        """
        pool = _Threads(self.workers)
        ahead: deque[Callable[[], Batch]] = deque()
        try:
            for number, indices in enumerate(self.indices(draws, first), start=first):
                side_px = self.targets.side_px(number) if self.targets is not None else self.crop
                ahead.append(self._order(split, draws, indices, side_px, pool))
                if len(ahead) > BATCHES_AHEAD:
                    yield ahead.popleft()()
            while ahead:
                yield ahead.popleft()()
        finally:
            pool.close()

    def indices(self, draws: Draws, first: int) -> Iterator[torch.Tensor]:
        """The images of each effective batch from number `first` on."""
        num_images = len(draws.order_N)
        for start in range(first * self.batch_size, num_images, self.batch_size):
            end = start + self.batch_size
            rows = torch.arange(start, end if self.wraps else min(end, num_images))
            yield draws.order_N[rows % num_images]

    def _order(
        self, split: Split, draws: Draws, indices: torch.Tensor, side_px: int, pool: "_Threads"
    ) -> Callable[[], Batch]:
        """Have the views of this process made, of this side, each straight into the batch's memory. What is returned
        waits for them.
        """
        rows = self.ranks.share(range(len(indices)))
        shape = (len(rows), side_px, side_px, 3)
        images_NHWC = torch.empty(shape, dtype=torch.uint8, pin_memory=self.pin_memory)
        num_positions = len(self.targets.offsets(side_px)) ** 2 if self.targets is not None else 0
        targets_NP4 = torch.from_numpy(np.tile(NO_TARGET, (len(rows), num_positions, 1)))
        seen_N = [
            pool.submit(self.draw_view, split, draws, int(indices[row]), view_HWC, targets_P4)
            for view_HWC, targets_P4, row in zip(images_NHWC.numpy(), targets_NP4.numpy(), rows, strict=True)
        ]
        return partial(self._batch, split, draws, indices, rows, images_NHWC, targets_NP4, seen_N)

    def _batch(
        self, split: Split, draws: Draws, indices: torch.Tensor, rows: Sequence[int], images_NHWC: torch.Tensor,
        targets_NP4: torch.Tensor, futures: list[Future[int | None]],
    ) -> Batch:  # fmt: skip
        own, num_images = indices[list(rows)], len(indices)
        seen_N = [self._result(future, split.ids[i]) for future, i in zip(futures, own.tolist(), strict=True)]
        there = [row for row, image in enumerate(seen_N) if image is not None]
        if not there:
            raise RunError(
                f"none of {len(own)} images of a batch can be decoded: `vgg-sweep data check` lists them; fix some, "
                "or use data.on_bad_image=substitute."
            )
        if len(there) < len(own):
            images_NHWC, targets_NP4 = images_NHWC[there], targets_NP4[there]
            own, rows = own[there], [rows[row] for row in there]
        if split.settings.on_bad_image == "skip":
            num_images = round(self.ranks.sum(len(there))[0])
        labels_N = torch.from_numpy(split.labels_N[[image for image in seen_N if image is not None]])
        return Batch(
            images_NHWC.permute(0, 3, 1, 2),
            labels_N.pin_memory() if self.pin_memory else labels_N,
            draws.alpha_NC[own],
            rows,
            len(indices),
            num_images,
            mean_S_px=float(draws.S_N[indices].double().mean()),
            targets_NP4=targets_NP4 if self.targets is not None else None,
        )

    def draw_view(
        self, split: Split, draws: Draws, index: int, view_HWC: np.ndarray, targets_P4: np.ndarray = NO_TARGET
    ) -> int | None:
        """Put the view of image `index` into `view_HWC`, and what it teaches into `targets_P4` where boxes are learnt.

        Returns the image that is seen: another one where a substitute stands in, None if the image is left out.
        """
        for candidate in _candidates(split, index):
            if candidate in split.bad:
                continue
            try:
                image = split.image(candidate)
            except BadImage as error:
                split.leave_out(candidate, error)
                continue
            offset_2 = (float(draws.offset_N2[index, 0]), float(draws.offset_N2[index, 1]))
            S_px, flip, side_px = int(draws.S_N[index]), bool(draws.flip_N[index]), view_HWC.shape[0]
            view_HWC[:] = training_view(image, S_px, offset_2, flip, side_px, self.filter)
            if self.targets is not None:
                targets_P4[:] = self.targets.of(candidate, training_crop(image.size, S_px, offset_2, flip, side_px))
            return candidate
        return None

    def _result(self, seen: Future[int | None], id: str) -> int | None:
        try:
            return seen.result(self.timeout_seconds)
        except TimeoutError as error:
            raise RunError(
                f"{id} was not read within {self.timeout_seconds:g} s: its disk may hang; copy the set to a local "
                "disk, or raise data_timeout_seconds. The same command continues from the last checkpoint."
            ) from error


class _Threads:
    """Threads that, unlike those of `ThreadPoolExecutor`, let the process end while a read hangs."""

    def __init__(self, num_threads: int) -> None:
        self._tasks: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._is_closed = False
        self._num_threads = num_threads
        for _ in range(num_threads):
            threading.Thread(target=self._work, daemon=True).start()

    def submit(self, function: Callable[..., int | None], *arguments: object) -> Future[int | None]:
        """Have a thread call the function; without threads it is called at once."""
        future: Future[int | None] = Future()

        def task() -> None:
            try:
                future.set_result(function(*arguments))
            except BaseException as error:
                future.set_exception(error)

        self._tasks.put(task) if self._num_threads else task()
        return future

    def close(self) -> None:
        """Let the threads end after what they are doing now."""
        self._is_closed = True
        for _ in range(self._num_threads):
            self._tasks.put(None)

    def _work(self) -> None:
        while (task := self._tasks.get()) is not None:
            if not self._is_closed:
                task()


def _candidates(split: Split, index: int) -> Iterator[int]:
    yield index
    if split.settings.on_bad_image == "substitute":
        yield from ((index + step) % len(split) for step in range(1, len(split)))
