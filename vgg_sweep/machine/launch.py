"""`devices=N`: one run in N processes, by torchrun's own launcher; and this process's CPUs. Needs no torch itself."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from types import FrameType

from vgg_sweep.runs.progress import STOP_SIGNALS, WARNINGS


def num_processes() -> int:
    """How many processes torchrun has started of this command; 1 without it."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_first_process() -> bool:
    """Whether this one writes: all else is the same in every process."""
    return os.environ.get("RANK", "0") == "0"


def launch(folder: Path, log: Path, num_devices: int, *, live: bool) -> int:
    """Work on the run in `folder` by `num_devices` processes and wait for them. Returns torchrun's exit code.

    What asks this process to stop is passed on, once; torchrun's own words go to `log`.
    """
    words = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={num_devices}"]
    words += ["-m", "vgg_sweep.sweep.work", str(folder), *(["--live"] if live else [])]
    was_passed_on = False

    def pass_on(number: int, frame: FrameType | None) -> None:
        nonlocal was_passed_on
        if not was_passed_on:
            was_passed_on = True
            process.send_signal(signal.SIGTERM)

    handlers = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    for number in WARNINGS:  # Slurm warns torchrun as well, which would die of it: it ignores what is ignored here
        signal.signal(number, signal.SIG_IGN)
    with open(log, "ab") as errors:
        process = subprocess.Popen(words, stderr=errors, close_fds=False)  # it keeps the GPUs if this process is killed
    for number in STOP_SIGNALS:
        signal.signal(number, pass_on)
    try:
        return process.wait()
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def num_cpus() -> int:
    """How many this process may use; where the system does not say, as on macOS and Windows, all there are."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
