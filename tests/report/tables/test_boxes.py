"""Tables 8 to 10 and the claims of Appendix A, from synthetic predictions, against errors counted anew."""

import io
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from tests.localise.boxes import merged
from tests.report.localised import make_box_run, true_boxes
from tests.sweeps import Spec, make_sweep
from vgg_sweep.errors import ConfigError, RunError
from vgg_sweep.localise.evaluate import held_out
from vgg_sweep.localise.geometry import iou
from vgg_sweep.localise.merging import THRESHOLDS
from vgg_sweep.localise.stored import Predictions
from vgg_sweep.report.report import report
from vgg_sweep.report.results.localised import BoxRun
from vgg_sweep.report.results.results import Source, Sweep, read_sweep
from vgg_sweep.report.tables.boxes import box_claims, table8, table9, table10
from vgg_sweep.runs.folder import RunFolder

SPEC = Spec(num_images=60, passes=("dense@multi",))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The nets of the paper's rows but SCR, and one that it has not."""
    folder = make_sweep(tmp_path_factory.mktemp("sweep"), [("D", "256"), ("D", "384")], spec=SPEC)
    make_box_run(folder, "256", noise_px=11, spec=SPEC)
    make_box_run(folder, "384", noise_px=9, spec=SPEC)
    make_box_run(folder, "384", "pcr", "fc", noise_px=10, spec=SPEC)
    make_box_run(folder, "256", "scr", "all", noise_px=12, spec=SPEC)
    return folder


@pytest.fixture(scope="module")
def sweep(folder: Path) -> Sweep:
    return read_sweep(Source(folder, "small"), [])


def run_folder(folder: Path, kind: str) -> Path:
    return next(path for path in folder.iterdir() if kind in path.name)


def is_wrong(box: np.ndarray, n: int) -> bool:
    truth = true_boxes(SPEC.num_images, SPEC.num_classes)
    return bool(iou(np.clip(box, 0, 99)[None], truth.of(n))[0, 0] < 0.5)


def row_of(frame: pd.DataFrame, **names: object) -> pd.Series:
    chosen = pd.Series(True, index=frame.index)
    for name, value in names.items():
        chosen &= frame[name] == value
    (place,) = np.flatnonzero(chosen)
    return frame.iloc[place]


def test_table_8_has_the_papers_rows_the_others_and_controls(folder: Path, sweep: Sweep) -> None:
    frame = table8(sweep.localised.errors)
    nets = list(zip(frame["train_scale"], frame["boxes"], frame["trainable"], strict=True))[:5]
    assert nets == [("384", "scr", "fc"), ("384", "pcr", "fc"), ("384", "pcr", "all"),
                    ("256", "pcr", "all"), ("256", "scr", "all")]  # fmt: skip
    assert frame["paper_loc_error"].tolist()[:3] == [36.4, 34.3, 33.1] and frame["paper_loc_error"][3:].isna().all()
    assert frame["control"].tolist()[5:] == ["whole image", "centre box, 0.75 of each side"]
    missing = frame.iloc[0]
    assert missing["seeds"] == 0 and np.isnan(missing["loc_error"]) and missing["S"] == (110,)
    for word in ("model=D", "train_scale=384", "task=localise", "boxes=scr", "trainable=fc", "out=small", "crop=64"):
        assert word in missing["command"].split()


def test_commands_in_a_users_words_name_each_setting_once(tmp_path: Path) -> None:
    folder = make_sweep(tmp_path / "sweep", [("D", "384")], spec=SPEC)
    made = make_box_run(folder, "384", spec=SPEC)
    words = f"vgg-sweep train model=D train_scale=384 task=localise boxes=pcr trainable=all crop=64 out={folder}"
    record = json.loads((made / "record.json").read_text())
    (made / "record.json").write_text(json.dumps(record | {"command": words}))
    command = table8(read_sweep(Source(folder, str(folder)), []).localised.errors)["command"][0].split()
    assert command.count("boxes=scr") == command.count("task=localise") == command.count("trainable=fc") == 1
    assert not {"boxes=pcr", "trainable=all"} & set(command) and "crop=64" in command


