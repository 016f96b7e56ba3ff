"""What a report says, whatever its format: sweeps, runs, tables as data and as text, and what is missing."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import pandas as pd

from vgg_sweep.plan.commands import merged
from vgg_sweep.report.results.results import Sweep, joined
from vgg_sweep.report.results.unfinished import mark, progress_lines, waiting
from vgg_sweep.report.tables.box_claims import CLAIMS_OF_BOXES
from vgg_sweep.report.tables.boxes import TABLE8, TABLE9, TABLE10
from vgg_sweep.report.tables.claims import claims
from vgg_sweep.report.tables.compare import COMPARISON
from vgg_sweep.report.tables.confusions import CONFUSIONS, MATRIX
from vgg_sweep.report.tables.costs import LRN_COST
from vgg_sweep.report.tables.depth import DEPTH
from vgg_sweep.report.tables.depth_claims import DEPTH_CLAIMS
from vgg_sweep.report.tables.errors import KERNELS, NETS
from vgg_sweep.report.tables.fusions import ASKED, FUSIONS, SYSTEMS
from vgg_sweep.report.tables.gaps import kept
from vgg_sweep.report.tables.pivot import Pivot, pivot_table
from vgg_sweep.report.tables.probe_claims import probe_claims
from vgg_sweep.report.tables.runs import BY_SEED, RUNS
from vgg_sweep.report.tables.settings import DEVIATIONS, DIFFERENCES
from vgg_sweep.report.tables.table import Shown, Table
from vgg_sweep.report.tables.transfer import OF_PROBES, probe_frames
from vgg_sweep.report.tables.trials import TRIALS
from vgg_sweep.report.tables.verdicts import CLAIMS

OF_RUNS: tuple[Table[Sequence[Sweep]], ...] = (TRIALS, DEVIATIONS, DIFFERENCES)
"""The tables that describe runs, not results."""

OF_ANSWERS: tuple[Table[Sequence[Sweep]], ...] = (CONFUSIONS, MATRIX)
"""Those of what nets answer, which read posteriors."""

OF_RESULTS: tuple[Table[pd.DataFrame], ...] = (
    RUNS,
    COMPARISON,
    *NETS,
    FUSIONS,
    SYSTEMS,
    KERNELS,
    LRN_COST,
    ASKED,
    BY_SEED,
    CLAIMS,
)
"""The tables made from the results."""

OF_TRAINING: tuple[Table[Sequence[Sweep]], ...] = (DEPTH, DEPTH_CLAIMS)
"""The tables of how training went."""

OF_BOXES: tuple[Table[Sequence[Sweep]], ...] = (TABLE8, TABLE9, TABLE10, CLAIMS_OF_BOXES)
"""The tables of localisation."""

TABLES: dict[str, Table[Any]] = {RUNS.name: RUNS} | {table.name: table for table in OF_RUNS}
TABLES |= {table.name: table for table in (*OF_RESULTS, *OF_PROBES)}
TABLES |= {table.name: table for table in (*OF_TRAINING, *OF_BOXES, *OF_ANSWERS)}
"""All tables, in the order in which they are shown."""

IF_ASKED = (BY_SEED.name, *(table.name for table in OF_ANSWERS))
"""Those that are shown only if they are asked for."""


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
    """What would fill the missing rows of all tables."""
    pivot: Pivot | None = None


def contents(
    sweeps: list[Sweep], names: Iterable[str], *, is_whole: bool = False, pivot: Pivot | None = None
) -> Contents:
    """The tables called `names` of some sweeps, after the `pivot`; with `is_whole`, all of their rows, there or not."""
    results = joined(sweeps)
    if results.empty:  # localisation runs alone, or trunks
        alone = {table.name for table in OF_BOXES} | {table.name for table in OF_PROBES}
        names = [name for name in names if name in alone]
    made = {table.name: table.make(sweeps) for table in OF_RUNS if len(results)}
    differing = set(made[DIFFERENCES.name].get("other_sweep", ())) if made else set()
    made |= {table.name: table.make(results) for table in OF_RESULTS[:-1] if table.name in names}
    made |= {table.name: table.make(sweeps) for table in (*OF_TRAINING, *OF_BOXES, *OF_ANSWERS) if table.name in names}
    probes = probe_frames(sweeps)
    made |= {table.name: table.make(probes) for table in OF_PROBES if table.name in names}
    if CLAIMS.name in names:
        made[CLAIMS.name] = claims(results, partial(probe_claims, probes))
    unscored = {key: states for sweep in sweeps for key, states in waiting(sweep).items()}
    marked = {name: mark(name, made[name], unscored) for name in TABLES if name in names}
    shown = marked if is_whole else {name: kept(name, frame) for name, frame in marked.items()}
    frames = {name: frame for name, frame in shown.items() if len(frame)}
    tables = [TABLES[name].shown(frame) for name, frame in frames.items()]
    if is_whole:
        tables = [replace(table, brief=()) for table in tables]
    if pivot:
        table = pivot_table(results, pivot)
        frames = {table.name: table.make(results)} | frames
        tables = [table.shown(frames[table.name]), *tables]
    missing = merged(command for table in tables for command in table.commands)
    summary = [line for sweep in sweeps for line in progress_lines(sweep)]
    alike = {sweep.name for sweep in sweeps[1:]} - differing
    summary += [f"{name} was made as {sweeps[0].name} was: settings, versions and machine." for name in sorted(alike)]
    return Contents(sweeps, frames, tables, summary, missing, pivot)
