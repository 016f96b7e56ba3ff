import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from tests.sweeps import EVERYTHING, Spec, make_run, make_sweep, write_posteriors
from vgg_sweep.errors import ConfigError, RunError
from vgg_sweep.plan.configs import read_config
from vgg_sweep.protocols.means import Posteriors
from vgg_sweep.protocols.metrics import wilson
from vgg_sweep.report.results import errors as errors_module
from vgg_sweep.report.results.results import read_results


def test_a_row_for_every_protocol_the_posteriors_allow(tmp_path: Path) -> None:
    make_run(tmp_path, "D", "256")
    results = read_results(tmp_path)
    found = {(row.method, row.rule, row.test_scales) for row in results.itertuples()}
    both = "multi-crop & dense"
    each_Q = [("other", (64,)), ("single", (73,)), ("other", (82,)), ("multi", (64, 73, 82))]
    expected = {(method, rule, Q) for method in ("dense", "multi-crop", both) for rule, Q in each_Q}
    assert found == expected | {("centre-crop", "single", (73,)), ("ten-crop", "single", (73,))}
    assert len(results) == len(found)


def test_errors_are_those_of_the_files(tmp_path: Path) -> None:
    run = make_run(tmp_path, "D", "jitter", seed=3)
    here = run / "posteriors"
    labels_N = np.array(json.loads((here / "manifest.json").read_text())["labels"])
    files = [here / f"dense-Q{Q}-flip{flip}.npy" for Q in (73, 110, 146) for flip in (0, 1)]
    best_NK = np.argsort(-sum(np.load(file).astype(float) for file in files), axis=1)
    results = read_results(tmp_path)
    row = results[(results["method"] == "dense") & (results["rule"] == "multi")].iloc[0]
    assert row["top1_error"] == 100 * (best_NK[:, 0] != labels_N).mean()
    assert row["top5_error"] == 100 * (~(best_NK[:, :5] == labels_N[:, None]).any(axis=1)).mean()
    assert (row["top1_low"], row["top1_high"]) == wilson(row["top1_error"], 40)
    assert (row["config"], row["train_scale"], row["S"], row["seed"], row["n_images"]) == (
        "D",
        "jitter",
        (73, 146),
        3,
        40,
    )


def test_chunks_do_not_change_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make_run(tmp_path, "D", "256")
    whole = read_results(tmp_path)
    (run / "posteriors" / "errors.json").unlink()
    monkeypatch.setattr("vgg_sweep.protocols.means.CHUNK_ELEMENTS", 21)  # 3 images of 7 classes
    assert read_results(tmp_path).equals(whole)


def test_a_second_report_reads_no_posteriors_until_they_change(tmp_path: Path) -> None:
    run = make_run(tmp_path, "D", "jitter")
    first = read_results(tmp_path)
    for file in (run / "posteriors").glob("*.npy"):
        file.unlink()
    assert read_results(tmp_path).equals(first)
    always_0_NK = np.eye(7)[np.zeros(40, dtype=int)]
    write_posteriors(run, {("dense", 110, flip): always_0_NK for flip in (False, True)}, [0] * 30 + [1] * 10)
    assert read_results(tmp_path)["top1_error"].tolist() == [25]


@pytest.mark.parametrize("text", ['{"format": 1, "finger', "[]", "{}", '{"format": 1}'])
def test_a_damaged_cache_is_made_again(tmp_path: Path, text: str) -> None:
    run = make_run(tmp_path, "A", "256")
    first = read_results(tmp_path)
    (run / "posteriors" / "errors.json").write_text(text)
    assert read_results(tmp_path).equals(first)