def test_table_8_counts_boxes_of_the_true_class(folder: Path, sweep: Sweep) -> None:
    each = Predictions(run_folder(folder, "D-384-pcr-all") / "boxes", "").read("centre-crop", 110, False)
    labels = np.arange(60) % 7
    wrong = [is_wrong(each.boxes_Rk4[n, each.classes_Nk[n].tolist().index(label)], n) for n, label in enumerate(labels)]
    found = row_of(table8(sweep.localised.errors), train_scale="384", boxes="pcr", trainable="all")
    assert found["loc_error"] == pytest.approx(100 * np.mean(wrong)) and 0 < np.mean(wrong) < 1
    assert found["n_images"] == 60 and found["seeds"] == 1 and found["loc_low"] < found["loc_error"] < found["loc_high"]
    whole = row_of(table8(sweep.localised.errors), control="whole image")
    assert whole["loc_error"] == pytest.approx(
        100 * np.mean([is_wrong(np.array([0, 0, 99, 99]), n) for n in range(60)])
    )


def test_table_9_merges_chooses_and_measures_apart(folder: Path, sweep: Sweep) -> None:
    """The row of two nets by hand: five guesses, merging, the threshold with the fewest errors on a fifth."""
    frame = table9(sweep.localised.errors)
    found = row_of(frame, rule="fusion", merge="overfeat")
    assert found["paper_loc_error"] == 26.9 and found["test_scales"] == ((73,), (101, 110)) and found["n_images"] == 48
    runs = {S: Predictions(run_folder(folder, f"D-{S}-pcr-all") / "boxes", "") for S in ("256", "384")}
    passes = [runs["256"].read("dense", 73, flip) for flip in (False, True)]
    passes += [runs["384"].read("dense", Q, flip) for Q in (101, 110) for flip in (False, True)]
    best = min((score for score in sweep.scores), key=lambda score: (score.top5.count, score.top1.count))
    files = {
        Q: [np.load(path) for path in best.runs[0].folder.posteriors.glob(f"dense-Q{Q}-*")] for Q in best.test_scales
    }
    posteriors_NK = np.mean([np.mean(parts, axis=0) for parts in files.values()], axis=0)
    labels = np.arange(60) % 7
    wrong_TN = np.ones((len(THRESHOLDS["overfeat"]), 60), bool)
    for n in range(60):
        if labels[n] not in np.argsort(-posteriors_NK[n])[:5]:
            continue
        columns = [each.classes_Nk[n].tolist().index(labels[n]) for each in passes]
        boxes = np.concatenate([each.boxes_Rk4[4 * n : 4 * n + 4, k] for each, k in zip(passes, columns, strict=True)])
        scores = np.concatenate([each.scores_Rk[4 * n : 4 * n + 4, k] for each, k in zip(passes, columns, strict=True)])
        for T, threshold in enumerate(THRESHOLDS["overfeat"]):
            wrong_TN[T, n] = is_wrong(merged(boxes, scores, "overfeat", threshold), n)
    T = int(wrong_TN[:, held_out(60)].sum(axis=1).argmin())
    assert found["thresholds"] == (THRESHOLDS["overfeat"][T],)
    assert found["loc_error"] == pytest.approx(100 * wrong_TN[T, ~held_out(60)].mean())
    assert found["labels_by"] == f"{best.runs[0].slug}, dense, Q = {', '.join(map(str, best.test_scales))}"
    assert found["true_class_error"] <= found["loc_error"] <= found["top1_error"]


def test_table_9_has_the_papers_rows_other_nets_other_mergings_and_controls(sweep: Sweep) -> None:
    frame = table9(sweep.localised.errors)
    assert frame["paper_loc_error"].tolist()[:4] == [29.5, 28.2, 27.5, 26.9]
    assert frame["paper_loc_test_error"].tolist()[1] == 26.7 and not frame["loc_error"].isna().any()
    assert frame["merge"].tolist()[-5:-2] == ["nms", "mean", "best"]  # of the two nets
    assert frame["rule"].tolist()[-5:-2] == ["fusion"] * 3
    assert frame["control"].tolist()[-2:] == ["whole image", "centre box, 0.75 of each side"]
    by_mean = table9(read_sweep(Source(sweep.folder, "small"), [], merge="mean").localised.errors)
    assert row_of(by_mean, rule="fusion", merge="mean", is_papers=True)["thresholds"] == ()


def test_table_10_has_ours_beside_the_systems(sweep: Sweep) -> None:
    frame = table10(sweep.localised.errors)
    assert frame["system"].tolist()[0] == "VGG" and frame["paper_loc_test_error"].tolist() == [25.3, 26.7, 29.9, 34.2]
    fused = row_of(table9(sweep.localised.errors), rule="fusion", merge="overfeat")
    assert frame["loc_error"][0] == fused["loc_error"] and frame["loc_error"][1:].isna().all()


