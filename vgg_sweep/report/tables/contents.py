"""What a report says, whatever its format: sweeps, runs, tables as data and as text, and what is missing."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import pandas as pd

from vgg_sweep.plan.commands import merged
from vgg_sweep.report.results.probes import probe_frame
from vgg_sweep.report.results.results import Sweep, joined, together
from vgg_sweep.report.results.unfinished import mark, progress_lines, waiting
from vgg_sweep.report.tables.boxes import CLAIMS_OF_BOXES, TABLE8, TABLE9, TABLE10
from vgg_sweep.report.tables.compare import COMPARISON, DEVIATIONS, DIFFERENCES
from vgg_sweep.report.tables.confusions import CONFUSIONS, MATRIX
from vgg_sweep.report.tables.costs import LRN_COST
from vgg_sweep.report.tables.depth import DEPTH, DEPTH_CLAIMS
from vgg_sweep.report.tables.errors import KERNELS, NETS
from vgg_sweep.report.tables.fusions import ASKED, FUSIONS, SYSTEMS
from vgg_sweep.report.tables.gaps import visible_rows
from vgg_sweep.report.tables.paper_claims import CLAIMS
from vgg_sweep.report.tables.pivot import Pivot, pivot_table
from vgg_sweep.report.tables.runs import BY_SEED, RUNS
from vgg_sweep.report.tables.table import TextTable
from vgg_sweep.report.tables.transfer import OF_PROBES
from vgg_sweep.report.tables.trials import TRIALS

TABLES = {
    table.name: table
    for table in (
        *(RUNS, TRIALS, DEVIATIONS, DIFFERENCES, COMPARISON, *NETS, FUSIONS, SYSTEMS, KERNELS, LRN_COST, ASKED),
        *(BY_SEED, CLAIMS, *OF_PROBES, DEPTH, DEPTH_CLAIMS, TABLE8, TABLE9, TABLE10, CLAIMS_OF_BOXES),
        *(CONFUSIONS, MATRIX),
    )
}
"""All tables, in the order in which they are shown."""


@dataclass(frozen=True)
class Contents:
    """The content of a report, for any format."""

    sweeps: list[Sweep]
    frames: dict[str, pd.DataFrame]
    """The tables by name, in the order in which they are shown; no empty ones."""
    tables: list[TextTable]
    """The same tables as text."""
    summary: list[str]
    """How much of each sweep is there, and which runs are not and why."""
    commands: list[str]
    """What would fill the missing rows of all tables."""
    pivot: Pivot | None = None


def make_contents(
    sweeps: list[Sweep], names: Iterable[str], is_whole: bool = False, pivot: Pivot | None = None
) -> Contents:
    """The tables called `names` of some sweeps, after the `pivot`; with `is_whole`, all of their rows, there or not."""
    results, asked = joined(sweeps), set(names)
    probes = together(probe_frame(sweep.name, [run.folder for run in sweep.runs]) for sweep in sweeps)
    boxes = together(sweep.localised.errors for sweep in sweeps)
    material = {"results": results, "probes": probes, "claims": (results, probes), "boxes": boxes}
    unscored = {key: states for sweep in sweeps for key, states in waiting(sweep).items()}
    frames: dict[str, pd.DataFrame] = {}
    for name, table in TABLES.items():
        if name in asked and (len(results) or table.of in ("boxes", "probes")):  # without: boxes alone, or trunks
            frame = table.make(material.get(table.of, sweeps))
            frame = mark(frame, unscored) if table.of_nets else frame
            if len(shown := frame if is_whole else visible_rows(table, frame)):
                frames[name] = shown
    tables = [TABLES[name].rendered(frame) for name, frame in frames.items()]
    if is_whole:
        tables = [replace(table, brief=()) for table in tables]
    if pivot:
        table = pivot_table(results, pivot)
        frames = {table.name: table.make(results)} | frames
        tables = [table.rendered(frames[table.name]), *tables]
    missing = merged(command for table in tables for command in table.commands)
    summary = [line for sweep in sweeps for line in progress_lines(sweep)]
    if len(results):
        alike = {sweep.name for sweep in sweeps[1:]} - set(DIFFERENCES.make(sweeps).get("other_sweep", ()))
        made_alike = f"was made with the settings and versions of {sweeps[0].name}, on the same machine."
        summary += [f"{name} {made_alike}" for name in sorted(alike)]
    return Contents(sweeps, frames, tables, summary, missing, pivot)
