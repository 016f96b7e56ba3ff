"""Batches of training views, prepared by threads while the net computes.

Pillow decodes and rescales outside Python's lock.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from queue import SimpleQueue

import numpy as np
import torch

from vgg_sweep.config import RunError
from vgg_sweep.images.augment import Draws, training_view
from vgg_sweep.images.splits import Split

BATCHES_AHEAD = 2


@dataclass(frozen=True)
class Batch:
    """The images of an effective batch that fall to this process."""

    images_NCHW: torch.Tensor
    """uint8, in channels-last memory."""
    labels_N: torch.Tensor
    alpha_NC: torch.Tensor
    rows: range
    """Places of these images in the effective batch."""
    size: int
    """Images of the effective batch."""
    mean_S_px: float
    """Of the effective batch."""


@dataclass(frozen=True)
class Loader:
    """How batches are made: `share` is the part of a batch's rows that falls to this process."""

    batch_size: int
    crop: int
    workers: int
    timeout_seconds: float
    pin_memory: bool
    share: Callable[[range], range]

    def batches(self, split: Split, draws: Draws, first: int) -> Iterator[Batch]:
        """The epoch's batches from number `first` on, in the order of the draws; the last one may be smaller.

        Raises `RunError` naming an image that cannot be read, or not in time.
        """
        pool = _Threads(self.workers)
        ahead: deque[tuple[torch.Tensor, range, list[Future[np.ndarray]]]] = deque()
        try:
            for start in range(first * self.batch_size, len(split), self.batch_size):
                indices = draws.order_N[start : start + self.batch_size]
                rows = self.share(range(len(indices)))
                own = indices[rows.start : rows.stop].tolist()
                ahead.append((indices, rows, [pool.submit(_view, split, draws, index, self.crop) for index in own]))
                if len(ahead) > BATCHES_AHEAD:
                    yield self._batch(split, draws, *ahead.popleft())
            while ahead:
                yield self._batch(split, draws, *ahead.popleft())
        finally:
            pool.close()

    def _batch(self, split: Split, draws: Draws, indices: torch.Tensor, rows: range, views: "_Views") -> Batch:
        own = indices[rows.start : rows.stop]
        images_NHWC = torch.from_numpy(np.stack([self._view(*pair, split) for pair in zip(own, views, strict=True)]))
        labels_N = torch.from_numpy(split.labels_N[own.numpy()])
        if self.pin_memory:
            images_NHWC, labels_N = images_NHWC.pin_memory(), labels_N.pin_memory()
        mean_S_px = float(draws.S_N[indices].double().mean())
        return Batch(images_NHWC.permute(0, 3, 1, 2), labels_N, draws.alpha_NC[own], rows, len(indices), mean_S_px)

    def _view(self, index: torch.Tensor, view: Future[np.ndarray], split: Split) -> np.ndarray:
        try:
            return view.result(self.timeout_seconds)
        except TimeoutError as error:
            raise RunError(
                f"{split.ids[int(index)]} was not there after {self.timeout_seconds:g} s: its disk may hang; copy the "
                "set to a local disk, or allow more by data_timeout_seconds. The same command goes on from the last "
                "checkpoint."
            ) from error


_Views = list[Future[np.ndarray]]


class _Threads:
    """Threads that a reading which never returns does not keep the process from ending, as those of
    `ThreadPoolExecutor` would.
    """

    def __init__(self, num_threads: int) -> None:
        self._tasks: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._is_closed = False
        self._num_threads = num_threads
        for _ in range(num_threads):
            threading.Thread(target=self._work, daemon=True).start()

    def submit(self, function: Callable[..., np.ndarray], *arguments: object) -> Future[np.ndarray]:
        """Have a thread call the function; without threads it is called at once."""
        future: Future[np.ndarray] = Future()

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


def _view(split: Split, draws: Draws, index: int, crop: int) -> np.ndarray:
    y, x = draws.place_N2[index].tolist()
    return training_view(
        split.image(index),
        int(draws.S_N[index]),
        (y, x),
        bool(draws.flip_N[index]),
        crop,
    )