def test_claims_compare_the_rows_on_the_same_images(sweep: Sweep) -> None:
    frame = box_claims(sweep.localised.errors)
    assert frame["verdict"].tolist()[:3] == ["missing", "one seed", "one seed"]
    rows = table8(sweep.localised.errors)
    points = [row_of(rows, train_scale="384", boxes="pcr", trainable=each)["loc_error"] for each in ("fc", "all")]
    assert frame["points"][1] == pytest.approx(points[0] - points[1])
    dense = table9(sweep.localised.errors)[:4]
    assert frame["points"][4] == pytest.approx(dense["loc_error"][2] - dense["loc_error"][3])
    assert frame["compared"][4] == "PCR-384 - PCR-256 + PCR-384"


def said(folder: Path, **options: object) -> str:
    console = Console(width=100, file=io.StringIO())
    settings = {"tables": None, "formats": None, "out": None, "fuse": []} | options
    report([folder], **settings, console=console)  # type: ignore[arg-type]
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_the_report_shows_them_and_not_the_runs_among_those_of_classification(folder: Path) -> None:
    text = said(folder)
    assert "2 of 2 runs scored." in text and "4 of 4 localisation runs have predicted boxes." in text
    assert "Table 8. Localisation" in text and "Table 9. Localisation" in text and "Table 10" not in text
    assert "Guesses by D-" in text and "whole image" in text
    assert not [row for row in json.loads(said(folder, tables=["runs"], formats=["json"])) if "boxes" in str(row)]
    with pytest.raises(ConfigError, match="there is no merging 'men'; .*did you mean"):
        said(folder, merge="men")


def test_errors_are_computed_once_and_anew_where_the_boxes_changed(folder: Path, tmp_path: Path) -> None:
    files = sorted((folder / "localised").glob("*.json"))
    assert len(files) >= 4 + 7 + 1  # of the centre crop, at two rules of Q, and of two nets
    times = [file.stat().st_mtime_ns for file in files]
    read_sweep(Source(folder, "small"), [])
    assert [file.stat().st_mtime_ns for file in files] == times


def test_a_jittered_net_is_tested_at_the_middle_of_its_scales() -> None:
    """At crop 64 S of [256;512] is 73 to 146 px, and Q = 384 is 110."""
    config = {"crop": 64, "train_scale": {"name": "jitter", "S": [256, 512]}}
    run = BoxRun(RunFolder(Path("x")), config, "s")
    assert run.scales("centre") == run.scales("single") == (110,) and run.S_px == (73, 146)


def test_no_box_of_its_class_in_val_is_said(tmp_path: Path) -> None:
    spec = Spec(num_images=10, passes=("dense@single",))
    folder = make_sweep(tmp_path / "sweep", [("D", "256")], spec=spec)
    made = make_box_run(folder, "256", spec=spec)
    manifest = json.loads((made / "boxes/manifest.json").read_text())
    manifest["labels"] = [(label + 1) % 7 for label in manifest["labels"]]
    (made / "boxes/manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(RunError, match="has no validation image with a box of its class"):
        read_sweep(Source(folder, "small"), [])


def test_localisation_runs_alone_are_reported(tmp_path: Path) -> None:
    """Nets of elsewhere: with one class all is guessed, with several nothing is."""
    for num_classes, note in ((1, "There is only one class"), (7, "No run here classifies these images")):
        folder = tmp_path / str(num_classes)
        make_box_run(folder, "256", spec=Spec(num_images=30, num_classes=num_classes, passes=("dense@single",)))
        text = said(folder)
        assert f"{folder}: no classification run." in text.replace("\n", "") and note in text
        frame = table9(read_sweep(Source(folder, "alone"), []).localised.errors)
        row = row_of(frame, rule="single", merge="overfeat", train_scale="256")
        assert np.isnan(row["loc_error"]) == (num_classes == 7) and not np.isnan(row["true_class_error"])
        said(folder, formats=["html"], out=folder / "report")
        assert "Table 8. Localisation" in (folder / "report/report.html").read_text()


def test_localisation_runs_alone_are_reported_beside_a_sweep_that_classifies(folder: Path, tmp_path: Path) -> None:
    make_box_run(tmp_path, "256", spec=Spec(num_images=30, passes=("dense@single",)))
    console = Console(width=100, file=io.StringIO())
    report([tmp_path, folder], tables=None, formats=None, out=None, fuse=[], console=console)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "Settings that differ from the paper's" in text and "Table 8. Localisation" in text
