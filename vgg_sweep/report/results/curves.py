"""The learning curve of a run, from its metrics.csv."""

import pandas as pd

from vgg_sweep.errors import RunError
from vgg_sweep.report.results.errors import ReportedRun

_COLUMNS = ("epoch", "error", "val_error")


def curve(run: ReportedRun) -> pd.DataFrame:
    """The rows that have a training error: epoch, errors in percent, `val_error` missing where none was measured.

    Empty if nothing was written yet. Raises `RunError` if the file is damaged.
    """
    file = run.folder.metrics
    if not file.exists():
        return pd.DataFrame(columns=list(_COLUMNS), dtype=float)
    try:
        return pd.read_csv(file).astype(dict.fromkeys(_COLUMNS, float)).dropna(subset="error")
    except (ValueError, KeyError) as error:  # of text, columns or numbers
        raise RunError(
            f"{file} is damaged ({error}); put back a copy of it, or remove this file alone to report without the "
            "curves of its run."
        ) from error
