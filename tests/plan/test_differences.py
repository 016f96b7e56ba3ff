"""Why a run is new, and which were made with something else."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.plan.test_plan import config
from vgg_sweep.config.schema import Config
from vgg_sweep.plan import differences
from vgg_sweep.plan.differences import notes
from vgg_sweep.plan.folders import prepare
from vgg_sweep.plan.runs import Run, plan
from vgg_sweep.runs import provenance

NOW = {"versions": {"torch": "2.10.0", "numpy": "2.4.0"}, "commit": "b" * 40, "code": "new"}


@pytest.fixture(autouse=True)
def now(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(differences, "made_with", lambda: NOW)


def runs(sweep: Path, model: str = "B", train_scale: str = "256", **settings: object) -> list[Run]:
    return plan([config(model, train_scale, out=str(sweep), **settings)])


def with_lr(each: Config, lr: float) -> Config:
    return replace(each, recipe=replace(each.recipe, lr=lr))


def test_the_setting_that_makes_runs_new_is_named_with_the_run_that_has_another(tmp_path: Path) -> None:
    before = runs(tmp_path)
    assert notes(before) == []
    for run in before:
        prepare(run)
    after = plan([with_lr(before[-1].config, 0.02)])
    assert notes(after) == [f"New because of recipe.lr=0.02: {after[0].id} (there is {before[0].id}) and 1 more."]
    after = plan([replace(before[-1].config, crop=96, width=0.5, seed=0, pool_ceil=True)])
    assert notes(after)[0].startswith("New because of crop=96, width=0.5, pool_ceil=True: ")
    assert notes(before) == [], "a run that is there itself is not new"
    assert notes(runs(tmp_path, seed=1)) == [], "another seed is another run to everybody"
    assert notes([*before, *after]) == [], "runs that were asked for together are known to differ"


def test_a_sweep_beside_is_named_if_one_setting_tells_it_apart(tmp_path: Path) -> None:
    """As a demo in fp32, before the same nets are asked for in the precision that is fastest."""
    [near], [far] = runs(tmp_path / "demo", "A", precision="fp32"), runs(tmp_path / "far", "A", crop=96, width=0.5)
    for run in (near, far):
        prepare(run)
    [new] = runs(tmp_path / "mine", "A")
    assert notes([new]) == [f"New because of precision=auto: {new.id} (there is {near.folder.path})."]
    prepare(runs(tmp_path / "mine", "A", crop=128, width=0.5)[0])
    assert notes([new]) == [f"New because of precision=auto: {new.id} (there is {near.folder.path})."]


def test_the_nearest_run_is_named(tmp_path: Path) -> None:
    [far], [near] = runs(tmp_path, "A", crop=96, width=0.5), runs(tmp_path, "A", crop=96)
    prepare(near)
    prepare(far)
    [note] = notes(runs(tmp_path, "A"))
    assert f"crop=64: {runs(tmp_path, 'A')[0].id} (there is {near.id})" in note


def test_a_run_that_is_new_because_of_its_parent_says_so(tmp_path: Path) -> None:
    [_, before] = runs(tmp_path, "B")
    prepare(before)
    other_parent = replace(before.config.model, parent="C")
    after = plan([replace(before.config, model=other_parent)])[-1]
    assert "model.parent=C" in notes([after])[0]
    elsewhere = replace(before, id=before.id[:-8] + "00000000")  # as if A's own file had changed
    assert notes([elsewhere]) == [f"New because of what it starts from: {elsewhere.id} (there is {before.id})."]


def test_runs_made_with_other_versions_or_code_are_named(tmp_path: Path) -> None:
    made = runs(tmp_path, "D", "jitter")
    for run in made:
        prepare(run)
        run.folder.update_status(state="done")
        run.folder.update_record(**NOW)
    assert notes(made) == []
    old = {"versions": {"torch": "2.9.0", "numpy": "2.4.0"}, "commit": "a" * 40, "code": "old"}
    for run in made[1:]:
        run.folder.update_record(**old)
    assert notes(made) == [
        "Made differently: torch 2.9.0, now 2.10.0; code of aaaaaaaa, now bbbbbbbb: "
        f"{made[1].id}, {made[2].id} and 1 more."
    ]
    made[0].folder.update_status(state="interrupted", made_with=old)
    (made[0].folder.path / "record.json").unlink()
    assert f": {made[0].id}, {made[1].id} and 2 more." in notes(made)[0]


def test_arithmetic_that_was_asked_for_otherwise_is_said(tmp_path: Path) -> None:
    [run] = runs(tmp_path, "A")
    prepare(run)
    run.folder.update_record(**NOW, precision="bf16", tf32=False, compile=False, deterministic=False, devices=1)
    assert notes([run]) == []
    exact = replace(run, config=replace(run.config, precision="fp32", deterministic=True))
    assert notes([exact]) == [f"Made differently: precision bf16, now fp32; deterministic False, now True: {run.id}."]


def test_a_changed_checkout_of_the_same_commit_is_told() -> None:
    before = {"versions": NOW["versions"], "commit": "b" * 40, "code": "old"}
    assert provenance.changes(before, NOW) == ["code of bbbbbbbb, changed"]
    assert provenance.changes({**before, "commit": None}, NOW) == ["code of a release, now bbbbbbbb"]
    assert provenance.changes({"versions": NOW["versions"]}, NOW) == [], "an older record has no code to compare"


def test_a_run_whose_parent_was_trained_anew_is_said(tmp_path: Path) -> None:
    made = runs(tmp_path, "B")
    for run in made:
        prepare(run)
        run.folder.update_record(**NOW)
    parent, child = made
    assert notes(made) == [], "records of older runs have no hashes"
    parent.folder.posteriors.mkdir()
    manifest = parent.folder.posteriors / "manifest.json"
    manifest.write_text('{"weights_fingerprint": "aa"}')
    child.folder.update_record(parent_weights_sha256="aa")
    assert notes(made) == []
    manifest.write_text('{"weights_fingerprint": "cc"}')
    [note] = notes(made)
    assert note.endswith(f"started from other weights than {parent.id} has now: {child.id}.")
