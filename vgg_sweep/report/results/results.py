"""A sweep as the report reads it: its runs, and a tidy DataFrame of their errors."""

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from vgg_sweep.config.checks import not_whole
from vgg_sweep.errors import ConfigError, RunError
from vgg_sweep.plan.commands import schema_defaults
from vgg_sweep.plan.configs import config_in
from vgg_sweep.plan.swept import Settings, all_settings, differing_settings
from vgg_sweep.protocols.means import check_same_images
from vgg_sweep.protocols.methods import scaled_px
from vgg_sweep.protocols.metrics import Misses, mean_class_recall, wilson
from vgg_sweep.report.results.errors import ReportedRun, Score, run_scores, scored_runs
from vgg_sweep.report.results.fusion import fused_scores
from vgg_sweep.report.results.localised import BoxRun, Localised, localised
from vgg_sweep.runs.folder import find_nameless, find_runs
from vgg_sweep.runs.prune import are_pruned

_BAD = ("bad_train_images", "bad_val_images")
"""Images that a run went on without because they could not be decoded."""
_COSTS = ("params", "train_seconds", "step_seconds", "peak_memory_bytes", "device_name", "precision")


@dataclass(frozen=True)
class Bundle:
    """What is known of a bundle besides its sweeps."""

    file: Path
    version: str
    """Of the vgg-sweep that packed it."""
    has_posteriors: bool

    def __str__(self) -> str:
        content = "posteriors" if self.has_posteriors else "errors, without the posteriors"
        return f"the bundle {self.file} (packed by vgg-sweep {self.version}, with {content})"


@dataclass(frozen=True)
class Source:
    """A folder with the runs of a sweep, as it was made or from a bundle."""

    folder: Path
    name: str
    fuse: tuple[str, ...] = ()
    """Fusions that were asked for when the bundle was packed."""
    bundle: Bundle | None = None


@dataclass(frozen=True)
class Sweep:
    """The runs of a sweep, scored or not, and the results of those that are."""

    name: str
    """As it was asked for: the folder's path; in a bundle, that of where it was packed."""
    folder: Path
    runs: list[ReportedRun]
    scores: list[Score]
    """Of each run that is scored under each of its protocols, and of fusions."""
    results: pd.DataFrame
    """The scores as a DataFrame: a row for each run, protocol and seed, and for fusions."""
    bundle: Bundle | None
    """What it was read from, if not from its own folder."""
    localised: Localised
    """Its runs that predict boxes, which `runs` has not, and their errors."""


def read_runs(sweep: Path, name: str, has_posteriors: bool = True) -> list[ReportedRun]:
    """Every run folder of the sweep called `name`, scored or not. Raises `ConfigError` if there is none, `RunError` if
    one cannot be read.
    """
    if not sweep.is_dir():
        raise ConfigError(
            f"there is no sweep folder {sweep}; run `vgg-sweep multirun` first, or name the folder of your runs."
        )
    runs = []
    for folder in find_runs(sweep):
        here = has_posteriors and not are_pruned(folder)
        try:
            config = config_in(folder.config)
            run = (BoxRun if config.get("task") == "localise" else ReportedRun)(folder, config, name, here)
            _ = run.slug, run.seed, run.test_scales("multi"), run.overrides  # all that a report needs of it
            runs.append(run)
        except (KeyError, TypeError, ValueError) as error:
            raise not_whole(folder.config, error) from error
    if not runs and (nameless := find_nameless(sweep)):
        ids = ", ".join(folder.id for folder in nameless)
        raise RunError(f"{sweep} holds no run with a config.yaml, but {ids} without; put back copies of these files.")
    if not runs:
        raise ConfigError(f"{sweep} holds no run; run `vgg-sweep multirun` first, or name another folder.")
    return runs


def read_sweeps(sources: Sequence[Source], fuse: Sequence[str], merge: str = "overfeat") -> list[Sweep]:
    """Predicted boxes are merged by the rule `merge`; `fuse` may name nets of several sweeps. Raises `RunError` where
    there is nothing to report, `ConfigError` for an unknown net in `fuse`.
    """
    every = [read_runs(each.folder, each.name, each.bundle is None or each.bundle.has_posteriors) for each in sources]
    scored = [[run for run in runs if run.is_scored and not isinstance(run, BoxRun)] for runs in every]
    return [
        _read_sweep(source, own, fuse, merge, [run for runs in scored[:index] + scored[index + 1 :] for run in runs])
        for index, (source, own) in enumerate(zip(sources, every, strict=True))
    ]


def _read_sweep(
    source: Source, every: list[ReportedRun], fuse: Sequence[str], merge: str, others: Sequence[ReportedRun]
) -> Sweep:
    runs = [run for run in every if not isinstance(run, BoxRun)]
    box_runs = [run for run in every if isinstance(run, BoxRun)]
    has_more = any(run.is_scored for run in box_runs) or any((run.folder.path / "transfer").is_dir() for run in runs)
    if any(run.is_scored for run in runs) or not has_more:
        scores = [score for run in scored_runs(runs, source.name) for score in run_scores(run)]
        scores += fused_scores(source.folder, scores, list(dict.fromkeys([*source.fuse, *fuse])), others)
        results = results_frame(source.name, scores)
    else:  # runs that predict boxes from nets of elsewhere, or trunks that are probed
        scores, results = [], pd.DataFrame(columns=["sweep", "settings", "run_id"])
    boxes = localised(source.folder, source.name, box_runs, scores, merge)
    return Sweep(source.name, source.folder, runs, scores, results, source.bundle, boxes)


