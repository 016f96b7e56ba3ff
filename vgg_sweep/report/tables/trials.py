"""The trials of a search over settings, as Optuna makes it, and the best of them."""

from collections.abc import Iterator, Sequence

import pandas as pd

from vgg_sweep.report.results.results import together
from vgg_sweep.report.tables.table import Column, Table, number, records, text
from vgg_sweep.runs.trials import Trial, best, read_trials

_ABOUT = ("table", "sweep", "number", "run_id", "val_error", "is_best")


def trials_frame(sweep: str, trials: Sequence[Trial]) -> pd.DataFrame:
    """A row for each trial in its order, with a column for each setting that was tried."""
    return pd.DataFrame(
        {"table": "trials", "sweep": sweep, "number": each.number, "run_id": each.run_id, "val_error": each.val_error}
        | {"is_best": each is best(trials)}
        | dict(setting.split("=", 1) for setting in each.settings if "=" in setting)
        for each in trials
    )


def _tried(frame: pd.DataFrame) -> list[str]:
    """The settings in which the trials differ."""
    return [str(name) for name in frame if name not in _ABOUT and frame[name].nunique(dropna=False) > 1]


def _settings(frame: pd.DataFrame) -> list[Column]:
    return [text(name, wrap=24) for name in _tried(frame)]


def _best(frame: pd.DataFrame) -> Iterator[str]:
    for row in records(frame[frame["is_best"]]):
        settings = ", ".join(f"{name}={row[name]}" for name in _tried(frame))
        yield f"Best: trial {row['number']}, {row['val_error']:.1f} %: {settings or row['run_id']}."


TRIALS = Table(
    "trials",
    "Trials of the search, in their order",
    lambda sweeps: together(trials_frame(sweep.name, read_trials(sweep.folder)) for sweep in sweeps),
    (number("number", "trial", 0), _settings, number("val_error", "validation (%)"), text("run_id", "run", drop=1)),
    ("Validation: top-1 error of a centre crop at the single test scale, which the search lowers.", _best),
    where=("sweep",),
    of="runs",
)
