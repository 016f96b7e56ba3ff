"""Run folders: config.yaml is what the weights were made from, and a wrong run= is answered."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.plan.test_plan import config
from vgg_sweep.errors import ConfigError, RunError
from vgg_sweep.plan.folders import prepare, read_run, run_in_folder
from vgg_sweep.plan.runs import Run, plan
from vgg_sweep.protocols.seals import unsealed_yaml


def made(sweep: Path, *, trained: bool = True, **settings: object) -> Run:
    [run] = plan([config("A", out=str(sweep), **settings)])
    prepare(run)
    if trained:
        run.folder.weights.touch()
    return run


def test_config_yaml_stays_once_there_are_weights_but_for_the_protocol(tmp_path: Path) -> None:
    run = made(tmp_path, device="cuda", threads=8)
    asked = config("A", protocol="multi", out=str(tmp_path), device="cpu", threads=2)
    elsewhere = replace(asked, data=replace(asked.data, root="moved", cache="none"))
    assert plan([elsewhere])[-1].id == run.id
    prepare(plan([elsewhere])[-1])
    grown = replace(run.config, protocol=asked.protocol)
    assert read_run(run.folder).config == grown
    assert read_run(run.folder, as_asked=True).config == elsewhere
    prepare(replace(run, config=grown))
    assert not run.folder.asked.exists()


def test_config_yaml_is_what_was_last_asked_before_there_are_weights(tmp_path: Path) -> None:
    run = made(tmp_path, trained=False, device="cuda")
    prepare(replace(run, config=replace(run.config, device="cpu")))
    assert read_run(run.folder).config.device == "cpu"
    assert not run.folder.asked.exists()


def test_a_run_whose_id_was_made_without_its_arithmetic_is_known(tmp_path: Path) -> None:
    run = made(tmp_path, trained=False)
    prepare(run)
    text = unsealed_yaml(run.folder.config.read_text())
    run.folder.config.write_text(text.replace("precision: auto", "precision: fp32"))
    there = read_run(run.folder)
    assert (there.id, there.config.precision) == (run.id, "fp32")
    prepare(run)
    assert read_run(run.folder, as_asked=True).config.precision == "fp32", "it goes on as it began"


def test_a_run_in_a_folder_has_its_own_settings_and_the_way_of_working_that_is_asked(tmp_path: Path) -> None:
    run = made(tmp_path, device="cuda", precision="fp32", crop=96, retries=5)
    asked = config("A", protocol="multi", run=str(run.folder.path), device="cpu", workers=1, crop=64)
    found = run_in_folder(replace(asked, data=replace(asked.data, root="here", download=True)))
    assert found.id == run.id and found.folder == run.folder
    there = found.config
    assert (there.device, there.workers, there.data.root, there.data.download) == ("cpu", 1, "here", True)
    assert (there.crop, there.precision, there.retries, there.run) == (96, "fp32", 5, None)
    assert there.protocol.passes == ["dense@single", "dense@multi"]
    assert run_in_folder(replace(asked, precision="bf16")).config.precision == "bf16"
    assert run_in_folder(replace(asked, precision="bf16")).id == run.id


def test_a_run_that_is_a_sweep_or_a_slip_is_answered_and_nothing_is_to_be_removed(tmp_path: Path) -> None:
    run = made(tmp_path / "sweep")
    for path, answer in (
        (tmp_path / "sweep", f"holds the folders of 1 run; name one, such as {run.folder.path}."),
        (tmp_path / "sweep" / run.id.replace("A-", "Q-"), f"did you mean {run.folder.path}?"),
        (tmp_path / "nowhere", "is neither the folder nor the name of a run: "),
    ):
        with pytest.raises(ConfigError) as refused:
            run_in_folder(config("A", run=str(path)))
        assert answer in str(refused.value) and "remove" not in str(refused.value)
    run.folder.config.write_text("")
    with pytest.raises(RunError, match="put back a copy of it, or move .* elsewhere"):
        read_run(run.folder)


def test_another_runs_folder_is_not_to_be_removed(tmp_path: Path) -> None:
    one, other = made(tmp_path), made(tmp_path, seed=1)
    one.folder.config.write_text(other.folder.config.read_text())
    with pytest.raises(RunError, match=r"give another out=DIR, or move .* elsewhere\."):
        prepare(one)


def test_a_renamed_folder_is_not_worked_on_under_its_old_name(tmp_path: Path) -> None:
    run = plan([config("A", out=str(tmp_path))])[-1]
    renamed = prepare(run).path.rename(tmp_path / "best")
    with pytest.raises(ConfigError) as told:
        run_in_folder(config("A", run=str(renamed)))
    assert f"{renamed} has another name than its run, {run.id}: " in str(told.value)
    assert str(told.value).endswith(f"name it {tmp_path / run.id}.")
    assert not run.folder.path.exists()
    renamed.rename(run.folder.path)
    assert run_in_folder(config("A", run=str(run.folder.path))).folder == run.folder
