"""`vgg_sweep.load_results`: the errors of a sweep in plain types, the same in a notebook, CSV, JSON and Parquet."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from vgg_sweep.plan.commands import schema_defaults
from vgg_sweep.report.results.results import read_results

COLUMNS = {
    "sweep": "the folder, as it was given",
    "run_id": "the run; of a fusion, its runs joined by ` + `",
    "config": "the net, such as D; of a fusion, its nets",
    "train_scale": "256, 384, jitter ...",
    "seed": "the seed; missing for a fusion of several",
    "settings": "the settings in which the runs of this sweep differ, in one text",
    "fusion": "what a fusion is called; empty for one net",
    "members": "net and train scale of each net, such as `D-jitter + E-jitter`",
    "method": "dense, multi-crop, multi-crop & dense, centre-crop or ten-crop",
    "rule": "single or multi, the paper's rules of Q; other for one Q of its own",
    "test_scales": "every Q in pixels, with spaces between: `64 73 82`",
    "S": "smallest and largest S in pixels: `73 146`; missing for a fusion",
    "crop": "side of a training crop in pixels",
    "top1_error": "in percent",
    "top1_low": "lower end of its 95 % interval over images",
    "top1_high": "upper end",
    "top5_error": "in percent; missing with fewer than five classes",
    "top5_low": "lower end of its 95 % interval over images",
    "top5_high": "upper end",
    "mean_class_recall": "share of right images in percent, each class counted the same",
    "n_images": "validation images",
    "n_classes": "classes",
    "top1_wrong": "the numbers of the images that are wrong, with spaces between, in the order of `report --images`",
    "stuck_at_chance": "whether the net learned nothing",
    "bad_images": "images left out because they could not be decoded",
    "params": "parameters",
    "train_seconds": "training, in seconds",
    "step_seconds": "a training step",
    "peak_memory_bytes": "of training",
    "device_name": "what it was trained on",
    "precision": "in which it was trained",
    "lrn_factor_spread": "how much LRN's factor varies, for nets with LRN",
    "scored_on": "fingerprint of images, labels and classes: errors with the same one are on the same images",
}
"""The columns of `load_results`, beside one for each setting that is not the default in some run: what they hold."""


def load_results(sweep: str | Path, fuse: Sequence[str] = ()) -> pd.DataFrame:
    """All errors of a sweep folder: a row for each run and protocol, and for the fusions of Table 6 and those named in
    `fuse`. `COLUMNS` says what the columns hold.

    Every value is a number, a truth value or text. Raises `RunError` where there is nothing to report or runs of the
    same settings cannot be compared, `ConfigError` for an unknown run in `fuse`.
    """
    results = read_results(sweep, fuse)
    wrong = [" ".join(map(str, np.flatnonzero(misses.unpack()))) for misses in results["top1_misses"]]
    results = results.assign(top1_wrong=wrong).astype({"lrn_factor_spread": float})  # also where there is none
    settings = [name for name in results if name in schema_defaults() and name not in COLUMNS]
    return plain(results[[*COLUMNS, *settings]])


def plain(frame: pd.DataFrame) -> pd.DataFrame:
    """With text in place of tuples, in every format alike: `64 73 82`, and `73; 101 110` for several of them."""
    return frame.map(_plain)


def _plain(value: Any) -> Any:
    if not isinstance(value, tuple):
        return value
    return ("; " if any(isinstance(each, tuple) for each in value) else " ").join(str(_plain(each)) for each in value)