def read_sweep(source: Source, fuse: Sequence[str], merge: str = "overfeat") -> Sweep:
    """One sweep alone."""
    return read_sweeps([source], fuse, merge)[0]


def read_results(sweep: str | Path, fuse: Sequence[str] = ()) -> pd.DataFrame:
    """The results of a sweep folder, as its tables are made from them."""
    return read_sweep(Source(Path(sweep), str(sweep)), fuse).results


def results_frame(sweep: str, scores: Sequence[Score]) -> pd.DataFrame:
    """The DataFrame of some scores. Raises `RunError` if runs of one sort were scored on different images."""
    runs = {run.id: run for score in scores for run in score.runs[:1]}  # others may be of another sweep
    every = _settings(list(runs.values()))
    labels = {
        id: ", ".join(f"{name}={value}" for name, value in each.items())
        for id, each in zip(runs, differing_settings(every), strict=True)
    }
    order = {id: numbers_first(each.values()) for id, each in zip(runs, differing_settings(every), strict=True)}
    changed = dict(zip(runs, all_settings(every), strict=True))
    first: dict[str, Score] = {}
    labels_of: dict[str, NDArray[np.int64]] = {}
    rows = []
    for score in sorted(scores, key=lambda score: order[score.runs[0].id]):
        id = score.runs[0].id
        settings = labels[id]
        other = first.setdefault(settings, score)
        if other.scored_on != score.scored_on:
            check_same_images([other.runs[0].posteriors, score.runs[0].posteriors])
        if score.scored_on not in labels_of:
            labels_of[score.scored_on] = score.runs[0].posteriors.labels_N
        of_run = {name: tuple(value) if isinstance(value, list) else value for name, value in changed[id].items()}
        rows.append({"sweep": sweep, "settings": settings} | of_run | _row(score, labels_of[score.scored_on]))
    return pd.DataFrame(rows).astype({"seed": "Int64"})


def _settings(runs: Sequence[ReportedRun]) -> list[Settings]:
    """What decides the result of each run beside net, train scale and seed.

    The precision that a run was trained in counts where it differs between seeds, which are averaged.
    """
    precisions: dict[str, set[str]] = {}
    for run in runs:
        precisions.setdefault(json.dumps([run.slug, run.settings]), set()).add(str(run.record.get("precision")))
    if max(map(len, precisions.values()), default=0) > 1:
        return [run.settings | {"precision": run.record.get("precision")} for run in runs]
    return [run.settings for run in runs]


def _row(score: Score, labels_N: NDArray[np.int64]) -> dict[str, Any]:
    runs, run = score.runs, score.runs[0]
    seeds = {each.seed for each in runs}
    is_of_all = score.top1.num_images == len(labels_N)  # as nets that were chosen on half of the images are not
    return {
        "run_id": " + ".join(each.id for each in runs),
        "config": " + ".join(dict.fromkeys(each.name for each in runs)),
        "train_scale": " + ".join(dict.fromkeys(each.train_scale for each in runs)),
        "members": " + ".join(sorted(each.slug for each in runs)),
        "fusion": score.fusion,
        "crop": run.config["crop"],
        "S": tuple(scaled_px(S, run.config["crop"]) for S in run.config["train_scale"]["S"])
        if len(runs) == 1
        else None,
        "rule": score.rule,
        "method": score.method,
        "test_scales": score.test_scales,
        "seed": seeds.pop() if len(seeds) == 1 else None,
        "n_images": score.top1.num_images,
        "n_classes": score.num_classes,
        **_errors("top1", score.top1),
        **_errors("top5", score.top5),
        "mean_class_recall": mean_class_recall(score.top1, labels_N) if is_of_all else math.nan,
        "bad_images": max(sum(len(each.record.get(name, ())) for name in _BAD) for each in runs),
        "stuck_at_chance": any(bool(each.record.get("stuck_at_chance")) for each in runs),
        **{name: run.record.get(name) if len(runs) == 1 else None for name in (*_COSTS, "lrn_factor_spread")},
        "scored_on": score.scored_on,
        "made_with": tuple(dict.fromkeys(word for each in runs for word in each.made_with)),
        "protocol": run.config["protocol"]["name"],
        "recipe": run.config["recipe"]["name"],
        "overrides": run.overrides,
    }


def together(frames: Iterable[pd.DataFrame]) -> pd.DataFrame:
    """The rows of several sweeps; the first of the frames if none has rows."""
    every = list(frames)
    there = [frame for frame in every if len(frame)]
    return pd.concat(there, ignore_index=True) if there else every[0]


def joined(sweeps: Sequence[Sweep]) -> pd.DataFrame:
    """The results of all sweeps. A setting that is no default in one of them alone has its default in the others."""
    each = [sweep.results for sweep in sweeps if len(sweep.results)]
    results, defaults = together(sweep.results for sweep in sweeps), schema_defaults()
    lacking = [name for name in results if name in defaults and any(name not in own for own in each)]
    return results.fillna({name: defaults[name] for name in lacking if isinstance(defaults[name], str | int | float)})


def numbers_first(values: Iterable[Any]) -> list[tuple[bool, Any]]:
    """What sorts by these values, one after the other: numbers, then words."""
    return [(False, each) if isinstance(each, int | float | tuple) else (True, str(each)) for each in values]


def _errors(name: str, misses: Misses | None) -> dict[str, Any]:
    """NaN where the error has no meaning: top-5 with fewer than five classes."""
    error, (low, high) = math.nan, (math.nan, math.nan)
    if misses is not None:
        error, (low, high) = misses.error, wilson(misses.error, misses.num_images)
    return {f"{name}_error": error, f"{name}_low": low, f"{name}_high": high, f"{name}_misses": misses}
