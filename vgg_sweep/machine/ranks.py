"""The processes that work on one run together (Sect. 3.3): each takes a share of every batch; sums are those of one.

They are started by torchrun, or by `devices=N`; a process on its own is rank 0 of 1. The process group is made once and
serves all runs of the process.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import numpy as np
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from vgg_sweep.errors import ConfigError
from vgg_sweep.machine.launch import num_processes
from vgg_sweep.runs.progress import Reporter

T = TypeVar("T")
PARENT = os.getppid()


@dataclass(frozen=True)
class Ranks:
    """This process among those that work on the same run. Only rank 0 writes."""

    rank: int
    num_ranks: int

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    @property
    def are_many(self) -> bool:
        return self.num_ranks > 1

    def share(self, rows: range) -> range:
        """This rank's part of `rows`: the parts are disjoint, cover them, and differ by one row at most."""
        first, last = (edge * len(rows) // self.num_ranks for edge in (self.rank, self.rank + 1))
        return rows[first:last]

    def sum(self, *values: float) -> list[float]:
        """Each value summed over all ranks."""
        if not self.are_many:
            return list(values)
        total = torch.tensor(values, dtype=torch.float64, device="cuda" if dist.get_backend() == "nccl" else "cpu")
        dist.all_reduce(total)
        sums: list[float] = total.tolist()
        return sums

    def any(self, flag: bool) -> bool:
        """Whether `flag` holds in any rank."""
        return self.sum(flag)[0] > 0

    def must_stop(self, reporter: Reporter) -> bool:
        """Whether all ranks stop here, since one of them was asked to before it came here; who is asked meanwhile goes
        on to the next call with the others. A rank whose launcher was killed is asked: nobody else would end it.
        """
        if self.are_many and os.getppid() != PARENT:
            reporter.stop_requested = reporter.stop_requested or "the end of its launcher"
        if must_stop := self.any(reporter.stop_requested is not None):
            reporter.stop_requested = reporter.stop_requested or "a signal to another of its processes"
        return must_stop

    def wait(self) -> None:
        """Go on when all ranks have come here."""
        self.sum(0)

    def gather(self, rows: np.ndarray) -> np.ndarray | None:
        """The rows of all ranks in their order, at rank 0; None elsewhere."""
        if not self.are_many:
            return rows
        parts = [rows] * self.num_ranks if self.is_first else None
        dist.gather_object(rows, parts)
        return np.concatenate(parts) if parts else None

    def agree(self, choose: Callable[[], T]) -> T:
        """What rank 0 chooses, in every rank."""
        if not self.are_many:
            return choose()
        chosen: list[Any] = [choose() if self.is_first else None]
        dist.broadcast_object_list(chosen)
        return cast("T", chosen[0])

    def wrap(self, net: nn.Module) -> nn.Module:
        """`net` with its gradients averaged over the ranks by each backward pass."""
        return DistributedDataParallel(net, broadcast_buffers=False) if self.are_many else net


ALONE = Ranks(0, 1)


def join_ranks(device: str) -> Ranks:
    """This process's rank, as torchrun's environment tells it. Joins the process group the first time: NCCL on GPUs,
    else gloo. Raises `ConfigError` if there are more processes than GPUs.
    """
    num_ranks = num_processes()
    if num_ranks == 1:
        return ALONE
    if not dist.is_initialized():
        on_gpus = torch.cuda.is_available() and device in ("auto", "cuda")
        if on_gpus:
            local_rank, num_gpus = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
            if local_rank >= num_gpus:
                raise ConfigError(f"there are more processes than the {num_gpus} GPUs here; use devices={num_gpus}.")
            torch.cuda.set_device(local_rank)  # which device=cuda then means
        dist.init_process_group("nccl" if on_gpus else "gloo")
    return Ranks(dist.get_rank(), num_ranks)