def test_a_second_report_reads_one_manifest_for_all_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which has the labels, that all share: they say whether the classes are of one size."""
    for net in "AB":
        make_run(tmp_path, net, "256")
    first = read_results(tmp_path)
    whole, read = Posteriors._manifest_bytes, []
    with monkeypatch.context() as patched:
        counted = property(lambda self: read.append(self.folder) or whole.__get__(self))
        patched.setattr(Posteriors, "_manifest_bytes", counted)
        assert read_results(tmp_path).equals(first)
    assert len(set(read)) == 1


def test_a_manifest_of_the_same_size_and_time_is_noticed(tmp_path: Path) -> None:
    manifest = make_run(tmp_path, "A", "256") / "posteriors" / "manifest.json"
    first, stat = read_results(tmp_path), manifest.stat()
    swapped = json.loads(manifest.read_text())
    swapped["labels"].reverse()
    manifest.write_text(json.dumps(swapped))
    os.utime(manifest, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert (manifest.stat().st_size, manifest.stat().st_mtime_ns) == (stat.st_size, stat.st_mtime_ns)
    assert not read_results(tmp_path).equals(first)


def test_a_copied_sweep_keeps_its_errors(tmp_path: Path) -> None:
    run = make_run(tmp_path / "one", "A", "256")
    first = read_results(tmp_path / "one")
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    for _ in range(2):
        for file in (tmp_path / "two" / run.name / "posteriors").glob("*.npy"):
            file.unlink()
        assert read_results(tmp_path / "two")["top1_error"].equals(first["top1_error"])


@pytest.mark.parametrize("where", [0, 200, -1])
def test_a_flipped_bit_is_one_sentence(tmp_path: Path, where: int) -> None:
    """In the header's magic, among the first rows, and in the last byte of the last image's last class."""
    file = make_run(tmp_path, "A", "256") / "posteriors" / "dense-Q73-flip1.npy"
    body = bytearray(file.read_bytes())
    body[where] ^= 1
    file.write_bytes(body)
    with pytest.raises(RunError, match=r"dense-Q73-flip1.npy is damaged[^\n]*vgg-sweep"):
        read_results(tmp_path)
    assert not (file.parent / "errors.json").exists()


def test_top_5_of_few_classes_is_not_a_number(tmp_path: Path) -> None:
    make_run(tmp_path, "A", "256", spec=Spec(num_classes=4))
    results = read_results(tmp_path)
    assert results["top5_error"].isna().all() and results["top1_error"].notna().all()


def test_table_6_s_fusions_are_there_once_per_seed(tmp_path: Path) -> None:
    make_sweep(tmp_path, EVERYTHING, seeds=[0, 1], spec=Spec(num_images=20))
    results = read_results(tmp_path)
    fused = results[results["fusion"] != ""].groupby(["fusion", "method"]).size()
    assert fused.to_dict() == {
        ("ILSVRC submission", "dense"): 2,
        ("post-submission", "dense"): 2,
        ("post-submission", "multi-crop"): 2,
        ("post-submission", "multi-crop & dense"): 2,
    }
    members = results[results["fusion"] == "ILSVRC submission"]["members"].iloc[0]
    assert members == "C-256 + C-384 + D-256 + D-384 + D-jitter-fc + E-256 + E-384"


def test_seeds_of_different_precision_are_told_apart(tmp_path: Path) -> None:
    for net, seed, precision in (("A", 0, "fp32"), ("D", 0, "bf16")):
        make_run(tmp_path, net, "256", seed, Spec(record={"precision": precision}))
    assert set(read_results(tmp_path)["settings"]) == {""}, "each net is one row; the cost table has the precision"
    make_run(tmp_path, "D", "256", 1, Spec(record={"precision": "fp32"}))
    results = read_results(tmp_path)
    assert set(results["settings"]) == {"precision=fp32", "precision=bf16"}
    assert set(results[results["settings"] == "precision=bf16"]["seed"]) == {0}


def test_settings_name_only_what_differs(tmp_path: Path) -> None:
    make_run(tmp_path, "A", "256", spec=Spec(settings={"width": 0.25, "recipe.lr": 0.02}))
    assert set(read_results(tmp_path)["settings"]) == {""}
    make_run(tmp_path, "A", "256", spec=Spec(settings={"width": 0.5, "recipe.lr": 0.02, "device": "cpu"}))
    assert set(read_results(tmp_path)["settings"]) == {"width=0.25", "width=0.5"}


def test_twins_are_refused(tmp_path: Path) -> None:
    make_run(tmp_path, "A", "256")
    make_run(tmp_path, "A", "256", spec=Spec(settings={"workers": 4}))
    with pytest.raises(RunError, match="both A-256 with seed 0 and the same settings"):
        read_results(tmp_path)


def test_runs_scored_on_different_images_are_refused(tmp_path: Path) -> None:
    make_run(tmp_path, "A", "256")
    make_run(tmp_path, "B", "256", spec=Spec(num_images=39))
    with pytest.raises(RunError, match=r"A-256-s0-\w+ and B-256-s0-\w+ were scored on different images \(40 and 39\)"):
        read_results(tmp_path)


@pytest.mark.parametrize("state", ["no folder", "no run", "not scored"])
def test_nothing_to_report_says_what_to_run(tmp_path: Path, state: str) -> None:
    sweep = tmp_path / "sweep"
    if state != "no folder":
        sweep.mkdir()
    if state == "not scored":
        (make_run(sweep, "A", "256") / "posteriors" / "manifest.json").unlink()
    with pytest.raises(RunError if state == "not scored" else ConfigError, match="vgg-sweep multirun"):
        read_results(sweep)


@pytest.mark.parametrize("text", ["", "model: [", "- 1\n- 2", "model: {name: A}\n"])
def test_a_spoilt_configuration_is_named(tmp_path: Path, text: str) -> None:
    run = make_run(tmp_path, "A", "256")
    (run / "config.yaml").write_text(text)
    with pytest.raises(RunError, match="config.yaml is not a whole configuration"):
        read_results(tmp_path)


def test_reading_a_configuration_by_parts_is_reading_it_whole(tmp_path: Path) -> None:
    text = (make_run(tmp_path, "D", "jitter") / "config.yaml").read_text()
    assert read_config(text) == yaml.safe_load(text)


def test_a_sweep_that_may_only_be_read_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_run(tmp_path, "A", "256")

    def refuse(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(errors_module, "write_json", refuse)
    assert len(read_results(tmp_path)) == 14


def test_the_package_gives_load_results_without_pandas_until_asked() -> None:
    code = (
        "import sys, vgg_sweep; assert 'pandas' not in sys.modules and 'torch' not in sys.modules; "
        "vgg_sweep.load_results; assert 'pandas' in sys.modules and 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(("damage", "reason"), [("binary", "it is not text"), ("folder", "Is a directory")])
def test_a_configuration_that_is_no_text_is_a_sentence_that_removes_nothing(
    tmp_path: Path, damage: str, reason: str
) -> None:
    run = make_run(tmp_path, "A", "256")
    (run / "config.yaml").unlink()
    (run / "config.yaml").mkdir() if damage == "folder" else (run / "config.yaml").write_bytes(b"\xff\xfe\0\x81")
    with pytest.raises(RunError) as told:
        read_results(tmp_path)
    assert f"config.yaml is not a whole configuration ({reason}); put back a copy of it" in str(told.value)
    assert "remove" not in str(told.value)


def test_a_bit_flipped_after_a_report_is_noticed_by_the_next(tmp_path: Path) -> None:
    run = make_run(tmp_path, "A", "256")
    read_results(tmp_path)
    file = run / "posteriors" / "dense-Q73-flip1.npy"
    content = bytearray(file.read_bytes())
    content[-2] ^= 4
    file.write_bytes(content)
    with pytest.raises(
        RunError,
        match=r"dense-Q73-flip1.npy is damaged.* or remove only this file and make it",
    ):
        read_results(tmp_path)
