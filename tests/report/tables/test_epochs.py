from pathlib import Path

import pytest

from tests.sweeps import Spec, make_run
from vgg_sweep.errors import ConfigError, RunError
from vgg_sweep.report.results.results import read_runs
from vgg_sweep.report.tables.epochs import at_epoch

HEAD = "step,epoch,loss,error,val_error\n"


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A has come to epoch 3, B, which is not scored, to 2; C has not been validated yet."""
    folder = tmp_path_factory.mktemp("sweep")
    for net, rows in (
        ("A", ["1,1,2,70,60", "2,2,2,60,50", "3,3,2,50,40"]),
        ("B", ["1,1,2,65,55", "2,2,2,55,45", "25,2.5,2,54,"]),
        ("C", ["1,0.1,2,90,"]),
    ):
        settings = {"recipe.drop_fractions": [0.5, 0.7]} if net == "A" else {}
        run = make_run(folder, net, "256", spec=Spec(5, passes=["dense@single"], settings=settings))
        (run / "metrics.csv").write_text(HEAD + "".join(f"{row}\n" for row in rows))
        if net != "A":
            (run / "posteriors" / "manifest.json").unlink()
            (run / "status.json").write_text('{"state": "running", "stage": "train", "step": 25, "num_steps": 100}')
    return folder


@pytest.mark.parametrize(
    ("at", "found"),
    [("common", [("B", 2, 45), ("A", 2, 50)]), ("2.5", [("B", 2, 45), ("A", 2, 50)]), ("3", [("A", 3, 40)]),
     ("1", [("B", 1, 55), ("A", 1, 60)])],
)  # fmt: skip
def test_runs_are_compared_by_the_last_validation_up_to_that_epoch(
    sweep: Path, at: str, found: list[tuple[str, float, float]]
) -> None:
    runs = read_runs(sweep, "sweep")
    table = at_epoch(runs, at)
    frame = table.make(runs)
    assert list(zip(frame["config"], frame["epoch"], frame["val_error"], strict=True)) == found
    shown = table.rendered(frame)
    assert any(note.startswith("Not there yet: ") and "C-256" in note for note in shown.notes)
    if len(found) == 2:
        assert frame["state"].tolist() == ["interrupted, train 25 %", "scored"]


def test_what_is_no_epoch_and_what_no_run_has_reached_are_refused(sweep: Path) -> None:
    runs = read_runs(sweep, "sweep")
    with pytest.raises(ConfigError, match="--at last is not an epoch; give a number, or common"):
        at_epoch(runs, "last")
    with pytest.raises(RunError, match="no run has reached epoch 9"):
        at_epoch(runs, "9")
    with pytest.raises(RunError, match="no run has been validated yet"):
        at_epoch([run for run in runs if run.name == "C"], "common")
