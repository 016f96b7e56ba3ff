"""Finished runs of the same id are found beside a sweep and taken over."""

import contextlib
from dataclasses import replace
from pathlib import Path

import pytest

from tests.tiny import tiny_config
from vgg_sweep.cli.runs import train_config
from vgg_sweep.config.options import load_option
from vgg_sweep.errors import ConfigError, RunError
from vgg_sweep.plan.folders import prepare, read_named
from vgg_sweep.plan.runs import Run, plan
from vgg_sweep.runs.files import write_json
from vgg_sweep.runs.folder import RunFolder
from vgg_sweep.sweep import work
from vgg_sweep.sweep.siblings import finished_elsewhere, sibling_notes, take_over


def run_in(sweep: Path, **settings: object) -> Run:
    return plan([replace(tiny_config(sweep), out=str(sweep), **settings)])[-1]  # type: ignore[arg-type]


@pytest.fixture
def finished(tmp_path: Path) -> Run:
    run = run_in(tmp_path / "demo")
    folder = prepare(run)
    folder.weights.write_bytes(b"weights")
    folder.posteriors.mkdir()
    (folder.posteriors / "dense.npy").write_bytes(b"posteriors")
    folder.log.write_text("trained\n")
    folder.note(job="slurm 7_2")
    folder.update_record(train_seconds=3.0)
    folder.update_status(state="done")
    return run


def test_only_a_finished_run_of_another_sweep_is_found(finished: Run, tmp_path: Path) -> None:
    run = run_in(tmp_path / "mine")
    assert {id: folder.path for id, folder in finished_elsewhere([run]).items()} == {run.id: finished.folder.path}
    assert finished_elsewhere([finished]) == {}
    assert finished_elsewhere([run_in(tmp_path / "mine", seed=1)]) == {}
    finished.folder.update_status(state="interrupted")
    assert finished_elsewhere([run]) == {}


def test_what_is_taken_over_is_a_run_of_its_own(finished: Run, tmp_path: Path) -> None:
    run = run_in(tmp_path / "mine")
    take_over(run, finished.folder)
    assert read_named(run.folder).config.out == str(tmp_path / "mine")
    assert run.folder.weights.samefile(finished.folder.weights)
    assert (run.folder.posteriors / "dense.npy").samefile(finished.folder.posteriors / "dense.npy")
    assert run.folder.job == "" and run.folder.status()["state"] == "done"
    assert run.folder.record() == {"train_seconds": 3.0, "taken_over_from": str(finished.folder.path)}
    run.folder.log.write_text("mine\n")
    assert finished.folder.log.read_text() == "trained\n"
    assert read_named(finished.folder).config.out == str(tmp_path / "demo")
    assert finished_elsewhere([run]) == {}
    assert {path.name for path in (tmp_path / "mine").iterdir()} == {run.id}


def test_other_images_are_not_taken_for_the_same(
    finished: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vgg_sweep.sweep import origin

    run = run_in(tmp_path / "mine")
    folder = replace(run, config=replace(run.config, data=replace(run.config.data, source="folder", root="photos")))
    monkeypatch.setattr(origin, "open_images", lambda config: type("Images", (), {"fingerprint": "ours"}))
    assert not origin.has_same_images(folder, finished.folder)  # nobody wrote down what they were
    for fingerprint, is_same in (("theirs", False), ("ours", True)):
        write_json(finished.folder.origin, {"data_fingerprint": fingerprint})
        assert origin.has_same_images(folder, finished.folder) is is_same


def test_the_plan_names_them() -> None:
    found = {"A": RunFolder(Path("outputs/demo/A")), "B": RunFolder(Path("outputs/demo/B"))}
    assert sibling_notes({}, []) == []
    assert sibling_notes(found, []) == ["outputs/demo has A and B, finished; take_over=true takes them over."]
    assert sibling_notes(found, ["A"]) == [
        "outputs/demo has A and B, finished; 1 is taken over from there; take_over=true takes the rest over."
    ]


def test_train_takes_over_what_it_starts_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    worked_on: list[str] = []
    monkeypatch.setattr(work, "work", lambda run, live: worked_on.append(run.id))
    config = replace(tiny_config(tmp_path), model=load_option("model", "B"))
    parent, child = plan([replace(config, out=str(tmp_path / "demo"))])
    folder = prepare(parent)
    folder.weights.write_bytes(b"weights")
    folder.update_status(state="done")
    with contextlib.suppress(ConfigError, RunError):  # nothing is scored
        train_config(replace(config, out=str(tmp_path / "mine")))
    there = RunFolder(tmp_path / "mine" / parent.id)
    assert there.record()["taken_over_from"] == str(folder.path) and there.is_trained
    assert worked_on[-1] == child.id
