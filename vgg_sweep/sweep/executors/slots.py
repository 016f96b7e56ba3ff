"""The slots of this machine: the cores and GPUs that each run of a sweep has to itself."""

import fcntl
import os
import subprocess
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from vgg_sweep.config.schema import Config
from vgg_sweep.errors import ConfigError
from vgg_sweep.plan.runs import Run

SMALL_NET_PX = 64
"""Nets whose width times crop is less than this leave cores idle when they have several."""


@dataclass(frozen=True)
class Slot:
    """Room for one run at a time: CPU threads for each of its processes, and GPUs that it has alone unless `shared`."""

    threads: int
    gpus: tuple[str, ...] = ()
    shared: bool = False

    @property
    def environment(self) -> dict[str, str]:
        limits = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(self.threads))
        return limits | {"CUDA_VISIBLE_DEVICES": ",".join(self.gpus)} if self.gpus else limits


def slots(config: Config, runs: Sequence[Run], num_cores: int, gpus: Sequence[str]) -> list[Slot]:
    """The slots for the `runs` that are left to do, on a machine with `num_cores` and `gpus`; `config` has `jobs`,
    `device`, `devices` and `threads`.

    `jobs=auto` is a run for each GPU, or for each `devices` GPUs, or for each core if the nets are small: two processes
    of one thread each got 1.2 times as much done as one of two threads. A greater number asks for runs that share GPUs.
    Raises `ConfigError` if a run wants more GPUs than there are.
    """
    if config.device not in ("auto", "cuda"):  # a GPU named by the user is found by the run under the same name
        gpus = ()
    if gpus and config.devices > len(gpus):
        raise ConfigError(f"devices={config.devices} is more than the {len(gpus)} GPUs here; use devices={len(gpus)}.")
    groups = [tuple(gpus[first : first + config.devices]) for first in range(0, len(gpus), config.devices)]
    groups = [group for group in groups if len(group) == config.devices] or [()]
    if config.jobs != "auto":
        num_jobs = int(config.jobs)
    elif gpus:
        num_jobs = len(groups)
    elif config.device in ("auto", "cpu") and config.width * config.crop < SMALL_NET_PX:
        num_jobs = max(1, num_cores // (max(1, config.threads) * config.devices))
    else:
        num_jobs = 1
    num_jobs = min(num_jobs, most_at_once(runs))
    threads = config.threads or max(1, num_cores // (num_jobs * config.devices))
    shared = bool(gpus) and num_jobs > len(groups)
    return [Slot(threads, groups[job % len(groups)], shared) for job in range(num_jobs)]


def most_at_once(runs: Sequence[Run]) -> int:
    """How many of `runs` could run at the same time at most: the largest generation."""
    wanted = {run.id for run in runs}
    generation: dict[str, int] = {}
    for run in runs:
        waits = run.parent is not None and run.parent.id in wanted
        generation[run.id] = generation[run.parent.id] + 1 if waits and run.parent is not None else 0
    return max(Counter(generation.values()).values(), default=1)


def visible_gpus() -> list[str]:
    """The GPUs this process may use, in the words of CUDA_VISIBLE_DEVICES."""
    if (visible := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return [gpu for gpu in visible.split(",") if gpu]
    try:
        listing = subprocess.run(["nvidia-smi", "--list-gpus"], capture_output=True, text=True, check=True).stdout
    except (FileNotFoundError, subprocess.CalledProcessError):
        return []
    return [str(index) for index in range(sum(line.startswith("GPU") for line in listing.splitlines()))]


def hold_gpus(slot: Slot) -> list[IO[str]] | None:
    """The locked files that keep others off the GPUs of `slot`; None if another has one of them."""
    locks: list[IO[str]] = []
    for gpu in slot.gpus:
        name = f"vgg-sweep-{os.getuid()}-gpu-{gpu.replace('/', '_')}.lock"
        locks.append(open(Path(tempfile.gettempdir()) / name, "w", encoding="utf-8"))
        try:
            fcntl.flock(locks[-1], (fcntl.LOCK_SH if slot.shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            for lock in locks:
                lock.close()
            return None
    return locks
