"""Processes that are ready at once: forked from one that has imported what a run needs, which takes two seconds."""

import multiprocessing
import sys
from multiprocessing.process import BaseProcess
from pathlib import Path

from vgg_sweep.sweep import work

FORKED = multiprocessing.get_context("forkserver")
FORKED.set_forkserver_preload(["tests.conftest", "vgg_sweep.sweep.attempt"])


def start_worker(folder: Path) -> BaseProcess:
    """A process that works on the run in `folder`, as `python -m vgg_sweep.sweep.work` does."""
    worker = FORKED.Process(target=_work, args=(folder,))
    worker.start()
    return worker


def _work(folder: Path) -> None:
    sys.exit(work.main(folder))
