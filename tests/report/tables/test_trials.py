import io
from pathlib import Path

from rich.console import Console

from tests.sweeps import Spec, make_run
from vgg_sweep.report.report import report
from vgg_sweep.report.tables.trials import TRIALS, trials_frame
from vgg_sweep.runs.trials import Trial, add_trial, best, read_trials


def trial(number: int, val_error: float, lr: str = "0.01", run: str = "A-256-s0-00000000") -> Trial:
    return Trial(number, run, val_error, ("model=A", f"recipe.lr={lr}", 'data.name="a, b"'))


def test_what_was_noted_is_read_back_and_a_trial_made_again_takes_its_place(tmp_path: Path) -> None:
    assert read_trials(tmp_path) == []
    for each in (trial(0, 30.5), trial(1, 20.25, "0.02"), trial(0, 25.5)):
        add_trial(tmp_path, each)
    assert read_trials(tmp_path) == [trial(0, 25.5), trial(1, 20.25, "0.02")]
    assert best(read_trials(tmp_path)).number == 1


def test_the_table_has_what_was_tried_and_names_the_best() -> None:
    shown = TRIALS.rendered(trials_frame("sweep", [trial(0, 30), trial(1, 20, "0.02"), trial(2, 20, "0.03")]))
    cells = {column.head: column.cells for column in shown.columns}
    assert list(cells) == ["trial", "recipe.lr", "validation (%)", "run"]
    assert cells["recipe.lr"] == ["0.01", "0.02", "0.03"] and cells["validation (%)"] == ["30.0", "20.0", "20.0"]
    assert shown.notes[-1] == "Best: trial 1, 20.0 %: recipe.lr=0.02."


def test_the_report_has_it_where_there_was_a_search(tmp_path: Path) -> None:
    make_run(tmp_path, "A", "256", spec=Spec(10, passes=["dense@single"]))
    for is_there in (False, True):
        if is_there:
            add_trial(tmp_path, trial(0, 30))
        console = Console(width=100, file=io.StringIO())
        report([tmp_path], tables=None, formats=None, out=None, fuse=[], console=console)
        assert ("Trials of the search" in console.file.getvalue()) == is_there  # type: ignore[attr-defined]
