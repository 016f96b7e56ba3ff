"""What a search over settings, as Optuna makes it, says of its trials: each as it ends, and all of them at the end."""

from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from rich.console import Console

from vgg_sweep.plan.runs import Run
from vgg_sweep.runs.trials import Trial, add_trial, read_trials

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
        shown = TRIALS.shown(trials_frame(str(sweep), read_trials(sweep)))
        console.print(to_rich(shown, console.width))
        for note in shown.notes:
            console.print(note, markup=False, highlight=False)
