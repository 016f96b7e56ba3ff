"""The results of runs, shown at the end of the command that made them: errors, and the trials of a search."""

import shlex
from collections.abc import Sequence
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from rich.console import Console
from rich.table import Table
from rich.text import Text

from vgg_sweep.cli.plans import LONG
from vgg_sweep.cli.screen import plain_table, run_name
from vgg_sweep.cli.status import value_text
from vgg_sweep.errors import RunError
from vgg_sweep.plan.configs import config_in
from vgg_sweep.plan.runs import Run
from vgg_sweep.plan.swept import settings_to_show
from vgg_sweep.protocols.metrics import Misses, wilson
from vgg_sweep.report.results.errors import ReportedRun, Score, run_scores
from vgg_sweep.runs.trials import Trial, add_trial, read_trials

SHOWN = 20
"""As many runs are shown, the best."""


def say_outcome(runs: Sequence[Run], screen: Console) -> None:
    """Print the errors of those of `runs` that are scored, best first, and what shows them all.

    Of a sweep too long to be shown only the latter. Unreadable posteriors are reported.
    """
    scores: list[Score] = []
    for run in runs if len(runs) <= LONG else ():
        try:
            scores += _score(run)
        except RunError as error:
            screen.print(Text(str(error), "yellow"), soft_wrap=True)
    if scores:
        screen.print(_table(sorted(scores, key=lambda score: score.top1.error)))
    if len(scores) > SHOWN:
        screen.print(f"and {len(scores) - SHOWN} more")
    if sweeps := dict.fromkeys(str(run.folder.path.parent) for run in runs):
        screen.print(Text(f"All errors: {shlex.join(['vgg-sweep', 'report', *sweeps])}"), soft_wrap=True)


def _score(run: Run) -> list[Score]:
    """The score of a run by which it is compared: dense at its single Q as in Table 3, else the first that it has; none
    if it is not scored.
    """
    folder = run.folder
    reported = ReportedRun(folder, config_in(folder.config), str(folder.path.parent))
    scores = run_scores(reported) if reported.is_scored else []
    return [each for each in scores if (each.rule, each.method) == ("single", "dense")][:1] or scores[:1]


def _table(scores: Sequence[Score]) -> Table:
    runs = [score.runs[0] for score in scores]
    differing = settings_to_show([run.settings for run in runs], [run.config["recipe"]["name"] for run in runs])
    numbers = ("images", "top-1 %", "95 %", "top-5 %")
    lines = plain_table(("run", *differing[0], "protocol", *numbers), numbers)
    for score, settings in zip(scores[:SHOWN], differing, strict=False):
        protocol = f"{score.method}, Q {', '.join(map(str, score.test_scales))}"
        low, high = wilson(score.top1.error, score.top1.num_images)
        figures = [f"{score.top1.num_images:,}", _error(score.top1), f"{low:.1f}–{high:.1f}", _error(score.top5)]
        words = map(Text, map(value_text, settings.values()))
        lines.add_row(run_name(score.runs[0].folder.id), *words, protocol, *figures)
    return lines


def _error(misses: Misses | None) -> str:
    """A dash where the error has no meaning: top-5 with fewer than five classes."""
    return "-" if misses is None else f"{misses.error:.1f}"


_searched: list[Path] = []
"""The sweeps in which this process has noted trials."""


def noted(run: Run) -> float | None:
    """The error in percent of the run's last validation, which is noted as that of a trial if a sweeper of another kind
    than ours asked for the run.
    """
    val_error: float | None = run.folder.record().get("val_error")
    hydra = HydraConfig.get()
    if val_error is not None and hydra.runtime.choices["hydra/sweeper"] not in ("dag", "basic"):
        sweep = run.folder.path.parent
        tried = tuple(str(text) for text in hydra.overrides.task)
        add_trial(sweep, Trial(int(hydra.job.num), run.id, val_error, tried))
        if sweep not in _searched:
            _searched.append(sweep)
    return val_error


def show_trials() -> None:
    """The trials of the search that has ended, and the best of them."""
    from vgg_sweep.report.tables.trials import TRIALS, trials_frame
    from vgg_sweep.report.writers.terminal import to_rich

    console = Console()
    for sweep in _searched:
        shown = TRIALS.rendered(trials_frame(str(sweep), read_trials(sweep)))
        console.print(to_rich(shown, console.width))
        for note in shown.notes:
            console.print(note, markup=False, highlight=False)
