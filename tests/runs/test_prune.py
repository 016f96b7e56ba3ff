"""What can go of a run, and what stays of it."""

from dataclasses import asdict
from pathlib import Path

import pytest

from tests.conftest import Outcome
from tests.sweeps import make_sweep
from tests.tiny import tiny_run
from vgg_sweep.plan.folders import prepare
from vgg_sweep.plan.passes import missing, passes
from vgg_sweep.report.results.results import read_results
from vgg_sweep.runs.folder import RunFolder, RunLocked, find_runs
from vgg_sweep.runs.prune import PruneRules, last_asked, note_asked, removals, take_back

ALL = PruneRules(**dict.fromkeys(asdict(PruneRules()), True))
NETS = [("A", "256"), ("D", "jitter"), ("E", "jitter")]


def sweep_of(tmp_path: Path) -> list[RunFolder]:
    """Three scored runs: one trained, one with checkpoints left, one that failed."""
    trained, left, bad = find_runs(make_sweep(tmp_path / "outputs" / "demo", NETS))
    trained.weights.write_bytes(b"0" * 1000)
    left.checkpoints.mkdir()
    (left.checkpoints / "step-1.pt").write_bytes(b"0" * 5000)
    bad.update_status(state="failed")
    return [trained, left, bad]


def test_each_rule_lets_go_of_what_it_says(tmp_path: Path) -> None:
    trained, left, bad = sweep_of(tmp_path)
    nothing = {name: False for name in asdict(PruneRules())}
    only = {name: PruneRules(**(nothing | {name: True})) for name in nothing}
    assert [removals(each, only["checkpoints"], None) for each in (trained, bad)] == [[], []]
    [checkpoints] = removals(left, only["checkpoints"], None)
    assert (checkpoints.num_bytes, checkpoints.meaning) == (5000, "it would start over")
    [posteriors] = removals(trained, only["posteriors"], None)
    assert posteriors.num_bytes == sum(file.stat().st_size for file in trained.posteriors.glob("*.npy"))
    assert [each.what for each in removals(bad, ALL, None)] == ["the run"]
    assert removals(trained, only["left_the_sweep"], [trained.id]) == []
    assert removals(trained, only["left_the_sweep"], None) == []  # nobody knows what the last command was
    assert [each.paths for each in removals(left, only["left_the_sweep"], [trained.id])] == [(left.path,)]


def test_rows_of_tables_outlive_the_posteriors_and_the_run_stays_done(tmp_path: Path) -> None:
    folders = sweep_of(tmp_path)
    before = read_results(tmp_path / "outputs" / "demo")
    for folder in folders:
        for removal in removals(folder, PruneRules(posteriors=True), None):
            removal.carry_out()
    assert not list(tmp_path.rglob("*.npy"))
    assert read_results(tmp_path / "outputs" / "demo").equals(before)
    assert len(before[before["fusion"] != ""]) > 0  # Table 6's fusions, too
    run = tiny_run(tmp_path)
    prepare(run)
    (folders[0].posteriors).rename(run.folder.posteriors)
    manifest = run.folder.posteriors / "manifest.json"
    Q = passes(run.config)[0].Q
    manifest.write_text(manifest.read_text().replace('"Q": 73', f'"Q": {Q}'))
    assert missing(run.folder, run.config) == []
    take_back(run.folder)
    assert missing(run.folder, run.config) == passes(run.config)


def test_a_run_at_work_is_not_touched(tmp_path: Path) -> None:
    *_, bad = sweep_of(tmp_path)
    [removal] = removals(bad, ALL, None)
    with bad.locked(), pytest.raises(RunLocked):
        removal.carry_out()
    assert bad.config.exists()
    removal.carry_out()
    assert not bad.path.exists()


def test_a_sweep_remembers_its_last_command(tmp_path: Path) -> None:
    assert last_asked(tmp_path) == ("", None)
    note_asked(tmp_path, "vgg-sweep multirun model=A,B", {"B", "A"})
    assert last_asked(tmp_path) == ("vgg-sweep multirun model=A,B", ["A", "B"])
    (tmp_path / "sweep.json").write_text("{")
    assert last_asked(tmp_path) == ("", None)


def test_the_command_says_first_and_does_when_told(tmp_path: Path, call) -> None:  # type: ignore[no-untyped-def]
    trained, left, bad = sweep_of(tmp_path)
    with left.locked():
        outcome: Outcome = call("prune")
        assert f"{left.id} is in use and is left as it is." in outcome.out
        assert "To choose what to remove: --checkpoints, --posteriors, --failed, --left-the-sweep." in outcome.out
    assert "Nothing has been removed; add --yes to remove it." in call("prune", "--failed").out
    assert bad.path.exists()
    assert call("prune", "outputs/demo", "--failed", "--yes").out.endswith("Removed.\n")
    assert not bad.path.exists()
    assert call("prune", "--failed").out == "There is nothing to remove.\n"
    assert call("prune", "D-jitter", "--posteriors", "--yes").exit_code == 0
    assert not list(left.posteriors.glob("*.npy")) and list(trained.posteriors.glob("*.npy"))
    assert call("prune", "--yes").err.startswith("Error: --yes needs one of --checkpoints, ")
    assert "the last command of outputs/demo is not known" in call("prune", "--left-the-sweep").err
