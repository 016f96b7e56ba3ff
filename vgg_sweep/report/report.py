"""`vgg-sweep report`: from the posteriors of a sweep to the paper's tables and claims. Needs no torch."""

import difflib
from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd
from rich.console import Console
from rich.text import Text

from vgg_sweep.config import ConfigError
from vgg_sweep.report.claims import claims, summary
from vgg_sweep.report.commands import merged
from vgg_sweep.report.errors import ReportedRun, read_runs, run_scores, scored_runs
from vgg_sweep.report.fusion import fused_scores
from vgg_sweep.report.layouts import Shown, shown
from vgg_sweep.report.render import to_csv, to_json, to_markdown, to_rich
from vgg_sweep.report.results import results_frame
from vgg_sweep.report.tables import (
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
from vgg_sweep.store import write_text

TABLES: dict[str, tuple[str, Callable[[pd.DataFrame], pd.DataFrame]]] = {
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
"""Titles and tables, in the order in which they are shown."""

DEVIATIONS = "deviations"
"""The first table: it describes runs, not results."""

FORMATS = ("rich", "md", "csv", "json")
FILES = ("md", "csv", "json")
"""What `out` receives where no format is named."""


def report(
    sweeps: Sequence[Path],
    *,
    tables: Sequence[str] | None,
    formats: Sequence[str] | None,
    out: Path | None,
    fuse: Sequence[str],
    console: Console,
) -> None:
    """Show the tables of `sweeps` on `console`, or write them into the folder `out`.

    `tables` names some of them (all if empty), `formats` some of rich, md, csv, json. Without `out` everything is
    printed, as rich if no format is named; with it, md, csv and json go into files: report.md, report.json and one .csv
    a table. `fuse` names nets to be averaged. Raises `ConfigError` for an unknown table, format or net, `RunError`
    where there is nothing to report.
    """
    names = _known("table", tables or [], [DEVIATIONS, *TABLES]) or [DEVIATIONS, *TABLES]
    chosen = _known("format", formats or [], FORMATS) or (["rich", *FILES] if out else ["rich"])
    runs = {sweep: read_runs(sweep) for sweep in sweeps}
    frames = _frames(runs, names, fuse)
    if "rich" in chosen:
        for text in _summary(runs):
            console.print(Text(text))
        _print(_shown(frames), console)
    texts = _texts(frames, runs, chosen)
    if out is None:
        console.file.write("\n".join(texts.values()))
        return
    out.mkdir(parents=True, exist_ok=True)
    for file, text in texts.items():
        write_text(out / file, text)
    if texts:
        console.print(Text(f"Written to {out}: {', '.join(texts)}"))


def _known(kind: str, asked: Sequence[str], known: Sequence[str]) -> list[str]:
    for name in asked:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]}? " if near else ""
            raise ConfigError(f"there is no {kind} '{name}'; {hint}choose of {', '.join(known)}.")
    return list(dict.fromkeys(asked))


def _frames(runs: dict[Path, list[ReportedRun]], names: Sequence[str], fuse: Sequence[str]) -> dict[str, pd.DataFrame]:
    """The tables called `names`, in their order; no empty ones."""
    parts = []
    for sweep, every in runs.items():
        scores = [score for run in scored_runs(every, sweep) for score in run_scores(run)]
        parts.append(results_frame(sweep, scores + fused_scores(sweep, scores, fuse)))
    results = pd.concat(parts, ignore_index=True)
    configs = [run.config for every in runs.values() for run in every]
    frames = {DEVIATIONS: deviations(configs, results["n_classes"].unique())} if DEVIATIONS in names else {}
    frames |= {name: table(results) for name, (_, table) in TABLES.items() if name in names}
    return {name: frame for name, frame in frames.items() if len(frame)}


def _shown(frames: dict[str, pd.DataFrame]) -> list[Shown]:
    titles = {DEVIATIONS: "Settings that differ from the paper's"} | {
        name: title for name, (title, _) in TABLES.items()
    }
    return [shown(name, titles[name], frame) for name, frame in frames.items()]


def _summary(runs: dict[Path, list[ReportedRun]]) -> list[str]:
    """How much of each sweep is there, and which runs are not and why."""
    lines = []
    for sweep, every in runs.items():
        without = [run for run in every if not run.is_scored]
        lines.append(f"{sweep}: {len(every) - len(without)} of {len(every)} runs scored.")
        lines += [
            f"  not scored: {run.folder.id} ({run.folder.status().get('state', 'not started')})" for run in without[:10]
        ]
        if len(without) > 10:
            lines.append(f"  and {len(without) - 10} more; see `vgg-sweep status {sweep}`")
    return lines


def _print(shown_tables: Sequence[Shown], console: Console) -> None:
    said: set[str] = set()
    for table in shown_tables:
        console.print()
        console.print(to_rich(table, console.width))
        for note in table.notes:
            if note not in said:
                console.print(Text(note, style="dim"))
        said |= set(table.notes)
        if table.name == "claims":
            verdicts = next(column.cells for column in table.columns if column.heading == "verdict")
            console.print(Text(f"Claims: {summary(verdicts)}.", style="bold"))
    if missing := _missing(shown_tables):
        console.print(Text("\nTo fill the dashes:", style="bold"))
    for command in missing:
        console.print(Text(command), soft_wrap=True)  # whole, to be copied


def _missing(shown_tables: Sequence[Shown]) -> list[str]:
    """The commands that would fill the dashes of all tables."""
    return merged(command for table in shown_tables for command in table.commands)


def _texts(
    frames: dict[str, pd.DataFrame], runs: dict[Path, list[ReportedRun]], formats: Sequence[str]
) -> dict[str, str]:
    """File name -> text, of the formats that are files."""
    texts = {}
    if "md" in formats:
        head = ["# Report\n", "\n".join(f"- {line.strip()}" for line in _summary(runs)) + "\n"]
        shown_tables = _shown(frames)
        commands = (
            "\n".join(["## To fill the dashes\n", "```", *missing, "```\n"])
            if (missing := _missing(shown_tables))
            else ""
        )
        texts["report.md"] = "\n".join([*head, *map(to_markdown, shown_tables), commands]).rstrip() + "\n"
    if "csv" in formats:
        texts |= {
            f"table{name}.csv" if name.isdigit() else f"{name}.csv": to_csv(frame) for name, frame in frames.items()
        }
    if "json" in formats:
        texts["report.json"] = to_json(list(frames.values()))
    return texts
