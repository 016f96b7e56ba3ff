"""`devices=N`: one run in N processes, by torchrun's own launcher. Needs no torch itself."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from types import FrameType

from vgg_sweep.progress import STOP_SIGNALS


def num_processes() -> int:
    """How many processes torchrun has started of this command; 1 without it."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_first_process() -> bool:
    """Whether this one writes: all else is the same in every process."""
    return os.environ.get("RANK", "0") == "0"


def launch(folder: Path, log: Path, num_devices: int, *, live: bool) -> int:
    """Work on the run in `folder` by `num_devices` processes and wait for them. Returns torchrun's exit code.

    What asks this process to stop is passed on; torchrun's own words go to `log`.
    """
    words = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={num_devices}"]
    words += ["-m", "vgg_sweep.work", str(folder), *(["--live"] if live else [])]
    with open(log, "ab") as errors:
        process = subprocess.Popen(words, stderr=errors, close_fds=False)  # it keeps the GPUs if this process is killed

    def pass_on(number: int, frame: FrameType | None) -> None:
        process.send_signal(signal.SIGTERM)

    handlers = {number: signal.signal(number, pass_on) for number in STOP_SIGNALS}
    try:
        return process.wait()
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
