"""The last step of `make test`: has a fast path become slow? Compares speedups within this run, never seconds.

`STORED` holds what was measured when the path was made, on two quiet cores with AVX2 (docs/benchmarks.md). A path fails
when three attempts in a row give less than `MARGIN` of it: far below what a busy machine does to a ratio.
    python -m tests.bench.guard
"""

import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import torch

from tests.bench.beside import score_beside
from tests.bench.lrn import bench_lrn
from tests.tiny import tiny_config
from vgg_sweep.bench.timing import Effort, Measurement

STORED = {"LRN, forward and backward": 3.0, "150 crops against a loop": 3.0}
MARGIN = 0.5
ATTEMPTS = 3


def main() -> int:
    torch.set_num_threads(1)  # two threads that wait for each other measure the neighbours
    slow = dict.fromkeys(STORED, True)
    for _ in range(ATTEMPTS):
        for name, speedup in _speedups().items():
            print(f"{name}: {speedup:.1f} times as fast; {STORED[name]:.1f} when it was made")
            slow[name] = slow[name] and speedup < MARGIN * STORED[name]
        if not any(slow.values()):
            return 0
    print(
        f"slower than {MARGIN:.0%} of what it was, {ATTEMPTS} times: {', '.join(name for name in slow if slow[name])}"
    )
    return 1


def _speedups() -> dict[str, float]:
    with tempfile.TemporaryDirectory() as scratch:
        config = tiny_config(Path(scratch))
    lrn = bench_lrn(replace(config, crop=112), Effort(3, 0), lambda what: None)
    crops = score_beside(replace(config, crop=64, width=1 / 16), 20, Effort(3, 0), lambda what: None)
    return {"LRN, forward and backward": _own(lrn, "ours"), "150 crops against a loop": _own(crops, "ours, multi-crop")}


def _own(rows: list[Measurement], what: str) -> float:
    return next(row.speedup for row in rows if row.what == what and row.speedup is not None)


if __name__ == "__main__":
    sys.exit(main())
