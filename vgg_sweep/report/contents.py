"""What a report says, whatever its format: sweeps, runs, tables as data and as text, and what is missing."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from vgg_sweep.plan.commands import merged
from vgg_sweep.report.results.errors import ReportedRun, Score, read_runs, run_scores, scored_runs
from vgg_sweep.report.results.fusion import fused_scores
from vgg_sweep.report.results.results import results_frame
from vgg_sweep.report.results.unfinished import how_far, mark, waiting
from vgg_sweep.report.tables.claims import claims
from vgg_sweep.report.tables.compare import comparison, differences
from vgg_sweep.report.tables.layouts import Shown, shown
from vgg_sweep.report.tables.tables import (
    deviations,
    fusion_table,
    lrn_cost,
    table3,
    table4,
    table5,
    table6,
    table7,
    table_5x5,
)

TABLES: dict[str, tuple[str, Callable[[pd.DataFrame], pd.DataFrame]]] = {
    "comparison": ("The sweeps side by side", comparison),
    "3": ("Table 3. A single test scale: dense, image and flip", table3),
    "4": ("Table 4. Three test scales: dense, image and flip", table4),
    "5": ("Table 5. Dense, multi-crop (50 crops a scale) and both, at three test scales", table5),
    "6": ("Table 6. Several nets: the mean of their posteriors, at three test scales", table6),
    "7": ("Table 7. Beside the published systems, whose errors are on ILSVRC", table7),
    "5x5": ("Sect. 4.1. One 5x5 convolution in place of two 3x3: a centre crop, no flip", table_5x5),
    "lrn": ("Sect. 4.1. What local response normalisation costs in training", lrn_cost),
    "fusion": ("Fusions asked for", fusion_table),
    "claims": ("Claims of the paper, in this sweep", claims),
}
"""Titles and tables of results."""

DEVIATIONS, DIFFERENCES = "deviations", "differences"
"""The first tables: they describe runs, not results."""

NAMES = (DEVIATIONS, DIFFERENCES, *TABLES)
"""What tables are called, in the order in which they are shown."""

TITLES = {
    DEVIATIONS: "Settings that differ from the paper's",
    DIFFERENCES: "What differs between the sweeps",
} | {name: title for name, (title, _) in TABLES.items()}


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
    """The scores as `load_results` gives them."""
    bundle: Bundle | None
    """What it was read from, if not from its own folder."""


@dataclass(frozen=True)
class Contents:
    """Everything that a format may show."""

    sweeps: list[Sweep]
    frames: dict[str, pd.DataFrame]
    """The tables by name, in the order in which they are shown; no empty ones."""
    shown: list[Shown]
    """The same tables as text."""
    summary: list[str]
    """How much of each sweep is there, and which runs are not and why."""
    commands: list[str]
    """What would fill the dashes of all tables."""


def read_sweep(source: Source, fuse: Sequence[str]) -> Sweep:
    """Raises `RunError` where there is nothing to report, `ConfigError` for an unknown net in `fuse`."""
    has_posteriors = source.bundle is None or source.bundle.has_posteriors
    runs = read_runs(source.folder, source.name, has_posteriors)
    scores = [score for run in scored_runs(runs, source.name) for score in run_scores(run)]
    scores += fused_scores(source.folder, scores, list(dict.fromkeys([*source.fuse, *fuse])))
    return Sweep(source.name, source.folder, runs, scores, results_frame(source.name, scores), source.bundle)


def contents(sweeps: list[Sweep], names: Iterable[str]) -> Contents:
    """The tables called `names` of some sweeps."""
    results = pd.concat([sweep.results for sweep in sweeps], ignore_index=True)
    configs = [run.config for sweep in sweeps for run in sweep.runs]
    frames = {DEVIATIONS: deviations(configs, results["n_classes"].unique())} if DEVIATIONS in names else {}
    made = differences([(sweep.name, sweep.runs) for sweep in sweeps])
    frames |= {DIFFERENCES: made} if DIFFERENCES in names else {}
    frames |= {name: table(results) for name, (_, table) in TABLES.items() if name in names}
    frames = {name: frame for name, frame in frames.items() if len(frame)}
    unscored = {
        key: states for sweep in sweeps for key, states in waiting(sweep.name, sweep.runs, sweep.results).items()
    }
    frames = {name: mark(name, frame, unscored) for name, frame in frames.items()}
    tables = [shown(name, TITLES[name], frame) for name, frame in frames.items()]
    missing = merged(command for table in tables for command in table.commands)
    summary = [line for sweep in sweeps for line in _summary(sweep)]
    alike = {sweep.name for sweep in sweeps[1:]} - set(made.get("other_sweep", ()))
    summary += [f"{name} was made as {sweeps[0].name} was: settings, versions and machine." for name in sorted(alike)]
    return Contents(sweeps, frames, tables, summary, missing)


def _summary(sweep: Sweep) -> list[str]:
    without = [run for run in sweep.runs if not run.is_scored]
    lines = [f"{sweep.name}: {len(sweep.runs) - len(without)} of {len(sweep.runs)} runs scored."]
    lines += [f"  not scored: {run.folder.id} ({how_far(run.folder)})" for run in without[:10]]
    if len(without) > 10:
        lines.append(f"  and {len(without) - 10} more; see `vgg-sweep status {sweep.name}`")
    for kind in ("train", "val"):
        bad = {run.folder.id: images for run in sweep.runs if (images := run.record.get(f"bad_{kind}_images"))}
        if bad:
            most = max(bad.values(), key=len)
            lines.append(
                f"  {len(bad)} of its runs did without {kind} images that cannot be decoded, "
                f"up to {len(most)}, such as {most[0]} (data.on_bad_image)."
            )
    return lines
