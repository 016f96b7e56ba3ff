"""`bench sweep`: twelve runs at once on this machine, as `jobs=auto` places them, beside one after another."""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from vgg_sweep.bench.timing import Progress, Row
from vgg_sweep.errors import RunError

STEPS = 40
"""Of each run: enough that starting a process is not all there is."""
NUM_RUNS = 12


def bench_sweep(progress: Progress) -> list[Row]:
    """Twelve runs of net A on the embedded set, which differ in their seed, `STEPS` steps each, by the real command."""
    times = {}
    with tempfile.TemporaryDirectory() as scratch:
        _multirun(Path(scratch) / "warm-up", 1, ["jobs=1"])  # draws the images
        for what, jobs in (("one after another", "1"), ("ours", "auto")):
            progress(f"{NUM_RUNS} runs, {what}")
            began = time.perf_counter()
            _multirun(Path(scratch) / jobs, NUM_RUNS, [f"jobs={jobs}"])
            times[what] = time.perf_counter() - began
    return [
        Row(
            bench="sweep",
            what=f"{what}, {NUM_RUNS} runs",
            config="A",
            image_px=None,
            batch=None,
            micro_batch=None,
            precision="",
            layout="",
            compile=False,
            device="",
            seconds=seconds,
            speedup=times["one after another"] / seconds,
        )
        for what, seconds in times.items()
    ]


def _multirun(folder: Path, num_runs: int, overrides: list[str]) -> None:
    seeds = ",".join(map(str, range(num_runs)))
    words = ["data=fractals", "model=A", f"seed={seeds}", f"recipe.max_steps={STEPS}", "protocol=single"]
    out = [f"out='{folder}'", f"cache='{folder.parent / 'cache'}'"]
    command = [sys.executable, "-m", "vgg_sweep", "multirun", *words, *out, *overrides]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RunError(f"the sweep to be timed failed: {done.stderr.strip() or done.stdout[-500:]}")
