"""`on_end='COMMAND'`: run a command when runs have ended, however they ended."""

import json
import subprocess
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from vgg_sweep.plan.runs import Run
from vgg_sweep.runs.provenance import typed
from vgg_sweep.sweep.agenda import found_state


@contextmanager
def run_on_end(command: str | None, runs: Sequence[Run]) -> Iterator[None]:
    """Give `command`, to a shell, the summary of `runs` as JSON on its standard input once the block has ended.

    What it says goes where this process writes. How it ends changes nothing.
    """
    began = time.time()
    try:
        yield
    finally:
        if command is not None:
            subprocess.run(command, shell=True, input=json.dumps(summary(runs, began)), text=True, check=False)


def summary(runs: Sequence[Run], began: float) -> dict[str, Any]:
    """What became of `runs`: the command, the seconds since `began`, how many are in each state, and of each its state,
    its last validation error in percent, and why it failed.
    """
    states = {run.id: found_state(run) for run in runs}
    return {
        "command": typed(),
        "seconds": round(time.time() - began, 1),
        "sweeps": sorted({str(run.folder.path.parent) for run in runs}),
        "states": dict(Counter(states.values())),
        "runs": [
            {
                "run": run.id,
                "folder": str(run.folder.path),
                "state": states[run.id],
                "val_error": run.folder.record().get("val_error"),
                "error": run.folder.status().get("error"),
            }
            for run in runs
        ],
    }
