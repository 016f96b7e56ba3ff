"""`make bench-report`: time and peak memory of a first and a second report on synthetic sweeps of growing size.

Each report is a process of its own, as a user starts it. `python -m tests.bench.report --help` lists the options.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice, product
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from tests.sweeps import EVERYTHING, Spec, make_run, write_posteriors

RATES = (0.01, 0.02, 0.005)
"""The synthetic sweep has the fourteen nets at these learning rates, in as many seeds as it takes."""

DENSE = ("dense@single", "dense@multi")


@dataclass(frozen=True)
class Cost:
    """What a command took."""

    seconds: float
    peak_MB: float


def measured(words: Sequence[str]) -> Cost:
    """Run a command, which must succeed; its output is dropped."""
    start = time.perf_counter()
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(words)} ended with {process.returncode}")
    return Cost(time.perf_counter() - start, usage.ru_maxrss / 1e3)


def report(sweep: Path) -> Cost:
    return measured([sys.executable, "-m", "vgg_sweep", "report", str(sweep), "--format", "json"])


def disk_bytes(sweep: Path) -> int:
    return sum(file.stat().st_size for file in sweep.rglob("*.npy"))


def many_runs(sweep: Path, num_runs: int, num_images: int, num_classes: int) -> None:
    """The first `num_runs` of seeds x learning rates x nets."""
    for seed, lr, net in islice(product(range(num_runs), RATES, EVERYTHING), num_runs):
        spec = Spec(num_images, num_classes, passes=DENSE, settings={"recipe.lr": lr})
        make_run(sweep, *net, seed=seed, spec=spec)


def large_run(sweep: Path, num_images: int, num_classes: int) -> None:
    """One run of D-jitter with three Q of dense evaluation and flip: six files of float32 [N, K]."""
    folder = make_run(sweep, "D", "jitter", spec=Spec(num_images=10, passes=DENSE))
    rng = np.random.default_rng(0)
    posteriors_NK = rng.random((num_images, num_classes), dtype=np.float32)
    posteriors_NK /= posteriors_NK.sum(axis=1, keepdims=True)
    files = {("dense", Q, flip): posteriors_NK for Q in (73, 110, 146) for flip in (False, True)}
    for path in (folder / "posteriors").iterdir():
        path.unlink()
    write_posteriors(folder, files, np.arange(num_images) % num_classes)


def made_apart(make: Callable[..., None], *arguments: object) -> None:
    """Make a sweep in a process of its own: what a report's parent holds would count as the report's memory."""
    process = get_context("spawn").Process(target=make, args=arguments)
    process.start()
    process.join()
    if process.exitcode:
        raise SystemExit(f"{make.__name__} ended with {process.exitcode}")


def line(what: str, sweep: Path) -> None:
    """Measure a first and a second report and print them."""
    first, second = report(sweep), report(sweep)
    read_MB = disk_bytes(sweep) / 1e6
    print(
        f"{what:>34}  {read_MB:9.0f}  {first.seconds:9.2f}  {second.seconds:9.2f}  "
        f"{first.peak_MB:9.0f}  {second.peak_MB:9.0f}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, nargs="*", default=[10, 100, 1000], help="sizes of the sweeps")
    parser.add_argument("--images", type=int, default=500, help="validation images of their runs")
    parser.add_argument("--classes", type=int, default=20)
    parser.add_argument(
        "--large", type=int, nargs=2, default=[50_000, 1000], metavar=("N", "K"), help="of one large run"
    )
    asked = parser.parse_args()
    print(f"{'':>34}  {'posteriors':>9}  {'first, s':>9}  {'second, s':>9}  {'peak, MB':>9}  {'peak, MB':>9}")
    with tempfile.TemporaryDirectory() as scratch:
        for num_runs in asked.runs:
            sweep = Path(scratch) / str(num_runs)
            made_apart(many_runs, sweep, num_runs, asked.images, asked.classes)
            line(f"{num_runs} runs of {asked.images} x {asked.classes}", sweep)
            shutil.rmtree(sweep)
        sweep = Path(scratch) / "large"
        made_apart(large_run, sweep, *asked.large)
        line("1 run of {} x {}".format(*asked.large), sweep)


if __name__ == "__main__":
    main()
