"""`make bench-runs`: twelve runs at once on this machine, as `jobs=auto` places them, beside one after another."""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

STEPS = 40
"""Of each run: enough that starting a process is not all there is."""
NUM_RUNS = 12


def main() -> None:
    """Twelve runs of net A on the embedded set, which differ in their seed, by the real command."""
    times = {}
    with tempfile.TemporaryDirectory() as scratch:
        _multirun(Path(scratch) / "warm-up", 1, ["jobs=1"])  # draws the images
        for jobs in ("1", "auto"):
            began = time.perf_counter()
            _multirun(Path(scratch) / jobs, NUM_RUNS, [f"jobs={jobs}"])
            times[jobs] = time.perf_counter() - began
            print(f"{NUM_RUNS} runs, jobs={jobs}: {times[jobs]:.1f} s", flush=True)
    print(f"{times['1'] / times['auto']:.2f} times as fast")


def _multirun(folder: Path, num_runs: int, overrides: list[str]) -> None:
    seeds = ",".join(map(str, range(num_runs)))
    words = ["data=fractals", "model=A", f"seed={seeds}", f"recipe.max_steps={STEPS}", "protocol=single"]
    out = [f"out='{folder}'", f"cache='{folder.parent / 'cache'}'"]
    command = [sys.executable, "-m", "vgg_sweep", "multirun", *words, *out, *overrides]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"the sweep to be timed failed: {done.stderr.strip() or done.stdout[-500:]}")


if __name__ == "__main__":
    main()
