"""What the sweep engine itself costs: `make bench-sweep`, two minutes; let nothing else run.

The time of a job that does nothing, under the engine and as a bare process, in one run; and of a sweep of 1,000 runs
that are all done already.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from functools import partial
from pathlib import Path
from statistics import median

from omegaconf import DictConfig
from rich.console import Console
from rich.table import Table

from tests.stub import WORKER, finish
from vgg_sweep.cli import compose, sweeper
from vgg_sweep.sweep.agenda import Agenda
from vgg_sweep.sweep.driver import Executor, drive
from vgg_sweep.sweep.executors.process import Processes

NUM_JOBS = 30
NUM_FINISHED = 1000
REPEATS = 3


def main() -> None:
    os.environ["OMP_NUM_THREADS"] = "1"
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("", "seconds", "against it"):
        table.add_column(name, justify="left" if not name else "right")
    with tempfile.TemporaryDirectory() as place:
        engine = _seconds(lambda: _sweep(Path(tempfile.mkdtemp(dir=place)), NUM_JOBS, drive)) / NUM_JOBS
        _sweep(Path(place) / "bare", NUM_JOBS, _do_at_once)
        bare = _seconds(lambda: _bare(Path(place) / "bare")) / NUM_JOBS
        table.add_row("a bare process that does nothing", f"{bare:.3f}", "1.00")
        table.add_row("a job of a sweep that does nothing", f"{engine:.3f}", f"{engine / bare:.2f}")
        finished = Path(place) / "finished"
        _sweep(finished, NUM_FINISHED, _do_at_once)
        empty = _seconds(lambda: _call("-c", "pass"))
        few = _seconds(lambda: _multirun(finished, 1))
        many = _seconds(lambda: _multirun(finished, NUM_FINISHED))
        table.add_row("python -c pass", f"{empty:.3f}", "1.00")
        table.add_row("multirun of 1 run that is done", f"{few:.3f}", f"{few / empty:.1f}")
        table.add_row(f"multirun of {NUM_FINISHED} runs that are done", f"{many:.3f}", f"{many / empty:.1f}")
    Console().print(table)


def _seconds(work: Callable[[], object]) -> float:
    """The median of a few times."""
    times = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return median(times)


def _bare(sweep: Path) -> None:
    """The jobs of a sweep one after another, with nothing around them."""
    for folder in sweep.glob("A-*"):
        (folder / "status.json").unlink(missing_ok=True)
        subprocess.run([*WORKER, str(folder)], check=True)


def _sweep(sweep: Path, number: int, do: Callable[..., None]) -> None:
    """A sweep from the command line on, whose runs are left to `do`."""
    sweeper.drive = do  # type: ignore[assignment]
    sweeper.Processes = partial(Processes, command=WORKER)  # type: ignore[assignment,misc]
    overrides = [f"out={sweep}", "model=A", "jobs=1", f"seed=range({number})"]
    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere):
        compose.multirun(_no_job, overrides, compose.Flags())


def _do_at_once(agenda: Agenda, executor: Executor, *, fail_fast: bool) -> None:
    for run in list(agenda.ready()):
        finish(run.folder, run.config)
        agenda.ends(run)


def _no_job(raw: DictConfig) -> None:
    raise AssertionError("runs have processes of their own")


def _multirun(sweep: Path, number: int) -> None:
    _call("-m", "vgg_sweep", "multirun", f"out={sweep}", "model=A", f"seed=range({number})")


def _call(*words: str) -> None:
    subprocess.run([sys.executable, *words], check=True, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    main()
