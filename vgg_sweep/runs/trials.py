"""trials.csv of a sweep: what a search for good settings, such as Optuna's, has tried, one line per trial."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vgg_sweep.runs.files import write_text

TRIALS_FILE = "trials.csv"


@dataclass(frozen=True)
class Trial:
    number: int
    run_id: str
    val_error: float
    """Of the last validation, in percent."""
    settings: tuple[str, ...]
    """What was tried, as overrides."""


def read_trials(sweep: Path) -> list[Trial]:
    """In the order in which they were made; a trial of the same number and run made again takes its place. A line that
    is no trial is left out.
    """
    found: dict[tuple[int, str], Trial] = {}
    if (file := sweep / TRIALS_FILE).exists():
        for row in csv.reader(file.read_text(encoding="utf-8").splitlines()[1:]):
            if len(row) >= 3:
                trial = Trial(int(row[0]), row[1], float(row[2]), tuple(row[3:]))
                found[trial.number, trial.run_id] = trial
    return list(found.values())


def add_trial(sweep: Path, trial: Trial) -> None:
    """Write it behind those that are there."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(("number", "run", "val_error", "settings"))
    rows.writerows((each.number, each.run_id, each.val_error, *each.settings) for each in [*read_trials(sweep), trial])
    write_text(sweep / TRIALS_FILE, text.getvalue())


def best(trials: Sequence[Trial]) -> Trial:
    """That with the lowest error, the first of several."""
    return min(trials, key=lambda trial: trial.val_error)
